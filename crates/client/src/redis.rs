//! A Redis client.
//!
//! Commands of all fibers of a loop go over one connection, many at a time ([`Client::query`]): requests that arrive together
//! cost one send and one receive together. What needs a connection for itself borrows one ([`Client::connection`]) or opens
//! one ([`Client::subscribe`]). No cluster, no sentinel, no client-side cache.

mod command;
mod connection;
mod resp;
mod script;
mod subscription;
mod value;

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tenfold_runtime::cause::{Cause, waiting_for};

use crate::address::{Address, after};
use crate::error::Error;
use crate::hub::Hub;
use crate::link::{self, Bounds, Protocol};
use crate::pool::{Pool, PoolOptions, Pooled};

pub use crate::link::Malformed;
pub use command::{Argument, Command, Pipeline};
pub use connection::{Connection, Settings};
pub use resp::{Parsed, parse};
pub use script::Script;
pub use subscription::{Message, Subscription};
pub use value::{FromValue, Value};

/// Replies in order, for the shared connection.
struct Resp;

/// Sends commands. Cloning is cheap and shares the connections; it may be used from all threads and loops of a process.
///
/// Nothing is opened before the first use. There is one shared connection for each loop, one for all plain threads, and the
/// pool's for what needs one for itself.
///
/// ```no_run
/// use tenfold_client::redis::{Client, Command};
///
/// let client = Client::new("redis://127.0.0.1:6379/0")?;
/// client.set("greeting", "hello")?;
/// assert_eq!(client.get::<Option<String>>("greeting")?.as_deref(), Some("hello"));
/// let left: i64 = client.query(&Command::new("TTL").arg("greeting"))?;
/// # Ok::<(), tenfold_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    hub: Hub<Resp>,
    pool: Pool<Settings>,
}

/// The bounds of a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    settings: Settings,
    bounds: Bounds,
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

    /// Sets bounds first. The URL is `redis://[[user]:password@]host[:port][/database]`.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], [`Error::UnsupportedScheme`].
    pub fn builder(url: &str) -> Result<ClientBuilder, Error> {
        let settings = settings(url)?;
        let bounds = Bounds {
            in_flight_max: 10_000,
            out_bytes_max: 16 << 20,
            reply_bytes_max: settings.reply_bytes_max,
        };
        Ok(ClientBuilder { settings, bounds, pool: PoolOptions::new() })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub fn get<T: FromValue>(&self, key: impl Argument) -> Result<T, Error> {
        self.query(&Command::new("GET").arg(key))
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub fn set(&self, key: impl Argument, value: impl Argument) -> Result<(), Error> {
        self.query(&Command::new("SET").arg(key).arg(value))
    }

    /// Sets the value of a key that goes after `lifetime`, to the millisecond.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub fn set_for(&self, key: impl Argument, value: impl Argument, lifetime: Duration) -> Result<(), Error> {
        let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        self.query(&Command::new("SET").arg(key).arg(value).arg("PX").arg(millis))
    }

    /// Removes a key; whether there was one.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub fn remove(&self, key: impl Argument) -> Result<bool, Error> {
        self.query(&Command::new("DEL").arg(key))
    }

    /// Publishes a message; how many have received it.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub fn publish(&self, channel: impl Argument, payload: impl Argument) -> Result<u64, Error> {
        self.query(&Command::new("PUBLISH").arg(channel).arg(payload))
    }

    /// Sends a command over the shared connection and waits for its reply.
    ///
    /// # Errors
    /// [`Error::Rejected`] with the server's words, [`Error::Type`] if the reply cannot be a `T`; [`Error::InvalidRequest`]
    /// for a command that would hold up or change the connection of all others; [`Error::Overloaded`]; those of connecting
    /// and of the connection: whether the command was done is unknown then.
    ///
    /// # Cancel safety
    /// A cancelled or timed out call leaves the connection as good as it was; the command is done all the same.
    pub fn query<T: FromValue>(&self, command: &Command) -> Result<T, Error> {
        if command.needs_connection() {
            return Err(needs_connection());
        }
        let mut replies = self.call(|out| command.encode(out), 1)?;
        T::from_value(replies.pop().ok_or(Error::Closed)?.accepted()?)
    }

    /// Sends several commands at once and waits for all replies: one for each, where a refusal is a [`Value::Error`]. For an
    /// atomic pipeline they are the results of EXEC.
    ///
    /// # Errors
    /// [`Error::Rejected`] if an atomic pipeline was not run; else as [`Client::query`].
    pub fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        if pipeline.needs_connection() {
            return Err(needs_connection());
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let (bytes, count) = pipeline.encoded();
        let replies = self.call(|out| out.extend_from_slice(&bytes), count)?;
        pipeline.results(replies)
    }

    /// A connection for the caller alone, from the pool.
    ///
    /// # Errors
    /// The pool's, and those of connecting.
    #[track_caller]
    pub fn connection(&self) -> Result<Pooled<Settings>, Error> {
        self.shared.pool.borrow(Location::caller(), None)
    }

    /// Subscribes to channels, over a connection of its own that is not the pool's.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn subscribe<A: Argument>(
        &self,
        channels: impl IntoIterator<Item = A>,
    ) -> Result<Subscription, Error> {
        let mut subscription = Subscription::new(self.shared.settings.open()?);
        subscription.subscribe(channels)?;
        Ok(subscription)
    }

    /// The pool of connections for one user at a time.
    pub fn pool(&self) -> &Pool<Settings> {
        &self.shared.pool
    }

    fn call(&self, encode: impl FnOnce(&mut Vec<u8>), replies: usize) -> Result<Vec<Value>, Error> {
        let until = after(self.shared.settings.reply_timeout);
        let Shared { settings, hub, .. } = &*self.shared;
        waiting_for(Cause::Database, &settings.name, || {
            hub.link(|| Ok(settings.open()?.stream))?.call(|out, _| encode(out), replies, until)
        })
    }
}

impl Protocol for Resp {
    type Reply = Value;

    fn parse(input: &[u8], bytes_max: usize) -> Result<link::Parsed<Value>, Malformed> {
        Ok(match parse(input, bytes_max)? {
            Parsed::Whole(Value::Push(_), bytes) => link::Parsed::Unasked(bytes),
            Parsed::Whole(value, bytes) => link::Parsed::Next(value, bytes),
            Parsed::Missing(bytes) => link::Parsed::Missing(bytes),
        })
    }
}

impl ClientBuilder {
    /// Longest time to connect and log in; default 5 s.
    pub fn connect_timeout(mut self, longest: Duration) -> Self {
        self.settings.connect_timeout = longest;
        self
    }

    /// Longest wait for a reply; default 5 s. The task's deadline counts as well.
    pub fn reply_timeout(mut self, longest: Duration) -> Self {
        self.settings.reply_timeout = longest;
        self
    }

    /// Largest reply; default 64 MiB. A larger one breaks its connection.
    pub fn reply_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.reply_bytes_max = bytes;
        self.bounds.reply_bytes_max = bytes;
        self
    }

    /// Most calls that wait for replies over one shared connection; default 10,000. One more is refused.
    pub fn in_flight_max(mut self, calls: usize) -> Self {
        self.bounds.in_flight_max = calls.max(1);
        self
    }

    /// Bounds of the pool of connections for one user at a time.
    pub fn pool(mut self, options: PoolOptions) -> Self {
        self.pool = options;
        self
    }

    /// The client. Opens nothing.
    pub fn build(self) -> Client {
        let ClientBuilder { settings, bounds, pool } = self;
        let pool = pool.build(settings.clone());
        Client { shared: Arc::new(Shared { settings, hub: Hub::new(bounds), pool }) }
    }
}

fn needs_connection() -> Error {
    Error::InvalidRequest("this command needs a connection for itself: see Client::connection".into())
}

fn settings(url: &str) -> Result<Settings, Error> {
    let invalid = |reason| Error::InvalidUrl { url: "redis://…".into(), reason };
    let Some((scheme, rest)) = url.split_once("://") else { return Err(invalid("it is no redis:// URL")) };
    if scheme != "redis" {
        return Err(Error::UnsupportedScheme { scheme: scheme.into(), supported: "redis://" });
    }
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, rest),
    };
    let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match database {
        "" => 0,
        digits => digits.parse().map_err(|_| invalid("the database is no number"))?,
    };
    let address = Address::parse(address, 6379)?;
    let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or(("", text))) {
        Some((user, password)) => ((!user.is_empty()).then(|| user.into()), Some(password.into())),
        None => (None, None),
    };
    Ok(Settings {
        name: format!("redis {address}"),
        address,
        user,
        password,
        database,
        connect_timeout: Duration::from_secs(5),
        reply_timeout: Duration::from_secs(5),
        reply_bytes_max: 64 << 20,
    })
}
