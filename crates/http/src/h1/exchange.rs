//! What becomes of a connection after a response: the states between messages.
//!
//! ```text
//!          +------------------------- KeepAlive <----------------------+
//!          v                                                           |
//! idle -> head -> body <-> handler -> response -> after ---- Drain ----+
//!                                                   |-- Upgrade -> another protocol
//!                                                   |-- Linger -> close, when the client may still be sending
//!                                                   \-- Close  -> close, when it is not
//! ```
//!
//! Both drivers step the same machine: they count with `begin`, ask `may_persist` before they write the response head, and
//! `match` on `after` when the response is out.

use crate::h1::body::BodyDecoder;
use crate::h1::encode::Sent;
use crate::h1::head_view::HeadView;
use crate::limits::ExchangeLimits;

/// What the driver does after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Parse the next request, which may already be in the buffer.
    KeepAlive,
    /// Read and throw away the rest of the body, then as `KeepAlive`. If it does not end within `bytes_max` bytes of
    /// content, then as `Linger`.
    Drain {
        /// Most bytes of content to throw away.
        bytes_max: u64,
    },
    /// Close: the client has said that nothing more will come.
    Close,
    /// Shut down sending, read and throw away for a bounded time, then close. Closing at once with unread bytes in the
    /// receive buffer makes TCP send a reset, which can destroy the response on its way (RFC 9112 section 9.6).
    Linger,
    /// The response was 101: hand over the connection with all bytes that were read ahead.
    Upgrade,
}

/// What is left of the request when the response goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEnd {
    /// Its body has been read to the end.
    Read,
    /// This much of it is unread; `None` if only its last chunk will tell.
    Unread(Option<u64>),
}

impl RequestEnd {
    /// As the decoder of the body sees it.
    #[inline]
    pub fn of(body: &BodyDecoder) -> RequestEnd {
        if body.is_end() { RequestEnd::Read } else { RequestEnd::Unread(body.remaining_hint()) }
    }
}

/// The state of one server connection between its messages. It is two words: idle connections can keep it.
///
/// # Examples
///
/// ```
/// use tenfold_http::h1::{After, BodyLength, Exchange, Head, RequestEnd, Sent};
/// use tenfold_http::limits::{ExchangeLimits, HeadLimits};
///
/// let limits = ExchangeLimits::default();
/// let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// let mut head = Head::new();
/// head.parse(input, &HeadLimits::default()).unwrap();
///
/// let mut exchange = Exchange::new();
/// exchange.begin(&head.view(input));
/// let keep_alive = exchange.may_persist(RequestEnd::Read, &limits);
/// let sent = Sent { body: BodyLength::Known(0), keep_alive, upgraded: false };
/// assert_eq!(exchange.after(RequestEnd::Read, &sent, &limits), After::KeepAlive);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchange {
    /// Requests that have begun.
    requests: u64,
    /// Whether the client wants the connection to stay after this request.
    client_persists: bool,
    /// Whether the client waits for a 100 that has not been sent.
    continue_owed: bool,
}

impl Exchange {
    /// A connection on which nothing has been requested.
    pub const fn new() -> Self {
        Exchange { requests: 0, client_persists: true, continue_owed: false }
    }

    /// A request head has been parsed.
    #[inline]
    pub fn begin(&mut self, head: &HeadView<'_>) {
        self.requests += 1;
        self.client_persists = head.keep_alive();
        self.continue_owed = head.expects_continue();
    }

    /// Whether `CONTINUE` is to be written before the body is read. It stays true until `continued`.
    #[inline]
    pub fn owes_continue(&self) -> bool {
        self.continue_owed
    }

    /// `CONTINUE` has been written, or the client has sent body bytes without waiting for it (RFC 9110 section 10.1.1).
    #[inline]
    pub fn continued(&mut self) {
        self.continue_owed = false;
    }

    /// Number of requests so far, the current one included.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether the response head may promise that the connection stays: `ResponseHead::keep_alive`.
    ///
    /// It cannot if the rest of the body is too long to drain, nor if the client still waits for a 100: whether it will
    /// send the body after the final response is its own choice, so the next bytes could be either (RFC 9110 section
    /// 10.1.1). A driver that is stopping has its own reason to say no.
    #[inline]
    pub fn may_persist(&self, request: RequestEnd, limits: &ExchangeLimits) -> bool {
        self.client_persists
            && self.requests < limits.requests_max
            && match request {
                RequestEnd::Read => true,
                RequestEnd::Unread(_) if self.continue_owed => false,
                RequestEnd::Unread(left) => left.unwrap_or(0) <= limits.drain_bytes_max,
            }
    }

    /// What to do when the response is out.
    #[inline]
    pub fn after(&self, request: RequestEnd, sent: &Sent, limits: &ExchangeLimits) -> After {
        if sent.upgraded {
            return After::Upgrade;
        }
        match request {
            RequestEnd::Read if sent.keep_alive => After::KeepAlive,
            // Only if the client ends the connection by itself is it sure that nothing is on its way.
            RequestEnd::Read if !self.client_persists => After::Close,
            RequestEnd::Unread(left) if sent.keep_alive && self.may_persist(request, limits) => {
                After::Drain { bytes_max: left.unwrap_or(limits.drain_bytes_max) }
            }
            _ => After::Linger,
        }
    }

    /// What to do when the answer to a malformed message is out: its end is unknown, so there is no next one.
    pub const fn after_error() -> After {
        After::Linger
    }
}
