//! What other threads can ask of a loop: wake or cancel a fiber, or start one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, Weak};

use tenfold_reactor::Waker;

use crate::scheduler;
use crate::table::FiberId;

pub(crate) enum Message {
    Wake(FiberId),
    Cancel(FiberId),
    /// A future's place in the loop's readiness is not needed any more.
    Forget(FiberId),
    Spawn(&'static str, Box<dyn FnOnce() + Send>),
}

/// The inbox of a loop. Its length is bounded by what is waited for: a fiber is woken once for each wait, and what is
/// spawned from outside is bounded by whoever spawns.
pub(crate) struct Remote {
    inbox: Mutex<Vec<Message>>,
    has_messages: AtomicBool,
    waker: Waker,
}

impl Remote {
    pub(crate) fn new(waker: Waker) -> Remote {
        Remote { inbox: Mutex::default(), has_messages: AtomicBool::new(false), waker }
    }

    pub(crate) fn send(&self, message: Message) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.has_messages.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Moves all messages to `into`; costs one load when there are none.
    pub(crate) fn receive(&self, into: &mut Vec<Message>) {
        if self.has_messages.load(Ordering::Acquire) {
            self.has_messages.store(false, Ordering::Release);
            into.append(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(crate) fn has_messages(&self) -> bool {
        self.has_messages.load(Ordering::Acquire)
    }

    pub(crate) fn is_sleeping(&self) -> bool {
        self.waker.is_sleeping()
    }
}

static LOOPS: LazyLock<RwLock<HashMap<u32, Weak<Remote>>>> = LazyLock::new(RwLock::default);

pub(crate) fn register(id: u32, remote: &Arc<Remote>) {
    LOOPS.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::downgrade(remote));
}

pub(crate) fn unregister(id: u32) {
    LOOPS.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
}

fn find(id: u32) -> Option<Arc<Remote>> {
    LOOPS.read().unwrap_or_else(PoisonError::into_inner).get(&id).and_then(Weak::upgrade)
}

/// Wakes a fiber of any loop; a local one costs no lock.
#[inline]
pub(crate) fn wake(scheduler: u32, fiber: FiberId) {
    let local = scheduler::with_current(|current| {
        let hit = current.id == scheduler;
        if hit {
            current.wake(fiber);
        }
        hit
    });
    if local != Some(true)
        && let Some(remote) = find(scheduler)
    {
        remote.send(Message::Wake(fiber));
    }
}

pub(crate) fn cancel(scheduler: u32, fiber: FiberId) {
    let local = scheduler::with_current(|current| {
        let hit = current.id == scheduler;
        if hit {
            current.cancel(fiber);
        }
        hit
    });
    if local != Some(true)
        && let Some(remote) = find(scheduler)
    {
        remote.send(Message::Cancel(fiber));
    }
}

pub(crate) fn forget(scheduler: u32, place: FiberId) {
    // At the end of a thread its loop may be gone, and its thread-locals with it.
    let here = scheduler::current().filter(|current| current.id == scheduler);
    if let Some(current) = here {
        current.readiness.remove(&current, place);
    } else if let Some(remote) = find(scheduler) {
        remote.send(Message::Forget(place));
    }
}

/// A way to a loop for other threads. Cheap to clone.
#[derive(Clone)]
pub struct LoopHandle(pub(crate) Arc<Remote>);

impl LoopHandle {
    /// Starts a fiber on that loop. Nothing happens, and the closure is dropped, once the loop has ended.
    pub fn spawn(&self, name: &'static str, f: impl FnOnce() + Send + 'static) {
        self.0.send(Message::Spawn(name, Box::new(f)));
    }

    /// Whether the loop has nothing to do at the moment.
    pub fn is_sleeping(&self) -> bool {
        self.0.is_sleeping()
    }
}

impl std::fmt::Debug for LoopHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("LoopHandle")
    }
}
