//! Why a request was no success.

use std::io;

use tenfold_http::{BodyError, HeadError};
use tenfold_runtime::park;

/// One request's failure: its kind, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) words: String,
}

/// The kinds that are counted apart; see [`super::Errors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Connect,
    Closed,
    Timeout,
    Protocol,
    Status,
    Body,
    Overflow,
    /// The run has ended before: no error of the server's.
    Cancelled,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, words: impl Into<String>) -> Failure {
        Failure { kind, words: words.into() }
    }

    /// A connection that could not be opened, also for want of time.
    pub(crate) fn connect(error: &io::Error) -> Failure {
        match park::is_cancellation(error) {
            true => Failure::new(FailureKind::Cancelled, "the run has ended"),
            false => Failure::new(FailureKind::Connect, format!("cannot connect: {error}")),
        }
    }

    /// The server has closed the connection too early.
    pub(crate) fn closed(words: &str) -> Failure {
        Failure::new(FailureKind::Closed, words)
    }

    pub(crate) fn protocol(error: &HeadError) -> Failure {
        Failure::new(FailureKind::Protocol, format!("the answer is no HTTP: {error}"))
    }
}

impl From<io::Error> for Failure {
    /// Of a connection that was open.
    fn from(error: io::Error) -> Failure {
        if park::is_cancellation(&error) {
            return Failure::new(FailureKind::Cancelled, "the run has ended");
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Failure::new(FailureKind::Timeout, "no whole answer in time"),
            _ => Failure::new(FailureKind::Closed, format!("the connection broke: {error}")),
        }
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Failure {
        match error {
            BodyError::Truncated => Failure::closed("the connection was closed within a body"),
            error => Failure::new(FailureKind::Protocol, format!("the body is malformed: {error}")),
        }
    }
}
