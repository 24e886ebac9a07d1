//! What other threads can ask of a loop: wake or cancel a fiber, or start one.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use tenfold_reactor::Waker;

use crate::scheduler;
use crate::table::{FiberId, LOOPS_MAX, WakeId};

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

/// The loops of this process. A loop's number is its place in here plus [`LOOPS_MAX`] times how many were in that place
/// before, so a number names one loop and its low bits find it.
static LOOPS: RwLock<Vec<(u32, Weak<Remote>)>> = RwLock::new(Vec::new());

/// How many of [`LOOPS`] there are; too many where one could not be made.
static LOOP_COUNT: AtomicU32 = AtomicU32::new(0);

/// Gives a loop its number; `None` when there are as many loops as there can be.
pub(crate) fn register(remote: &Arc<Remote>) -> Option<u32> {
    let mut loops = LOOPS.write().unwrap_or_else(PoisonError::into_inner);
    if loops.is_empty() {
        loops.push((0, Weak::new())); // Numbers begin at one.
    }
    let free = loops.iter().skip(1).position(|(_, remote)| remote.strong_count() == 0);
    let slot = free.map_or(loops.len(), |place| place + 1);
    if slot >= LOOPS_MAX as usize {
        return None;
    }
    if slot == loops.len() {
        loops.push((slot as u32, Weak::new()));
    }
    let (id, place) = &mut loops[slot];
    *id = id.wrapping_add(LOOPS_MAX);
    *place = Arc::downgrade(remote);
    LOOP_COUNT.fetch_add(1, Ordering::Relaxed);
    Some(*id)
}

pub(crate) fn unregister(id: u32) {
    let mut loops = LOOPS.write().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, remote)) = loops.get_mut(slot_of(id)).filter(|(present, _)| *present == id) {
        *remote = Weak::new();
        LOOP_COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether this process has one loop at most.
#[inline]
pub(crate) fn is_only_loop() -> bool {
    LOOP_COUNT.load(Ordering::Relaxed) <= 1
}

fn find(id: u32) -> Option<Arc<Remote>> {
    let loops = LOOPS.read().unwrap_or_else(PoisonError::into_inner);
    loops.get(slot_of(id)).filter(|(present, _)| *present == id).and_then(|(_, remote)| remote.upgrade())
}

fn slot_of(id: u32) -> usize {
    (id % LOOPS_MAX) as usize
}

/// Wakes a fiber of any loop; a local one costs no lock.
#[inline]
pub(crate) fn wake(id: WakeId) {
    match scheduler::current() {
        Some(current) if current.id % LOOPS_MAX == id.slot() => current.wake(id.fiber()),
        _ => wake_elsewhere(id),
    }
}

#[cold]
fn wake_elsewhere(id: WakeId) {
    let loops = LOOPS.read().unwrap_or_else(PoisonError::into_inner);
    let remote = loops.get(id.slot() as usize).and_then(|(_, remote)| remote.upgrade());
    // Sending may be a system call, and a loop that begins or ends should not wait for that.
    drop(loops);
    if let Some(remote) = remote {
        remote.send(Message::Wake(id.fiber()));
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

#[cfg(test)]
mod tests {
    use tenfold_reactor::{Reactor, ReactorConfig};

    use super::*;

    #[test]
    fn a_loop_in_the_place_of_an_ended_one_has_another_number() {
        let reactor = Reactor::new(&ReactorConfig::default()).unwrap();
        let first = Arc::new(Remote::new(reactor.waker()));
        let id = register(&first).unwrap();
        assert_ne!(slot_of(id), 0, "slots begin at one");
        assert!(find(id).is_some());
        unregister(id);
        assert!(find(id).is_none());
        // Other tests make loops at the same time, so the place may be taken; the number is never the same.
        let others: Vec<_> = (0..3).map(|_| Arc::new(Remote::new(reactor.waker()))).collect();
        let ids: Vec<_> = others.iter().map(|other| register(other).unwrap()).collect();
        assert!(!ids.contains(&id));
        assert!(find(id).is_none());
        assert!(ids.iter().all(|id| find(*id).is_some()));
        ids.into_iter().for_each(unregister);
    }
}
