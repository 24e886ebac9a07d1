//! `WallClock`: notices that somebody has set the wall clock.
//!
//! Nothing of ours waits by that clock, so a jump needs no answer. It is said nevertheless: access logs, the `Date` header and
//! certificates go by it, and whoever reads them later has to know why an hour is there twice. Not a timerfd(2) with
//! `TFD_TIMER_CANCEL_ON_SET`, which would tell without being asked: that needs a further descriptor and still has to ask by how
//! much, and what it sees is the kernel's clock, not the one that this process is given.
//!
//! Runs in the master.

use std::time::{Duration, Instant, SystemTime};

/// How often it is looked at if nothing else wakes the master.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// What is a jump. Slewing is not: adjtime(3) moves a clock by at most half a millisecond a second.
const JUMP_MIN: Duration = Duration::from_secs(1);
/// Two readings that are farther apart are not of one moment: the process was stopped between them.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// One moment by both clocks: the last one at which they were compared.
#[derive(Debug)]
pub(super) struct WallClock {
    at: Instant,
    wall: SystemTime,
}

/// By how much the wall clock moved more than the monotonic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jump {
    Forward(Duration),
    Back(Duration),
}

impl WallClock {
    pub(super) fn new() -> Self {
        Self { at: Instant::now(), wall: SystemTime::now() }
    }

    /// When it is to be looked at again.
    pub(super) fn next_look(&self) -> Instant {
        self.at + LOOK
    }

    /// Reads both clocks, and says so in the log if they disagree about the time since the last look.
    pub(super) fn look(&mut self) {
        let (at, wall) = (Instant::now(), SystemTime::now());
        if at.elapsed() > PAUSE_MAX {
            return;
        }
        match self.compare(at, wall) {
            None => {}
            Some(Jump::Forward(by)) => {
                tracing::warn!(target: "supervisor", "the wall clock jumped forward by {:.3} s", by.as_secs_f64());
            }
            Some(Jump::Back(by)) => {
                tracing::warn!(target: "supervisor", "the wall clock jumped back by {:.3} s", by.as_secs_f64());
            }
        }
    }

    /// The jump since the last look, if there was one; this moment is what the next one is compared with.
    fn compare(&mut self, at: Instant, wall: SystemTime) -> Option<Jump> {
        let passed = at.saturating_duration_since(self.at);
        // Where the wall clock would be. A clock at the end of what its type holds has no such moment, and no jump.
        let expected = self.wall.checked_add(passed);
        (self.at, self.wall) = (at, wall);
        let jump = match wall.duration_since(expected?) {
            Ok(by) => Jump::Forward(by),
            Err(error) => Jump::Back(error.duration()),
        };
        let (Jump::Forward(by) | Jump::Back(by)) = jump;
        (by > JUMP_MIN).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_jump_is_told_once_with_its_direction() {
        let mut clock = WallClock::new();
        let (at, wall) = (clock.at, clock.wall);
        assert_eq!(clock.compare(at + SECOND, wall + SECOND), None);
        assert_eq!(clock.compare(at + SECOND * 2, wall + SECOND * 2 + DAY), Some(Jump::Forward(DAY)));
        assert_eq!(clock.compare(at + SECOND * 3, wall + SECOND * 3 + DAY), None);
        assert_eq!(clock.compare(at + SECOND * 4, wall + SECOND * 4 - DAY), Some(Jump::Back(DAY * 2)));
        assert_eq!(clock.compare(at + SECOND * 5, wall + SECOND * 5 - DAY), None);
    }

    #[test]
    fn time_that_passes_and_a_clock_that_is_slewed_are_no_jump() {
        let mut clock = WallClock::new();
        let (at, wall) = (clock.at, clock.wall);
        // The master was stopped for a day: both clocks went on.
        assert_eq!(clock.compare(at + DAY, wall + DAY), None);
        for second in 1..100 {
            let passed = DAY + SECOND * second;
            assert_eq!(clock.compare(at + passed, wall + passed + Duration::from_millis(900) * second), None);
        }
    }

    #[test]
    fn a_second_is_the_bound() {
        let mut clock = WallClock::new();
        let (at, wall) = (clock.at, clock.wall);
        assert_eq!(clock.compare(at, wall + SECOND), None);
        assert_eq!(clock.compare(at, wall), None);
        let more = SECOND + Duration::from_millis(1);
        assert_eq!(clock.compare(at, wall + more), Some(Jump::Forward(more)));
        assert_eq!(clock.compare(at, wall), Some(Jump::Back(more)));
    }
}
