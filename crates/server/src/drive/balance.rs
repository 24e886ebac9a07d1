//! `Balance`: spreads connections evenly over the workers that share a listener.
//!
//! Every loop that waits for a shared listener is woken by a new connection, and whoever is awake first takes it. A loop that
//! has just taken one is awake, so it also takes the next: ten connections that come at once end up with one worker of two,
//! and stay there for as long as they are kept alive. nginx has the same (its `accept_mutex` only changes who is unlucky);
//! Envoy locks for an exact balance. Here a worker that has more connections than its lightest peer lets that one go first,
//! for a millisecond at a time, and gives up on peers that do not come: a hung worker must not slow the others down.
//!
//! The numbers are those on the scoreboard. They are read without a lock and may be a moment old, which costs evenness only.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::sleep;
use tenfold_scoreboard::{Scoreboard, Slot, State};

/// How long a peer is given to take the connection that is there: a loop that is not busy needs some 50 µs.
const PAUSE: Duration = Duration::from_millis(1);
/// Pauses without effect in a row before this worker stops waiting for others, since they are busy or hang.
const USELESS_MAX: u32 = 10;
/// How long it does not wait for others then.
const ALONE: Duration = Duration::from_millis(100);

/// Belongs to one acceptor of one loop.
pub(crate) struct Balance {
    slots: &'static [Slot],
    own: &'static Slot,
    useless: u32,
    alone_until: Option<Instant>,
}

impl Balance {
    /// For the process that `own` belongs to, which accepts from now on. `None` where it has no peers to share with.
    pub(crate) fn new(board: Option<Scoreboard>, own: &'static Slot) -> Option<Balance> {
        let slots = board?.slots();
        own.accepting.set(1);
        Some(Balance { slots, own, useless: 0, alone_until: None })
    }

    /// [`TcpListener::accept_from_until`] without an end, behind lighter peers. Fails when the fiber is cancelled.
    ///
    /// Costs a look at each slot of the board, and while a peer is lighter a poll(2) and a pause of a millisecond.
    pub(crate) fn accept(&mut self, listener: &TcpListener) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        loop {
            if !self.is_heavier() || self.alone_until.is_some_and(|until| Instant::now() < until) {
                return listener.accept_from_until(None);
            }
            // A pause before somebody is there would be no courtesy, only a delay for whoever comes next.
            listener.wait_pending(None)?;
            sleep(PAUSE);
            match listener.try_accept_from() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.useless = 0,
                other => {
                    self.judge();
                    return other;
                }
            }
        }
    }

    /// A peer was let go first and did not take what was there.
    fn judge(&mut self) {
        // It may well have taken others meanwhile.
        if !self.is_heavier() {
            self.useless = 0;
            return;
        }
        self.useless += 1;
        if self.useless == USELESS_MAX {
            self.useless = 0;
            self.alone_until = Some(Instant::now() + ALONE);
        }
    }

    /// Whether a peer has fewer connections. An eighth does not count: with hundreds of them evenness comes by itself.
    fn is_heavier(&self) -> bool {
        let own = self.own.connections_open.get();
        let lightest = self.peers().map(|slot| slot.connections_open.get()).min();
        lightest.is_some_and(|lightest| own > lightest + own / 8)
    }

    /// The processes that accept from the same listener: not the handler processes, nor a generation that drains.
    fn peers(&self) -> impl Iterator<Item = &'static Slot> {
        let own = self.own;
        self.slots.iter().filter(move |slot| {
            !std::ptr::eq(*slot, own)
                && slot.accepting.get() > 0
                && slot.state() == State::Ready
                && slot.generation() == own.generation()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(open: [u64; 3]) -> Scoreboard {
        let board = Scoreboard::private(3);
        for (slot, open) in board.slots().iter().zip(open) {
            slot.occupy(1, 1);
            slot.set_state(State::Ready);
            slot.accepting.set(1);
            slot.connections_open.set(open);
        }
        board
    }

    fn is_heavier(board: Scoreboard) -> bool {
        Balance::new(Some(board), board.slot(0)).expect("there is a board").is_heavier()
    }

    #[test]
    fn one_more_than_a_peer_is_heavier_and_an_eighth_of_many_is_not() {
        assert!(!is_heavier(board([3, 3, 9])));
        assert!(is_heavier(board([4, 3, 9])));
        assert!(!is_heavier(board([800, 700, 900])));
        assert!(is_heavier(board([801, 700, 900])));
    }

    #[test]
    fn only_workers_that_accept_beside_us_count() {
        let drains = board([4, 0, 9]);
        drains.slot(1).set_state(State::Draining);
        assert!(!is_heavier(drains));
        let handler = board([4, 0, 9]);
        handler.slot(1).accepting.set(0);
        assert!(!is_heavier(handler));
        let older = board([4, 0, 9]);
        older.slot(1).occupy(2, 7);
        assert!(!is_heavier(older));
    }

    #[test]
    fn peers_that_never_come_are_not_waited_for_much_longer() {
        let board = board([4, 0, 9]);
        let mut balance = Balance::new(Some(board), board.slot(0)).expect("there is a board");
        (1..USELESS_MAX).for_each(|_| balance.judge());
        assert!(balance.alone_until.is_none());
        balance.judge();
        assert!(balance.alone_until.is_some());
    }
}
