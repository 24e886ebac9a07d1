//! Cancelling: a request to another fiber or thread to stop waiting.
//!
//! A cancel makes the pending call return an error and every later wait fail, until the task ends. Nothing unwinds:
//! unwinding cannot cross the frames of foreign code, and a buffer may be in the kernel's hands.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::park::Waiter;
use crate::remote;
use crate::table::FiberId;

/// Cancels one fiber or thread. Cheap to clone, usable from any thread, harmless after the end of its target.
#[derive(Clone, Debug)]
pub struct CancelHandle(pub(crate) Target);

#[derive(Clone, Debug)]
pub(crate) enum Target {
    Fiber { scheduler: u32, fiber: FiberId },
    Thread(Arc<ThreadCancel>),
}

impl CancelHandle {
    /// Makes the pending wait of the target, and each one after it, fail with [`std::io::ErrorKind::Interrupted`]'s
    /// sibling `ECANCELED` (or [`crate::park::Unparked::Cancelled`]). A result that has arrived already is delivered.
    pub fn cancel(&self) {
        match &self.0 {
            Target::Fiber { scheduler, fiber } => remote::cancel(*scheduler, *fiber),
            Target::Thread(thread) => thread.cancel(),
        }
    }
}

/// The cancel state of a plain thread that was started by [`crate::spawn`] or a scope.
#[derive(Debug)]
pub(crate) struct ThreadCancel {
    cancelled: AtomicBool,
    /// Readable once cancelled; a blocking call polls it beside its own descriptor. `None` when the process is out of
    /// descriptors: then a cancel is seen at the next wait instead of in the present one.
    pub(crate) eventfd: Option<OwnedFd>,
    waiter: std::sync::OnceLock<Waiter>,
}

impl ThreadCancel {
    pub(crate) fn new() -> Arc<ThreadCancel> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok();
        Arc::new(ThreadCancel {
            cancelled: AtomicBool::new(false),
            eventfd,
            waiter: std::sync::OnceLock::new(),
        })
    }

    /// Called once on the thread itself, before it runs the user's code.
    pub(crate) fn adopt_current_thread(&self) {
        let _ = self.waiter.set(Waiter::current());
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        if let Some(eventfd) = &self.eventfd {
            let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
        }
        if let Some(waiter) = self.waiter.get() {
            waiter.wake();
        }
    }
}
