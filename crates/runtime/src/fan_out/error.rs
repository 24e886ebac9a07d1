//! What becomes of calls that do not succeed.

use std::time::Instant;

use crate::join::JoinError;
use crate::park;
use crate::sync::RecvError;

/// Why one call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The call's own error.
    #[error(transparent)]
    Failed(E),
    /// It panicked, or it was not waited for, or it could not be started.
    #[error(transparent)]
    Lost(JoinError),
}

/// Why there is no result of several calls.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FanOutError<E> {
    /// Too many have failed.
    #[error("only {succeeded} of {wanted} calls that were needed have succeeded, {} have failed", failures.len())]
    TooFew {
        /// How many successes were needed.
        wanted: usize,
        /// How many there were.
        succeeded: usize,
        /// Number and error of each failure, in the order in which they came.
        failures: Vec<(usize, CallError<E>)>,
    },
    /// The task's deadline came first; the calls were cancelled.
    #[error("the calls did not succeed in time")]
    TimedOut,
    /// The task was cancelled, and the calls with it.
    #[error("the calls were cancelled")]
    Cancelled,
}

impl<E> FanOutError<E> {
    /// Names the end of calls that did not succeed. They have the caller's deadline, so the last of them may have failed of
    /// it before the caller noticed.
    pub(super) fn of(
        ended: Option<RecvError>,
        (wanted, succeeded): (usize, usize),
        failures: Vec<(usize, CallError<E>)>,
    ) -> FanOutError<E> {
        let is_over = park::current_deadline().is_some_and(|deadline| deadline <= Instant::now());
        match ended {
            Some(RecvError::Cancelled) => FanOutError::Cancelled,
            _ if park::task_is_cancelled() => FanOutError::Cancelled,
            Some(_) => FanOutError::TimedOut,
            None if is_over => FanOutError::TimedOut,
            None => FanOutError::TooFew { wanted, succeeded, failures },
        }
    }
}

impl<E> CallError<E> {
    /// From what a child has come back with.
    pub(super) fn of<T>(outcome: Result<Result<T, E>, JoinError>) -> Result<T, CallError<E>> {
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(CallError::Failed(error)),
            Err(error) => Err(CallError::Lost(error)),
        }
    }
}
