//! `Outlet`: what one connection is sent, by whoever sends: its own handler, its rooms, the server that stops.
//!
//! A send never waits: what the socket does not take at once stays here, and the pump goes on when there is room. Rooms leave
//! nothing here but the rest of what they have begun; how far a member is behind is a number in its room.
//!
//! ```text
//!   send(own bytes) ──┐
//!   offer(a batch)  ──┼─► the socket │ its rest in `unsent` ─► pump: writable ─► flush ─► rooms catch up
//!   close(code)     ──┘
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use tenfold_server::runtime::net::TcpStream;
use tenfold_server::runtime::sync::Sender;

use crate::watch::Watch;

/// Most bytes that one connection's own messages may wait here; further ones wait outside, or are refused. What rooms send
/// does not count: at most one batch of theirs is here.
const OWN_BYTES_MAX: usize = 256 << 10;

pub(crate) struct Outlet {
    stream: TcpStream,
    /// The number of the socket, by which the pump finds it.
    number: usize,
    watch: Arc<Watch>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What waits for room. Most connections have nothing of it most of the time.
    backlog: Option<Box<Backlog>>,
    /// The pump has been asked to tell when there is room.
    watched: bool,
    /// Nothing further is taken; the sending side is closed once `unsent` is out.
    ended: bool,
    /// The socket takes nothing any more.
    broken: bool,
}

#[derive(Default)]
struct Backlog {
    /// Not empty, unless the pump is at it.
    unsent: VecDeque<Bytes>,
    own_bytes: usize,
    /// Who waits for room.
    waiters: Vec<Sender<()>>,
}

/// What became of a batch of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is sent, or its rest is here.
    Taken,
    /// Nothing of it: there is no room.
    Blocked,
    /// There is nobody to send to.
    Gone,
}

impl Outlet {
    pub(crate) fn new(stream: TcpStream, number: usize, watch: Arc<Watch>) -> Outlet {
        Outlet { stream, number, watch, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the memory that an offer begins with, by way of what [`Shared::prefetch`](crate::socket::Shared::prefetch) asks for.
    pub(crate) fn prefetch(&self) {
        self.stream.prefetch();
    }

    /// Offers what a room has to say; all members get the same bytes, and nothing is copied.
    pub(crate) fn offer(&self, batch: &Bytes) -> Offer {
        let mut state = self.state();
        if state.ended || state.broken {
            return Offer::Gone;
        }
        if state.backlog.is_some() || state.watched {
            return Offer::Blocked;
        }
        match self.stream.try_write(batch) {
            Ok(count) if count == batch.len() => Offer::Taken,
            Ok(count) => {
                state.backlog.get_or_insert_default().unsent.push_back(batch.slice(count..));
                self.watch(&mut state);
                Offer::Taken
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.watch(&mut state);
                Offer::Blocked
            }
            Err(_) => {
                state.broken = true;
                Offer::Gone
            }
        }
    }

    /// Sends bytes of this connection alone. False when so much waits already that they were not taken.
    ///
    /// # Errors
    /// `NotConnected` when the connection is closed.
    pub(crate) fn send(&self, bytes: Bytes) -> io::Result<bool> {
        let mut state = self.state();
        if state.ended || state.broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let waiting = state.own_bytes();
        if waiting > 0 && waiting + bytes.len() > OWN_BYTES_MAX {
            return Ok(false);
        }
        self.push(&mut state, bytes);
        Ok(true)
    }

    /// Registers somebody who is told once there is room for bytes of this connection's own; false when there is now.
    pub(crate) fn await_room(&self, waiter: Sender<()>) -> bool {
        let mut state = self.state();
        if state.ended || state.broken || state.own_bytes() == 0 {
            return false;
        }
        state.backlog.get_or_insert_default().waiters.push(waiter);
        true
    }

    /// Sends last words, whatever waits before them, and then closes the sending side.
    pub(crate) fn end(&self, last: Bytes) {
        let mut state = self.state();
        if state.ended || state.broken {
            return;
        }
        self.push(&mut state, last);
        state.ended = true;
        self.finish(&mut state);
    }

    /// Whether nothing further can be sent.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.ended || state.broken
    }

    /// Cuts the connection off, sent or not.
    pub(crate) fn cut(&self) {
        let mut state = self.state();
        state.broken = true;
        state.clear();
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn push(&self, state: &mut State, mut bytes: Bytes) {
        if state.backlog.is_none() && !state.watched {
            match self.stream.try_write(&bytes) {
                Ok(count) => bytes.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => state.broken = true,
            }
        }
        if !bytes.is_empty() && !state.broken {
            let backlog = state.backlog.get_or_insert_default();
            backlog.own_bytes += bytes.len();
            backlog.unsent.push_back(bytes);
            self.watch(state);
        }
    }

    fn watch(&self, state: &mut State) {
        if !state.watched {
            state.watched = self.watch.writable_once(&self.stream, self.number).is_ok();
        }
    }

    /// There is room, says the pump. True when all is sent and rooms may go on.
    pub(crate) fn flush(&self) -> bool {
        let mut state = self.state();
        state.watched = false;
        while let Some(first) = state.backlog.as_mut().and_then(|backlog| backlog.unsent.front_mut()) {
            match self.stream.try_write(first) {
                Ok(count) => {
                    first.advance(count);
                    if first.is_empty() {
                        state.backlog.as_mut().map(|backlog| backlog.unsent.pop_front());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch(&mut state);
                    return false;
                }
                Err(_) => {
                    state.broken = true;
                    break;
                }
            }
        }
        state.clear();
        self.finish(&mut state);
        !state.broken
    }

    fn finish(&self, state: &mut State) {
        if state.ended && state.backlog.is_none() {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }
}

impl State {
    fn own_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.own_bytes)
    }

    /// Nothing waits any more: who waited for room hears it.
    fn clear(&mut self) {
        for waiter in self.backlog.take().into_iter().flat_map(|backlog| backlog.waiters) {
            let _ = waiter.try_send(());
        }
    }
}
