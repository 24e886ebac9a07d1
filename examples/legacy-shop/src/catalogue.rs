//! The articles: lists, one article, search. Lists are kept in the cache for a minute.

use mysql::prelude::Queryable;
use redis::Commands;
use serde::Serialize;

use crate::error::Error;
use crate::stores::Stores;

/// Articles on a page.
const PAGE: u32 = 20;
/// How long a count may be old, in seconds.
const COUNT_SECONDS: u64 = 60;

#[derive(Clone, Debug, Serialize)]
pub struct Product {
    pub id: u32,
    pub name: String,
    pub category: String,
    pub price_cents: u32,
    pub weight_grams: u32,
    pub stock: u32,
}

type Row = (u32, String, String, u32, u32, u32);

const COLUMNS: &str = "id, name, category, price_cents, weight_grams, stock";

impl From<Row> for Product {
    fn from((id, name, category, price_cents, weight_grams, stock): Row) -> Product {
        Product { id, name, category, price_cents, weight_grams, stock }
    }
}

pub fn page(stores: &mut Stores, number: u32) -> Result<Vec<Product>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM products ORDER BY id LIMIT ? OFFSET ?");
    Ok(stores.database.exec_map(sql, (PAGE, number.saturating_sub(1) * PAGE), |row: Row| row.into())?)
}

pub fn count(stores: &mut Stores) -> Result<u32, Error> {
    if let Some(count) = stores.cache.get::<_, Option<u32>>("shop:count")? {
        return Ok(count);
    }
    let count = stores.database.query_first("SELECT COUNT(*) FROM products")?.unwrap_or(0);
    let () = stores.cache.set_ex("shop:count", count, COUNT_SECONDS)?;
    Ok(count)
}

pub fn pages(stores: &mut Stores) -> Result<u32, Error> {
    Ok(count(stores)?.div_ceil(PAGE).max(1))
}

pub fn find(stores: &mut Stores, id: u32) -> Result<Product, Error> {
    let sql = format!("SELECT {COLUMNS} FROM products WHERE id = ?");
    let row: Option<Row> = stores.database.exec_first(sql, (id,))?;
    row.map(Product::from).ok_or(Error::NotFound)
}

pub fn several(stores: &mut Stores, ids: &[u32]) -> Result<Vec<Product>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; ids.len()].join(", ");
    let sql = format!("SELECT {COLUMNS} FROM products WHERE id IN ({marks}) ORDER BY id");
    let ids: Vec<mysql::Value> = ids.iter().map(|id| (*id).into()).collect();
    Ok(stores.database.exec_map(sql, ids, |row: Row| row.into())?)
}

pub fn search(stores: &mut Stores, words: &str) -> Result<Vec<Product>, Error> {
    let words = words.trim();
    if words.len() < 2 || words.len() > 40 {
        return Err(Error::Invalid("search for 2 to 40 letters"));
    }
    let pattern = format!("%{}%", words.replace(['%', '_', '\\'], ""));
    let sql = format!("SELECT {COLUMNS} FROM products WHERE name LIKE ? ORDER BY id LIMIT ?");
    Ok(stores.database.exec_map(sql, (pattern, PAGE), |row: Row| row.into())?)
}

/// Counts a look at an article and answers how many there were.
pub fn look(stores: &mut Stores, id: u32) -> Result<u64, Error> {
    Ok(stores.cache.hincr("shop:looks", id, 1)?)
}
