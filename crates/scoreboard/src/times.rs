//! `Times`: what all finished requests of a slot have spent, by stage and by cause.

use std::sync::atomic::{Ordering, fence};

use crate::counter::Counter;
use crate::histogram::{Histogram, HistogramReading};
use crate::stage::{Cause, Stage};

/// Sums and histograms of a slot's finished requests. Written by [`crate::Account::finish`]; zeroes are "none yet".
#[derive(Debug)]
#[repr(C)]
pub struct Times {
    finished: Counter,
    spent_ns: [Counter; Stage::COUNT],
    waited_ns: [Counter; Cause::COUNT],
    total: Histogram,
    queue: Histogram,
    run: Histogram,
    waits: [Histogram; Cause::COUNT],
}

impl Times {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            finished: Counter::new(),
            spent_ns: [const { Counter::new() }; Stage::COUNT],
            waited_ns: [const { Counter::new() }; Cause::COUNT],
            total: Histogram::new(),
            queue: Histogram::new(),
            run: Histogram::new(),
            waits: [const { Histogram::new() }; Cause::COUNT],
        }
    }

    /// Counts so many requests, which share equally: their time altogether, by stage (without [`Stage::Wait`]) and by cause, in
    /// nanoseconds.
    ///
    /// `single_writer`: no other thread finishes requests of this slot, so locked instructions can be left out (about 15 ns
    /// each, of which there are nine).
    #[inline]
    pub(crate) fn record(
        &self,
        requests: u64,
        total: u64,
        spent: &[u64; Stage::COUNT],
        waits: impl Iterator<Item = (Cause, u64)>,
        single_writer: bool,
    ) {
        // A division costs as much as the rest, and nearly always there is one.
        let each = |ns: u64| if requests == 1 { ns } else { ns / requests };
        let histograms = [
            (&self.total, each(total)),
            (&self.queue, each(spent[Stage::Queue as usize])),
            (&self.run, each(spent[Stage::Run as usize])),
        ];
        let sums = self.spent_ns.iter().zip(spent).filter(|(_, ns)| **ns > 0);
        if single_writer {
            histograms.iter().for_each(|(histogram, ns)| histogram.record_single_writer(*ns, requests));
            sums.for_each(|(sum, ns)| sum.add_single_writer(*ns));
        } else {
            histograms.iter().for_each(|(histogram, ns)| histogram.record_many(*ns, requests));
            sums.for_each(|(sum, ns)| sum.add(*ns));
        }
        for (cause, ns) in waits {
            self.spent_ns[Stage::Wait as usize].add(ns);
            self.waited_ns[cause as usize].add(ns);
            self.waits[cause as usize].record(ns);
        }
        // The count comes last, so that whoever sees a request counted sees all of it.
        fence(Ordering::Release);
        if single_writer {
            self.finished.add_single_writer(requests);
        } else {
            self.finished.add(requests);
        }
    }

    /// The sums now. All requests of [`TimesReading::finished`] are in all of them; one that ends meanwhile may be in some of
    /// the other sums already.
    pub fn reading(&self) -> TimesReading {
        let finished = self.finished.get();
        fence(Ordering::Acquire);
        TimesReading {
            finished,
            spent_ns: std::array::from_fn(|index| self.spent_ns[index].get()),
            waited_ns: std::array::from_fn(|index| self.waited_ns[index].get()),
            total: self.total.reading(),
            queue: self.queue.reading(),
            run: self.run.reading(),
            waits: std::array::from_fn(|index| self.waits[index].reading()),
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

/// A slot's times at one moment, or several slots' together.
///
/// ```
/// use tenfold_scoreboard::{Cause, Scoreboard, Stage};
/// let board = Scoreboard::private(1);
/// let before = board.times();
/// // … requests are served …
/// let passed = board.times().since(&before);
/// assert_eq!((passed.finished(), passed.stage_ns(Stage::Run), passed.wait_ns(Cause::Sleep)), (0, 0, 0));
/// assert_eq!(passed.share_of_waiting(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimesReading {
    finished: u64,
    spent_ns: [u64; Stage::COUNT],
    waited_ns: [u64; Cause::COUNT],
    total: HistogramReading,
    queue: HistogramReading,
    run: HistogramReading,
    waits: [HistogramReading; Cause::COUNT],
}

impl TimesReading {
    /// Requests that were finished.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// What they have spent in a stage, in nanoseconds; for [`Stage::Wait`] all causes together.
    pub fn stage_ns(&self, stage: Stage) -> u64 {
        self.spent_ns[stage as usize]
    }

    /// What they have waited for a cause, in nanoseconds.
    pub fn wait_ns(&self, cause: Cause) -> u64 {
        self.waited_ns[cause as usize]
    }

    /// What they have spent from arrival to the last byte, in nanoseconds.
    pub fn total_ns(&self) -> u64 {
        self.spent_ns.iter().sum()
    }

    /// The share of the time in which no processor was needed, 0 to 1: waits, without the queue. `None` without requests.
    pub fn share_of_waiting(&self) -> Option<f64> {
        let wait = self.stage_ns(Stage::Wait) as f64;
        let busy: u64 = Stage::ALL.into_iter().filter(|s| s.is_busy()).map(|s| self.stage_ns(s)).sum();
        let all = wait + busy as f64;
        (all > 0.0).then(|| wait / all)
    }

    /// Times from arrival to the last byte.
    pub fn total(&self) -> &HistogramReading {
        &self.total
    }

    /// Times in the queue; one value a request, zeroes included.
    pub fn queue(&self) -> &HistogramReading {
        &self.queue
    }

    /// Times in the handler on a processor; one value a request.
    pub fn run(&self) -> &HistogramReading {
        &self.run
    }

    /// Waits of requests that have waited for this at all; one value a request.
    pub fn wait(&self, cause: Cause) -> &HistogramReading {
        &self.waits[cause as usize]
    }

    /// What has come since an earlier reading of the same slots.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            finished: less(self.finished, earlier.finished),
            spent_ns: std::array::from_fn(|at| less(self.spent_ns[at], earlier.spent_ns[at])),
            waited_ns: std::array::from_fn(|at| less(self.waited_ns[at], earlier.waited_ns[at])),
            total: self.total.since(&earlier.total),
            queue: self.queue.since(&earlier.queue),
            run: self.run.since(&earlier.run),
            waits: std::array::from_fn(|at| self.waits[at].since(&earlier.waits[at])),
        }
    }

    /// Adds another slot's.
    pub fn merge(&mut self, other: &Self) {
        self.finished += other.finished;
        self.spent_ns.iter_mut().zip(other.spent_ns).for_each(|(mine, theirs)| *mine += theirs);
        self.waited_ns.iter_mut().zip(other.waited_ns).for_each(|(mine, theirs)| *mine += theirs);
        self.total.merge(&other.total);
        self.queue.merge(&other.queue);
        self.run.merge(&other.run);
        self.waits.iter_mut().zip(&other.waits).for_each(|(mine, theirs)| mine.merge(theirs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_kept_by_stage_and_by_cause_and_can_be_told_apart_in_time() {
        let times = Times::new();
        let spent = |run| {
            let mut spent = [0; Stage::COUNT];
            spent[Stage::Run as usize] = run;
            spent[Stage::Queue as usize] = 5_000;
            spent
        };
        times.record(1, 40_000, &spent(10_000), [(Cause::Sleep, 25_000)].into_iter(), true);
        let before = times.reading();
        times.record(1, 105_000, &spent(100_000), std::iter::empty(), false);
        let mut passed = times.reading().since(&before);
        assert_eq!((passed.finished(), passed.stage_ns(Stage::Run)), (1, 100_000));
        assert_eq!((passed.stage_ns(Stage::Wait), passed.share_of_waiting()), (0, Some(0.0)));
        passed.merge(&before);
        assert_eq!(passed, times.reading());
        assert_eq!((passed.wait_ns(Cause::Sleep), passed.wait(Cause::Sleep).count()), (25_000, 1));
        assert_eq!((passed.total_ns(), passed.total().count(), passed.queue().count()), (145_000, 2, 2));
    }
}
