//! Hedged calls: another try when one is late.

use std::time::{Duration, Instant};

use crate::park;
use crate::sync::RecvError;

use super::error::{CallError, FanOutError};
use super::gathering::gather;

/// Makes a call; if it has not succeeded after `late`, makes it once more at the same time, and so on, `calls_max` (at least
/// one) times. The first success wins and the others are cancelled. A failure starts the next try at once.
///
/// With `late` near the 95th percentile of the call, the slowest twentieth costs a second call and the tail is gone ("The Tail
/// at Scale", Dean and Barroso, CACM 56:2). Only for what may be done twice. `call` gets the number of the try, from zero.
///
/// # Errors
/// [`FanOutError`]: all tries have failed, or the caller's time was over.
///
/// ```
/// use std::time::Duration;
/// use tenfold_runtime::{fan_out::hedged, try_sleep};
/// // The first server hangs; the second answers.
/// let answer = hedged(Duration::from_millis(5), 2, |server| {
///     try_sleep(Duration::from_secs(if server == 0 { 60 } else { 0 })).map(|()| server)
/// });
/// assert_eq!(answer.unwrap(), 1);
/// ```
pub fn hedged<'env, T, E, F>(late: Duration, calls_max: usize, call: F) -> Result<T, FanOutError<E>>
where
    T: Send + 'env,
    E: Send + 'env,
    F: Fn(usize) -> Result<T, E> + Send + Sync + 'env,
{
    let calls_max = calls_max.max(1);
    let call = &call;
    let mut failures = Vec::new();
    let mut winner = None;
    let (ended, late_ones) = gather(calls_max, |gathering| {
        let mut started = 0;
        loop {
            if started < calls_max {
                let number = started;
                gathering.start(number, move || call(number));
                started += 1;
            } else if gathering.running() == 0 {
                return None;
            }
            let hedge_at = (started < calls_max).then(|| park::after(late));
            match gathering.next(hedge_at) {
                Ok((number, outcome)) => match CallError::of(outcome) {
                    Ok(value) => {
                        winner = Some(value);
                        return None;
                    }
                    Err(error) => failures.push((number, error)),
                },
                Err(RecvError::TimedOut) if hedge_at.is_some() && !is_over() => {}
                Err(error) => return Some(error),
            }
        }
    });
    for (number, outcome) in late_ones {
        match CallError::of(outcome) {
            Ok(value) => drop(winner.get_or_insert(value)),
            Err(error) => failures.push((number, error)),
        }
    }
    winner.ok_or_else(|| FanOutError::of(ended, (1, 0), failures))
}

/// Whether the caller's own deadline has passed.
fn is_over() -> bool {
    park::current_deadline().is_some_and(|deadline| deadline <= Instant::now())
}
