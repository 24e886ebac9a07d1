//! The requests in flight of this process that have a deadline, by the thread that runs them.
//!
//! Each thread has a desk with entries that only it writes, one for each request that it runs at the same time: the bound is
//! that of connections. The sentry's thread reads them. An entry's number is even while nobody has it and odd while a
//! request does, and tells the sentry whether what it has read was one request's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tenfold_runtime::SharedName;
use tenfold_runtime::trace::{self, TracedThread};
use tenfold_scoreboard::Text;

use crate::drive::deadline::Deadline;

/// How often the sentry looks while nothing asks for more.
pub(crate) const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// How often it looks at most.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(10);

static DESKS: Mutex<Option<HashMap<usize, Arc<Desk>>>> = Mutex::new(None);
/// How often the sentry has to look, in nanoseconds: a quarter of the shortest deadline that was seen.
static LOOK_EVERY_NS: AtomicU64 = AtomicU64::new(LOOK_EVERY_MAX.as_nanos() as u64);
static SENTRY: Mutex<Option<Thread>> = Mutex::new(None);
/// What entries count their times from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    static MINE: Mine = Mine::new();
}

/// Where one thread notes what it runs.
#[derive(Debug)]
pub(crate) struct Desk {
    /// For a stack; `None` where the bounds of the thread's own are not known.
    pub(crate) thread: Option<TracedThread>,
    entries: Mutex<Vec<Arc<Entry>>>,
}

/// Room for one request that runs.
#[derive(Debug, Default)]
struct Entry {
    /// The number, and below it what the sentry has made of the request.
    state: AtomicU64,
    route: SharedName,
    arrived_ns: AtomicU64,
    timeout_ns: AtomicU64,
    /// [`u64::MAX`] without a hard deadline.
    overrun_ns: AtomicU64,
    method: Text<1>,
    path: Text<9>,
}

const MARK_BITS: u32 = 2;

/// What the sentry has made of a request.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Mark {
    /// Its stack was logged from outside, because its wait did not end.
    Named = 1,
    /// It was found past its hard deadline.
    Overdue = 2,
}

/// One request, as it was read.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) route: &'static str,
    pub(crate) deadline: Deadline,
    /// Method and path, cut to 8 and 72 bytes.
    pub(crate) target: String,
}

/// One request that the sentry looks at.
pub(crate) struct Seen<'a> {
    entry: &'a Entry,
    number: u64,
    pub(crate) request: InFlight,
}

/// An entry at the desk of the thread that made it, until it is given back there.
pub(crate) struct Place {
    entry: Arc<Entry>,
}

struct Mine {
    desk: Arc<Desk>,
    free: RefCell<Vec<Arc<Entry>>>,
}

impl Mine {
    fn new() -> Mine {
        let desk = Arc::new(Desk { thread: trace::register_thread().ok(), entries: Mutex::default() });
        let key = Arc::as_ptr(&desk).addr();
        lock(&DESKS).get_or_insert_default().insert(key, desk.clone());
        Mine { desk, free: RefCell::default() }
    }

    fn take(&self) -> Arc<Entry> {
        self.free.borrow_mut().pop().unwrap_or_else(|| {
            let entry = Arc::<Entry>::default();
            lock(&self.desk.entries).push(entry.clone());
            entry
        })
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(desks) = &mut *lock(&DESKS) {
            desks.remove(&Arc::as_ptr(&self.desk).addr());
        }
    }
}

/// Notes that this thread, or the running fiber of it, runs a request. Cost: some twenty plain stores.
#[inline]
pub(crate) fn enter(route: &'static str, request: (&str, &str), deadline: &Deadline) -> Place {
    let entry = MINE.with(Mine::take);
    entry.begin(route, request, deadline);
    Place { entry }
}

impl Place {
    /// The request is over; whether the sentry has named it. On the thread that entered it: a fiber never leaves its thread.
    #[inline]
    pub(crate) fn leave(self) -> bool {
        let was_named = self.entry.end();
        MINE.with(|mine| mine.free.borrow_mut().push(self.entry));
        was_named
    }
}

impl Entry {
    /// The write side of a version, as in the scoreboard's accounts: what is stored here may not become visible before the
    /// even number that is there already, nor after the odd one.
    #[inline]
    fn begin(&self, route: &'static str, (method, path): (&str, &str), deadline: &Deadline) {
        let timeout_ns = ns(deadline.timeout);
        let overrun_ns = deadline.overrun.map_or(u64::MAX, ns);
        ask_for_looks(timeout_ns.min(overrun_ns) / 4);
        fence(Release);
        self.route.set(route);
        self.arrived_ns.store(ns(deadline.arrived.saturating_duration_since(*START)), Relaxed);
        self.timeout_ns.store(timeout_ns, Relaxed);
        self.overrun_ns.store(overrun_ns, Relaxed);
        self.method.set(method);
        self.path.set(path);
        self.next(self.state.load(Relaxed));
    }

    /// Whether it was named.
    fn end(&self) -> bool {
        let state = self.state.load(Relaxed);
        self.next(state);
        state & Mark::Named as u64 != 0
    }

    /// A mark that the sentry sets at this moment may be lost: it was about a request that is over.
    fn next(&self, state: u64) {
        self.state.store(((state >> MARK_BITS) + 1) << MARK_BITS, Release);
    }

    fn look(&self) -> Option<Seen<'_>> {
        let number = self.state.load(Acquire) >> MARK_BITS;
        if number.is_multiple_of(2) {
            return None;
        }
        let arrived = *START + Duration::from_nanos(self.arrived_ns.load(Relaxed));
        let timeout = Duration::from_nanos(self.timeout_ns.load(Relaxed));
        let overrun_ns = self.overrun_ns.load(Relaxed);
        let deadline = Deadline {
            arrived,
            timeout,
            soft: arrived.checked_add(timeout)?,
            overrun: (overrun_ns != u64::MAX).then(|| Duration::from_nanos(overrun_ns)),
        };
        let route = self.route.get().unwrap_or_default();
        let target = format!("{} {}", self.method.get(), self.path.get());
        fence(Acquire);
        let is_same = self.state.load(Relaxed) >> MARK_BITS == number;
        is_same.then_some(Seen { entry: self, number, request: InFlight { route, deadline, target } })
    }
}

impl InFlight {
    /// As the thread that runs it knows it.
    pub(crate) fn new(route: &'static str, (method, path): (&str, &str), deadline: Deadline) -> InFlight {
        InFlight { route, deadline, target: format!("{method:.8} {path:.72}") }
    }
}

impl Seen<'_> {
    /// Marks it; whether it is there still and had no such mark yet.
    pub(crate) fn mark(&self, mark: Mark) -> bool {
        let set = |state: u64| {
            (state >> MARK_BITS == self.number && state & mark as u64 == 0).then_some(state | mark as u64)
        };
        self.entry.state.fetch_update(Relaxed, Relaxed, set).is_ok()
    }
}

/// Looks at all requests in flight of this process; `look` must not wait.
pub(crate) fn for_each(mut look: impl FnMut(&Arc<Desk>, &Seen<'_>)) {
    let desks: Vec<Arc<Desk>> = lock(&DESKS).iter().flat_map(HashMap::values).cloned().collect();
    for desk in desks {
        for entry in &*lock(&desk.entries) {
            if let Some(seen) = entry.look() {
                look(&desk, &seen);
            }
        }
    }
}

/// How long the sentry may sleep.
pub(crate) fn look_every() -> Duration {
    Duration::from_nanos(LOOK_EVERY_NS.load(Relaxed))
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
fn ask_for_looks(every_ns: u64) {
    if every_ns < LOOK_EVERY_NS.load(Relaxed) {
        ask_for_more_looks(every_ns);
    }
}

#[cold]
fn ask_for_more_looks(every_ns: u64) {
    let every_ns = every_ns.max(LOOK_EVERY_MIN.as_nanos() as u64);
    if LOOK_EVERY_NS.fetch_min(every_ns, Relaxed) > every_ns {
        wake_sentry();
    }
}

#[inline]
fn ns(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
