//! `Transaction`: all or nothing.

use std::ops::{Deref, DerefMut};

use crate::error::Error;

use super::connection::Connection;

/// A transaction; the connection's calls run inside of it. Dropped without [`commit`](Transaction::commit) it is rolled
/// back.
#[derive(Debug)]
pub struct Transaction<'a> {
    connection: &'a mut Connection,
    ended: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(connection: &'a mut Connection) -> Transaction<'a> {
        Transaction { connection, ended: false }
    }

    /// Makes it last.
    ///
    /// # Errors
    /// As [`Connection::query`]; after an error of the connection it is unknown whether it lasts.
    pub fn commit(mut self) -> Result<(), Error> {
        self.end("commit")
    }

    /// Gives it up, now.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn rollback(mut self) -> Result<(), Error> {
        self.end("rollback")
    }

    fn end(&mut self, how: &str) -> Result<(), Error> {
        self.ended = true;
        self.connection.batch(how)?;
        self.connection.in_transaction = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Where this cannot be (a panic, a cancelled task, a broken connection) the pool closes the connection.
        if !self.ended && !std::thread::panicking() {
            let _ = self.end("rollback");
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection
    }
}
