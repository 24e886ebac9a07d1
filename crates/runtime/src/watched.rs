//! The loops of this process, as the watchdog sees them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tenfold_fiber::Beat;
use tenfold_fiber::trace::TracedThread;

use crate::table::LOOPS_MAX;

/// A loop as the watchdog sees it.
#[derive(Debug)]
pub struct Watched {
    /// What runs on it, and since which turn.
    pub beat: Arc<Beat>,
    /// Its thread, for a stack trace.
    pub thread: TracedThread,
    /// Its slot, as in a [`crate::table::WakeId`].
    pub(crate) slot: u32,
}

static WATCHED: Mutex<Vec<Weak<Watched>>> = Mutex::new(Vec::new());

/// Registers the calling thread's loop for as long as the result lives.
pub(crate) fn watch(beat: &Arc<Beat>, scheduler: u32) -> Option<Arc<Watched>> {
    let thread = tenfold_fiber::trace::register_thread().ok()?;
    let slot = scheduler % LOOPS_MAX;
    let watched = Arc::new(Watched { beat: beat.clone(), thread, slot });
    let mut all = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|loop_| loop_.strong_count() > 0);
    all.push(Arc::downgrade(&watched));
    Some(watched)
}

/// All loops of this process that run at the moment.
pub fn watched_loops() -> Vec<Arc<Watched>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}
