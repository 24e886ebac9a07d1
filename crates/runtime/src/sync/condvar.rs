//! `Condvar`: wait for a change of what a mutex protects.

use std::time::{Duration, Instant};

use tenfold_fiber::BiasedLock;

use super::error::{self, WaitError};
use super::mutex::MutexGuard;
use super::queue::{Queue, Wakes};
use crate::cause::Cause;
use crate::park::{self, Waiter};

/// A line of those who wait for a condition on a [`crate::sync::Mutex`]'s data.
///
/// ```
/// use tenfold_runtime::{scope, sync::{Condvar, Mutex}};
/// let (open, changed) = (Mutex::new(false), Condvar::new());
/// scope(|scope| {
///     scope.spawn(|| {
///         let mut open = open.lock().unwrap();
///         while !*open {
///             changed.wait(&mut open).unwrap();
///         }
///     });
///     *open.lock().unwrap() = true;
///     changed.notify_all();
/// });
/// ```
#[derive(Debug, Default)]
pub struct Condvar {
    queue: BiasedLock<Queue>,
}

impl Condvar {
    /// One for which nobody waits.
    pub const fn new() -> Condvar {
        Condvar { queue: BiasedLock::new(Queue::new()) }
    }

    /// Unlocks the mutex, waits for a notification, and locks it again. May return without a notification: look at the
    /// condition in a loop.
    ///
    /// # Errors
    /// [`WaitError`]. The mutex is locked again then as well, and that wait does not end early; what was notified is not
    /// lost, because it counts as a notification if it came before the end.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) -> Result<(), WaitError> {
        self.wait_until(guard, None)
    }

    /// As [`Condvar::wait`], for at most `timeout`.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_timeout<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.wait_until(guard, Some(park::after(timeout)))
    }

    /// As [`Condvar::wait`], until `until` at most.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_until<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        until: Option<Instant>,
    ) -> Result<(), WaitError> {
        // In the line before the mutex is free: a notification in between is for us.
        let ticket = self.queue.lock().join(Waiter::current(), ());
        guard.unlocked(|| {
            loop {
                let ended = error::ended(park::park_for(Cause::Lock, until));
                let mut queue = self.queue.lock();
                if !queue.holds(ticket) {
                    return Ok(());
                }
                if let Some(error) = ended {
                    queue.leave(ticket);
                    return Err(error);
                }
            }
        })
    }

    /// Wakes the one that has waited longest.
    pub fn notify_one(&self) {
        let waiter = self.queue.lock().pop();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Wakes all that wait now.
    pub fn notify_all(&self) {
        let mut wakes = Wakes::default();
        wakes.all_of(&mut self.queue.lock());
    }
}
