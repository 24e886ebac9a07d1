//! `Patience`: whether a loop that goes to sleep waits for several answers at once instead of for one.
//!
//! A page that makes sixty calls gets sixty answers within a millisecond or two, and a loop with little else to do falls
//! asleep between each two of them. To be woken costs more than the answer does. So the loop asks the kernel for a batch and
//! gives it a moment to come together (io_uring's min_wait, Linux 6.12), where nobody has to mind:
//!
//! - Nearly all that the loop hears are answers that took [`LONG_PART`] times the moment: one of 20 ms is late by 0.1 ms.
//! - Quick answers, requests and other threads are not to wait: where every tenth thing is one of them, nobody does. So a
//!   receive without [`crate::Op::WaitRecv`] is no answer, however long it took: its peer has asked for something.
//!
//! What comes once the moment is over is reported at once, as without it.

use std::cell::Cell;
use std::time::Duration;

/// How long the loop listens before it decides anew.
const WINDOW_MS: u64 = 100;
/// A window that has become longer than this says nothing: the loop has slept.
const WINDOW_MAX_MS: u64 = 1000;
/// Long answers of a window that are few enough to be woken for each.
const LONG_MIN: u64 = 64;
/// How many of them have to come for everything else that comes.
const LONG_PER_OTHER: u64 = 8;
/// How many times as long as the moment a long answer takes, at least.
const LONG_PART: u32 = 200;
/// How many answers end the moment early: a wake-up's cost, divided by so many, is little beside an answer's.
const BATCH: u32 = 16;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Company {
    /// So many completions end the wait,
    pub(crate) completions: u32,
    /// or one, once so much time is over.
    pub(crate) moment: Duration,
}

/// What one loop has heard, and what follows from it. Times are the loop's own, in milliseconds.
#[derive(Debug)]
pub(crate) struct Patience {
    company: Company,
    /// From when on an answer is a long one.
    long_ms: u64,
    long: Cell<u64>,
    others: Cell<u64>,
    since_ms: Cell<u64>,
    waits: Cell<bool>,
}

impl Patience {
    pub(crate) fn new(moment: Duration) -> Patience {
        Patience {
            company: Company { completions: BATCH, moment },
            long_ms: (moment * LONG_PART).as_millis().max(1) as u64,
            long: Cell::new(0),
            others: Cell::new(0),
            since_ms: Cell::new(0),
            waits: Cell::new(false),
        }
    }

    /// An answer has come that was waited for so long.
    #[inline]
    pub(crate) fn hear_answer(&self, waited_ms: u64) {
        let count = if waited_ms >= self.long_ms { &self.long } else { &self.others };
        count.set(count.get() + 1);
    }

    /// Something else has come.
    #[inline]
    pub(crate) fn hear_other(&self) {
        self.others.set(self.others.get() + 1);
    }

    /// For a loop that is about to sleep.
    pub(crate) fn company(&self, now_ms: u64) -> Option<Company> {
        let window_ms = now_ms - self.since_ms.get();
        if window_ms >= WINDOW_MS {
            let (long, others) = (self.long.take(), self.others.take());
            let is_crowded = long >= LONG_MIN && long >= LONG_PER_OTHER * others;
            self.waits.set(is_crowded && window_ms <= WINDOW_MAX_MS && !self.company.moment.is_zero());
            self.since_ms.set(now_ms);
        }
        self.waits.get().then_some(self.company)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_micros(100);

    /// Whether a loop waits for company after a window in which so many answers of 20 ms and of 19 ms, and so much else, came.
    fn waits(moment: Duration, long: u64, short: u64, others: u64, window_ms: u64) -> bool {
        let patience = Patience::new(moment);
        (0..long).for_each(|_| patience.hear_answer(20));
        (0..short).for_each(|_| patience.hear_answer(19));
        (0..others).for_each(|_| patience.hear_other());
        assert_eq!(patience.company(WINDOW_MS / 2), None, "nothing is known yet");
        patience.company(window_ms).is_some_and(|company| company.moment == moment)
    }

    #[test]
    fn a_loop_that_hears_long_answers_waits_for_several() {
        assert!(waits(MOMENT, 600, 0, 10, WINDOW_MS));
        assert!(waits(MOMENT, 600, 40, 35, WINDOW_MS));
    }

    #[test]
    fn a_loop_that_hears_quick_answers_or_others_or_little_waits_for_one() {
        assert!(!waits(MOMENT, 0, 600, 0, WINDOW_MS));
        assert!(!waits(MOMENT, 600, 76, 0, WINDOW_MS));
        assert!(!waits(MOMENT, 600, 0, 76, WINDOW_MS));
        assert!(!waits(MOMENT, LONG_MIN - 1, 0, 0, WINDOW_MS));
        assert!(!waits(MOMENT, 600, 0, 10, WINDOW_MAX_MS + 1));
    }

    #[test]
    fn no_moment_is_no_wait() {
        assert!(!waits(Duration::ZERO, 600, 0, 0, WINDOW_MS));
    }

    #[test]
    fn each_window_counts_for_itself() {
        let patience = Patience::new(MOMENT);
        (0..600).for_each(|_| patience.hear_answer(100));
        assert!(patience.company(WINDOW_MS).is_some());
        assert!(patience.company(WINDOW_MS + WINDOW_MS / 2).is_some(), "until the next one is over");
        assert_eq!(patience.company(2 * WINDOW_MS), None, "no answer came in that one");
    }
}
