//! `Hub`: who gives messages their places. What the keeper does with sockets is the same for all hubs.
//!
//! ```text
//!   local   this process does: the rooms of one machine
//!   remote  a Redis, Valkey or NATS does: the rooms of all machines that name it; each keeper has copies of those it hears
//! ```

mod history;
mod local;
mod remote;

use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tenfold_server::scoreboard::{self, MessageStage};

pub(super) use self::local::Local;
pub(super) use self::remote::{Nats, Redis, Remote, Source};
use crate::wire::{Reply, Request, Snapshot};

/// What there is to know of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    /// Its kind, as the address of its server begins; `local` without one.
    pub(super) kind: &'static str,
    /// Its server is heard.
    pub(super) is_up: bool,
    /// For how long the oldest call has been waiting for its server.
    pub(super) lag: Duration,
    /// Rooms that are known here.
    pub(super) rooms: usize,
}

/// What is to be said to which worker.
pub(super) type Out = Vec<(u64, Reply)>;

/// Epochs that no other keeper gives: the clock's microseconds differ, and so does the process.
pub(super) struct Epochs(u64);

impl Epochs {
    pub(super) fn new() -> Epochs {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Epochs((now.as_micros() as u64) << 8 | u64::from(std::process::id() & 0xff))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1 << 8;
        self.0
    }
}

/// Counts a message that has got its place, `called_ns` being when `publish` was called. Gives the time, by the same clock.
fn count_place(called_ns: u64) -> u64 {
    let (now, rooms) = (scoreboard::now_ns(), &scoreboard::current().rooms);
    rooms.published.add(1);
    if called_ns > 0 {
        rooms.record(MessageStage::Place, now.saturating_sub(called_ns));
    }
    now
}

/// Who gives messages their places. Called by the keeper's one thread; must not wait.
pub(super) trait Hub {
    /// A worker asks.
    fn take(&mut self, worker: u64, request: Request, out: &mut Out);

    /// A worker is gone, and so is everybody who was present there.
    fn lose(&mut self, worker: u64, out: &mut Out);

    /// Does what is due: called after each turn of the keeper's loop, at least once a second.
    fn tidy(&mut self, out: &mut Out);

    /// What is readable when the hub has something to say by itself.
    fn bell(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// How it is. Also a hub that has nobody behind it can be asked.
    fn health(&self) -> Health;

    /// Whether calls of this worker are on their way to a server elsewhere, so that their answers are still to come.
    fn owes(&self, _worker: u64) -> bool {
        false
    }

    /// A keeper that had taken everything over is gone, with whatever it has added: what is known here may be behind.
    fn renew(&mut self) {}

    /// Everything, for a newer keeper; nothing where others keep it.
    fn snapshots(&self) -> Vec<(String, Snapshot)> {
        Vec::new()
    }

    /// Takes a room of an older keeper.
    fn restore(&mut self, _room: &str, _snapshot: Snapshot) {}
}
