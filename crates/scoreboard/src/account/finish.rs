//! How an account's request ends, and what of it is timed as a whole.

use std::sync::atomic::Ordering::Relaxed;

use super::{Account, DIVIDED, add};
use crate::stage::{Cause, Stage};
use crate::times::Times;

/// What a request takes that does little: up to this time one that was timed roughly is divided like the last one that was
/// timed finely; a longer one has spent the time in its handler.
const LITTLE_NS: u64 = 100_000;

impl Account {
    /// Whether the present request is timed as a whole, as long as it does not wait, and divided at the end: four readings
    /// of the clock fewer. Decided by whoever begins it; one that waits is timed finely from then on.
    #[inline]
    pub fn time_roughly(&self) {
        self.rough.store(1, Relaxed);
    }

    /// Stages are timed one by one from `now` on.
    #[inline]
    pub fn time_finely(&self, now: u64) {
        if self.rough.load(Relaxed) != 0 {
            self.write(|| self.refine(now));
        }
    }

    /// The present request is answered, and its answer will go out together with the next one's, which begins. Requests of a
    /// pipeline share their time equally. False where that cannot be said: finish the present one.
    #[inline]
    pub fn join(&self) -> bool {
        let joined = self.joined.load(Relaxed);
        if self.rough.load(Relaxed) == 0 || joined == u16::MAX {
            return false;
        }
        self.joined.store(joined + 1, Relaxed);
        true
    }

    /// The request is answered since the last stage's beginning or `now`: its times go to `times`, and the account is free.
    #[inline]
    pub fn finish(&self, times: &Times, now: u64) {
        self.finish_with(times, now, false);
    }

    /// [`Account::finish`] without locked instructions, where one thread alone finishes the requests of a slot; see
    /// [`crate::Counter::add_single_writer`].
    #[inline]
    pub fn finish_single_writer(&self, times: &Times, now: u64) {
        self.finish_with(times, now, true);
    }

    #[inline]
    fn finish_with(&self, times: &Times, now: u64, single_writer: bool) {
        self.write(|| {
            let requests = u64::from(self.joined.load(Relaxed)) + 1;
            if self.rough.load(Relaxed) != 0 {
                self.divide(now, requests);
            } else {
                self.settle(now);
                self.note_shares();
            }
            self.record(times, now, requests, single_writer);
            self.clear_sums();
        });
    }

    #[inline]
    fn record(&self, times: &Times, now: u64, requests: u64, single_writer: bool) {
        let spent = std::array::from_fn(|at| self.spent[at].load(Relaxed));
        let total = now.saturating_sub(self.arrived.load(Relaxed));
        let causes = self.causes.load(Relaxed);
        let waits = Cause::ALL.into_iter().filter(|cause| causes & 1 << *cause as u8 != 0);
        times.record(
            requests,
            total,
            &spent,
            waits.map(|cause| (cause, self.waited[cause as usize].load(Relaxed))),
            single_writer,
        );
    }

    /// Ends rough timing. Requests that have joined are counted up to `now`: what comes is none of theirs.
    #[inline]
    pub(super) fn refine(&self, now: u64) {
        self.rough.store(0, Relaxed);
        let joined = self.joined.load(Relaxed);
        if joined > 0 {
            self.part(now, joined);
        }
    }

    #[cold]
    fn part(&self, now: u64, joined: u16) {
        self.divide(now, joined.into());
        self.record(&crate::current().times, now, joined.into(), false);
        self.joined.store(0, Relaxed);
        self.spent.iter().for_each(|sum| sum.store(0, Relaxed));
        self.arrived.store(now, Relaxed);
    }

    /// [`Account::settle`] at the end of so many requests that were timed roughly.
    #[inline]
    fn divide(&self, now: u64, requests: u64) {
        let since = self.since.load(Relaxed);
        let all = now.saturating_sub(since);
        self.since.store(now.max(since), Relaxed);
        let mut left = all;
        if all <= LITTLE_NS * requests {
            for (stage, share) in
                DIVIDED.into_iter().zip(&self.shares).filter(|(stage, _)| *stage != Stage::Run)
            {
                let part = all * u64::from(share.load(Relaxed)) / 255;
                add(&self.spent[stage as usize], part);
                left -= part.min(left);
            }
        }
        add(&self.spent[Stage::Run as usize], left);
    }

    /// Keeps how a request's time was divided, for those that come after it.
    fn note_shares(&self) {
        let ns = DIVIDED.map(|stage| self.spent[stage as usize].load(Relaxed));
        let all: u64 = ns.iter().sum();
        if self.causes.load(Relaxed) == 0 && (1..=LITTLE_NS).contains(&all) {
            for (share, ns) in self.shares.iter().zip(ns) {
                // Rounded down, so that together they are not more than the whole.
                share.store(u8::try_from(ns * 255 / all).unwrap_or(u8::MAX), Relaxed);
            }
        }
    }
}
