//! `Retry`: another try after a failure, with a random pause, within a budget.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::park;
use crate::time::try_sleep;

/// What a token costs, in thousandths.
const TOKEN: u32 = 1_000;

/// How often a call is tried, and how long the pauses are.
///
/// The pause before try n is random between zero and `pause_first` × 2ⁿ, at most `pause_max`: those who failed together do
/// not come back together. There is no pause that would end after the task's deadline: then the error is returned at once.
///
/// ```
/// use std::time::Duration;
/// use tenfold_runtime::fan_out::Retry;
/// let mut answers = ["busy", "busy", "done"].into_iter();
/// let outcome = Retry::new(3).pause_first(Duration::from_millis(1)).run(
///     |_try| match answers.next() {
///         Some("done") => Ok("done"),
///         other => Err(other),
///     },
///     |error| *error == Some("busy"),
/// );
/// assert_eq!(outcome, Ok("done"));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Retry {
    tries_max: u32,
    pause_first: Duration,
    pause_max: Duration,
    budget: Option<Arc<RetryBudget>>,
}

/// Bounds retries to a part of all calls, so that a service in trouble is not buried by them. Shared by all calls to it.
///
/// A call earns a part of a token, a retry costs one; there are never more than `tokens_max`.
///
/// ```
/// use tenfold_runtime::fan_out::RetryBudget;
/// let budget = RetryBudget::new(0.1, 2); // a tenth of the calls, and two at once
/// assert!(budget.take() && budget.take() && !budget.take());
/// (0..10).for_each(|_| budget.earn());
/// assert!(budget.take() && !budget.take());
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    earned: u32,
    tokens_max: u32,
    /// In thousandths.
    tokens: AtomicU32,
}

impl Retry {
    /// At most `tries_max` tries (at least one), pauses from 50 ms to 2 s, no budget.
    pub fn new(tries_max: u32) -> Retry {
        Retry {
            tries_max: tries_max.max(1),
            pause_first: Duration::from_millis(50),
            pause_max: Duration::from_secs(2),
            budget: None,
        }
    }

    /// Longest pause before the second try; it doubles from there.
    pub fn pause_first(mut self, longest: Duration) -> Retry {
        self.pause_first = longest;
        self
    }

    /// Longest pause of all.
    pub fn pause_max(mut self, longest: Duration) -> Retry {
        self.pause_max = longest;
        self
    }

    /// Bounds retries together with others.
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Retry {
        self.budget = Some(budget);
        self
    }

    /// Calls until there is a success, an error that is not `worth_it`, or no try left. `call` gets the number of the try.
    ///
    /// # Errors
    /// The last try's. Nothing is tried again once the task was cancelled or its deadline is too near.
    pub fn run<T, E>(
        &self,
        mut call: impl FnMut(u32) -> Result<T, E>,
        worth_it: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        self.budget.iter().for_each(|budget| budget.earn());
        let mut number = 0;
        loop {
            let error = match call(number) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            number += 1;
            if number >= self.tries_max || !worth_it(&error) || park::task_is_cancelled() {
                return Err(error);
            }
            let pause = self.pause(number);
            let ends = Instant::now().checked_add(pause);
            let too_late =
                park::current_deadline().is_some_and(|deadline| ends.is_none_or(|ends| ends >= deadline));
            let may = !too_late && self.budget.as_ref().is_none_or(|budget| budget.take());
            if !may || try_sleep(pause).is_err() {
                return Err(error);
            }
        }
    }

    fn pause(&self, number: u32) -> Duration {
        let doubled = self.pause_first.saturating_mul(1 << (number - 1).min(20));
        doubled.min(self.pause_max).mul_f64(random_part())
    }
}

impl RetryBudget {
    /// `part` (0 to 1) of the calls may be tried again, and `tokens_max` at once after a quiet time.
    pub fn new(part: f64, tokens_max: u32) -> RetryBudget {
        let tokens_max = tokens_max.min(u32::MAX / TOKEN) * TOKEN;
        let earned = (part.clamp(0.0, 1.0) * f64::from(TOKEN)) as u32;
        RetryBudget { earned, tokens_max, tokens: AtomicU32::new(tokens_max) }
    }

    /// Notes a call.
    pub fn earn(&self) {
        let more = |now: u32| Some(now.saturating_add(self.earned).min(self.tokens_max));
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether a retry may be; it is counted.
    pub fn take(&self) -> bool {
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| now.checked_sub(TOKEN)).is_ok()
    }
}

/// A number from 0 to 1. Each `RandomState` has keys of its own.
fn random_part() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
