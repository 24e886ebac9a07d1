//! What was there in time.

use std::time::Instant;

use crate::time::deadline_at;

use super::error::CallError;
use super::join_all::join_all;

/// The answers of calls that had until a point in time.
#[derive(Debug)]
pub struct Partial<T, E> {
    answers: Vec<Result<T, CallError<E>>>,
}

/// Runs all calls at once and returns at `until` at the latest, with what has come. Calls that have not answered by then are
/// cancelled: their waits fail with `TimedOut`.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tenfold_runtime::{fan_out::partial, try_sleep};
/// let after = |seconds| move || try_sleep(Duration::from_secs(seconds)).map(|()| seconds);
/// let page = partial(Instant::now() + Duration::from_millis(500), [0, 60].map(after));
/// assert_eq!(page.answers().collect::<Vec<_>>(), [&0]);
/// assert!(!page.is_complete());
/// ```
pub fn partial<'env, T, E, F>(until: Instant, calls: impl IntoIterator<Item = F>) -> Partial<T, E>
where
    T: Send + 'env,
    E: Send + 'env,
    F: FnOnce() -> Result<T, E> + Send + 'env,
{
    let results = deadline_at(until, || join_all(calls));
    Partial { answers: results.into_iter().map(CallError::of).collect() }
}

impl<T, E> Partial<T, E> {
    /// The successes, in the calls' order.
    pub fn answers(&self) -> impl Iterator<Item = &T> {
        self.answers.iter().flatten()
    }

    /// Whether every call has succeeded.
    pub fn is_complete(&self) -> bool {
        self.answers.iter().all(Result::is_ok)
    }

    /// One result for each call, in the calls' order.
    pub fn into_results(self) -> Vec<Result<T, CallError<E>>> {
        self.answers
    }
}
