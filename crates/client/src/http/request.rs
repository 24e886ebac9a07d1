//! A request on its way: written, sent, and sent once more where that is safe.

use std::fmt;
use std::io;
use std::panic::Location;
use std::time::{Duration, Instant};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use tenfold_http::EncodeError;
use tenfold_http::h1::{BodyLength, RequestHead, request_head};
use tenfold_runtime::deadline_at;

use crate::error::{Error, Phase};

use super::connection::Connection;
use super::origin::Url;
use super::outgoing::Outgoing;
use super::response::{Response, await_head};
use super::{Client, Shared};

/// A body up to this size goes out in the same call as the head.
const BODY_WITH_HEAD_BYTES: usize = 16 << 10;

/// A request that is being put together.
#[must_use = "nothing is sent before `send`"]
pub struct RequestBuilder {
    client: Client,
    method: Method,
    url: Url,
    /// The client's own, until somebody sets one.
    headers: Option<HeaderMap>,
    body: Option<Bytes>,
    timeout: Option<Duration>,
    /// The first mistake of the caller, told by `send`.
    mistake: Option<Error>,
}

impl RequestBuilder {
    pub(crate) fn new(client: Client, method: Method, url: Url) -> RequestBuilder {
        RequestBuilder { client, method, url, headers: None, body: None, timeout: None, mistake: None }
    }

    /// Sets a header. Host, Content-Length, Transfer-Encoding and Connection are the client's own and are ignored here.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.headers_mut().insert(name, value);
            }
            (Err(_), _) => self.blame("a header's name is not a token"),
            (_, Err(_)) => self.blame("a header's value holds control characters"),
        }
        self
    }

    /// Sets the body; it is kept so that the request can be repeated, and cloning `Bytes` copies nothing.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the body to `value` as JSON, and the Content-Type.
    pub fn json<T: serde::Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                self.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.body = Some(body.into());
            }
            Err(error) => self.blame(&error.to_string()),
        }
        self
    }

    /// Longest time for the whole exchange, the body of the answer included. The task's deadline counts as well.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeout = Some(longest);
        self
    }

    /// Sends the request and waits for the head of the answer; its body is still on the way.
    ///
    /// A kept connection may have been closed by the peer at the very moment it is used. If not a byte of an answer has
    /// come, a request with an idempotent method is sent once more on a new connection (RFC 9110 section 9.2.2,
    /// RFC 9112 section 9.3.1); any other fails with [`Error::Closed`] or [`Error::Io`], since it may have been done.
    ///
    /// # Errors
    /// Any but those of reading bodies. A status of 4xx or 5xx is an answer and no error.
    ///
    /// # Cancel safety
    /// A cancelled or timed out request closes its connection; whether the server has done it is unknown.
    #[track_caller]
    pub fn send(mut self) -> Result<Response, Error> {
        let place = Location::caller();
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        let until = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut request = Outgoing::new();
        self.encode(&mut request)?;
        // What the wait does not need is let go before: thousands of calls wait at a time, and an allocator has at hand only
        // what came back a moment ago.
        let RequestBuilder { client, method, url, headers, body, .. } = self;
        drop(headers);
        let shared = &client.shared;
        let pool = shared.hosts.pool(&url.origin);
        drop(url);
        let body = body.unwrap_or_default();
        // What may be done twice is sent again if the peer has closed meanwhile; for the others somebody looks first.
        let check_after = if method.is_idempotent() { shared.check_after } else { Duration::ZERO };
        let mut pooled = pool.borrow_checked(place, until, check_after)?;
        loop {
            let reused = pooled.is_reused();
            pooled.in_exchange = true;
            let exchanged =
                pooled.during(|connection| exchange(shared, connection, request.bytes(), &body, until));
            match exchanged {
                Ok((head, broken)) => {
                    return Response::new(client, pooled, head, &method, until, broken);
                }
                Err(failed) if reused && failed.may_repeat && method.is_idempotent() => {
                    pooled = match until {
                        Some(until) => deadline_at(until, || pooled.reconnect())?,
                        None => pooled.reconnect()?,
                    };
                }
                Err(failed) => return Err(failed.error),
            }
        }
    }

    /// Writes the head, and the body behind it if that is small.
    fn encode(&self, request: &mut Outgoing) -> Result<(), EncodeError> {
        let length = self.body.as_ref().map_or(BodyLength::None, |body| BodyLength::Known(body.len() as u64));
        let head = RequestHead {
            method: &self.method,
            target: &self.url.target,
            host: &self.url.origin.authority,
            headers: self.headers.as_ref().unwrap_or(&self.client.shared.headers),
            body: length,
            keep_alive: true,
        };
        let body = self.body.as_ref().filter(|body| body.len() <= BODY_WITH_HEAD_BYTES);
        request.write(|out| {
            request_head(out, head)?;
            out.extend_from_slice(body.map_or(&[], |body| body));
            Ok(())
        })
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers.get_or_insert_with(|| self.client.shared.headers.clone())
    }

    fn blame(&mut self, mistake: &str) {
        self.mistake.get_or_insert_with(|| Error::InvalidRequest(mistake.into()));
    }
}

/// Why an exchange failed, and whether the peer can have taken no notice of it.
struct Failed {
    error: Error,
    may_repeat: bool,
}

/// Sends a request and waits for the final head. Says too whether the request could not be sent whole.
fn exchange(
    shared: &Shared,
    connection: &Connection,
    request: &[u8],
    body: &[u8],
    until: Option<Instant>,
) -> Result<(super::response::Head, bool), Failed> {
    let sent = send(shared, connection, request, body, until);
    // A server that refuses a large body answers and closes before all of it was sent: the answer is worth more than the
    // error (RFC 9110 section 15.5.14).
    let broken = sent.as_ref().is_err_and(is_closed);
    if let Err(error) = sent
        && !broken
    {
        return Err(Failed { error: Error::io(Phase::Sending, error), may_repeat: false });
    }
    match await_head(shared, connection, until) {
        Ok(head) => Ok((head, broken)),
        Err((error, bytes)) => {
            let gone = match &error {
                Error::Closed => true,
                Error::Io { source, .. } => is_closed(source),
                _ => false,
            };
            Err(Failed { error, may_repeat: gone && bytes == 0 })
        }
    }
}

fn send(
    shared: &Shared,
    connection: &Connection,
    request: &[u8],
    body: &[u8],
    until: Option<Instant>,
) -> io::Result<()> {
    connection.write_all(request, shared.times.write, until)?;
    if body.len() > BODY_WITH_HEAD_BYTES {
        connection.write_all(body, shared.times.write, until)?;
    }
    Ok(())
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
