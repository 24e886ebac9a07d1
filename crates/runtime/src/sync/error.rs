//! Why a wait for a lock, a permit or a group ended without it.

use std::io;

use crate::park::{self, Unparked};

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The given time or the task's deadline has passed.
    #[error("timed out")]
    TimedOut,
    /// The task was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// As many wait already as may; see [`crate::sync::Semaphore::with_waiters_max`].
    #[error("too many are waiting")]
    Full,
}

impl From<WaitError> for io::Error {
    fn from(error: WaitError) -> io::Error {
        match error {
            WaitError::TimedOut => io::ErrorKind::TimedOut.into(),
            WaitError::Cancelled => park::cancelled(),
            WaitError::Full => io::Error::new(io::ErrorKind::WouldBlock, error),
        }
    }
}

/// The error of a park that was not a wake-up.
pub(crate) fn ended(unparked: Unparked) -> Option<WaitError> {
    match unparked {
        Unparked::Woken => None,
        Unparked::TimedOut => Some(WaitError::TimedOut),
        Unparked::Cancelled => Some(WaitError::Cancelled),
    }
}
