//! Wakes a reactor that sleeps in its kernel wait, from any thread.
//!
//! An eventfd plus a state, so that a wake-up of a loop that is awake costs no system call:
//!
//! ```text
//!   AWAKE ──(loop is about to wait)──▶ SLEEPING ──(another thread wakes)──▶ NOTIFIED, eventfd written
//!     └─────(another thread wakes)──▶ NOTIFIED: the loop sees it and does not sleep
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::ReactorError;

const AWAKE: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;

/// Wakes one reactor; cheap to clone, usable from any thread, harmless after the reactor is gone.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    eventfd: OwnedFd,
}

impl Waker {
    pub(crate) fn new() -> Result<Waker, ReactorError> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(ReactorError::system("create an eventfd"))?;
        Ok(Waker { shared: Arc::new(Shared { state: AtomicU8::new(AWAKE), eventfd }) })
    }

    /// Makes the reactor's present or next wait return. What was written to memory before is visible to it afterwards.
    pub fn wake(&self) {
        if self.shared.state.swap(NOTIFIED, Ordering::AcqRel) == SLEEPING {
            // The counter cannot overflow: it is written once for each sleep and read after it.
            let _ = rustix::io::write(&self.shared.eventfd, &1u64.to_ne_bytes());
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }

    /// Called by the loop before it waits; false when it must not sleep because it was notified meanwhile.
    pub(crate) fn about_to_sleep(&self) -> bool {
        self.shared.state.compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Called by the loop after its wait. From here on, until the next sleep, wake-ups only set the state.
    /// Says whether there was one.
    pub(crate) fn awake(&self) -> bool {
        self.shared.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Whether the loop sleeps or is about to: such a loop can be given work.
    pub fn is_sleeping(&self) -> bool {
        self.shared.state.load(Ordering::Acquire) == SLEEPING
    }

    /// Empties the eventfd; called by the loop when it reports readiness.
    pub(crate) fn acknowledge(&self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.shared.eventfd, &mut count);
    }
}
