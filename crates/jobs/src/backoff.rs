//! `Backoff`: how long a job that failed rests before it is tried again.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Doubles from `first` up to `most`; what comes out is between half of that and all of it, so that jobs which failed
/// together do not come back together.
///
/// ```
/// use std::time::Duration;
/// use tenfold_jobs::Backoff;
/// let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// let third = backoff.after(2);
/// assert!(third >= Duration::from_secs(2) && third <= Duration::from_secs(4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// From `first` to `most`.
    pub const fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most }
    }

    /// The rest after a job has failed `attempt` times before this one.
    pub fn after(&self, attempt: u32) -> Duration {
        let full = self.first.saturating_mul(1 << attempt.min(30)).min(self.most.max(self.first));
        full.mul_f64(0.5 + 0.5 * random_share())
    }
}

impl Default for Backoff {
    /// From one second to one hour.
    fn default() -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(3600))
    }
}

/// From 0 to 1, by way of the standard library's hash seeds.
pub(crate) fn random_share() -> f64 {
    random() as f64 / u64::MAX as f64
}

pub(crate) fn random() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_their_bound_and_differ() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        assert!(backoff.after(0) <= Duration::from_millis(100));
        for attempt in [10, 40, u32::MAX] {
            let rest = backoff.after(attempt);
            assert!((Duration::from_millis(2500)..=Duration::from_secs(5)).contains(&rest), "{rest:?}");
        }
        assert!((0..10).any(|_| backoff.after(10) != backoff.after(10)));
    }
}
