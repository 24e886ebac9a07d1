//! Shared-memory slots per worker and the counters in them.
//!
//! The master makes one [`Scoreboard`] before it forks. Every worker owns one
//! [`Slot`] of it and ticks counters there; the master, or anyone else who
//! shares the mapping, reads them at any time, also when every worker is busy
//! or dead. There is no lock: every field is an atomic, and a worker that is
//! killed in the middle of anything leaves a board that can still be read.
//!
//! Code that counts does not pass a slot around. It asks for [`current`]:
//!
//! ```
//! use tenfold_scoreboard as scoreboard;
//!
//! let board = scoreboard::Scoreboard::private(2);
//! scoreboard::set_current(board.slot(1)); // the supervisor does this after fork
//! scoreboard::current().requests.add(1);
//! assert_eq!(board.slot(1).requests.get(), 1);
//! assert_eq!(board.sum(|slot| slot.requests.get()), 1);
//! ```
//!
//! A request in flight has an [`Account`] in its worker's slot: how long it was in which [`Stage`], and what it waits for
//! ([`Cause`]). When it is answered its times join the slot's [`Times`].
//!
//! What a process does for rooms, it counts in its slot's [`RoomCounters`].
//!
//! A [`Table`] is for the application: keys and values that all workers share.
//!
//! In scope: the mapping, slots, counters, gauges, histograms, accounts, tables. Out of scope: who is
//! started or stopped (supervisor), what is served (server), and how the
//! numbers are shown.

mod board;
mod slot;

mod counter;
mod histogram;
mod lane;
mod reason;
mod rooms;
mod stage;
mod times;

mod account;
mod claim;
mod text;

mod map;

mod robust;
mod table;

pub use account::{Account, AccountReading, Handed, What};
pub use board::{Error, SLOTS_MAX, Scoreboard};
pub use claim::Claim;
pub use counter::{Counter, Gauge};
pub use histogram::{BUCKETS, Histogram, HistogramReading};
pub use lane::{LANES_PER_SLOT, LaneCounters};
pub use reason::{Counters, Phase, Reason, Shed};
pub use rooms::{MessageStage, RoomCounters};
pub use slot::{ACCOUNTS_PER_SLOT, Slot, State};
pub use stage::{Cause, Stage};
pub use table::{Table, TableConfig, TableError};
pub use text::Text;
pub use times::{Times, TimesReading};

/// The slot that this process counts in.
///
/// Until [`set_current`] was called it is a private slot of this process, so a
/// library may count without asking whether anybody looks. Cost: one load.
#[inline]
pub fn current() -> &'static Slot {
    map::current()
}

/// Makes `slot` the one that [`current`] returns, for the whole process.
///
/// The supervisor calls it in a new worker before anything is served. Calling
/// it again is allowed; ticks that race with the change land in either slot.
pub fn set_current(slot: &'static Slot) {
    map::set_current(slot);
    claim::start_over();
}

/// The clock of all times on a board: nanoseconds of the system's monotonic clock (clock_gettime(2), `CLOCK_MONOTONIC`), the
/// same in all processes of a machine. Cost: 20 to 60 ns, no system call.
#[inline]
pub fn now_ns() -> u64 {
    map::now_ns()
}
