//! The title of a worker: its slot, its state, and what it has begun to serve, a second ago at most.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tenfold_supervisor::{Worker, set_title};

/// Between two changes of the title for requests: each is a system call.
const EVERY_NS: u64 = 1_000_000_000;

/// Group, number and generation; set in a worker only.
static WHO: OnceLock<String> = OnceLock::new();
static SHOWN_AT: AtomicU64 = AtomicU64::new(0);

/// The worker starts.
pub(crate) fn begin(worker: &Worker) {
    if worker.is_alone() {
        return;
    }
    let who = format!(
        "{} {} slot {} gen {}",
        worker.group(),
        worker.index(),
        worker.slot_index(),
        worker.generation()
    );
    set_title(&format!("{who}: ready"));
    let _ = WHO.set(who);
}

/// It is in another state, which stays on show.
pub(crate) fn state(state: &str) {
    if let Some(who) = WHO.get() {
        SHOWN_AT.store(u64::MAX, Ordering::Relaxed);
        set_title(&format!("{who}: {state}"));
    }
}

/// It has begun to serve a request at `now`. Cost: a load, but once a second a system call.
#[inline]
pub(crate) fn request(now: u64, method: &str, path: &str) {
    let shown_at = SHOWN_AT.load(Ordering::Relaxed);
    if now.checked_sub(shown_at).is_some_and(|since| since >= EVERY_NS) {
        show(shown_at, now, method, path);
    }
}

#[cold]
fn show(shown_at: u64, now: u64, method: &str, path: &str) {
    let is_mine = SHOWN_AT.compare_exchange(shown_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if let Some(who) = WHO.get().filter(|_| is_mine) {
        set_title(&format!("{who}: {method} {path}"));
    }
}
