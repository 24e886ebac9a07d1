//! `RwLock`: many readers or one writer, first come, first served.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use spin::rwlock::{
    RwLock as SpinRwLock, RwLockReadGuard as SpinReadGuard, RwLockWriteGuard as SpinWriteGuard,
};

use super::error::WaitError;
use super::semaphore::{Permit, Semaphore};
use crate::cause::Cause;

/// A reader takes one permit, a writer all of them.
const READERS_MAX: usize = 1 << 20;

/// A value for many readers or one writer; at most 1,048,576 readers at once.
///
/// In order: a reader that comes after a waiting writer waits for it. So a task that reads must not read again before it
/// lets go: a writer between the two would wait for the first and the second for the writer. Otherwise as
/// [`crate::sync::Mutex`]: it may be held over waits and is not poisoned.
pub struct RwLock<T: ?Sized> {
    turn: Semaphore,
    /// Never waited for: the permits say who may.
    data: SpinRwLock<T>,
}

/// The value for reading. Fields drop in order: the data first, then the turn.
#[must_use = "it is unlocked at once"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    data: SpinReadGuard<'a, T>,
    _turn: Permit<'a>,
}

/// The value for writing. Fields drop in order: the data first, then the turn.
#[must_use = "it is unlocked at once"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    data: SpinWriteGuard<'a, T>,
    _turn: Permit<'a>,
}

impl<T> RwLock<T> {
    /// An unlocked one.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock { turn: Semaphore::new(READERS_MAX), data: SpinRwLock::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks it for reading.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>, WaitError> {
        self.read_until(None)
    }

    /// Locks it for reading, waiting until `until` at most.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn read_until(&self, until: Option<Instant>) -> Result<RwLockReadGuard<'_, T>, WaitError> {
        self.turn.acquire_for(Cause::Lock, 1, until).map(|turn| self.reading(turn))
    }

    /// Locks it for reading if no writer has it or waits for it.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.turn.try_acquire().map(|turn| self.reading(turn))
    }

    /// Locks it for writing.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>, WaitError> {
        self.write_until(None)
    }

    /// Locks it for writing, waiting until `until` at most.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn write_until(&self, until: Option<Instant>) -> Result<RwLockWriteGuard<'_, T>, WaitError> {
        self.turn.acquire_for(Cause::Lock, READERS_MAX, until).map(|turn| self.writing(turn))
    }

    /// Locks it for writing if nobody has it or waits for it.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.turn.try_acquire_many(READERS_MAX).map(|turn| self.writing(turn))
    }

    /// The value of a lock that nobody else can see.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    fn reading<'a>(&'a self, turn: Permit<'a>) -> RwLockReadGuard<'a, T> {
        // `try_read` of spin's may fail for a moment while another reader enters; the writer, who could make it fail
        // for longer, does not have the turn.
        loop {
            if let Some(data) = self.data.try_read() {
                return RwLockReadGuard { data, _turn: turn };
            }
            std::hint::spin_loop();
        }
    }

    fn writing<'a>(&'a self, turn: Permit<'a>) -> RwLockWriteGuard<'a, T> {
        loop {
            if let Some(data) = self.data.try_write() {
                return RwLockWriteGuard { data, _turn: turn };
            }
            std::hint::spin_loop();
        }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = out.debug_struct("RwLock");
        match self.try_read() {
            Some(guard) => fields.field("data", &&*guard).finish(),
            None => fields.finish_non_exhaustive(),
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}
