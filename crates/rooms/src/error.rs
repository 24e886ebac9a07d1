//! `Error`: why something with a room could not be.

use std::time::Duration;

use tenfold_server::{Busy, StatusCode};

/// The result of what this crate does.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something with a room could not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The keeper of the rooms does not answer; it may or may not have got what was sent. In a handler, `?` answers 503.
    #[error("the keeper of the rooms does not answer")]
    Unavailable(#[source] Busy),
    /// A bound is reached.
    #[error("{0}")]
    TooMuch(String),
    /// The rules do not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// What was given is no position.
    #[error("expected a position: epoch, colon, offset")]
    Position,
    /// What was to be published is no JSON.
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The client takes nothing for too long.
    #[error("the client does not take what it is sent")]
    Stalled,
    /// The client has broken the protocol.
    #[error(transparent)]
    Protocol(#[from] tenfold_http::websocket::WebSocketError),
    /// The connection's, or a time-out.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    pub(crate) fn unavailable() -> Error {
        Error::Unavailable(Busy::new("try again in a moment", Duration::from_secs(1)))
    }

    /// The error that a handler answers with where `?` would make it a 500.
    pub fn answer(self) -> tenfold_server::Error {
        match self {
            Error::Forbidden(_) | Error::TooMuch(_) | Error::Position => {
                tenfold_server::Error::new(self.status(), self.to_string())
            }
            error => error.into(),
        }
    }

    /// The status that belongs to it.
    pub fn status(&self) -> StatusCode {
        match self {
            Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::TooMuch(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::Position => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// How long a call waits for a keeper that is not there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
