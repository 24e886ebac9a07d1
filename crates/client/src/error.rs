//! What can go wrong with a call to another server, named by who is at fault.

use std::fmt;
use std::io;

use tenfold_http::{BodyError, EncodeError, HeadError};
use tenfold_runtime::park;

use crate::pool::PoolError;

/// Any error of this crate.
///
/// The chain of sources tells more: where a time-out or a cancellation is behind it, an [`io::Error`] of kind `TimedOut` or
/// of `ECANCELED` is in the chain, so a server can answer 504 without knowing this type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's mistake: this is no URL that a request could go to.
    #[error("invalid URL {url:?}: {reason}")]
    InvalidUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The caller's mistake: only `http://` and, with the feature `https`, `https://` are spoken here.
    #[error("cannot speak {scheme}: only {supported} URLs are supported")]
    UnsupportedScheme {
        /// The URL's scheme.
        scheme: String,
        /// Those that are.
        supported: &'static str,
    },
    /// The caller's mistake: a header, or a value that is not JSON.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// The caller's mistake, found while the request was written.
    #[error("invalid request")]
    Encode(#[from] EncodeError),
    /// The pool has no free connection and its line is full, or this process has no part of the budget.
    #[error(transparent)]
    Busy(PoolError),
    /// The name has no address, or nobody could be asked for it.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver answered.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// The last address's error.
        source: io::Error,
    },
    /// The caller's mistake: these are no certificates of authorities in PEM.
    #[error("invalid CA certificates: {0}")]
    CaCertificates(String),
    /// The server's certificate is not to be believed: for another name, expired, or of an authority that is not trusted.
    #[error("the certificate of {host} is not to be believed")]
    Certificate {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The server and we did not come to an agreement about TLS.
    #[error("cannot shake hands with {host}")]
    Tls {
        /// Host and port.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// It took longer than a bound of the client, of the request, or of the task.
    #[error("timed out while {phase}")]
    TimedOut {
        /// What it was doing.
        phase: Phase,
        /// `TimedOut`.
        source: io::Error,
    },
    /// The task was cancelled.
    #[error("cancelled while {phase}")]
    Cancelled {
        /// What it was doing.
        phase: Phase,
        /// `ECANCELED`.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke while {phase}")]
    Io {
        /// What it was doing.
        phase: Phase,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The peer has closed the connection without an answer.
    #[error("the peer closed the connection without an answer")]
    Closed,
    /// The peer's fault: the head of its answer is malformed or too large.
    #[error("malformed response head")]
    Head(#[from] HeadError),
    /// The peer's fault: the body of its answer is malformed or cut short.
    #[error("malformed response body")]
    Body(#[from] BodyError),
    /// The peer's fault: 101 without having been asked, or interim responses without end.
    #[error("unexpected response: {0}")]
    Unexpected(&'static str),
    /// The peer's refusal, in its own words.
    #[error("the server refused: {code} {message}")]
    Rejected {
        /// Redis: the first word (`WRONGTYPE`); SQL: the SQLSTATE; Tarantool, memcached: the error's number or name.
        code: String,
        /// The rest.
        message: String,
    },
    /// The answer is of another type than the caller expects.
    #[error("the answer is {got}, expected {expected}")]
    Type {
        /// What was asked for.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// So much is on its way over a shared connection that no more is taken in.
    #[error("{in_flight} commands are on their way over this connection, and no more fit")]
    Overloaded {
        /// How many there are.
        in_flight: usize,
    },
    /// The body is larger than the caller is ready to hold in memory.
    #[error("the response body is larger than {bytes_max} bytes")]
    BodyTooLarge {
        /// The caller's bound.
        bytes_max: usize,
    },
    /// The body is not the JSON that the caller expects.
    #[error("the response is not the expected JSON")]
    Json(#[source] serde_json::Error),
    /// The body is not UTF-8.
    #[error("the response is not UTF-8")]
    Text(#[source] std::string::FromUtf8Error),
}

/// What a call was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a connection of the pool.
    Queueing,
    /// Connecting.
    Connecting,
    /// Sending the request.
    Sending,
    /// Waiting for the head of the response.
    AwaitingHead,
    /// Receiving the body of the response.
    ReceivingBody,
    /// Waiting for the reply to a command or query.
    AwaitingReply,
}

impl Error {
    /// Whether it took too long.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::TimedOut { .. })
    }

    /// Sorts an error of the kernel or the runtime.
    pub(crate) fn io(phase: Phase, source: io::Error) -> Error {
        if park::is_cancellation(&source) {
            Error::Cancelled { phase, source }
        } else if source.kind() == io::ErrorKind::TimedOut {
            Error::TimedOut { phase, source }
        } else {
            Error::Io { phase, source }
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Queueing => "waiting for a free connection",
            Phase::Connecting => "connecting",
            Phase::Sending => "sending the request",
            Phase::AwaitingHead => "waiting for the response",
            Phase::ReceivingBody => "receiving the response",
            Phase::AwaitingReply => "waiting for the reply",
        })
    }
}

/// A wait in line that took too long is a time-out like others; its source names who holds the connections.
impl From<PoolError> for Error {
    fn from(error: PoolError) -> Error {
        let phase = Phase::Queueing;
        match error {
            PoolError::Cancelled { .. } => Error::Cancelled { phase, source: park::cancelled() },
            PoolError::TimedOut { .. } => {
                Error::TimedOut { phase, source: io::Error::new(io::ErrorKind::TimedOut, error) }
            }
            PoolError::Full { .. } | PoolError::NoShare { .. } => Error::Busy(error),
        }
    }
}

/// For `Read`: keeps the kind, and a cancellation as it is, since that is told by its number.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Cancelled { .. } => return park::cancelled(),
            Error::TimedOut { .. } => io::ErrorKind::TimedOut,
            Error::Io { source, .. }
            | Error::Connect { source, .. }
            | Error::Certificate { source, .. }
            | Error::Tls { source, .. } => source.kind(),
            Error::Body(BodyError::Truncated) | Error::Closed => io::ErrorKind::UnexpectedEof,
            Error::Head(_) | Error::Body(_) | Error::Unexpected(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
