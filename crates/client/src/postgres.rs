//! A PostgreSQL client: tokio-postgres's protocol and types over our streams, as blocking calls.
//!
//! No tokio runtime is behind it. A connection's state machine runs inside of the calls that use it, on the fiber or thread
//! that calls: there is no task that could be left behind. Statements are prepared once for each connection. TLS is not
//! spoken here.

mod connection;
mod settings;
mod transaction;

use std::panic::Location;
use std::time::Duration;

use crate::error::Error;
use crate::pool::{Pool, PoolOptions, Pooled};

pub use tokio_postgres::types;
pub use tokio_postgres::{Row, Statement};

pub use connection::{Connection, Query};
pub use settings::Settings;
pub use transaction::Transaction;

/// A pool of connections to one database. Cloning is cheap and shares it.
///
/// ```no_run
/// use tenfold_client::postgres::Client;
///
/// let client = Client::new("postgres://user:secret@127.0.0.1/shop")?;
/// let row = client.get()?.query_one("select name from users where id = $1", &[&7i64])?;
/// let name: String = row.get(0);
/// # Ok::<(), tenfold_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<Settings>,
}

/// The bounds of a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    settings: Settings,
    pool: PoolOptions,
}

impl Client {
    /// A client with the defaults of [`ClientBuilder`].
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn new(url: &str) -> Result<Client, Error> {
        Ok(Client::builder(url)?.build())
    }

    /// Sets bounds first. The URL, or the list of `key=value`, is libpq's, with one TCP host.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn builder(url: &str) -> Result<ClientBuilder, Error> {
        Ok(ClientBuilder { settings: Settings::parse(url)?, pool: PoolOptions::new() })
    }

    /// Borrows a connection.
    ///
    /// # Errors
    /// The pool's; those of connecting.
    #[track_caller]
    pub fn get(&self) -> Result<Pooled<Settings>, Error> {
        self.pool.borrow(Location::caller(), None)
    }

    /// The pool.
    pub fn pool(&self) -> &Pool<Settings> {
        &self.pool
    }
}

impl ClientBuilder {
    /// Longest time to connect and log in; default 5 s.
    pub fn connect_timeout(mut self, longest: Duration) -> Self {
        self.settings.connect_timeout = longest;
        self
    }

    /// Longest time of one query; default 30 s. The task's deadline counts as well. A query that takes longer is cancelled on
    /// the server too.
    pub fn query_timeout(mut self, longest: Duration) -> Self {
        self.settings.query_timeout = longest;
        self
    }

    /// Bounds of the pool.
    pub fn pool(mut self, options: PoolOptions) -> Self {
        self.pool = options;
        self
    }

    /// The client. Opens nothing.
    pub fn build(self) -> Client {
        Client { pool: self.pool.build(self.settings) }
    }
}
