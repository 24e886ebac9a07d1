//! `Mutex`: one at a time, first come, first served, and it may be held over a wait.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::error::WaitError;
use super::semaphore::{Permit, Semaphore};
use crate::cause::Cause;
use crate::park;

/// A value for one at a time.
///
/// Unlike std's it may be held while its holder waits: others of the same thread run on, and those who want it park.
/// It is not poisoned by a panic. Cost without contention: two atomic operations to lock, two to unlock. Under
/// contention it is handed over in order, so no one starves.
///
/// ```
/// use tenfold_runtime::{scope, sync::Mutex};
/// let count = Mutex::new(0);
/// scope(|scope| {
///     for _ in 0..3 {
///         scope.spawn(|| *count.lock().unwrap() += 1);
///     }
/// });
/// assert_eq!(count.into_inner(), 3);
/// ```
pub struct Mutex<T: ?Sized> {
    turn: Semaphore,
    /// Always free for whoever has the turn, so its lock is never waited for.
    data: SpinMutex<T>,
}

/// The value, locked until this is dropped.
#[must_use = "it is unlocked at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// `None` only inside of a [`crate::sync::Condvar`]'s wait. Dropped before `turn`.
    data: Option<SpinMutexGuard<'a, T>>,
    turn: Option<Permit<'a>>,
}

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { turn: Semaphore::new(1), data: SpinMutex::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, waiting for one's turn.
    ///
    /// # Errors
    /// [`WaitError`] when the task's deadline passes or it is cancelled while it waits.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, WaitError> {
        self.lock_until(None)
    }

    /// Locks it, waiting until `until` at most.
    ///
    /// # Errors
    /// [`WaitError`].
    #[inline]
    pub fn lock_until(&self, until: Option<Instant>) -> Result<MutexGuard<'_, T>, WaitError> {
        let turn = self.turn.acquire_for(Cause::Lock, 1, until)?;
        Ok(self.guard(turn))
    }

    /// Locks it, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, WaitError> {
        self.lock_until(Some(park::after(timeout)))
    }

    /// Locks it if it is free and nobody waits.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.turn.try_acquire().map(|turn| self.guard(turn))
    }

    /// The value of a mutex that nobody else can see.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    #[inline]
    fn guard<'a>(&'a self, turn: Permit<'a>) -> MutexGuard<'a, T> {
        MutexGuard { mutex: self, data: Some(self.open()), turn: Some(turn) }
    }

    #[inline]
    fn open(&self) -> SpinMutexGuard<'_, T> {
        self.data.try_lock().expect("the data is free for whoever has the turn")
    }
}

impl<T: ?Sized> MutexGuard<'_, T> {
    /// Unlocks, runs `wait`, and locks again, whatever happens to the task meanwhile.
    pub(crate) fn unlocked<R>(&mut self, wait: impl FnOnce() -> R) -> R {
        /// Locks again also when `wait` panics: the guard is used by destructors then.
        struct Relock<'g, 'a, T: ?Sized>(&'g mut MutexGuard<'a, T>);
        impl<T: ?Sized> Drop for Relock<'_, '_, T> {
            fn drop(&mut self) {
                let mutex = self.0.mutex;
                mutex.turn.take_regardless();
                self.0.turn = Some(Permit::taken(&mutex.turn));
                self.0.data = Some(mutex.open());
            }
        }
        self.data = None;
        self.turn = None;
        let _relock = Relock(self);
        wait()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.data.as_deref().expect("unlocked only inside of a wait")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_deref_mut().expect("unlocked only inside of a wait")
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = out.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => fields.field("data", &&*guard).finish(),
            None => fields.finish_non_exhaustive(),
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}
