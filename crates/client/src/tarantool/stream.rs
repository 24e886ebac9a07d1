//! `Stream`: requests in order, and interactive transactions (Tarantool 2.10 and later).

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::link::Link;

use super::iproto::{Iproto, Kind, key};
use super::space::Space;
use super::{Client, Target, from_value, to_list};

/// Requests that the server runs one after another, over the connection that all share. [`Stream::begin`] opens a transaction
/// on it that lasts until `commit` or `rollback`; dropped before, it is rolled back.
#[derive(Debug)]
pub struct Stream {
    pub(super) client: Client,
    pub(super) link: Arc<Link<Iproto>>,
    pub(super) number: u64,
    open: bool,
}

impl Stream {
    pub(super) fn new(client: Client, link: Arc<Link<Iproto>>, number: u64) -> Stream {
        Stream { client, link, number, open: false }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Error::Rejected`] by a server that has no streams; as [`Client::call`].
    pub fn begin(&mut self) -> Result<(), Error> {
        Target::Stream(self).run(Kind::Begin, Vec::new())?;
        self.open = true;
        Ok(())
    }

    /// Makes the transaction last.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn commit(&mut self) -> Result<(), Error> {
        self.open = false;
        Target::Stream(self).run(Kind::Commit, Vec::new()).map(drop)
    }

    /// Gives the transaction up.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn rollback(&mut self) -> Result<(), Error> {
        self.open = false;
        Target::Stream(self).run(Kind::Rollback, Vec::new()).map(drop)
    }

    /// As [`Client::call`], in the stream.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call<T: DeserializeOwned>(&self, function: &str, arguments: &impl Serialize) -> Result<T, Error> {
        let body = vec![(key::FUNCTION, function.into()), (key::TUPLE, to_list(arguments)?)];
        from_value(Target::Stream(self).run(Kind::Call, body)?.take(key::DATA))
    }

    /// As [`Client::space`], in the stream.
    ///
    /// # Errors
    /// As [`Client::space`].
    pub fn space(&self, name: &str) -> Result<Space<'_>, Error> {
        Ok(Space::new(Target::Stream(self), self.client.space_number(name)?))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.open && !std::thread::panicking() {
            // Where that fails, the server rolls back when the transaction's time is over.
            let _ = self.rollback();
        }
    }
}
