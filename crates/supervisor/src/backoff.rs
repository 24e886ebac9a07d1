//! `Backoff`: how long to wait before a worker that died is started again.
//!
//! A worker that served for a while and died is replaced at once: that is an
//! accident, and waiting would only serve fewer requests. One that keeps dying
//! right after its start would burn the machine, so each death in a row
//! doubles the delay, with jitter so that the workers of a group do not all
//! start in the same millisecond (they often fail for one common reason).

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Delays that double from `min` to `max`, by a random part of 20 % less.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    /// Early deaths in a row.
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0 }
    }

    /// Early deaths in a row so far.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// A worker lived long enough: the next one may start at once.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts one more early death and answers how long to wait.
    pub(crate) fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // 2^20 times any sensible minimum is beyond any sensible maximum.
        let doubled = self.min.saturating_mul(1 << (self.failures - 1).min(20));
        jittered(doubled.min(self.max), random())
    }
}

/// `delay` less 0 to 20 % of it, by `random`.
fn jittered(delay: Duration, random: u64) -> Duration {
    delay - delay / 5 * u32::from(random as u8) / 255
}

/// Std's hasher keys are the random numbers that need no dependency.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delays_double_up_to_the_bound_and_jitter_takes_at_most_a_fifth() {
        let mut backoff = Backoff::new(100 * MS, 30_000 * MS);
        for expected in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
            let delay = backoff.fail();
            assert!(delay <= expected * MS && delay >= expected * MS * 4 / 5, "{delay:?}, not {expected} ms");
        }
        assert_eq!(backoff.failures(), 11);
        (0..100).for_each(|_| assert!(backoff.fail() <= 30_000 * MS));
    }

    #[test]
    fn a_worker_that_lived_resets_the_delay() {
        let mut backoff = Backoff::new(100 * MS, 30_000 * MS);
        backoff.fail();
        backoff.fail();
        backoff.reset();
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.fail() <= 100 * MS);
    }

    #[test]
    fn jitter_covers_its_range() {
        assert_eq!(jittered(100 * MS, 0), 100 * MS);
        assert_eq!(jittered(100 * MS, 255), 80 * MS);
    }
}
