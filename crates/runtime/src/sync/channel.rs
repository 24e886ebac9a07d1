//! `channel`: a bounded queue from many senders to many receivers.
//!
//! ```text
//!   senders that wait for room ─▶ [ buffer, at most `capacity` ] ─▶ receivers that wait for a value
//! ```
//!
//! A value that is put in wakes the first receiver, a value that is taken out the first sender. The one who is woken
//! competes with whoever comes by at that moment; when it loses it keeps its place at the front. Each value in the buffer
//! has woken somebody, so whoever is woken and does not want it any more (its time is over) still takes it if it is
//! there, and a [`super::select()`] that has taken another passes the wake-up on.

mod error;
mod shared;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_fiber::BiasedLock;

use self::shared::State;
use super::queue::{Queue, Ticket, Wakes};
use crate::cause::Cause;
use crate::park::{self, Unparked, Waiter};

pub use self::error::{RecvError, SendError, TryRecvError, TrySendError};
pub(super) use self::shared::Shared;

/// Makes a channel for at most `capacity` values.
///
/// ```
/// use tenfold_runtime::{spawn, sync::channel};
/// let (sender, receiver) = channel(2);
/// spawn(move || (0..5).for_each(|number| sender.send(number).unwrap()));
/// assert_eq!(receiver.iter().sum::<i32>(), 10);
/// ```
///
/// # Panics
/// When `capacity` is 0: a rendezvous is a channel of one and an answer.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel has room for one value at least");
    let state = State {
        buffer: VecDeque::new(),
        receivers: Queue::new(),
        senders: Queue::new(),
        sender_count: 1,
        receiver_count: 1,
        closed: false,
    };
    let shared = Arc::new(Shared { state: BiasedLock::new(state), capacity });
    (Sender(shared.clone()), Receiver(shared))
}

/// The sending half; clones share it. The channel closes when the last one is dropped.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving half; clones share it, and each value goes to one of them. When the last one is dropped the channel
/// closes and what is in it is dropped.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Sends a value, waiting for room.
    ///
    /// # Errors
    /// [`SendError`], with the value.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, None)
    }

    /// Sends a value, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`SendError`], with the value.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_until(value, Some(park::after(timeout)))
    }

    /// Sends a value, waiting until `until` at most.
    ///
    /// # Errors
    /// [`SendError`], with the value.
    #[inline]
    pub fn send_until(&self, value: T, until: Option<Instant>) -> Result<(), SendError<T>> {
        match self.try_send(value) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(value)) => Err(SendError::Closed(value)),
            Err(TrySendError::Full(value)) => self.send_when_room(value, until),
        }
    }

    /// Apart, so that a send into a channel with room is short enough to become a part of its caller.
    #[inline(never)]
    fn send_when_room(&self, mut value: T, until: Option<Instant>) -> Result<(), SendError<T>> {
        let mut ticket = None;
        let mut ended = Unparked::Woken;
        loop {
            let wait = ended == Unparked::Woken;
            match self.0.send_or_join(value, &mut ticket, wait.then(Waiter::current)) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(back)) => return Err(SendError::Closed(back)),
                Err(TrySendError::Full(back)) => value = back,
            }
            match ended {
                Unparked::Woken => ended = park::park_for(Cause::Channel, until),
                Unparked::TimedOut => return Err(SendError::TimedOut(value)),
                Unparked::Cancelled => return Err(SendError::Cancelled(value)),
            }
        }
    }

    /// Sends a value if there is room.
    ///
    /// # Errors
    /// [`TrySendError`], with the value.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(value)
    }

    /// Closes the channel: nothing can be sent any more, what is in it can still be received.
    pub fn close(&self) {
        self.0.close();
    }

    /// How many values it holds at the moment.
    pub fn len(&self) -> usize {
        self.0.state.lock().buffer.len()
    }

    /// Whether it holds nothing at the moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.0.state.lock().closed
    }

    pub(super) fn shared(&self) -> &Shared<T> {
        &self.0
    }
}

impl<T> Receiver<T> {
    /// Takes the next value, waiting for it.
    ///
    /// # Errors
    /// [`RecvError`].
    #[inline(always)]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(None)
    }

    /// Takes the next value, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_until(Some(park::after(timeout)))
    }

    /// Takes the next value, waiting until `until` at most.
    ///
    /// # Errors
    /// [`RecvError`].
    // Inlined, because the way back from the switch should cross no `ret` (see `Scheduler::park_current`): with one in
    // here, and so one more in the next switch, each of them cost its misprediction. What is not the switch is apart.
    #[inline(always)]
    pub fn recv_until(&self, until: Option<Instant>) -> Result<T, RecvError> {
        let mut ticket = None;
        let mut ended = Unparked::Woken;
        loop {
            match self.take_or_join(&mut ticket, ended == Unparked::Woken) {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Closed) => return Err(RecvError::Closed),
                Err(TryRecvError::Empty) => {}
            }
            match ended {
                Unparked::Woken => ended = park::park_for(Cause::Channel, until),
                Unparked::TimedOut => return Err(RecvError::TimedOut),
                Unparked::Cancelled => return Err(RecvError::Cancelled),
            }
        }
    }

    /// Takes the next value, or joins the line if `wait`, or leaves it if not.
    #[inline(never)]
    fn take_or_join(&self, ticket: &mut Option<Ticket>, wait: bool) -> Result<T, TryRecvError> {
        self.0.recv_or_join(ticket, wait.then_some(Waiter::current))
    }

    /// Takes the next value if there is one.
    ///
    /// # Errors
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.recv_or_join(&mut None, None::<fn() -> Waiter>)
    }

    /// The values as they come, until the channel is closed or the task is cancelled or out of time.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Closes the channel: nothing can be sent any more, what is in it can still be received.
    pub fn close(&self) {
        self.0.close();
    }

    /// How many values it holds at the moment.
    pub fn len(&self) -> usize {
        self.0.state.lock().buffer.len()
    }

    /// Whether it holds nothing at the moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn shared(&self) -> &Shared<T> {
        &self.0
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().sender_count += 1;
        Sender(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().receiver_count += 1;
        Receiver(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut wakes = Wakes::default();
        let mut state = self.0.state.lock();
        state.sender_count -= 1;
        if state.sender_count == 0 {
            state.close(&mut wakes);
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut wakes = Wakes::default();
        // Values are dropped after the lock: their destructors are the user's code.
        let mut _unreceived = VecDeque::new();
        let mut state = self.0.state.lock();
        state.receiver_count -= 1;
        if state.receiver_count == 0 {
            state.close(&mut wakes);
            _unreceived = std::mem::take(&mut state.buffer);
        }
        drop(state);
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sender").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Receiver").field("len", &self.len()).finish_non_exhaustive()
    }
}
