//! From a cart to an order: the stock is taken, the money is taken, the order is written, or nothing is.

use mysql::TxOpts;
use mysql::prelude::Queryable;

use crate::cart::{self, Line};
use crate::error::Error;
use crate::partner;
use crate::pricing::{self, Quote};
use crate::stores::Stores;

pub struct Order {
    pub id: u64,
    pub quote: Quote,
    pub receipt: String,
}

pub fn place(stores: &mut Stores, session: &str, country: &str) -> Result<Order, Error> {
    let destination = pricing::destination(country)?;
    let lines = cart::lines(stores, session)?;
    if lines.is_empty() {
        return Err(Error::Invalid("the cart is empty"));
    }
    let quote = pricing::quote(&lines, destination);
    let receipt = partner::pay(stores, session, quote.total_cents)?;
    let id = write(stores, session, country, &lines, &quote, &receipt)?;
    cart::clear(stores, session)?;
    Ok(Order { id, quote, receipt })
}

fn write(
    stores: &mut Stores,
    session: &str,
    country: &str,
    lines: &[Line],
    quote: &Quote,
    receipt: &str,
) -> Result<u64, Error> {
    let mut transaction = stores.database.start_transaction(TxOpts::default())?;
    for line in lines {
        transaction.exec_drop(
            "UPDATE products SET stock = stock - ? WHERE id = ? AND stock >= ?",
            (line.quantity, line.product, line.quantity),
        )?;
        // Dropped without a commit, a transaction is rolled back.
        if transaction.affected_rows() == 0 {
            return Err(Error::SoldOut(line.name.clone()));
        }
    }
    transaction.exec_drop(
        "INSERT INTO orders (session, country, total_cents, payment) VALUES (?, ?, ?, ?)",
        (session, country, quote.total_cents, receipt),
    )?;
    let id = transaction.last_insert_id().unwrap_or(0);
    transaction.exec_batch(
        "INSERT INTO order_lines (order_id, product_id, quantity, price_cents) VALUES (?, ?, ?, ?)",
        lines.iter().map(|line| (id, line.product, line.quantity, line.price_cents)),
    )?;
    transaction.commit()?;
    Ok(id)
}
