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

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lock::Lock;
use super::queue::{Queue, Ticket, Wakes};
use crate::cause::Cause;
use crate::park::{self, Unparked, Waiter};

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
    let shared = Arc::new(Shared { state: Lock::new(state), capacity });
    (Sender(shared.clone()), Receiver(shared))
}

/// The sending half; clones share it. The channel closes when the last one is dropped.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving half; clones share it, and each value goes to one of them. When the last one is dropped the channel
/// closes and what is in it is dropped.
pub struct Receiver<T>(Arc<Shared<T>>);

pub(super) struct Shared<T> {
    state: Lock<State<T>>,
    capacity: usize,
}

struct State<T> {
    buffer: VecDeque<T>,
    receivers: Queue,
    senders: Queue,
    sender_count: usize,
    receiver_count: usize,
    closed: bool,
}

/// Why a value was not sent; it is in here.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T> {
    /// Nobody will receive it.
    #[error("the channel is closed")]
    Closed(T),
    /// There was no room until the time given or the task's deadline.
    #[error("no room in the channel in time")]
    TimedOut(T),
    /// The task was cancelled while it waited for room.
    #[error("cancelled while waiting for room in the channel")]
    Cancelled(T),
}

/// Why a value was not sent at once; it is in here.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// There is no room.
    #[error("the channel is full")]
    Full(T),
    /// Nobody will receive it.
    #[error("the channel is closed")]
    Closed(T),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The channel is closed and empty.
    #[error("the channel is closed")]
    Closed,
    /// No value came until the time given or the task's deadline.
    #[error("nothing came through the channel in time")]
    TimedOut,
    /// The task was cancelled while it waited.
    #[error("cancelled while waiting for a value")]
    Cancelled,
}

/// Why there is no value now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is none at the moment.
    #[error("the channel is empty")]
    Empty,
    /// The channel is closed and empty.
    #[error("the channel is closed")]
    Closed,
}

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
    pub fn send_until(&self, value: T, until: Option<Instant>) -> Result<(), SendError<T>> {
        let mut value = match self.try_send(value) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(value)) => return Err(SendError::Closed(value)),
            Err(TrySendError::Full(value)) => value,
        };
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
        self.0.send_or_join(value, &mut None, None)
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
    #[inline]
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
    pub fn recv_until(&self, until: Option<Instant>) -> Result<T, RecvError> {
        let mut ticket = None;
        let mut ended = Unparked::Woken;
        loop {
            let wait = ended == Unparked::Woken;
            match self.0.recv_or_join(&mut ticket, wait.then_some(Waiter::current)) {
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

impl<T> Shared<T> {
    /// Sends, or joins the line if there is a waiter to join it, or leaves the line if there is none.
    pub(super) fn send_or_join(
        &self,
        value: T,
        ticket: &mut Option<Ticket>,
        waiter: Option<Waiter>,
    ) -> Result<(), TrySendError<T>> {
        let woken;
        {
            let mut state = self.state.lock();
            if state.closed {
                state.leave_senders(ticket);
                return Err(TrySendError::Closed(value));
            }
            if state.buffer.len() >= self.capacity {
                match waiter {
                    Some(waiter) => join_or_stay(&mut state.senders, ticket, waiter),
                    None => state.leave_senders(ticket),
                }
                return Err(TrySendError::Full(value));
            }
            state.buffer.push_back(value);
            state.leave_senders(ticket);
            woken = state.receivers.pop();
        }
        if let Some(woken) = woken {
            woken.wake();
        }
        Ok(())
    }

    /// Receives, or joins the line if there is a waiter to join it, or leaves the line if there is none.
    #[inline]
    pub(super) fn recv_or_join(
        &self,
        ticket: &mut Option<Ticket>,
        waiter: Option<impl FnOnce() -> Waiter>,
    ) -> Result<T, TryRecvError> {
        let (value, woken);
        {
            let mut state = self.state.lock();
            match state.buffer.pop_front() {
                Some(taken) => value = taken,
                None if state.closed => {
                    state.leave_receivers(ticket);
                    return Err(TryRecvError::Closed);
                }
                None => {
                    match waiter {
                        Some(waiter) => join_or_stay(&mut state.receivers, ticket, waiter()),
                        None => state.leave_receivers(ticket),
                    }
                    return Err(TryRecvError::Empty);
                }
            }
            state.leave_receivers(ticket);
            woken = state.senders.pop();
        }
        if let Some(woken) = woken {
            woken.wake();
        }
        Ok(value)
    }

    /// Gives up a place among the receivers; a wake-up that came for it and a value that is there go to the next one.
    pub(super) fn give_up_recv(&self, ticket: Option<Ticket>) {
        let Some(ticket) = ticket else { return };
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        if !state.receivers.leave(ticket)
            && !state.buffer.is_empty()
            && let Some(next) = state.receivers.pop()
        {
            wakes.push(next);
        }
    }

    /// Gives up a place among the senders; a wake-up that came for it and the room that is there go to the next one.
    pub(super) fn give_up_send(&self, ticket: Option<Ticket>) {
        let Some(ticket) = ticket else { return };
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        if !state.senders.leave(ticket)
            && state.buffer.len() < self.capacity
            && let Some(next) = state.senders.pop()
        {
            wakes.push(next);
        }
    }

    fn close(&self) {
        let mut wakes = Wakes::default();
        self.state.lock().close(&mut wakes);
    }
}

impl<T> State<T> {
    fn close(&mut self, wakes: &mut Wakes) {
        self.closed = true;
        wakes.all_of(&mut self.receivers);
        wakes.all_of(&mut self.senders);
    }

    fn leave_senders(&mut self, ticket: &mut Option<Ticket>) {
        if let Some(ticket) = ticket.take() {
            self.senders.leave(ticket);
        }
    }

    #[inline]
    fn leave_receivers(&mut self, ticket: &mut Option<Ticket>) {
        if let Some(ticket) = ticket.take() {
            self.receivers.leave(ticket);
        }
    }
}

#[inline]
fn join_or_stay(queue: &mut Queue, ticket: &mut Option<Ticket>, waiter: Waiter) {
    match *ticket {
        Some(ticket) => queue.stay(ticket, waiter, ()),
        None => *ticket = Some(queue.join(waiter, ())),
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

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

impl<T> std::fmt::Debug for SendError<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            SendError::Closed(_) => "Closed(..)",
            SendError::TimedOut(_) => "TimedOut(..)",
            SendError::Cancelled(_) => "Cancelled(..)",
        })
    }
}

impl<T> std::fmt::Debug for TrySendError<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Closed(value) | SendError::TimedOut(value) | SendError::Cancelled(value) => value,
        }
    }
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(value) | TrySendError::Closed(value) => value,
        }
    }
}
