//! The requests in flight of this process that have a deadline, by the thread that runs them.
//!
//! Each thread writes at its own desk, so the lock of a desk is only ever contended by the sentry's look, which comes
//! once in a while. There are as many entries as requests run: the bound is that of connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use tenfold_http::h1::HeadView;
use tenfold_runtime::trace::{self, TracedThread};

use crate::drive::deadline::Deadline;

/// Bytes of method and target that are kept of a request.
const TARGET_BYTES_MAX: usize = 80;
/// How often the sentry looks while nothing asks for more.
pub(crate) const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// How often it looks at most.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(10);

static DESKS: Mutex<Option<HashMap<usize, Arc<Desk>>>> = Mutex::new(None);
/// How often the sentry has to look, in milliseconds: a quarter of the shortest deadline that was seen.
static LOOK_EVERY_MS: AtomicU64 = AtomicU64::new(LOOK_EVERY_MAX.as_millis() as u64);
static SENTRY: Mutex<Option<Thread>> = Mutex::new(None);

thread_local! {
    static MINE: Mine = Mine::new();
}

/// Where one thread notes what it runs.
#[derive(Debug)]
pub(crate) struct Desk {
    /// For a stack; `None` where the bounds of the thread's own are not known.
    pub(crate) thread: Option<TracedThread>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<Option<InFlight>>,
    free: Vec<usize>,
}

/// One request that runs.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) route: &'static str,
    pub(crate) deadline: Deadline,
    /// Its stack was logged from outside, because its wait did not end.
    pub(crate) named: bool,
    /// It was found past its hard deadline.
    pub(crate) overdue: bool,
    target: [u8; TARGET_BYTES_MAX],
    target_bytes: u8,
}

/// An entry at the desk of the thread that made it, until it is dropped there.
#[derive(Debug)]
pub(crate) struct Place {
    index: usize,
}

struct Mine(Arc<Desk>);

impl Mine {
    fn new() -> Mine {
        let desk = Arc::new(Desk { thread: trace::register_thread().ok(), entries: Mutex::default() });
        let key = Arc::as_ptr(&desk).addr();
        lock(&DESKS).get_or_insert_default().insert(key, desk.clone());
        Mine(desk)
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(desks) = &mut *lock(&DESKS) {
            desks.remove(&Arc::as_ptr(&self.0).addr());
        }
    }
}

/// Notes that this thread, or the running fiber of it, runs a request. Cost: an uncontended lock and a copy.
pub(crate) fn enter(route: &'static str, view: &HeadView<'_>, deadline: Deadline) -> Place {
    ask_for_looks(&deadline);
    let mut entry = InFlight {
        route,
        deadline,
        named: false,
        overdue: false,
        target: [0; TARGET_BYTES_MAX],
        target_bytes: 0,
    };
    for part in [view.method_str().as_bytes(), b" ", view.path().as_bytes()] {
        let from = usize::from(entry.target_bytes);
        let count = part.len().min(TARGET_BYTES_MAX - from);
        entry.target[from..from + count].copy_from_slice(&part[..count]);
        entry.target_bytes += count as u8;
    }
    MINE.with(|mine| {
        let mut entries = lock(&mine.0.entries);
        let index = entries.free.pop().unwrap_or_else(|| {
            entries.list.push(None);
            entries.list.len() - 1
        });
        entries.list[index] = Some(entry);
        Place { index }
    })
}

impl Place {
    /// The request is over; what was noted of it. On the thread that entered it: a fiber never leaves its thread.
    pub(crate) fn leave(self) -> Option<InFlight> {
        MINE.with(|mine| {
            let mut entries = lock(&mine.0.entries);
            entries.free.push(self.index);
            entries.list[self.index].take()
        })
    }
}

impl InFlight {
    /// Method and path, cut to 80 bytes.
    pub(crate) fn target(&self) -> String {
        String::from_utf8_lossy(&self.target[..usize::from(self.target_bytes)]).into_owned()
    }
}

/// Looks at all requests in flight of this process; `look` may change them, and must not wait.
pub(crate) fn for_each(mut look: impl FnMut(&Arc<Desk>, &mut InFlight)) {
    let desks: Vec<Arc<Desk>> = lock(&DESKS).iter().flat_map(HashMap::values).cloned().collect();
    for desk in desks {
        for entry in lock(&desk.entries).list.iter_mut().flatten() {
            look(&desk, entry);
        }
    }
}

/// How long the sentry may sleep.
pub(crate) fn look_every() -> Duration {
    Duration::from_millis(LOOK_EVERY_MS.load(Ordering::Relaxed))
}

/// The calling thread is the sentry: it is unparked when it has to look more often.
pub(crate) fn watch_from_here() {
    *lock(&SENTRY) = Some(std::thread::current());
}

/// Wakes the sentry.
pub(crate) fn wake_sentry() {
    if let Some(sentry) = &*lock(&SENTRY) {
        sentry.unpark();
    }
}

#[inline]
fn ask_for_looks(deadline: &Deadline) {
    let every = (deadline.shortest() / 4).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX).as_millis() as u64;
    if every < LOOK_EVERY_MS.load(Ordering::Relaxed) {
        LOOK_EVERY_MS.fetch_min(every, Ordering::Relaxed);
        wake_sentry();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
