//! Why a body could not be read. The statuses that follow from it are in `error.rs`.

use std::io;

use tenfold_http::BodyError;

/// Why a body could not be read to its end.
///
/// It travels inside of an [`io::Error`] where a body is read through [`io::Read`]; the driver's [`crate::Inlet`] wraps
/// what it knows in the same way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyReadError {
    /// It is longer than the reader wants; 413.
    #[error("the body is longer than {bytes_max} bytes")]
    TooLarge {
        /// The most bytes that were allowed.
        bytes_max: u64,
    },
    /// It is no HTTP body, is over the connection's limit, or stopped half-way.
    #[error(transparent)]
    Malformed(#[from] BodyError),
    /// It came too slowly or not at all; 408.
    #[error("the body did not arrive in time")]
    Stalled,
    /// The worker's budget for buffers (`limits.buffers_bytes_max`) has no room for what else comes of it; 503.
    #[error("no memory for the rest of the body")]
    NoRoom,
    /// The client has closed the connection.
    #[error("the client is gone")]
    ClientGone,
    /// Another fiber or thread is reading it at the moment.
    #[error("the body is being read elsewhere")]
    Busy,
    /// Its request is over: a body does not outlive the handler.
    #[error("the request of this body is over")]
    Finished,
    /// A response's own source failed, or the read was cancelled or timed out.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for BodyReadError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<BodyReadError>() {
            Ok(known) => known,
            Err(error) => match error.downcast::<BodyError>() {
                Ok(known) => BodyReadError::Malformed(known),
                Err(error) => BodyReadError::Io(error),
            },
        }
    }
}

impl From<BodyReadError> for io::Error {
    fn from(error: BodyReadError) -> io::Error {
        let kind = match &error {
            BodyReadError::Io(_) => None,
            BodyReadError::TooLarge { .. } => Some(io::ErrorKind::FileTooLarge),
            BodyReadError::Malformed(BodyError::Truncated) => Some(io::ErrorKind::UnexpectedEof),
            BodyReadError::Malformed(_) => Some(io::ErrorKind::InvalidData),
            BodyReadError::Stalled => Some(io::ErrorKind::TimedOut),
            BodyReadError::NoRoom => Some(io::ErrorKind::OutOfMemory),
            BodyReadError::ClientGone => Some(io::ErrorKind::ConnectionAborted),
            BodyReadError::Busy => Some(io::ErrorKind::ResourceBusy),
            BodyReadError::Finished => Some(io::ErrorKind::BrokenPipe),
        };
        match (error, kind) {
            (BodyReadError::Io(error), _) => error,
            (error, kind) => io::Error::new(kind.unwrap_or(io::ErrorKind::Other), error),
        }
    }
}
