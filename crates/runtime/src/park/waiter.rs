//! `Waiter`: a fiber or a thread, as somebody to wake.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use super::fiber_that_may_park;
use crate::remote;
use crate::table::WakeId;

/// Whoever calls this, as somebody to wake later. Any thread may do that.
#[derive(Clone, Debug)]
pub struct Waiter(Kind);

/// Two words of one size, which the compiler keeps in registers. Written in parts and copied as a whole on its way into a
/// queue, a waiter held up a channel's receiver: a sixth of its time in a profile.
#[derive(Clone, Debug)]
enum Kind {
    Fiber(WakeId),
    Thread(Arc<ThreadParker>),
}

#[derive(Debug)]
pub(super) struct ThreadParker {
    pub(super) woken: AtomicBool,
    thread: Thread,
    /// Readable once woken, for a thread that has to wait for descriptors at the same time; made at its first such wait.
    pub(super) eventfd: OnceLock<OwnedFd>,
    /// It waits in poll(2) with `eventfd`, or is about to.
    pub(super) polling: AtomicBool,
}

thread_local! {
    static PARKER: RefCell<Option<Arc<ThreadParker>>> = const { RefCell::new(None) };
}

impl Waiter {
    /// The running fiber, or the thread where there is none (or where it must not park, see [`inline`](super::inline)).
    #[inline]
    pub fn current() -> Waiter {
        match fiber_that_may_park() {
            Some(fiber) => Waiter(Kind::Fiber(fiber)),
            None => Waiter(Kind::Thread(thread_parker())),
        }
    }

    /// Makes the present or next [`park`](super::park) of the waiter return. Cost: a queue push for a fiber of the same thread, a lock
    /// and perhaps a system call for others.
    #[inline]
    pub fn wake(&self) {
        match &self.0 {
            Kind::Fiber(fiber) => remote::wake(*fiber),
            Kind::Thread(parker) => parker.wake(),
        }
    }
}

impl ThreadParker {
    #[cold]
    fn wake(&self) {
        // Sequentially consistent, as the thread's own side: one of the two sees what the other has written.
        self.woken.store(true, Ordering::SeqCst);
        match self.eventfd.get().filter(|_| self.polling.load(Ordering::SeqCst)) {
            Some(eventfd) => drop(rustix::io::write(eventfd, &1u64.to_ne_bytes())),
            None => self.thread.unpark(),
        }
    }
}

#[cold]
pub(super) fn thread_parker() -> Arc<ThreadParker> {
    PARKER.with_borrow_mut(|parker| {
        let fresh = || ThreadParker {
            woken: AtomicBool::new(false),
            thread: std::thread::current(),
            eventfd: OnceLock::new(),
            polling: AtomicBool::new(false),
        };
        parker.get_or_insert_with(|| Arc::new(fresh())).clone()
    })
}
