//! `Connection`: one connection for one user at a time, and how any of them is opened.

use std::time::{Duration, Instant};

use tenfold_runtime::net::TcpStream;

use crate::address::{Address, after};
use crate::error::{Error, Phase};
use crate::pool::Manager;
use crate::received::Received;

use super::command::{Command, Pipeline};
use super::resp::{self, Parsed};
use super::value::{FromValue, Value};

/// What a read may bring, unless a longer reply is known to come.
const READ_BYTES: usize = 4096;

/// What every connection needs to be opened.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
    pub(super) connect_timeout: Duration,
    pub(super) reply_timeout: Duration,
    pub(super) reply_bytes_max: usize,
}

/// A connection that is the caller's alone: for transactions with WATCH, for commands that block, for SELECT. Borrowed from a
/// pool by [`Client::connection`](super::Client::connection).
///
/// A call that did not get its reply leaves it unusable: the pool closes it then.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    received: Received,
    reply_timeout: Duration,
    reply_bytes_max: usize,
    /// Replies that are still to come.
    owed: usize,
    /// It has another database, user or mode than when it was opened, or watches keys.
    changed: bool,
}

impl Settings {
    /// Connects, says who it is, and selects the database.
    pub(super) fn open(&self) -> Result<Connection, Error> {
        let mut connection = Connection {
            stream: self.address.connect(self.connect_timeout)?,
            received: Received::new(READ_BYTES),
            reply_timeout: self.connect_timeout,
            reply_bytes_max: self.reply_bytes_max,
            owed: 0,
            changed: false,
        };
        if let Some(password) = &self.password {
            let auth = Command::new("AUTH").args(&self.user).arg(password);
            connection.query::<()>(&auth)?;
        }
        if self.database != 0 {
            connection.query::<()>(&Command::new("SELECT").arg(self.database))?;
        }
        connection.reply_timeout = self.reply_timeout;
        connection.changed = false;
        Ok(connection)
    }
}

impl Connection {
    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// [`Error::Rejected`], [`Error::Type`]; those of the connection.
    pub fn query<T: FromValue>(&mut self, command: &Command) -> Result<T, Error> {
        self.query_until(command, after(self.reply_timeout))
    }

    /// As [`Connection::query`], for a command that blocks on the server: waits for its reply until `until` at most.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn query_until<T: FromValue>(&mut self, command: &Command, until: Instant) -> Result<T, Error> {
        self.changed |= command.needs_connection();
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        self.send(&bytes, 1, until)?;
        T::from_value(self.receive(until)?.accepted()?)
    }

    /// Sends a pipeline and waits for all replies, one for each command; a refusal is a [`Value::Error`].
    ///
    /// # Errors
    /// As [`Client::pipeline`](super::Client::pipeline).
    pub fn pipeline(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        self.changed |= pipeline.needs_connection();
        let until = after(self.reply_timeout);
        let (bytes, count) = pipeline.encoded();
        self.send(&bytes, count, until)?;
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            replies.push(self.receive(until)?);
        }
        pipeline.results(replies)
    }

    pub(super) fn reply_timeout(&self) -> Duration {
        self.reply_timeout
    }

    pub(super) fn send(&mut self, bytes: &[u8], replies: usize, until: Instant) -> Result<(), Error> {
        self.owed += replies;
        self.stream.write_all_until(bytes, Some(until)).map_err(|error| Error::io(Phase::Sending, error))
    }

    fn receive(&mut self, until: Instant) -> Result<Value, Error> {
        loop {
            let value = self.next(Some(until))?;
            if !matches!(value, Value::Push(_)) {
                self.owed = self.owed.saturating_sub(1);
                return Ok(value);
            }
        }
    }

    /// The next value of any kind. Nothing is lost when its time is over first.
    pub(super) fn next(&mut self, until: Option<Instant>) -> Result<Value, Error> {
        let mut missing = 1;
        loop {
            let filled = self.received.filled();
            if !filled.is_empty() {
                let parsed = resp::parse(filled, self.reply_bytes_max);
                match parsed.map_err(|what| Error::Unexpected(what.0))? {
                    Parsed::Missing(bytes) => missing = bytes,
                    Parsed::Whole(value, bytes) => {
                        self.received.consume(bytes);
                        return Ok(value);
                    }
                }
            }
            let wanted = filled.len() + missing;
            self.received.fill(&self.stream, wanted, until)?;
        }
    }
}

impl Manager for Settings {
    type Connection = Connection;
    type Error = Error;

    fn name(&self) -> &str {
        &self.name
    }

    fn connect(&self) -> Result<Connection, Error> {
        self.open()
    }

    fn check(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.query(&Command::new("PING"))
    }

    fn reset(&self, connection: &mut Connection) -> Result<(), Error> {
        if connection.owed > 0 || connection.changed || !connection.received.filled().is_empty() {
            return Err(Error::Closed);
        }
        connection.stream.socket().rest();
        Ok(())
    }
}
