//! `UserTx`: a transaction in the application's own database, as far as jobs need one.

use tenfold_client::{mysql, postgres};

use crate::error::Error;

/// A transaction that is open. For [`crate::JobCx::once`] and [`crate::Jobs::enqueue_tx`].
///
/// Implemented for SQLite (`rusqlite::Transaction`), PostgreSQL (`tenfold_client::postgres::Transaction`) and MySQL
/// (`tenfold_client::mysql::Connection`, between `batch("begin")` and `batch("commit")`).
pub trait UserTx {
    /// Inserts a row of texts, unless one with the same first column is there. Whether there was none.
    ///
    /// # Errors
    /// [`Error::Database`].
    fn insert_new(&mut self, table: &str, columns: &[&str], values: &[&str]) -> Result<bool, Error>;
}

impl UserTx for rusqlite::Transaction<'_> {
    fn insert_new(&mut self, table: &str, columns: &[&str], values: &[&str]) -> Result<bool, Error> {
        let sql = insert("insert", table, columns, |_| "?".into()) + " on conflict do nothing";
        let mut statement = self.prepare_cached(&sql).map_err(Error::database)?;
        Ok(statement.execute(rusqlite::params_from_iter(values)).map_err(Error::database)? == 1)
    }
}

impl UserTx for postgres::Transaction<'_> {
    fn insert_new(&mut self, table: &str, columns: &[&str], values: &[&str]) -> Result<bool, Error> {
        let sql = insert("insert", table, columns, |number| format!("${number}")) + " on conflict do nothing";
        let values: Vec<&(dyn postgres::types::ToSql + Sync)> =
            values.iter().map(|value| value as &(dyn postgres::types::ToSql + Sync)).collect();
        Ok(self.execute(&sql, &values).map_err(Error::database)? == 1)
    }
}

impl UserTx for mysql::Connection {
    fn insert_new(&mut self, table: &str, columns: &[&str], values: &[&str]) -> Result<bool, Error> {
        let sql = insert("insert ignore", table, columns, |_| "?".into());
        let values: Vec<mysql::Value> =
            values.iter().map(|value| mysql::Value::Bytes(value.as_bytes().to_vec().into())).collect();
        Ok(self.execute(&sql, &values).map_err(Error::database)?.rows == 1)
    }
}

/// Tables and columns are words of this crate.
fn insert(verb: &str, table: &str, columns: &[&str], place: impl Fn(usize) -> String) -> String {
    let places: Vec<String> = (1..=columns.len()).map(place).collect();
    format!("{verb} into {table} ({}) values ({})", columns.join(", "), places.join(", "))
}
