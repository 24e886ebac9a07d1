//! The patrol: whether the peers are still there that fibers work for.

use std::cell::Cell;
use std::time::Duration;

use tenfold_reactor::{PEERS_MAX, WatchedPeer};

use super::{Scheduler, TIMER_PATROL};

/// How often a loop asks whether the peers are still there that its fibers work for: one is missed after twice that time.
const PATROL_EVERY: Duration = Duration::from_millis(100);
/// The pause before the rest of a patrol, where there are many fibers: it then takes at most a hundredth of the loop.
const PATROL_PAUSE: Duration = Duration::from_millis(10);
/// Fibers that are looked at without a pause.
const PATROL_RECORDS: usize = 4096;
/// The looks at the peers that fibers work for.
#[derive(Default)]
pub(super) struct Patrol {
    /// Its timer runs.
    armed: Cell<bool>,
    /// The record to go on with.
    next: Cell<usize>,
    /// The present round has met somebody who works for a peer.
    met_any: Cell<bool>,
}

impl Scheduler {
    /// A fiber works for a peer from now on: sees to it that somebody asks whether that is still there.
    #[inline]
    pub(crate) fn arm_patrol(&self) {
        if !self.patrol.armed.replace(true) {
            self.reactor.add_timer(self.reactor.now() + PATROL_EVERY, TIMER_PATROL);
        }
    }

    /// Cancels the fibers whose peers are gone.
    ///
    /// Asking now and then costs nothing for a request that is over before. A poll entry for each request would be one
    /// more submission, or two system calls with epoll, for nearly all of them in vain.
    pub(super) fn patrol(&self) {
        let served = self.table.borrow_mut().served_peers(self.patrol.next.get(), PATROL_RECORDS, PEERS_MAX);
        if served.any {
            self.patrol.met_any.set(true);
        }
        if !served.peers.is_empty() {
            let peers: Vec<WatchedPeer> = served.peers.iter().map(|(_, peer)| *peer).collect();
            // Without memory in the kernel nobody is known to be gone, and the next round asks again.
            for gone in WatchedPeer::gone(&peers).unwrap_or_default() {
                self.cancel(served.peers[gone].0);
            }
        }
        self.patrol.next.set(served.next.unwrap_or(0));
        let pause = match served.next {
            Some(_) => PATROL_PAUSE,
            // A loop at rest is not woken for ever.
            None if !self.patrol.met_any.replace(false) => return self.patrol.armed.set(false),
            None => PATROL_EVERY,
        };
        self.reactor.add_timer(self.reactor.now() + pause, TIMER_PATROL);
    }
}
