//! `Account`: one request in flight, what it has spent so far and where it is.
//!
//! ```text
//!   begin ─▶ enter(stage) ─▶ parked(cause) ─▶ woken ─▶ resumed ─▶ enter … ─▶ finish
//!                running      waiting           queueing  running
//! ```
//!
//! The thread that runs the request writes, and hands the right to write on together with the request. Anybody reads: a
//! version number, odd while something is being written, tells a reader to look again, so that what it sees was true
//! together. A writer that is killed in between leaves an account that is skipped, and that the next worker in the slot
//! clears.

mod finish;
mod handed;
mod reading;

use std::hint::spin_loop;
use std::sync::atomic::{
    AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use crate::stage::{Cause, Stage};
use crate::text::{Text, pack, unpack};

pub use handed::Handed;
pub use reading::AccountReading;
use reading::{Raw, child_cause};

/// How often a reader looks at an account that is being written.
const LOOKS: u32 = 64;
/// The stages among which such a request's time is divided.
const DIVIDED: [Stage; 4] = [Stage::Parse, Stage::Run, Stage::Render, Stage::Write];

/// One request's line in the table of a slot. Zeroes are an account that nobody uses.
///
/// All times are of [`crate::now_ns`]'s clock.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Account {
    /// Odd while the rest is being written.
    version: AtomicU32,
    in_flight: AtomicU8,
    stage: AtomicU8,
    /// The present wait's cause and one; 0 while it does not wait.
    waiting: AtomicU8,
    /// What the request's own fibers or threads wait for, and one, while it waits for them. Written by any of them.
    child: AtomicU8,
    /// 1 while its stages are not timed one by one.
    rough: AtomicU8,
    /// 1 where `id` is the present request's: most have none, and then nothing is written there.
    has_id: AtomicU8,
    /// What part of the last finely timed request that did not wait went to each of [`DIVIDED`], in 255ths.
    shares: [AtomicU8; DIVIDED.len()],
    /// Requests before the present one whose answers will go out together with its own.
    joined: AtomicU16,
    /// A bit for each cause that it has waited for.
    causes: AtomicU32,
    arrived: AtomicU64,
    /// When the present stage or wait began.
    since: AtomicU64,
    /// When the present wait was over; 0 before.
    woken: AtomicU64,
    spent: [AtomicU64; Stage::COUNT],
    waited: [AtomicU64; Cause::COUNT],
    what: Text<4>,
    method: Text<1>,
    path: Text<8>,
    id: Text<5>,
}

/// The name of what is waited for: 32 bytes at most, a longer one is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct What([u64; 4]);

impl What {
    /// No name.
    pub const NONE: What = What([0; 4]);

    /// Keeps the beginning of a name.
    pub fn new(name: &str) -> What {
        What(pack(name))
    }
}

/// The name, as far as it is kept.
impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&unpack(&self.0))
    }
}

impl Account {
    /// One that nobody uses.
    pub const fn new() -> Self {
        Self {
            version: AtomicU32::new(0),
            in_flight: AtomicU8::new(0),
            stage: AtomicU8::new(0),
            waiting: AtomicU8::new(0),
            child: AtomicU8::new(0),
            rough: AtomicU8::new(0),
            has_id: AtomicU8::new(0),
            shares: [const { AtomicU8::new(0) }; DIVIDED.len()],
            joined: AtomicU16::new(0),
            causes: AtomicU32::new(0),
            arrived: AtomicU64::new(0),
            since: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            spent: [const { AtomicU64::new(0) }; Stage::COUNT],
            waited: [const { AtomicU64::new(0) }; Cause::COUNT],
            what: Text::new(),
            method: Text::new(),
            path: Text::new(),
            id: Text::new(),
        }
    }

    /// A request that arrived at `arrived` is in `stage` since `since`; the time between counts as queueing.
    #[inline]
    pub fn begin(&self, arrived: u64, since: u64, stage: Stage) {
        self.begin_with(arrived, since, stage, ("", ""));
    }

    /// [`Account::begin`] and [`Account::label`] in one.
    #[inline]
    pub fn begin_with(&self, arrived: u64, since: u64, stage: Stage, (method, path): (&str, &str)) {
        self.write(|| {
            self.in_flight.store(1, Relaxed);
            self.arrived.store(arrived, Relaxed);
            self.spent[Stage::Queue as usize].store(since.saturating_sub(arrived), Relaxed);
            self.since.store(since, Relaxed);
            self.stage.store(stage as u8, Relaxed);
            self.has_id.store(0, Relaxed);
            self.method.set(method);
            self.path.set(path);
        });
    }

    /// The time at which a stage ends that ends now: read from the clock, or not, where it is timed roughly.
    #[inline]
    pub fn now(&self) -> u64 {
        if self.rough.load(Relaxed) != 0 { self.since.load(Relaxed) } else { crate::now_ns() }
    }

    /// What is asked for: 8 bytes of the method and 64 of the path are kept.
    #[inline]
    pub fn label(&self, method: &str, path: &str) {
        self.write(|| {
            self.has_id.store(0, Relaxed);
            self.method.set(method);
            self.path.set(path);
        });
    }

    /// The id of the request that was labelled last; 40 bytes of it are kept, which is room for a UUID.
    pub fn set_id(&self, id: &str) {
        self.write(|| {
            self.id.set(id);
            self.has_id.store(1, Relaxed);
        });
    }

    /// The present stage is over at `now` and another begins; returns the earlier one.
    #[inline]
    pub fn enter(&self, stage: Stage, now: u64) -> Stage {
        if self.rough.load(Relaxed) != 0 {
            // Nothing is counted, and a reader sees the one stage or the other.
            return Stage::from_number(self.stage.swap_relaxed(stage as u8));
        }
        self.write(|| {
            self.settle(now);
            Stage::from_number(self.stage.swap_relaxed(stage as u8))
        })
    }

    /// Adds time that was spent before the arrival, which moves back by it.
    pub fn add_before(&self, stage: Stage, ns: u64) {
        self.write(|| {
            add(&self.spent[stage as usize], ns);
            self.arrived.store(self.arrived.load(Relaxed).saturating_sub(ns), Relaxed);
        });
    }

    /// Frees the account for what another process goes on with; from `now` on the request queues.
    pub fn hand_over(&self, now: u64) -> Handed {
        self.write(|| {
            self.refine(now);
            self.settle(now);
            let handed = Handed {
                arrived: self.arrived.load(Relaxed),
                since: now,
                spent: std::array::from_fn(|at| self.spent[at].load(Relaxed)),
                client: self.waited[Cause::Client as usize].load(Relaxed),
            };
            self.clear_sums();
            handed
        })
    }

    /// Goes on with what another process has counted; the request queues.
    pub fn take_over(&self, handed: &Handed) {
        self.write(|| {
            self.in_flight.store(1, Relaxed);
            self.arrived.store(handed.arrived, Relaxed);
            self.since.store(handed.since, Relaxed);
            self.stage.store(Stage::Queue as u8, Relaxed);
            self.spent.iter().zip(handed.spent).for_each(|(sum, ns)| sum.store(ns, Relaxed));
            self.waited[Cause::Client as usize].store(handed.client, Relaxed);
            self.causes.store(u32::from(handed.client > 0) << Cause::Client as u8, Relaxed);
            self.has_id.store(0, Relaxed);
            self.method.set_words(&[0]);
            self.path.set_words(&[0; 8]);
        });
    }

    /// It waits from `now` on. In [`Stage::Queue`] the wait counts as queueing, in [`Stage::Read`] and [`Stage::Write`] as
    /// a wait for the client, whatever `cause` says.
    #[inline]
    pub fn parked(&self, cause: Cause, what: &What, now: u64) {
        self.write(|| {
            self.refine(now);
            self.settle(now);
            let (cause, what) = match Stage::from_number(self.stage.load(Relaxed)) {
                Stage::Accept | Stage::Read | Stage::Write => (Cause::Client, &What::NONE),
                _ => (cause, what),
            };
            self.waiting.store(cause as u8 + 1, Relaxed);
            self.what.set_words(&what.0);
            self.woken.store(0, Relaxed);
        });
    }

    /// What it waits for has happened at `at`, perhaps; until [`Account::resumed`] it queues for the processor.
    #[inline]
    pub fn woken(&self, at: u64) {
        if self.waiting.load(Relaxed) != 0 && self.woken.load(Relaxed) == 0 {
            self.write(|| self.woken.store(at.max(self.since.load(Relaxed)), Relaxed));
        }
    }

    /// It runs again.
    #[inline]
    pub fn resumed(&self, now: u64) {
        let Some(cause) = self.waiting.load(Relaxed).checked_sub(1) else { return };
        self.write(|| {
            let since = self.since.load(Relaxed);
            let woken = match self.woken.load(Relaxed) {
                0 => now,
                woken => woken.min(now),
            };
            let wait = woken.saturating_sub(since);
            if self.stage.load(Relaxed) == Stage::Queue as u8 {
                add(&self.spent[Stage::Queue as usize], wait);
            } else {
                let cause = self.child_cause(cause);
                add(&self.waited[usize::from(cause)], wait);
                self.causes.store(self.causes.load(Relaxed) | 1 << cause, Relaxed);
            }
            add(&self.spent[Stage::Queue as usize], now.saturating_sub(woken));
            self.since.store(now, Relaxed);
            self.waiting.store(0, Relaxed);
        });
    }

    /// One of the request's own fibers or threads waits: if the request waits for those, this is what it waits for.
    #[inline]
    pub fn child_parked(&self, cause: Cause) {
        if cause != Cause::Task {
            self.child.store(cause as u8 + 1, Relaxed);
        }
    }

    /// It starts other fibers or threads: what earlier ones have waited for means nothing any more.
    pub fn forget_children(&self) {
        self.child.store(0, Relaxed);
    }

    /// The account is free, and what was in it counts nowhere.
    pub fn discard(&self) {
        self.write(|| self.clear_sums());
    }

    /// When the present stage or wait began: a recent time, for those who would else read the clock.
    #[inline]
    pub fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// Whether a request has it.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.load(Relaxed) != 0
    }

    /// What it says at the moment; `None` if no request has it, or if it does not stop changing.
    pub fn reading(&self) -> Option<AccountReading> {
        for _ in 0..LOOKS {
            let version = self.version.load(Acquire);
            if version % 2 == 1 {
                spin_loop();
                continue;
            }
            let in_flight = self.is_in_flight();
            let raw = in_flight.then(|| Raw {
                stage: self.stage.load(Relaxed),
                waiting: self.waiting.load(Relaxed),
                child: self.child.load(Relaxed),
                arrived: self.arrived.load(Relaxed),
                since: self.since.load(Relaxed),
                woken: self.woken.load(Relaxed),
                what: self.what.words(),
                method: self.method.words(),
                path: self.path.words(),
                id: if self.has_id.load(Relaxed) == 0 { [0; 5] } else { self.id.words() },
            });
            fence(Acquire);
            if self.version.load(Relaxed) == version {
                return raw.map(AccountReading::from);
            }
        }
        None
    }

    /// The time since the present stage began belongs to it.
    #[inline]
    fn settle(&self, now: u64) {
        let since = self.since.load(Relaxed);
        add(&self.spent[usize::from(self.stage.load(Relaxed))], now.saturating_sub(since));
        self.since.store(now.max(since), Relaxed);
    }

    fn clear_sums(&self) {
        self.rough.store(0, Relaxed);
        self.joined.store(0, Relaxed);
        self.in_flight.store(0, Relaxed);
        self.waiting.store(0, Relaxed);
        self.child.store(0, Relaxed);
        self.spent.iter().for_each(|sum| sum.store(0, Relaxed));
        if self.causes.load(Relaxed) != 0 {
            self.causes.store(0, Relaxed);
            self.waited.iter().for_each(|sum| sum.store(0, Relaxed));
        }
    }

    fn child_cause(&self, cause: u8) -> u8 {
        child_cause(cause, self.child.load(Relaxed))
    }

    /// The write side of the version (Boehm, "Can seqlocks get along with programming language memory models?", 2012):
    /// stores of the contents may not become visible before the odd version, nor after the even one.
    #[inline]
    fn write<R>(&self, stores: impl FnOnce() -> R) -> R {
        // A killed writer may have left an odd one.
        let version = self.version.load(Relaxed) & !1;
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        let result = stores();
        self.version.store(version.wrapping_add(2), Release);
        result
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

/// A store that is not a locked instruction: there is one writer.
#[inline]
fn add(sum: &AtomicU64, ns: u64) {
    sum.store(sum.load(Relaxed) + ns, Relaxed);
}

trait SwapRelaxed {
    fn swap_relaxed(&self, value: u8) -> u8;
}

impl SwapRelaxed for AtomicU8 {
    #[inline]
    fn swap_relaxed(&self, value: u8) -> u8 {
        let before = self.load(Relaxed);
        self.store(value, Relaxed);
        before
    }
}

#[cfg(test)]
#[path = "account/tests.rs"]
mod tests;
