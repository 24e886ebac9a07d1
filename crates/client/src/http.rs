//! An HTTP/1.1 client.
//!
//! It keeps connections alive in a bounded pool per host, streams bodies in, and says what went wrong. It does not follow
//! redirects, keep cookies or decode content: those are the caller's. `https://` is spoken with the feature `https`, on by
//! default: TLS 1.2 and 1.3 by rustls; the server's certificate must be for the URL's host and of a trusted authority.

mod connection;
mod hosts;
mod origin;
mod outgoing;
mod request;
mod response;
#[cfg(feature = "https")]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Method, header};
use tenfold_http::limits::HeadLimits;

use crate::error::Error;
use crate::pool::PoolOptions;

use self::hosts::Hosts;

pub use origin::Url;
pub use request::RequestBuilder;
pub use response::Response;

/// Sends requests. Cloning is cheap and shares the pool; it may be used from all threads and loops of a process at once.
///
/// Nothing is opened before the first request, so a client may be made before a fork as well; two processes must not
/// share one that has idle connections.
///
/// ```
/// use std::time::Duration;
/// use tenfold_client::{Error, http::Client};
///
/// let client = Client::builder().connect_timeout(Duration::from_secs(1)).build();
/// assert!(matches!(client.get("ftp://example.org/"), Err(Error::UnsupportedScheme { .. })));
/// assert!(matches!(client.get("not a url"), Err(Error::InvalidUrl { .. })));
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hosts: Hosts,
    times: Times,
    head: HeadLimits,
    body_bytes_max: usize,
    /// Of every request.
    headers: HeaderMap,
    check_after: Duration,
}

/// How long each wait may take.
#[derive(Clone, Copy, Debug)]
struct Times {
    connect: Duration,
    read: Duration,
    write: Duration,
}

impl Client {
    /// A client with the defaults of [`ClientBuilder`].
    pub fn new() -> Client {
        Client::builder().build()
    }

    /// Sets bounds first.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A GET request.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], [`Error::UnsupportedScheme`].
    pub fn get(&self, url: &str) -> Result<RequestBuilder, Error> {
        self.request(Method::GET, url)
    }

    /// A POST request.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, url: &str) -> Result<RequestBuilder, Error> {
        self.request(Method::POST, url)
    }

    /// A request. The URL is absolute: `http://host[:port][/path][?query]`, or `https://`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, Error> {
        Ok(RequestBuilder::new(self.clone(), method, self.shared.hosts.url(url)?))
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

/// The bounds of a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    pool: PoolOptions,
    idle_max: usize,
    times: Times,
    head: HeadLimits,
    body_bytes_max: usize,
    user_agent: Option<::http::HeaderValue>,
    check_after: Duration,
    trust: Option<connection::Trust>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        ClientBuilder {
            pool: PoolOptions::new()
                .connections_max(64)
                // Below the 60 s and 75 s after which common servers close: whoever closes first loses no request.
                .idle_timeout(Duration::from_secs(50))
                .lifetime_max(None),
            idle_max: 256,
            times: Times {
                connect: Duration::from_secs(5),
                read: Duration::from_secs(30),
                write: Duration::from_secs(30),
            },
            head: HeadLimits::default(),
            body_bytes_max: 1 << 20,
            user_agent: Some(::http::HeaderValue::from_static(concat!(
                "tenfold/",
                env!("CARGO_PKG_VERSION")
            ))),
            check_after: Duration::from_millis(10),
            trust: None,
        }
    }
}

impl ClientBuilder {
    /// Most connections to one host and port, in use or idle; default 64, at least 1. More requests wait in line.
    pub fn connections_max_per_host(mut self, connections: usize) -> Self {
        self.pool = self.pool.connections_max(connections);
        self
    }

    /// Most idle connections to all hosts together; default 256. 0 keeps none alive.
    pub fn idle_max(mut self, connections: usize) -> Self {
        self.idle_max = connections;
        self
    }

    /// A connection that has idled for longer is not used again; default 50 s.
    pub fn idle_timeout(mut self, longest: Duration) -> Self {
        self.pool = self.pool.idle_timeout(longest);
        self
    }

    /// A connection that has idled for this long is looked at before it is used again, at the cost of one system call;
    /// default 10 ms, zero always looks. What the peer has closed, or said without having been asked, is then noticed and the
    /// connection is left.
    ///
    /// A peer that closes sooner is noticed when no answer comes: a request with an idempotent method is then sent once more
    /// on a new connection. Before any other request a kept connection is looked at always.
    pub fn check_after(mut self, idle: Duration) -> Self {
        self.check_after = idle;
        self
    }

    /// Most requests that wait for a connection to one host; default 1,024. One more fails with [`Error::Busy`].
    pub fn waiters_max(mut self, requests: usize) -> Self {
        self.pool = self.pool.waiters_max(requests);
        self
    }

    /// Longest wait for a connection of the pool; default 5 s.
    pub fn wait_max(mut self, longest: Duration) -> Self {
        self.pool = self.pool.wait_max(longest);
        self
    }

    /// Longest time to connect, over all addresses of a name; default 5 s.
    pub fn connect_timeout(mut self, longest: Duration) -> Self {
        self.times.connect = longest;
        self
    }

    /// Longest single wait for bytes of an answer; default 30 s. [`RequestBuilder::timeout`] bounds the whole.
    pub fn read_timeout(mut self, longest: Duration) -> Self {
        self.times.read = longest;
        self
    }

    /// Longest single wait for room to send; default 30 s.
    pub fn write_timeout(mut self, longest: Duration) -> Self {
        self.times.write = longest;
        self
    }

    /// Most bytes of the head of an answer; default 16 KiB.
    pub fn head_bytes_max(mut self, bytes: usize) -> Self {
        self.head.head_bytes_max = bytes;
        self
    }

    /// Most bytes that [`Response::text`] and [`Response::json`] hold in memory; default 1 MiB.
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// The User-Agent; default `tenfold/` and the version. `None` sends no such header.
    pub fn user_agent(mut self, value: Option<::http::HeaderValue>) -> Self {
        self.user_agent = value;
        self
    }

    /// Believes the certificate authorities in this PEM text, and no others; default Mozilla's list, as of the build.
    ///
    /// # Errors
    /// [`Error::CaCertificates`].
    ///
    /// ```
    /// # use tenfold_client::{Error, http::Client};
    /// let refused = Client::builder().only_ca_certificates(b"nothing").unwrap_err();
    /// assert!(matches!(refused, Error::CaCertificates(_)));
    /// ```
    #[cfg(feature = "https")]
    pub fn only_ca_certificates(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.trust = Some(connection::Trust::only(pem)?);
        Ok(self)
    }

    /// The client. Opens nothing.
    pub fn build(self) -> Client {
        let ClientBuilder { pool, idle_max, times, head, body_bytes_max, user_agent, check_after, trust } =
            self;
        let hosts = Hosts::new(pool, idle_max, times.connect, trust.unwrap_or_default());
        let headers = user_agent.map(|value| (header::USER_AGENT, value)).into_iter().collect();
        Client { shared: Arc::new(Shared { hosts, times, head, body_bytes_max, headers, check_after }) }
    }
}

const _: fn() = || {
    fn is_shareable<T: Send + Sync + Clone>() {}
    is_shareable::<Client>();
};
