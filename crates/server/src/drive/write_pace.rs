//! `WritePace`: holds a client to a least rate at which it takes an answer.
//!
//! A bound on a single wait is not enough: a client that takes a byte now and then (the attack is known as slow read) would
//! hold its connection, and in some models a thread, for ever. So the time that was spent in waiting for it counts, and what
//! it has taken since the kernel's buffers were full earns more. Waiting for the handler's next piece does not count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::limits::Bounds;

/// Of one answer; started anew with each.
#[derive(Debug, Default)]
pub(crate) struct WritePace {
    /// Nanoseconds that were spent in waiting.
    blocked: AtomicU64,
    /// Bytes that went since the first wait.
    sent: AtomicU64,
}

impl WritePace {
    pub(crate) fn restart(&self) {
        if self.blocked.load(Ordering::Relaxed) > 0 {
            self.blocked.store(0, Ordering::Relaxed);
            self.sent.store(0, Ordering::Relaxed);
        }
    }

    /// How long the next wait may take.
    fn allowance(&self, bounds: &Bounds) -> Duration {
        let rate = bounds.answer_rate_min;
        if rate == 0 {
            return bounds.write_stall;
        }
        let earned = Duration::from_secs_f64(self.sent.load(Ordering::Relaxed) as f64 / rate as f64);
        let spent = Duration::from_nanos(self.blocked.load(Ordering::Relaxed));
        (bounds.write_stall + earned).saturating_sub(spent).min(bounds.write_stall)
    }

    /// Runs one wait for room; `wait` gets its end and tells how many bytes went.
    pub(crate) fn wait<E>(
        &self,
        bounds: &Bounds,
        wait: impl FnOnce(Instant) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let began = Instant::now();
        let outcome = wait(began + self.allowance(bounds));
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        self.blocked.fetch_add(took, Ordering::Relaxed);
        if let Ok(sent) = &outcome {
            self.note(*sent);
        }
        outcome
    }

    /// Bytes went without a wait.
    #[inline]
    pub(crate) fn note(&self, sent: usize) {
        if self.blocked.load(Ordering::Relaxed) > 0 {
            self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn what_was_taken_earns_time_and_what_was_waited_costs_it() {
        let bounds =
            Limits { answer_rate_min: 1000, write_stall_timeout_secs: 2.0, ..Limits::default() }.bounds();
        let pace = WritePace::default();
        pace.note(1 << 20);
        assert_eq!(pace.allowance(&bounds), Duration::from_secs(2), "the kernel's buffer earns nothing");
        pace.blocked.store(1_500_000_000, Ordering::Relaxed);
        assert_eq!(pace.allowance(&bounds), Duration::from_millis(500));
        pace.note(1000);
        assert_eq!(pace.allowance(&bounds), Duration::from_millis(1500));
        pace.note(1 << 20);
        assert_eq!(pace.allowance(&bounds), Duration::from_secs(2), "no single wait is longer");
        pace.restart();
        pace.blocked.store(3_000_000_000, Ordering::Relaxed);
        assert_eq!(pace.allowance(&bounds), Duration::ZERO);
    }
}
