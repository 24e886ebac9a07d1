//! `Settings`: how a connection is opened, checked and put in order.

use std::time::Duration;

use rsa::PublicKey;

use crate::address::Address;
use crate::error::Error;
use crate::pool::Manager;

use super::connection::Connection;

/// Whose key encrypts a password that the server has to see.
#[derive(Clone)]
pub(super) enum ServerKey {
    /// The one that is known.
    Known(PublicKey),
    /// What the server says, on this machine: nobody is in between.
    OfLoopback,
    /// What the server says, or who is in between.
    OfAnybody,
}

/// What connections are opened with; the pool's manager.
#[derive(Clone)]
pub struct Settings {
    name: String,
    pub(super) address: Address,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: Option<String>,
    pub(super) connect_timeout: Duration,
    pub(super) query_timeout: Duration,
    pub(super) row_bytes_max: usize,
    pub(super) server_key: ServerKey,
}

impl Settings {
    pub(super) fn parse(url: &str) -> Result<Settings, Error> {
        let invalid = |reason| Error::InvalidUrl { url: "mysql://…".into(), reason };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(invalid("it is no mysql:// URL"));
        };
        if scheme != "mysql" {
            return Err(Error::UnsupportedScheme { scheme: scheme.into(), supported: "mysql://" });
        }
        let (credentials, rest) = rest.rsplit_once('@').ok_or(invalid("the user is missing"))?;
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
        let address = Address::parse(address, 3306)?;
        Ok(Settings {
            name: format!("mysql {address}"),
            address,
            user: user.into(),
            password: password.into(),
            database: (!database.is_empty()).then(|| database.into()),
            connect_timeout: Duration::from_secs(5),
            query_timeout: Duration::from_secs(30),
            row_bytes_max: 64 << 20,
            server_key: ServerKey::OfLoopback,
        })
    }
}

impl Manager for Settings {
    type Connection = Connection;
    type Error = Error;

    fn name(&self) -> &str {
        &self.name
    }

    fn connect(&self) -> Result<Connection, Error> {
        Connection::open(self)
    }

    fn check(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.ping()
    }

    /// Ends a transaction that was left open: the server says with each answer whether there is one.
    fn reset(&self, connection: &mut Connection) -> Result<(), Error> {
        if connection.busy {
            return Err(Error::Closed);
        }
        if connection.in_transaction {
            connection.batch("rollback")?;
        }
        connection.rest();
        Ok(())
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
