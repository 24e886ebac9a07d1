//! A memcached client, by the meta protocol (memcached 1.6 and later).
//!
//! Commands of all fibers of a loop go over one connection, many at a time. One server; which of several a key belongs to is
//! the caller's to say.

pub(crate) mod meta;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tenfold_runtime::cause::{Cause, waiting_for};

use crate::address::{Address, after};
use crate::error::Error;
use crate::hub::Hub;
use crate::link::Bounds;

use self::meta::{Meta, Reply, check_key};

/// A lifetime beyond this is a point in time (protocol.txt, "Expiration times").
const RELATIVE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Sends commands. Cloning is cheap and shares the connections; it may be used from all threads and loops of a process.
///
/// ```no_run
/// use std::time::Duration;
/// use tenfold_client::memcached::Client;
///
/// let cache = Client::new("127.0.0.1:11211")?;
/// cache.set("page:7", b"<html>", Some(Duration::from_secs(60)))?;
/// assert_eq!(cache.get("page:7")?.as_deref(), Some(&b"<html>"[..]));
/// # Ok::<(), tenfold_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: Address,
    connect_timeout: Duration,
    reply_timeout: Duration,
    hub: Hub<Meta>,
}

/// The bounds of a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    address: Address,
    connect_timeout: Duration,
    reply_timeout: Duration,
    bounds: Bounds,
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Versioned {
    /// The value.
    pub data: Bytes,
    /// Changes with each change of the value; for [`Client::set_if_unchanged`].
    pub version: u64,
}

impl Client {
    /// A client of `host:port` (default port 11211) with the defaults of [`ClientBuilder`].
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn new(address: &str) -> Result<Client, Error> {
        Ok(Client::builder(address)?.build())
    }

    /// Sets bounds first.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn builder(address: &str) -> Result<ClientBuilder, Error> {
        Ok(ClientBuilder {
            address: Address::parse(address, 11211)?,
            connect_timeout: Duration::from_secs(1),
            reply_timeout: Duration::from_secs(1),
            // Far more than the server's default of 1 MiB an item.
            bounds: Bounds { in_flight_max: 10_000, out_bytes_max: 16 << 20, reply_bytes_max: 64 << 20 },
        })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a key that cannot be one; [`Error::Rejected`]; [`Error::Overloaded`]; those of connecting
    /// and of the connection.
    ///
    /// # Cancel safety
    /// A cancelled or timed out call leaves the connection as good as it was.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.get_versioned(key)?.map(|found| found.data))
    }

    /// The value of a key, and its version.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_versioned(&self, key: &str) -> Result<Option<Versioned>, Error> {
        check_key(key)?;
        found(self.one(&format!("mg {key} v c\r\n"))?)
    }

    /// The values of several keys, in their order, in one round trip.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_many<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Result<Vec<Option<Bytes>>, Error> {
        let mut commands = String::new();
        let mut count = 0;
        for key in keys {
            check_key(key)?;
            commands.extend(["mg ", key, " v c\r\n"]);
            count += 1;
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let replies = self.call(&[commands.as_bytes()], count)?;
        replies.into_iter().map(|reply| Ok(found(reply)?.map(|found| found.data))).collect()
    }

    /// Sets a value; `lifetime` is in whole seconds, at least one, `None` for ever.
    ///
    /// # Errors
    /// As [`Client::get`]: a value that is too large is [`Error::Rejected`].
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>, lifetime: Option<Duration>) -> Result<(), Error> {
        self.store(key, value.as_ref(), lifetime, "").map(drop)
    }

    /// Sets a value if the key has none; whether it was set.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub fn add(&self, key: &str, value: impl AsRef<[u8]>, lifetime: Option<Duration>) -> Result<bool, Error> {
        self.store(key, value.as_ref(), lifetime, " ME")
    }

    /// Sets a value if the key has one; whether it was set.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub fn replace(
        &self,
        key: &str,
        value: impl AsRef<[u8]>,
        lifetime: Option<Duration>,
    ) -> Result<bool, Error> {
        self.store(key, value.as_ref(), lifetime, " MR")
    }

    /// Sets a value if it still has a version; whether it was set.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub fn set_if_unchanged(
        &self,
        key: &str,
        value: impl AsRef<[u8]>,
        lifetime: Option<Duration>,
        version: u64,
    ) -> Result<bool, Error> {
        self.store(key, value.as_ref(), lifetime, &format!(" C{version}"))
    }

    /// Removes a key; whether there was one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn remove(&self, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        done(self.one(&format!("md {key}\r\n"))?)
    }

    /// Gives a key another lifetime; whether there is one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn touch(&self, key: &str, lifetime: Option<Duration>) -> Result<bool, Error> {
        check_key(key)?;
        done(self.one(&format!("mg {key} T{}\r\n", expiry(lifetime)))?)
    }

    /// Adds to a decimal number (or takes from it, down to zero); the result, `None` if there is none.
    ///
    /// # Errors
    /// As [`Client::get`]: a value that is no number is [`Error::Rejected`].
    pub fn count(&self, key: &str, by: i64) -> Result<Option<u64>, Error> {
        check_key(key)?;
        let mode = if by < 0 { 'D' } else { 'I' };
        let Some(found) = found(self.one(&format!("ma {key} v M{mode} D{}\r\n", by.unsigned_abs()))?)? else {
            return Ok(None);
        };
        let number = std::str::from_utf8(&found.data).ok().and_then(|digits| digits.trim().parse().ok());
        number.map(Some).ok_or(Error::Unexpected("a count is no number"))
    }

    fn store(&self, key: &str, value: &[u8], lifetime: Option<Duration>, flags: &str) -> Result<bool, Error> {
        check_key(key)?;
        let head = format!("ms {key} {} T{}{flags}\r\n", value.len(), expiry(lifetime));
        let mut replies = self.call(&[head.as_bytes(), value, b"\r\n"], 1)?;
        done(replies.pop().ok_or(Error::Closed)?)
    }

    fn one(&self, command: &str) -> Result<Reply, Error> {
        self.call(&[command.as_bytes()], 1)?.pop().ok_or(Error::Closed)
    }

    fn call(&self, parts: &[&[u8]], replies: usize) -> Result<Vec<Reply>, Error> {
        let Shared { address, connect_timeout, reply_timeout, hub } = &*self.shared;
        let encode = |out: &mut Vec<u8>, _| parts.iter().for_each(|part| out.extend_from_slice(part));
        waiting_for(Cause::Database, "memcached", || {
            hub.link(|| address.connect(*connect_timeout))?.call(encode, replies, after(*reply_timeout))
        })
    }
}

fn found(reply: Reply) -> Result<Option<Versioned>, Error> {
    match reply {
        Reply::Value { data, version } => Ok(Some(Versioned { data, version })),
        other => match done(other)? {
            false => Ok(None),
            true => Err(Error::Unexpected("a value was asked for and none came")),
        },
    }
}

fn done(reply: Reply) -> Result<bool, Error> {
    match reply {
        Reply::Done | Reply::Value { .. } => Ok(true),
        Reply::Missing | Reply::NotStored | Reply::Changed => Ok(false),
        Reply::Refused { code, message } => Err(Error::Rejected { code, message }),
    }
}

/// A lifetime as the protocol has it: seconds, or beyond a month the point in time.
fn expiry(lifetime: Option<Duration>) -> u64 {
    let Some(lifetime) = lifetime else { return 0 };
    let seconds = lifetime.as_secs().max(1);
    if lifetime <= RELATIVE_MAX {
        return seconds;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_add(seconds)
}

impl ClientBuilder {
    /// Longest time to connect; default 1 s.
    pub fn connect_timeout(mut self, longest: Duration) -> Self {
        self.connect_timeout = longest;
        self
    }

    /// Longest wait for a reply; default 1 s. The task's deadline counts as well.
    pub fn reply_timeout(mut self, longest: Duration) -> Self {
        self.reply_timeout = longest;
        self
    }

    /// Most calls that wait for replies over one shared connection; default 10,000. One more is refused.
    pub fn in_flight_max(mut self, calls: usize) -> Self {
        self.bounds.in_flight_max = calls.max(1);
        self
    }

    /// The client. Opens nothing.
    pub fn build(self) -> Client {
        let ClientBuilder { address, connect_timeout, reply_timeout, bounds } = self;
        Client { shared: Arc::new(Shared { address, connect_timeout, reply_timeout, hub: Hub::new(bounds) }) }
    }
}
