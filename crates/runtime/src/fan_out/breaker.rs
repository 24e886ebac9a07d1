//! `Breaker`: stops calling a service that fails, and tries now and then whether it is back.
//!
//! ```text
//!   closed ──► most calls of a window have failed ──► open ──► open_for is over ──► half open: one call is let through
//!     ▲                                                ▲                                 │           │
//!     └──────────────────────────── success ───────────┼─────────────────────────────────┘           │
//!                                                      └────────────────── failure ──────────────────┘
//! ```

use std::time::{Duration, Instant};

use spin::Mutex;

use crate::park;

/// When a [`Breaker`] opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct BreakerConfig {
    /// Calls are counted over this time; default 10 s.
    pub window: Duration,
    /// With fewer calls in a window it does not open; default 20.
    pub calls_min: u32,
    /// It opens when at least this part of a window's calls has failed; default 0.5.
    pub failed_part: f64,
    /// How long it stays open before one call is let through; default 5 s.
    pub open_for: Duration,
}

/// Guards the calls to one service; share it between all who call.
///
/// ```
/// use std::time::Duration;
/// use tenfold_runtime::fan_out::{Breaker, BreakerConfig, BreakerError};
/// let breaker = Breaker::new(BreakerConfig { calls_min: 3, ..BreakerConfig::default() });
/// for _ in 0..3 {
///     let failed = breaker.call(|| Err::<(), _>("refused"), |_| true);
///     assert!(matches!(failed, Err(BreakerError::Failed("refused"))));
/// }
/// let refused = breaker.call(|| Ok::<_, &str>(1), |_| true);
/// assert!(matches!(refused, Err(BreakerError::Open { .. })));
/// ```
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    /// Held for a few instructions and never over a call.
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed {
        since: Instant,
        calls: u32,
        failed: u32,
    },
    Open {
        until: Instant,
    },
    /// A call was let through and has not come back.
    HalfOpen,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BreakerError<E> {
    /// The call was not made: the service has failed too often.
    #[error("not called: the service has failed too often; next try in {} ms", retry_in.as_millis())]
    Open {
        /// When the next call is let through; zero while one is on its way.
        retry_in: Duration,
    },
    /// The call's own error.
    #[error(transparent)]
    Failed(E),
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            window: Duration::from_secs(10),
            calls_min: 20,
            failed_part: 0.5,
            open_for: Duration::from_secs(5),
        }
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(config: BreakerConfig) -> Breaker {
        Breaker { config, state: Mutex::new(State::closed(Instant::now())) }
    }

    /// Makes a call, if the service is to be called. `counts` says which errors speak against the service: one of the
    /// caller's own making does not. A call whose task was cancelled says nothing; a panic counts as a failure.
    ///
    /// # Errors
    /// [`BreakerError`].
    pub fn call<T, E>(
        &self,
        call: impl FnOnce() -> Result<T, E>,
        counts: impl FnOnce(&E) -> bool,
    ) -> Result<T, BreakerError<E>> {
        self.enter(Instant::now()).map_err(|retry_in| BreakerError::Open { retry_in })?;
        let mut passage = Passage { breaker: self, verdict: Some(false) };
        let outcome = call();
        passage.verdict = match &outcome {
            Ok(_) => Some(true),
            Err(_) if park::task_is_cancelled() => None,
            Err(error) => Some(!counts(error)),
        };
        drop(passage);
        outcome.map_err(BreakerError::Failed)
    }

    /// Whether calls are refused at the moment.
    pub fn is_open(&self) -> bool {
        match &*self.state.lock() {
            State::Closed { .. } => false,
            State::Open { until } => *until > Instant::now(),
            State::HalfOpen => true,
        }
    }

    fn enter(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock();
        match &*state {
            State::Closed { .. } => Ok(()),
            State::Open { until } if *until <= now => {
                *state = State::HalfOpen;
                Ok(())
            }
            State::Open { until } => Err(*until - now),
            State::HalfOpen => Err(Duration::ZERO),
        }
    }

    fn leave(&self, now: Instant, verdict: Option<bool>) {
        let mut state = self.state.lock();
        let open = State::Open { until: now + self.config.open_for };
        match (&mut *state, verdict) {
            (State::Closed { since, calls, failed }, Some(good)) => {
                if now.saturating_duration_since(*since) >= self.config.window {
                    (*since, *calls, *failed) = (now, 0, 0);
                }
                *calls += 1;
                *failed += u32::from(!good);
                let enough = *calls >= self.config.calls_min.max(1);
                if enough && f64::from(*failed) >= f64::from(*calls) * self.config.failed_part && !good {
                    *state = open;
                }
            }
            (State::HalfOpen, Some(true)) => *state = State::closed(now),
            (State::HalfOpen, Some(false)) => *state = open,
            // The one call that was to tell has told nothing: the next one may.
            (State::HalfOpen, None) => *state = State::Open { until: now },
            // A call from before it opened.
            (State::Open { .. }, _) | (State::Closed { .. }, None) => {}
        }
    }
}

impl State {
    fn closed(now: Instant) -> State {
        State::Closed { since: now, calls: 0, failed: 0 }
    }
}

/// One call; also a panic comes out here.
struct Passage<'a> {
    breaker: &'a Breaker,
    verdict: Option<bool>,
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.breaker.leave(Instant::now(), self.verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, Instant) {
        let config = BreakerConfig { calls_min: 4, ..BreakerConfig::default() };
        (Breaker::new(config), Instant::now())
    }

    #[test]
    fn it_opens_lets_one_through_and_closes_again() {
        let (breaker, now) = breaker();
        [true, false, true, false].iter().for_each(|good| breaker.leave(now, Some(*good)));
        assert_eq!(breaker.enter(now), Err(Duration::from_secs(5)));
        let later = now + Duration::from_secs(5);
        assert_eq!(breaker.enter(later), Ok(()));
        assert_eq!(breaker.enter(later), Err(Duration::ZERO), "one call at a time");
        breaker.leave(later, Some(false));
        assert_eq!(breaker.enter(later), Err(Duration::from_secs(5)));
        assert_eq!(breaker.enter(later + Duration::from_secs(5)), Ok(()));
        breaker.leave(later, None);
        assert_eq!(breaker.enter(later), Ok(()), "a cancelled call has told nothing");
        breaker.leave(later, Some(true));
        assert!(!breaker.is_open());
    }

    #[test]
    fn failures_of_another_window_do_not_count() {
        let (breaker, now) = breaker();
        (0..3).for_each(|_| breaker.leave(now, Some(false)));
        breaker.leave(now + Duration::from_secs(10), Some(false));
        assert!(!breaker.is_open());
    }
}
