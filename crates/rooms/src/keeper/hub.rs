//! `Hub`: who gives messages their places. What the keeper does with sockets is the same for all hubs.
//!
//! ```text
//!   local   this process does: the rooms of one machine
//!   remote  a Redis, Valkey or NATS does: the rooms of all machines that name it; each keeper has copies of those it hears
//! ```

mod local;
mod remote;

use std::os::fd::BorrowedFd;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use self::local::Local;
pub(super) use self::remote::{Nats, Redis, Remote, Source};
use crate::wire::{Reply, Request, Snapshot};

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

    /// Everything, for a newer keeper; nothing where others keep it.
    fn snapshots(&self) -> Vec<(String, Snapshot)> {
        Vec::new()
    }

    /// Takes a room of an older keeper.
    fn restore(&mut self, _room: &str, _snapshot: Snapshot) {}
}
