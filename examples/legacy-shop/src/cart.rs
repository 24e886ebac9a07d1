//! What a customer has in the cart: quantities in the cache, articles from the database.

use redis::Commands;
use serde::Serialize;

use crate::catalogue;
use crate::error::Error;
use crate::stores::Stores;

/// A cart is forgotten after a day, in seconds.
const CART_SECONDS: i64 = 24 * 3600;
/// Most pieces of one article.
const QUANTITY_MAX: u32 = 99;
/// Most different articles.
const LINES_MAX: usize = 50;

#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub product: u32,
    pub name: String,
    pub price_cents: u32,
    pub weight_grams: u32,
    pub quantity: u32,
}

impl Line {
    pub fn cents(&self) -> u32 {
        self.price_cents * self.quantity
    }
}

fn key(session: &str) -> String {
    format!("shop:cart:{session}")
}

pub fn put(stores: &mut Stores, session: &str, product: u32, quantity: u32) -> Result<(), Error> {
    if quantity > QUANTITY_MAX {
        return Err(Error::Invalid("at most 99 pieces of one article"));
    }
    let product = catalogue::find(stores, product)?;
    if product.stock < quantity {
        return Err(Error::SoldOut(product.name));
    }
    let key = key(session);
    if quantity == 0 {
        return Ok(stores.cache.hdel(key, product.id)?);
    }
    let lines: usize = stores.cache.hlen(&key)?;
    if lines >= LINES_MAX {
        return Err(Error::Invalid("the cart is full"));
    }
    let () = stores.cache.hset(&key, product.id, quantity)?;
    let () = stores.cache.expire(&key, CART_SECONDS)?;
    Ok(())
}

pub fn lines(stores: &mut Stores, session: &str) -> Result<Vec<Line>, Error> {
    let quantities: Vec<(u32, u32)> = stores.cache.hgetall(key(session))?;
    let ids: Vec<u32> = quantities.iter().map(|(id, _)| *id).collect();
    let products = catalogue::several(stores, &ids)?;
    let line = |product: catalogue::Product| {
        let quantity =
            quantities.iter().find(|(id, _)| *id == product.id).map_or(0, |(_, quantity)| *quantity);
        Line {
            product: product.id,
            name: product.name,
            price_cents: product.price_cents,
            weight_grams: product.weight_grams,
            quantity,
        }
    };
    Ok(products.into_iter().map(line).collect())
}

pub fn clear(stores: &mut Stores, session: &str) -> Result<(), Error> {
    Ok(stores.cache.del(key(session))?)
}

/// How many pieces are in it.
pub fn pieces(stores: &mut Stores, session: &str) -> Result<u32, Error> {
    let quantities: Vec<u32> = stores.cache.hvals(key(session))?;
    Ok(quantities.into_iter().sum())
}
