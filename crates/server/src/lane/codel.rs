//! `Codel`: tells a burst from an overload by how long requests wait in a lane's line.
//!
//! The idea is controlled delay (RFC 8289): a line is good as long as it empties now and then, since then it has absorbed a
//! burst; a wait that stays above `target` for a whole `interval` is a standing line, which delays everybody and serves
//! nobody more. CoDel then drops from the head. Here nobody who was let in is turned away: while the lane is overloaded who
//! *comes* is refused, at once, unless the wait that he has before him is within `target`. So a refusal takes no time, and
//! the line is kept as short as it can be without running dry.
//!
//! No I/O and no clock: the time is a parameter.

use std::time::{Duration, Instant};

/// What a lane's line is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodelConfig {
    /// Longest wait of a line that is no burden.
    pub(crate) target: Duration,
    /// How long waits may stay above it before the lane counts as overloaded.
    pub(crate) interval: Duration,
}

/// Fewest distances that the long average is over.
const AVERAGED_MIN: u32 = 8;

/// One lane's line.
#[derive(Debug)]
pub(crate) struct Codel {
    config: CodelConfig,
    /// When waits that are above the target since then become an overload.
    above_until: Option<Instant>,
    overloaded: bool,
    /// When a place was passed on last; `None` when the line has been empty since.
    passed_at: Option<Instant>,
    /// How far apart places are passed on, averaged over the last eight or so; zero until it is known.
    apart: Duration,
    /// The same over as many as wait, of the present line only.
    apart_long: Duration,
    /// Distances that are in it.
    averaged: u32,
}

impl Codel {
    pub(crate) fn new(config: CodelConfig) -> Codel {
        Codel {
            config,
            above_until: None,
            overloaded: false,
            passed_at: None,
            apart: Duration::ZERO,
            apart_long: Duration::ZERO,
            averaged: 0,
        }
    }

    /// Whether this is an overload.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// Whether somebody who comes with `ahead` others before him may wait, if nobody is to wait for more than `wait_max`.
    pub(crate) fn may_wait(&self, ahead: usize, wait_max: Duration) -> bool {
        let expected =
            self.expected_apart().saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1));
        // Places do not become free at equal distances: at the very limit every second one would wait in vain.
        let wait_max = wait_max / 4 * 3;
        let bound = if self.overloaded { self.config.target.min(wait_max) } else { wait_max };
        // With nobody ahead there is always room for one: a line of none would let a place run empty.
        ahead == 0 || expected <= bound
    }

    /// Somebody's turn has come after a wait since `since`, and so many others still wait.
    pub(crate) fn passed(&mut self, since: Instant, now: Instant, waiting: usize) {
        if let Some(before) = self.passed_at.replace(now) {
            let sample = now.saturating_duration_since(before);
            self.apart = if self.apart.is_zero() { sample } else { (self.apart * 7 + sample) / 8 };
            let most = u32::try_from(waiting).unwrap_or(u32::MAX).max(AVERAGED_MIN);
            self.averaged = self.averaged.saturating_add(1).min(most);
            self.apart_long = self.apart_long - self.apart_long / self.averaged + sample / self.averaged;
        }
        if now.saturating_duration_since(since) < self.config.target {
            self.above_until = None;
            self.overloaded = false;
            return;
        }
        match self.above_until {
            None => self.above_until = Some(now + self.config.interval),
            Some(until) => self.overloaded |= now >= until,
        }
    }

    /// The smaller one of both averages. The short one alone would count a single pause (of the process, of a collector
    /// behind it) an eighth time for each who waits; the long one knows little of a line that has just begun.
    fn expected_apart(&self) -> Duration {
        if self.averaged == 0 { self.apart } else { self.apart.min(self.apart_long) }
    }

    /// A place became free and nobody waits for it.
    pub(crate) fn ran_empty(&mut self) {
        self.averaged = 0;
        self.apart_long = Duration::ZERO;
        self.above_until = None;
        self.overloaded = false;
        self.passed_at = None;
    }

    /// How long whoever is refused now should stay away: as long as the present line takes.
    pub(crate) fn retry_after(&self, waiting: usize) -> Duration {
        self.expected_apart().saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn codel() -> Codel {
        Codel::new(CodelConfig { target: 100 * MS, interval: 1000 * MS })
    }

    /// Places are passed on every 10 ms to somebody who has waited for `wait`; returns the time of the last.
    fn pass(codel: &mut Codel, from: Instant, count: u32, wait: Duration) -> Instant {
        for turn in 0..count {
            let now = from + 10 * MS * turn;
            codel.passed(now - wait, now, 0);
        }
        from + 10 * MS * count
    }

    fn start() -> Instant {
        Instant::now() + Duration::from_secs(1000)
    }

    #[test]
    fn a_burst_is_absorbed_and_a_standing_line_is_an_overload() {
        let mut codel = codel();
        let now = pass(&mut codel, start(), 90, 300 * MS);
        assert!(!codel.overloaded, "900 ms above the target");
        pass(&mut codel, now, 20, 300 * MS);
        assert!(codel.overloaded);
    }

    #[test]
    fn one_short_wait_in_the_interval_starts_it_anew() {
        let mut codel = codel();
        let now = pass(&mut codel, start(), 90, 300 * MS);
        let now = pass(&mut codel, now, 1, 99 * MS);
        pass(&mut codel, now, 90, 300 * MS);
        assert!(!codel.overloaded);
    }

    #[test]
    fn in_an_overload_the_line_is_kept_at_the_target_and_never_at_nothing() {
        let mut codel = codel();
        pass(&mut codel, start(), 200, 300 * MS);
        assert!(codel.overloaded);
        assert!(codel.may_wait(0, 5000 * MS) && codel.may_wait(9, 5000 * MS));
        assert!(!codel.may_wait(10, 5000 * MS), "11 turns of 10 ms");
        codel.ran_empty();
        assert!(codel.may_wait(10, 5000 * MS));
    }

    #[test]
    fn a_wait_that_would_take_too_long_is_refused_without_an_overload() {
        let mut codel = codel();
        pass(&mut codel, start(), 20, 1 * MS);
        assert!(!codel.overloaded);
        // Three quarters of it.
        assert!(codel.may_wait(374, 5000 * MS) && !codel.may_wait(375, 5000 * MS));
    }

    #[test]
    fn a_pause_does_not_count_for_each_who_waits() {
        let mut codel = codel();
        let from = start();
        let mut pass = |ms: u32| codel.passed(from + MS * ms, from + MS * ms, 900);
        (0..200).for_each(&mut pass);
        // 40 ms without a place: an eighth of it for each of 900 would be 4.5 s.
        pass(240);
        assert!(codel.may_wait(900, 5000 * MS), "{codel:?}");
        // Places that are 10 ms apart from then on are another thing.
        let from = from + 240 * MS;
        (1..400).for_each(|turn| codel.passed(from + 10 * MS * turn, from + 10 * MS * turn, 900));
        assert!(!codel.may_wait(900, 5000 * MS), "{codel:?}");
    }

    #[test]
    fn slow_handlers_still_have_somebody_in_the_line() {
        let mut codel = codel();
        let from = start();
        for turn in 0..10 {
            let now = from + 2000 * MS * turn;
            codel.passed(now - 2000 * MS, now, 0);
        }
        assert!(codel.overloaded);
        assert!(codel.may_wait(0, 5000 * MS) && !codel.may_wait(1, 5000 * MS));
    }
}
