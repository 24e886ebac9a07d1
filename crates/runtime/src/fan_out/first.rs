//! The first success, or the first few.

use super::error::{CallError, FanOutError};
use super::gathering::gather;

/// Runs all calls at once; the first success wins, and the others are cancelled.
///
/// # Errors
/// [`FanOutError`]: all have failed, or the caller's time was over.
///
/// ```
/// use std::{io, time::Duration};
/// use tenfold_runtime::{fan_out::race, try_sleep};
/// let after = |ms| move || try_sleep(Duration::from_millis(ms)).map(|()| ms);
/// let winner = race([5_000, 1, 60_000].map(after));
/// assert_eq!(winner.unwrap(), 1);
/// ```
pub fn race<'env, T, E, F>(calls: impl IntoIterator<Item = F>) -> Result<T, FanOutError<E>>
where
    T: Send + 'env,
    E: Send + 'env,
    F: FnOnce() -> Result<T, E> + Send + 'env,
{
    let mut winners = first_of(1, calls)?;
    Ok(winners.pop().expect("one was asked for").1)
}

/// Runs all calls at once, until `wanted` of them have succeeded; the others are cancelled. Returns their numbers and
/// results in the order in which they came.
///
/// # Errors
/// [`FanOutError::TooFew`] as soon as so many have failed that it cannot be; or the caller's time was over.
///
/// ```
/// use tenfold_runtime::fan_out::first_of;
/// // Two of three replicas are a majority.
/// let mut votes = first_of(2, [Ok("a"), Err("down"), Ok("a")].map(|answer| move || answer)).unwrap();
/// votes.sort();
/// assert_eq!(votes, [(0, "a"), (2, "a")]);
/// ```
pub fn first_of<'env, T, E, F>(
    wanted: usize,
    calls: impl IntoIterator<Item = F>,
) -> Result<Vec<(usize, T)>, FanOutError<E>>
where
    T: Send + 'env,
    E: Send + 'env,
    F: FnOnce() -> Result<T, E> + Send + 'env,
{
    let calls: Vec<F> = calls.into_iter().collect();
    let mut winners = Vec::with_capacity(wanted);
    let mut failures = Vec::new();
    let (ended, late) = gather(calls.len(), |gathering| {
        for (number, call) in calls.into_iter().enumerate() {
            gathering.start(number, call);
        }
        while winners.len() < wanted && winners.len() + gathering.running() >= wanted {
            match gathering.next(None) {
                Ok((number, outcome)) => match CallError::of(outcome) {
                    Ok(value) => winners.push((number, value)),
                    Err(error) => failures.push((number, error)),
                },
                Err(error) => return Some(error),
            }
        }
        None
    });
    // A success that arrived together with the end of the caller's time is one.
    for (number, outcome) in late {
        match CallError::of(outcome) {
            Ok(value) if winners.len() < wanted => winners.push((number, value)),
            Ok(_) => {}
            Err(error) => failures.push((number, error)),
        }
    }
    match winners.len() {
        succeeded if succeeded < wanted => Err(FanOutError::of(ended, (wanted, succeeded), failures)),
        _ => Ok(winners),
    }
}
