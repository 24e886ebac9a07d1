//! All calls, and all of their results.

use crate::join::JoinError;
use crate::sync::RecvError;

use super::gathering::gather;

/// Runs all calls at once and returns their results in the calls' order.
///
/// # Errors
/// Each result is for itself: a panic of one call is its own. When the caller's deadline passes or it is cancelled, the calls
/// are cancelled; what they then come back with counts.
///
/// ```
/// use tenfold_runtime::fan_out::join_all;
/// let lengths = join_all(["one", "three"].map(|word| move || word.len()));
/// assert_eq!(lengths.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [3, 5]);
/// ```
pub fn join_all<'env, T, F>(calls: impl IntoIterator<Item = F>) -> Vec<Result<T, JoinError>>
where
    T: Send + 'env,
    F: FnOnce() -> T + Send + 'env,
{
    join_all_bounded(usize::MAX, calls)
}

/// As [`join_all`], with at most `at_once` (at least one) calls running at a time; the next one starts when one has ended.
///
/// Calls that were not started before the caller's end have `TimedOut` or `Cancelled`.
///
/// ```
/// use tenfold_runtime::fan_out::join_all_bounded;
/// let squares = join_all_bounded(4, (0..20).map(|number| move || number * number));
/// assert_eq!(squares.into_iter().map(Result::unwrap).sum::<i32>(), 2470);
/// ```
pub fn join_all_bounded<'env, T, F>(
    at_once: usize,
    calls: impl IntoIterator<Item = F>,
) -> Vec<Result<T, JoinError>>
where
    T: Send + 'env,
    F: FnOnce() -> T + Send + 'env,
{
    let mut calls: Vec<F> = calls.into_iter().collect();
    let count = calls.len();
    calls.reverse();
    let mut results: Vec<Option<Result<T, JoinError>>> = (0..count).map(|_| None).collect();
    let (ended, late) = gather(count, |gathering| {
        loop {
            while gathering.running() < at_once.max(1)
                && let Some(call) = calls.pop()
            {
                gathering.start(count - 1 - calls.len(), call);
            }
            if gathering.running() == 0 {
                return None;
            }
            match gathering.next(None) {
                Ok((number, result)) => results[number] = Some(result),
                Err(error) => return Some(error),
            }
        }
    });
    for (number, result) in late {
        results[number] = Some(result);
    }
    let missing = || match ended {
        Some(RecvError::Cancelled) => JoinError::Cancelled,
        _ => JoinError::TimedOut,
    };
    results.into_iter().map(|result| result.unwrap_or_else(|| Err(missing()))).collect()
}
