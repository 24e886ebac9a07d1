//! `Settings`: how a connection is opened, checked and put in order.

use std::time::Duration;

use tenfold_runtime::adapter::AsyncStream;
use tenfold_runtime::block_on_until;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

use crate::address::{Address, after};
use crate::error::{Error, Phase};
use crate::pool::Manager;

use super::connection::{Connection, failed};

/// What connections are opened with; the pool's manager.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) name: String,
    pub(super) address: Address,
    config: Config,
    pub(super) connect_timeout: Duration,
    pub(super) query_timeout: Duration,
}

impl Settings {
    pub(super) fn parse(url: &str) -> Result<Settings, Error> {
        // The text may hold a password, so an error does not.
        let invalid = |reason| Error::InvalidUrl { url: "postgres://…".into(), reason };
        let config: Config = url.parse().map_err(|_| invalid("it is no address of a database"))?;
        let host = match config.get_hosts() {
            [Host::Tcp(host)] => host.clone(),
            _ => return Err(invalid("it does not name one TCP host")),
        };
        let address = Address { host, port: config.get_ports().first().copied().unwrap_or(5432) };
        Ok(Settings {
            name: format!("postgres {address}"),
            address,
            config,
            connect_timeout: Duration::from_secs(5),
            query_timeout: Duration::from_secs(30),
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
        let until = after(self.connect_timeout);
        let stream = self.address.connect(self.connect_timeout)?;
        let opening = self.config.connect_raw(AsyncStream::from(stream), NoTls);
        let (client, machine) = block_on_until(opening, Some(until))
            .map_err(|ended| Error::io(Phase::Connecting, ended.into()))?
            .map_err(failed)?;
        Ok(Connection::new(client, machine, self))
    }

    fn check(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.batch("")
    }

    /// Ends a transaction that was left open; anything else that is unfinished closes the connection.
    fn reset(&self, connection: &mut Connection) -> Result<(), Error> {
        if connection.is_busy() {
            return Err(Error::Closed);
        }
        if connection.in_transaction {
            connection.batch("rollback")?;
            connection.in_transaction = false;
        }
        Ok(())
    }
}
