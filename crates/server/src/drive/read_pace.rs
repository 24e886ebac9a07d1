//! `ReadPace`: holds a client to a least rate at which it sends a body, so that a trickle cannot hold what it waits in for
//! ever: a handler, or the memory of a body that is read ahead.

use std::time::{Duration, Instant};

use crate::limits::Bounds;

/// Of one body.
#[derive(Debug)]
pub(crate) struct ReadPace {
    started: Instant,
    grace: Duration,
    rate_min: u64,
    received: u64,
}

impl ReadPace {
    pub(crate) fn start(bounds: &Bounds) -> ReadPace {
        ReadPace {
            started: Instant::now(),
            grace: bounds.body_grace,
            rate_min: bounds.body_rate_min,
            received: 0,
        }
    }

    /// When the next bytes have to be there: the grace after the start, later what the least rate allows for what has
    /// come so far.
    pub(crate) fn limit(&self) -> Instant {
        let earned = match self.rate_min {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(self.received as f64 / rate as f64),
        };
        // A fast client earns much time; but no single wait is longer than the grace.
        (self.started + self.grace + earned).min(Instant::now() + self.grace)
    }

    /// Bytes have come.
    pub(crate) fn note(&mut self, received: usize) {
        self.received += received as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn what_has_come_earns_time_but_no_wait_is_longer_than_the_grace() {
        let bounds = Limits { body_rate_min: 1000, body_grace_secs: 20.0, ..Limits::default() }.bounds();
        let mut pace = ReadPace::start(&bounds);
        let at_first = pace.limit();
        assert!(at_first <= pace.started + Duration::from_secs(20));
        pace.started -= Duration::from_secs(15);
        assert!(pace.limit() <= pace.started + Duration::from_secs(20), "nothing came, nothing is earned");
        pace.note(3000);
        assert_eq!(pace.limit(), pace.started + Duration::from_secs(23));
        pace.note(1 << 30);
        assert!(pace.limit() <= Instant::now() + Duration::from_secs(20));
    }
}
