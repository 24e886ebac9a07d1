//! What the two halves of a channel share: the values, and the lines of those who wait.

use std::collections::VecDeque;

use tenfold_fiber::BiasedLock;

use super::{TryRecvError, TrySendError};
use crate::park::Waiter;
use crate::sync::queue::{Queue, Ticket, Wakes};

pub(in crate::sync) struct Shared<T> {
    pub(super) state: BiasedLock<State<T>>,
    pub(super) capacity: usize,
}

pub(super) struct State<T> {
    pub(super) buffer: VecDeque<T>,
    pub(super) receivers: Queue,
    pub(super) senders: Queue,
    pub(super) sender_count: usize,
    pub(super) receiver_count: usize,
    pub(super) closed: bool,
}

impl<T> Shared<T> {
    /// Sends if there is room.
    #[inline]
    pub(in crate::sync) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let woken;
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(TrySendError::Closed(value));
            }
            if state.buffer.len() >= self.capacity {
                return Err(TrySendError::Full(value));
            }
            state.buffer.push_back(value);
            woken = state.receivers.pop();
        }
        if let Some(woken) = woken {
            woken.wake();
        }
        Ok(())
    }

    /// Sends, or joins the line if there is a waiter to join it, or leaves the line if there is none.
    pub(in crate::sync) fn send_or_join(
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
    pub(in crate::sync) fn recv_or_join(
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
    pub(in crate::sync) fn give_up_recv(&self, ticket: Option<Ticket>) {
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
    pub(in crate::sync) fn give_up_send(&self, ticket: Option<Ticket>) {
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

    pub(super) fn close(&self) {
        let mut wakes = Wakes::default();
        self.state.lock().close(&mut wakes);
    }
}

impl<T> State<T> {
    pub(super) fn close(&mut self, wakes: &mut Wakes) {
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
