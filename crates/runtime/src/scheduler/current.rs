//! The scheduler of the running thread, and the fiber on it.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;

use super::Scheduler;
use crate::error::RuntimeError;
use crate::table::{FiberId, WakeId};
use crate::watched::{Watched, watch};

thread_local! {
    // Not dropped with the thread (`Entered` empties it), because a thread-local with a destructor has a state that every
    // access would have to look at, and no access would be inlined.
    static CURRENT: RefCell<Option<ManuallyDrop<Rc<Scheduler>>>> = const { RefCell::new(None) };
}

thread_local! {
    /// The loop and the running fiber, unless its waits block the thread: then zero. Beside `CURRENT`, because every wait
    /// looks at it, and one word, because it was written a moment before (see `FiberId`).
    static PARKING: Cell<u64> = const { Cell::new(0) };
}

/// The loop and the running fiber, unless its waits block the thread.
#[inline]
pub(crate) fn running_that_parks() -> Option<WakeId> {
    WakeId::from_word(PARKING.get())
}

/// Runs `f` on this thread's scheduler, if it has one.
///
/// Counted and not borrowed: with `f` inside the thread-local's access neither was inlined, and a
/// switch through a channel spent an eighth of its time in that call.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(&Scheduler) -> R) -> Option<R> {
    current().map(|scheduler| f(&scheduler))
}

/// As [`with_current`], for an `f` that neither switches fibers nor runs code of the user's, and whose result is a stack: the
/// scheduler's count would have to go down while the result is there, and for the panic that the compiler sees in that
/// it keeps the result in memory instead of registers.
#[inline]
pub(crate) fn with_current_borrowed<R>(f: impl FnOnce(&Scheduler) -> R) -> Option<R> {
    CURRENT.with_borrow(|current| current.as_deref().map(|scheduler| f(scheduler)))
}

/// As [`with_current`], for a caller that knows that there is one and that may switch fibers: the thread-local is not
/// borrowed meanwhile.
#[inline]
pub(crate) fn with_current_rc<R>(f: impl FnOnce(&Scheduler) -> R) -> R {
    f(&current().expect("a running fiber has a scheduler"))
}

/// This thread's scheduler, if it has one.
#[inline]
pub(crate) fn current() -> Option<Rc<Scheduler>> {
    CURRENT.with_borrow(|current| current.as_deref().cloned())
}

/// Makes the scheduler the thread's own for as long as it lives.
pub(crate) struct Entered {
    _watched: Option<Arc<Watched>>,
}

impl Entered {
    pub(crate) fn enter(scheduler: &Rc<Scheduler>) -> Result<Entered, RuntimeError> {
        CURRENT.with_borrow_mut(|current| match current {
            Some(_) => Err(RuntimeError::Nested),
            None => {
                *current = Some(ManuallyDrop::new(scheduler.clone()));
                Ok(())
            }
        })?;
        Ok(Entered { _watched: watch(&scheduler.beat, scheduler.id) })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(CURRENT.take().map(ManuallyDrop::into_inner));
    }
}

impl Scheduler {
    pub(crate) fn set_running_inline(&self, inline: bool) {
        self.set_parking(self.running.get().filter(|_| !inline));
    }

    /// What waits from now on park: that fiber, or with none the thread.
    #[inline]
    pub(super) fn set_parking(&self, fiber: Option<FiberId>) {
        PARKING.set(fiber.map_or(0, |fiber| WakeId::new(self.id, fiber).word()));
    }
}
