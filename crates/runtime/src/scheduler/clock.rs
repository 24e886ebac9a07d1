//! What the time is, for those who read it often: the loop's clock, and readings that two runs in a row share.

use std::time::Instant;

use super::Scheduler;

impl Scheduler {
    /// The loop's own clock is right while it dispatches, and old while a fiber runs.
    pub(crate) fn turn_now(&self) -> Instant {
        if self.running.get().is_some() { Instant::now() } else { self.reactor.now() }
    }

    /// When a wake-up comes.
    pub(super) fn wake_ns(&self) -> u64 {
        self.ns(self.turn_now())
    }

    /// A time as accounts have it.
    pub(super) fn ns(&self, at: Instant) -> u64 {
        let (then, then_ns) = self.clock;
        match at.checked_duration_since(then) {
            Some(after) => then_ns.saturating_add(after.as_nanos() as u64),
            None => then_ns,
        }
    }

    /// The loop's clock, which is read once a turn, as accounts have it.
    pub(crate) fn turn_ns(&self) -> u64 {
        self.ns(self.reactor.now())
    }

    /// The running fiber has read the clock, and is about to end or to park.
    #[inline]
    pub(crate) fn note_reading(&self, now: u64) {
        self.read.set((now, self.runs.get()));
    }

    /// What the run before this one has noted, if nothing has happened between the two.
    #[inline]
    pub(crate) fn reading_of_last_run(&self) -> Option<u64> {
        let (read, run) = self.read.get();
        (run + 1 == self.runs.get()).then_some(read)
    }
}
