//! A MySQL and MariaDB client: prepared statements over our streams, as blocking calls.
//!
//! Statements are prepared once for each connection. The login is `caching_sha2_password` (MySQL 8 and later) or
//! `mysql_native_password` (MariaDB); no TLS, no compression, one statement at a time.

mod connection;
mod login;
pub(crate) mod packet;
mod settings;
mod value;

use std::panic::Location;
use std::time::Duration;

use crate::error::Error;
use crate::pool::{Pool, PoolOptions, Pooled};

pub use connection::{Changes, Connection};
use settings::ServerKey;
pub use settings::Settings;
pub use value::{FromField, Row, Value};

/// A pool of connections to one database. Cloning is cheap and shares it.
///
/// ```no_run
/// use tenfold_client::mysql::Client;
///
/// let client = Client::new("mysql://user:secret@127.0.0.1/shop")?;
/// let rows = client.get()?.query("select name from users where id = ?", &[7.into()])?;
/// let name: String = rows[0].get(0)?;
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
    /// [`Error::InvalidUrl`], [`Error::UnsupportedScheme`].
    pub fn new(url: &str) -> Result<Client, Error> {
        Ok(Client::builder(url)?.build())
    }

    /// Sets bounds first. The URL is `mysql://user[:password]@host[:port][/database]`.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], [`Error::UnsupportedScheme`].
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

    /// Longest time of one query; default 30 s. The task's deadline counts as well. A query that takes longer is killed on the
    /// server too.
    pub fn query_timeout(mut self, longest: Duration) -> Self {
        self.settings.query_timeout = longest;
        self
    }

    /// Largest row; default 64 MiB.
    pub fn row_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.row_bytes_max = bytes;
        self
    }

    /// The key of the server (PEM; its file `public_key.pem`), which encrypts the password when the server has to see it: at
    /// the first `caching_sha2_password` login of a user since it was started. Without it a server on this machine is asked for
    /// its key, and to another one such a login fails, because who is in between could answer with a key of its own.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] when it is no RSA key of 512 to 4,096 bits.
    pub fn server_key(mut self, pem: &str) -> Result<Self, Error> {
        let key = login::key(pem);
        let key = key.map_err(|reason| Error::InvalidRequest(format!("the server's key: {reason}")))?;
        self.settings.server_key = ServerKey::Known(key);
        Ok(self)
    }

    /// Asks any server for its key, as most drivers do: for networks that nobody else is in.
    pub fn trust_server_key(mut self) -> Self {
        self.settings.server_key = ServerKey::OfAnybody;
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
