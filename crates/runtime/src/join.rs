//! Waiting for the result of a fiber or thread.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use spin::Mutex;

use crate::cancel::CancelHandle;
use crate::cause::Cause;
use crate::error::RuntimeError;
use crate::park::{self, Unparked, Waiter};

/// The result to come of a fiber or thread. Dropping it lets the other run on.
#[derive(Debug)]
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
    cancel: CancelHandle,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The other has panicked; this is the panic's payload.
    #[error("it panicked: {}", panic_message(.0.as_ref()))]
    Panicked(Box<dyn Any + Send>),
    /// The time or the caller's own deadline is over; the other runs on.
    #[error("it did not end in time")]
    TimedOut,
    /// The caller was cancelled; the other runs on.
    #[error("the wait was cancelled")]
    Cancelled,
    /// There was no stack or thread left to run it on.
    #[error("it was not started: {0}")]
    NotStarted(RuntimeError),
}

/// Where the result goes. The lock is held for a few instructions and never over a wait.
#[derive(Debug)]
pub(crate) struct Packet<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Running(Option<Waiter>),
    Done(Result<T, Box<dyn Any + Send>>),
    Taken,
}

/// A packet and the closure that fills it.
pub(crate) fn packet<T: Send>(f: impl FnOnce() -> T + Send) -> (Arc<Packet<T>>, impl FnOnce() + Send) {
    let packet = Arc::new(Packet(Mutex::new(State::Running(None))));
    let filled = packet.clone();
    (packet, move || {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(f));
        let before = std::mem::replace(&mut *filled.0.lock(), State::Done(outcome));
        if let State::Running(Some(waiter)) = before {
            waiter.wake();
        }
    })
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(packet: Arc<Packet<T>>, cancel: CancelHandle) -> JoinHandle<T> {
        JoinHandle { packet, cancel }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`JoinError::Panicked`], or when the caller's own deadline passes or it is cancelled.
    pub fn join(self) -> Result<T, JoinError> {
        self.packet.wait(None)
    }

    /// Waits for the end until `until`; the handle stays usable.
    ///
    /// # Errors
    /// As [`JoinHandle::join`].
    pub fn join_until(&self, until: Instant) -> Result<T, JoinError> {
        self.packet.wait(Some(until))
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        !matches!(*self.packet.0.lock(), State::Running(_))
    }

    /// Cancels it: its waits fail from now on. It ends when its code does.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A way to cancel it that can be kept apart.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }
}

impl<T> Packet<T> {
    pub(crate) fn wait(&self, until: Option<Instant>) -> Result<T, JoinError> {
        self.wait_for(Cause::Task, until)
    }

    pub(crate) fn wait_for(&self, cause: Cause, until: Option<Instant>) -> Result<T, JoinError> {
        loop {
            {
                let mut state = self.0.lock();
                match &mut *state {
                    State::Running(waiter) => *waiter = Some(Waiter::current()),
                    State::Done(_) => {
                        let State::Done(outcome) = std::mem::replace(&mut *state, State::Taken) else {
                            unreachable!("it was Done under the same lock")
                        };
                        return outcome.map_err(JoinError::Panicked);
                    }
                    State::Taken => panic!("the result was taken before"),
                }
            }
            match park::park_for(cause, until) {
                Unparked::Woken => {}
                Unparked::TimedOut => return Err(JoinError::TimedOut),
                Unparked::Cancelled => return Err(JoinError::Cancelled),
            }
        }
    }
}

/// The text of a panic, where it has one.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
