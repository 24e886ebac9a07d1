//! A Tarantool client.
//!
//! Requests of all fibers of a loop go over one connection, many at a time; replies carry numbers, so a slow request holds up
//! nobody. Values are serde's. No cluster, no schema on our side but the numbers of spaces.

pub(crate) mod iproto;
mod space;
mod stream;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rmpv::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha1::{Digest, Sha1};
use tenfold_runtime::cause::{Cause, waiting_for};
use tenfold_runtime::net::TcpStream;

use crate::address::{Address, after};
use crate::error::{Error, Phase};
use crate::hub::Hub;
use crate::link::{Bounds, Link, Parsed, Protocol};

use self::iproto::{Body, Iproto, Kind, Request, key};

pub use space::{Iterator, Select, Space};
pub use stream::Stream;

/// The system view of spaces, and its index by name.
const VSPACE: (u32, u32) = (281, 2);
/// "Space does not exist" (errcode.h).
const NO_SUCH_SPACE: &str = "36";
/// Most names of spaces that are remembered.
const SPACES_MAX: usize = 1_024;
const GREETING_BYTES: usize = 128;

/// Sends requests. Cloning is cheap and shares the connections; it may be used from all threads and loops of a process.
///
/// ```no_run
/// use tenfold_client::tarantool::{Client, Select};
///
/// let client = Client::builder("127.0.0.1:3301")?.credentials("tenfold", "secret").build();
/// let users = client.space("users")?;
/// let _: (u32, String) = users.replace(&(1, "ada"))?;
/// let found: Vec<(u32, String)> = users.select(Select::index(0), &(1,))?;
/// let sum: (i64,) = client.eval("return ... ", &(1,))?;
/// # Ok::<(), tenfold_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    hub: Hub<Iproto>,
    spaces: Mutex<HashMap<String, u32>>,
    streams: AtomicU64,
}

#[derive(Clone)]
struct Settings {
    address: Address,
    credentials: Option<(String, String)>,
    connect_timeout: Duration,
    reply_timeout: Duration,
    reply_bytes_max: usize,
}

/// The bounds of a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    settings: Settings,
    bounds: Bounds,
}

/// What SQL comes back with.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rows<T> {
    /// Names of the columns; empty for a statement without rows.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<T>,
    /// How many rows a statement has changed.
    pub changed: u64,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
enum Target<'a> {
    Client(&'a Client),
    Stream(&'a Stream),
}

impl Client {
    /// A client of `host:port` (default port 3301) that is the user `guest`, with the defaults of [`ClientBuilder`].
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
        let settings = Settings {
            address: Address::parse(address, 3301)?,
            credentials: None,
            connect_timeout: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(5),
            reply_bytes_max: 64 << 20,
        };
        let bounds = Bounds {
            in_flight_max: 10_000,
            out_bytes_max: 16 << 20,
            reply_bytes_max: settings.reply_bytes_max,
        };
        Ok(ClientBuilder { settings, bounds })
    }

    /// Calls a stored function. `arguments` is a list (a tuple or a vector), and so is what it returns: `(T,)` for one value.
    ///
    /// # Errors
    /// [`Error::Rejected`] with the error's number; [`Error::Type`] if the reply cannot be a `T`; [`Error::Overloaded`]; those
    /// of connecting and of the connection: whether the request was done is unknown then.
    ///
    /// # Cancel safety
    /// A cancelled or timed out call leaves the connection as good as it was; the request is done all the same.
    pub fn call<T: DeserializeOwned>(&self, function: &str, arguments: &impl Serialize) -> Result<T, Error> {
        let body = vec![(key::FUNCTION, function.into()), (key::TUPLE, to_list(arguments)?)];
        from_value(Target::Client(self).run(Kind::Call, body)?.take(key::DATA))
    }

    /// Runs Lua. The arguments are `...` there.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn eval<T: DeserializeOwned>(&self, lua: &str, arguments: &impl Serialize) -> Result<T, Error> {
        let body = vec![(key::EXPRESSION, lua.into()), (key::TUPLE, to_list(arguments)?)];
        from_value(Target::Client(self).run(Kind::Eval, body)?.take(key::DATA))
    }

    /// Runs SQL, with parameters in the place of `?`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn sql<T: DeserializeOwned>(
        &self,
        text: &str,
        parameters: &impl Serialize,
    ) -> Result<Rows<T>, Error> {
        let body = vec![(key::SQL_TEXT, text.into()), (key::SQL_BIND, to_list(parameters)?)];
        let body = Target::Client(self).run(Kind::Execute, body)?;
        let columns = match body.take(key::METADATA) {
            Value::Array(columns) => columns.iter().map(column_name).collect(),
            _ => Vec::new(),
        };
        let info = Info(body.take(key::SQL_INFO));
        let rows = if columns.is_empty() { Vec::new() } else { from_value(body.take(key::DATA))? };
        Ok(Rows { columns, rows, changed: info.changed() })
    }

    /// Asks whether the server answers.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn ping(&self) -> Result<(), Error> {
        Target::Client(self).run(Kind::Ping, Vec::new()).map(drop)
    }

    /// A stream over the shared connection, for requests in order and for transactions.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn stream(&self) -> Result<Stream, Error> {
        let number = self.shared.streams.fetch_add(1, Ordering::Relaxed);
        Ok(Stream::new(self.clone(), self.link()?, number))
    }

    fn space_number(&self, name: &str) -> Result<u32, Error> {
        let spaces = || self.shared.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = spaces().get(name) {
            return Ok(*number);
        }
        let views = Space::new(Target::Client(self), VSPACE.0);
        let found: Vec<Value> = views.select(Select::index(VSPACE.1).limit(1), &(name,))?;
        let number = found.first().and_then(|tuple| tuple.as_array()?.first()?.as_u64());
        let Some(number) = number.and_then(|number| u32::try_from(number).ok()) else {
            let message = format!("Space '{name}' does not exist");
            return Err(Error::Rejected { code: NO_SUCH_SPACE.into(), message });
        };
        let mut spaces = spaces();
        if spaces.len() >= SPACES_MAX {
            spaces.clear();
        }
        spaces.insert(name.into(), number);
        Ok(number)
    }

    fn link(&self) -> Result<Arc<Link<Iproto>>, Error> {
        self.shared.hub.link(|| self.shared.settings.open())
    }
}

impl Target<'_> {
    fn run(self, kind: Kind, body: Vec<(u64, Value)>) -> Result<Body, Error> {
        let request = Request::new(kind, body)?;
        let (client, link, stream) = match self {
            Target::Client(client) => (client, client.link()?, None),
            Target::Stream(stream) => (&stream.client, stream.link.clone(), Some(stream.number)),
        };
        let until = after(client.shared.settings.reply_timeout);
        let encode = |out: &mut Vec<u8>, number| request.encode(out, number, stream);
        let mut replies = waiting_for(Cause::Database, "tarantool", || link.call(encode, 1, until))?;
        replies.pop().ok_or(Error::Closed)?.accepted()
    }
}

impl ClientBuilder {
    /// Who the client is; default `guest`.
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.settings.credentials = Some((user.into(), password.into()));
        self
    }

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

    /// Most calls that wait for replies over one shared connection; default 10,000. One more is refused.
    pub fn in_flight_max(mut self, calls: usize) -> Self {
        self.bounds.in_flight_max = calls.max(1);
        self
    }

    /// The client. Opens nothing.
    pub fn build(self) -> Client {
        let ClientBuilder { settings, bounds } = self;
        let (hub, streams) = (Hub::new(bounds), AtomicU64::new(1));
        Client { shared: Arc::new(Shared { settings, hub, spaces: Mutex::default(), streams }) }
    }
}

impl Settings {
    /// Connects, hears the greeting, says who it is.
    fn open(&self) -> Result<TcpStream, Error> {
        let until = after(self.connect_timeout);
        let stream = self.address.connect(self.connect_timeout)?;
        let mut greeting = [0; GREETING_BYTES];
        read_exact(&stream, &mut greeting, until)?;
        if !greeting.starts_with(b"Tarantool ") {
            return Err(Error::Unexpected("the greeting is not Tarantool's"));
        }
        if let Some((user, password)) = &self.credentials {
            let salt = base64::engine::general_purpose::STANDARD
                .decode(&greeting[64..108])
                .map_err(|_| Error::Unexpected("the greeting has no salt"))?;
            let salt = salt.get(..20).ok_or(Error::Unexpected("the greeting's salt is short"))?;
            let proof = Value::Array(vec!["chap-sha1".into(), Value::Binary(scramble(password, salt))]);
            let body = vec![(key::USER, user.as_str().into()), (key::TUPLE, proof)];
            self.converse(&stream, &Request::new(Kind::Auth, body)?, until)?;
        }
        Ok(stream)
    }

    /// One request on a connection that nobody shares yet.
    fn converse(&self, stream: &TcpStream, request: &Request, until: Instant) -> Result<Body, Error> {
        let mut bytes = Vec::new();
        request.encode(&mut bytes, 0, None);
        stream.write_all_until(&bytes, Some(until)).map_err(|error| Error::io(Phase::Connecting, error))?;
        let mut input = Vec::new();
        loop {
            let parsed = match input.is_empty() {
                true => Ok(Parsed::Missing(1)),
                false => Iproto::parse(&input, self.reply_bytes_max),
            };
            match parsed.map_err(|what| Error::Unexpected(what.0))? {
                Parsed::Numbered(_, reply, _) => return reply.accepted(),
                Parsed::Missing(bytes) => {
                    let filled = input.len();
                    input.resize(filled + bytes, 0);
                    read_exact(stream, &mut input[filled..], until)?;
                }
                Parsed::Next(..) | Parsed::Unasked(_) => {
                    return Err(Error::Unexpected("a reply without a number"));
                }
            }
        }
    }
}

fn read_exact(stream: &TcpStream, mut buf: &mut [u8], until: Instant) -> Result<(), Error> {
    while !buf.is_empty() {
        match stream.read_until(buf, Some(until)) {
            Ok(0) => return Err(Error::Closed),
            Ok(count) => buf = &mut buf[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(Phase::Connecting, error)),
        }
    }
    Ok(())
}

/// The proof of `chap-sha1`: the password's digest under a mask that only its digest's digest and the salt give.
fn scramble(password: &str, salt: &[u8]) -> Vec<u8> {
    let one = Sha1::digest(password);
    let two = Sha1::digest(one);
    let mask = Sha1::new().chain_update(salt).chain_update(two).finalize();
    one.iter().zip(mask).map(|(one, mask)| one ^ mask).collect()
}

/// The name of a column in the metadata of SQL (key 0).
fn column_name(column: &Value) -> String {
    let name = column.as_map().and_then(|map| map.iter().find(|(key, _)| key.as_u64() == Some(0)));
    name.and_then(|(_, name)| name.as_str()).unwrap_or_default().into()
}

/// What SQL says about itself; key 0 is the number of rows that were changed.
struct Info(Value);

impl Info {
    fn changed(&self) -> u64 {
        let map = self.0.as_map().map(Vec::as_slice).unwrap_or_default();
        map.iter().find(|(key, _)| key.as_u64() == Some(0)).and_then(|(_, count)| count.as_u64()).unwrap_or(0)
    }
}

fn to_value(value: &impl Serialize) -> Result<Value, Error> {
    rmpv::ext::to_value(value).map_err(|error| Error::InvalidRequest(error.to_string()))
}

/// Arguments and keys are lists; `()` is the empty one.
fn to_list(value: &impl Serialize) -> Result<Value, Error> {
    let value = to_value(value)?;
    Ok(if value.is_nil() { Value::Array(Vec::new()) } else { value })
}

/// What came is a list; an empty one is also `()`.
fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    let is_empty = value.as_array().is_some_and(Vec::is_empty);
    let found = rmpv::ext::from_value(value);
    let found = if is_empty { found.or_else(|_| rmpv::ext::from_value(Value::Nil)) } else { found };
    found.map_err(|error| Error::Type { expected: "what the caller asked for", got: error.to_string() })
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("Settings")
            .field("address", &self.address)
            .field("user", &user)
            .finish_non_exhaustive()
    }
}
