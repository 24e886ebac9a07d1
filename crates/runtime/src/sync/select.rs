//! `select`: wait for whichever of several channel operations can be done first, or for a time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::channel::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use super::error::{self, WaitError};
use super::queue::Ticket;
use crate::cause::Cause;
use crate::park::{self, Waiter};

/// Starts a choice between operations; exactly one of them is done and its closure's result returned.
///
/// ```
/// use std::time::Duration;
/// use tenfold_runtime::sync::{channel, select};
/// let (numbers, number) = channel::<i32>(1);
/// let (_words, word) = channel::<&str>(1);
/// numbers.send(7).unwrap();
/// let what = select()
///     .recv(&number, |number| format!("{number:?}"))
///     .recv(&word, |word| format!("{word:?}"))
///     .after(Duration::from_secs(1), || "nothing".to_owned())
///     .wait();
/// assert_eq!(what.unwrap(), "Ok(7)");
/// ```
pub fn select<'a, R>() -> Select<'a, R> {
    Select { cases: Vec::new(), timer: None, otherwise: None }
}

/// See [`select()`]. Costs one allocation a case.
#[must_use = "nothing happens before `wait`"]
pub struct Select<'a, R> {
    cases: Vec<Box<dyn Case<R> + 'a>>,
    timer: Option<(Instant, Box<dyn FnOnce() -> R + 'a>)>,
    otherwise: Option<Box<dyn FnOnce() -> R + 'a>>,
}

impl<'a, R: 'a> Select<'a, R> {
    /// Or: a value is received, or the channel is closed and empty.
    pub fn recv<T: 'a>(
        mut self,
        receiver: &'a Receiver<T>,
        then: impl FnOnce(Result<T, RecvError>) -> R + 'a,
    ) -> Self {
        self.cases.push(Box::new(RecvCase { receiver, ticket: None, outcome: None, then }));
        self
    }

    /// Or: a value is sent, or the channel is closed; in the latter case the value is in the error.
    pub fn send<T: 'a>(
        mut self,
        sender: &'a Sender<T>,
        value: T,
        then: impl FnOnce(Result<(), SendError<T>>) -> R + 'a,
    ) -> Self {
        self.cases.push(Box::new(SendCase { sender, value: Some(value), ticket: None, outcome: None, then }));
        self
    }

    /// Or: this much time has passed. The nearest of several counts.
    pub fn after(self, duration: Duration, then: impl FnOnce() -> R + 'a) -> Self {
        self.at(park::after(duration), then)
    }

    /// Or: this time has come. The nearest of several counts.
    pub fn at(mut self, until: Instant, then: impl FnOnce() -> R + 'a) -> Self {
        if self.timer.as_ref().is_none_or(|(present, _)| until < *present) {
            self.timer = Some((until, Box::new(then)));
        }
        self
    }

    /// Or, if none of the operations can be done at once: this.
    pub fn otherwise(mut self, then: impl FnOnce() -> R + 'a) -> Self {
        self.otherwise = Some(Box::new(then));
        self
    }

    /// Waits for the choice. When several operations can be done, each gets its turn over time: the search starts one
    /// further at every call.
    ///
    /// # Errors
    /// [`WaitError`] when the task's deadline passes or it is cancelled.
    ///
    /// # Cancel safety
    /// No value is lost: what was not received stays in its channel, what was not sent is dropped with the choice.
    pub fn wait(mut self) -> Result<R, WaitError> {
        let start = next_start();
        if let Some(chosen) = self.first_ready(start, None) {
            return Ok(self.cases.swap_remove(chosen).finish());
        }
        if let Some(otherwise) = self.otherwise {
            return Ok(otherwise());
        }
        let until = self.timer.as_ref().map(|(until, _)| *until);
        let waiter = Waiter::current();
        loop {
            if let Some(chosen) = self.first_ready(start, Some(&waiter)) {
                let chosen = self.cases.swap_remove(chosen);
                self.cases.iter_mut().for_each(|case| case.give_up());
                return Ok(chosen.finish());
            }
            let Some(ended) = error::ended(park::park_for(Cause::Channel, until)) else { continue };
            // A value that has come at the same moment is taken rather than left for nobody.
            let last = self.first_ready(start, None);
            let chosen = last.map(|chosen| self.cases.swap_remove(chosen));
            self.cases.iter_mut().for_each(|case| case.give_up());
            return match (chosen, self.timer) {
                (Some(chosen), _) => Ok(chosen.finish()),
                (None, Some((until, then))) if ended == WaitError::TimedOut && Instant::now() >= until => {
                    Ok(then())
                }
                (None, _) => Err(ended),
            };
        }
    }

    fn first_ready(&mut self, start: usize, waiter: Option<&Waiter>) -> Option<usize> {
        let count = self.cases.len();
        (0..count).map(|step| (start + step) % count).find(|&index| self.cases[index].attempt(waiter))
    }
}

/// Where the search starts: another place every time.
fn next_start() -> usize {
    thread_local! {
        static START: Cell<usize> = const { Cell::new(0) };
    }
    START.replace(START.get().wrapping_add(1)) >> 1
}

trait Case<R> {
    /// Does the operation if it can be done; else joins the line if there is a waiter. True when it is done.
    fn attempt(&mut self, waiter: Option<&Waiter>) -> bool;
    /// Leaves the line; a wake-up that came for it goes to the next one.
    fn give_up(&mut self);
    /// The result, once `attempt` has said true.
    fn finish(self: Box<Self>) -> R;
}

struct RecvCase<'a, T, F> {
    receiver: &'a Receiver<T>,
    ticket: Option<Ticket>,
    outcome: Option<Result<T, RecvError>>,
    then: F,
}

impl<T, R, F: FnOnce(Result<T, RecvError>) -> R> Case<R> for RecvCase<'_, T, F> {
    fn attempt(&mut self, waiter: Option<&Waiter>) -> bool {
        let shared = self.receiver.shared();
        let outcome = match waiter {
            Some(waiter) => shared.recv_or_join(&mut self.ticket, Some(|| waiter.clone())),
            None => self.receiver.try_recv(),
        };
        self.outcome = match outcome {
            Ok(value) => Some(Ok(value)),
            Err(TryRecvError::Closed) => Some(Err(RecvError::Closed)),
            Err(TryRecvError::Empty) => None,
        };
        self.outcome.is_some()
    }

    fn give_up(&mut self) {
        self.receiver.shared().give_up_recv(self.ticket.take());
    }

    fn finish(mut self: Box<Self>) -> R {
        // A try without a waiter leaves the ticket alone; the value that was taken is the one it was woken for.
        if let Some(ticket) = self.ticket.take() {
            self.receiver.shared().give_up_recv(Some(ticket));
        }
        (self.then)(self.outcome.expect("attempt has said that it is done"))
    }
}

struct SendCase<'a, T, F> {
    sender: &'a Sender<T>,
    value: Option<T>,
    ticket: Option<Ticket>,
    outcome: Option<Result<(), SendError<T>>>,
    then: F,
}

impl<T, R, F: FnOnce(Result<(), SendError<T>>) -> R> Case<R> for SendCase<'_, T, F> {
    fn attempt(&mut self, waiter: Option<&Waiter>) -> bool {
        let value = self.value.take().expect("it goes back when it is not sent");
        let outcome = match waiter {
            Some(waiter) => self.sender.shared().send_or_join(value, &mut self.ticket, Some(waiter.clone())),
            None => self.sender.try_send(value),
        };
        self.outcome = match outcome {
            Ok(()) => Some(Ok(())),
            Err(TrySendError::Closed(value)) => Some(Err(SendError::Closed(value))),
            Err(TrySendError::Full(value)) => {
                self.value = Some(value);
                None
            }
        };
        self.outcome.is_some()
    }

    fn give_up(&mut self) {
        self.sender.shared().give_up_send(self.ticket.take());
    }

    fn finish(mut self: Box<Self>) -> R {
        if let Some(ticket) = self.ticket.take() {
            self.sender.shared().give_up_send(Some(ticket));
        }
        (self.then)(self.outcome.expect("attempt has said that it is done"))
    }
}

impl<R> std::fmt::Debug for Select<'_, R> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Select").field("cases", &self.cases.len()).finish_non_exhaustive()
    }
}
