//! `Semaphore`: permits, handed out first come, first served.
//!
//! ```text
//!   state = permits << 1 | somebody waits
//! ```
//!
//! While nobody waits, taking and giving are one compare-and-swap each. Once the lowest bit is set everything goes through
//! the queue's lock, which then is the only writer of the state. A permit that is given while somebody waits goes to the
//! first in the line and never back to the pool: late-comers cannot overtake, and whoever is served need not compete.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tenfold_fiber::BiasedLock;

use super::error::{self, WaitError};
use super::queue::{Queue, Wakes};
use crate::cause::Cause;
use crate::park::{self, Waiter};

const WAITING: usize = 1;

/// Bounds how many do something at once.
///
/// ```
/// use tenfold_runtime::sync::Semaphore;
/// let seats = Semaphore::new(2);
/// let first = seats.acquire()?;
/// let _second = seats.acquire()?;
/// assert!(seats.try_acquire().is_none());
/// drop(first);
/// assert!(seats.try_acquire().is_some());
/// # Ok::<(), tenfold_runtime::sync::WaitError>(())
/// ```
#[derive(Debug)]
pub struct Semaphore {
    state: AtomicUsize,
    queue: BiasedLock<Queue<usize>>,
    waiters_max: usize,
}

/// Permits that go back when this is dropped.
#[derive(Debug)]
#[must_use = "the permit goes back at once"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

/// Permits that keep their semaphore alive and go back when this is dropped.
#[derive(Debug)]
#[must_use = "the permit goes back at once"]
pub struct OwnedPermit {
    semaphore: Arc<Semaphore>,
    count: usize,
}

impl Semaphore {
    /// Most permits that one can have.
    pub const PERMITS_MAX: usize = usize::MAX >> 2;

    /// A semaphore with this many permits. Any number may wait; see [`Semaphore::with_waiters_max`].
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore::with_waiters_max(permits, usize::MAX)
    }

    /// As [`Semaphore::new`], with a bound on the line: who comes when it is full gets [`WaitError::Full`].
    ///
    /// # Panics
    /// For more than [`Semaphore::PERMITS_MAX`] permits.
    pub const fn with_waiters_max(permits: usize, waiters_max: usize) -> Semaphore {
        assert!(permits <= Semaphore::PERMITS_MAX, "too many permits");
        Semaphore { state: AtomicUsize::new(permits << 1), queue: BiasedLock::new(Queue::new()), waiters_max }
    }

    /// Takes a permit, waiting for it.
    ///
    /// # Errors
    /// [`WaitError`].
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>, WaitError> {
        self.acquire_many_until(1, None)
    }

    /// Takes a permit, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, WaitError> {
        self.acquire_many_until(1, Some(park::after(timeout)))
    }

    /// Takes several permits at once, waiting until `until` at most. Who waits for many is not overtaken by who wants few.
    ///
    /// # Errors
    /// [`WaitError`].
    #[inline]
    pub fn acquire_many_until(&self, count: usize, until: Option<Instant>) -> Result<Permit<'_>, WaitError> {
        self.acquire_for(Cause::PoolSlot, count, until)
    }

    /// As [`Semaphore::acquire_many_until`], for a semaphore that is a part of something else.
    #[inline]
    pub(crate) fn acquire_for(
        &self,
        cause: Cause,
        count: usize,
        until: Option<Instant>,
    ) -> Result<Permit<'_>, WaitError> {
        self.take(cause, count, until)?;
        Ok(Permit { semaphore: self, count })
    }

    /// Takes a permit if there is one and nobody waits.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes several permits if they are there and nobody waits.
    #[inline]
    pub fn try_acquire_many(&self, count: usize) -> Option<Permit<'_>> {
        // Lazily: a permit that is made and dropped would give back what was not taken.
        self.try_take(count).then(|| Permit { semaphore: self, count })
    }

    /// As [`Semaphore::acquire_many_until`], for a permit that outlives the borrow.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn acquire_owned(
        self: &Arc<Self>,
        count: usize,
        until: Option<Instant>,
    ) -> Result<OwnedPermit, WaitError> {
        self.take(Cause::PoolSlot, count, until)?;
        Ok(OwnedPermit { semaphore: self.clone(), count })
    }

    /// As [`Semaphore::try_acquire`], for a permit that outlives the borrow.
    pub fn try_acquire_owned(self: &Arc<Self>, count: usize) -> Option<OwnedPermit> {
        self.try_take(count).then(|| OwnedPermit { semaphore: self.clone(), count })
    }

    /// Adds permits.
    #[inline]
    pub fn release(&self, count: usize) {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITING == 0 {
            let next = state + (count << 1);
            match self.state.compare_exchange_weak(state, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.release_to_waiters(count);
    }

    /// Permits that are free. Out of date as soon as it is returned.
    pub fn available(&self) -> usize {
        self.state.load(Ordering::Relaxed) >> 1
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        match self.state.load(Ordering::Relaxed) & WAITING {
            0 => 0,
            _ => self.queue.lock().len(),
        }
    }

    #[inline]
    fn try_take(&self, count: usize) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITING == 0 && state >> 1 >= count {
            let next = state - (count << 1);
            match self.state.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[inline]
    fn take(&self, cause: Cause, count: usize, until: Option<Instant>) -> Result<(), WaitError> {
        if self.try_take(count) {
            return Ok(());
        }
        self.take_waiting(count, || park::park_for(cause, until))
    }

    /// Takes a permit whatever happens to the task: for what has to be put back in order.
    pub(crate) fn take_regardless(&self) {
        if !self.try_take(1) {
            let park = || {
                park::park_regardless(Cause::Lock);
                park::Unparked::Woken
            };
            self.take_waiting(1, park).expect("only the task's end ends a wait without a bound");
        }
    }

    #[cold]
    fn take_waiting(&self, count: usize, park: impl Fn() -> park::Unparked) -> Result<(), WaitError> {
        let waiter = Waiter::current();
        let ticket = {
            let mut queue = self.queue.lock();
            let free = self.state.fetch_or(WAITING, Ordering::Acquire) >> 1;
            if queue.is_empty() && free >= count {
                self.state.store((free - count) << 1, Ordering::Release);
                return Ok(());
            }
            if queue.len() >= self.waiters_max {
                if queue.is_empty() {
                    self.state.store(free << 1, Ordering::Release);
                }
                return Err(WaitError::Full);
            }
            queue.join(waiter, count)
        };
        loop {
            let error = error::ended(park());
            let mut wakes = Wakes::default();
            let mut queue = self.queue.lock();
            match error {
                // Out of the line means served, and a permit that won the race is kept.
                _ if !queue.holds(ticket) => return Ok(()),
                None => {}
                Some(error) => {
                    queue.leave(ticket);
                    // It may have stood in the way of others who want less.
                    self.serve(&mut queue, 0, &mut wakes);
                    return Err(error);
                }
            }
        }
    }

    #[cold]
    fn release_to_waiters(&self, count: usize) {
        let mut wakes = Wakes::default();
        let mut queue = self.queue.lock();
        self.state.fetch_or(WAITING, Ordering::Acquire);
        self.serve(&mut queue, count, &mut wakes);
    }

    /// Hands permits to the front of the line. Called with the lock and the bit.
    fn serve(&self, queue: &mut Queue<usize>, added: usize, wakes: &mut Wakes) {
        let mut free = (self.state.load(Ordering::Acquire) >> 1) + added;
        while let Some(wanted) = queue.first_wants().filter(|wanted| *wanted <= free) {
            free -= wanted;
            wakes.push(queue.pop().expect("it was looked at under the same lock"));
        }
        let waiting = if queue.is_empty() { 0 } else { WAITING };
        self.state.store(free << 1 | waiting, Ordering::Release);
    }
}

impl<'a> Permit<'a> {
    /// A permit for what [`Semaphore::take_regardless`] took.
    pub(crate) fn taken(semaphore: &'a Semaphore) -> Permit<'a> {
        Permit { semaphore, count: 1 }
    }

    /// Keeps the permits: they do not go back.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.count);
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.semaphore.release(self.count);
    }
}
