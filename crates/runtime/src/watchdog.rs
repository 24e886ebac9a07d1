//! The watchdog: names whoever holds a loop for too long, with a stack trace.
//!
//! One fiber that computes, or calls something that blocks the thread, holds all others of its loop. Nothing pre-empts it;
//! what can be done is to say so, by name and line. A thread of its own looks at every loop's beat, which costs the
//! loops nothing.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tenfold_fiber::{BeatSample, trace};

use crate::error::RuntimeError;
use crate::watched::{Watched, watched_loops};

/// Shortest time between two looks.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(5);
/// How long a thread gets to answer with its trace.
const TRACE_TIMEOUT: Duration = Duration::from_millis(100);

/// Watches all loops of the process until it is dropped.
///
/// Start it in the process that serves, after fork: threads do not survive one. One a process is enough.
#[derive(Debug)]
pub struct Watchdog {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// A run of a fiber, as seen so far.
struct Run {
    sample: BeatSample,
    since: Instant,
    /// How long it may last before the next report.
    report_after: Duration,
}

impl Watchdog {
    /// The threshold for [`Watchdog::start`] unless there is a reason for another.
    pub const THRESHOLD: Duration = Duration::from_millis(100);

    /// Starts to watch. A fiber that runs for longer than `threshold` without waiting is logged, again when it has run
    /// twice as long, and so on; it is counted once in the scoreboard's `loop_holds`.
    ///
    /// Looks every quarter of `threshold`, and every 5 ms at most, so a report is late by that much. Traces come by a signal
    /// (`SIGRTMIN + 1`); where its handler cannot be installed, reports have none.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(threshold: Duration) -> Result<Watchdog, RuntimeError> {
        if let Err(error) = trace::install(trace::default_signal()) {
            tracing::warn!(%error, "the watchdog's reports will have no stack traces");
        }
        let stop = Arc::new(Stop::default());
        let seen = stop.clone();
        let thread =
            std::thread::Builder::new().name("watchdog".into()).spawn(move || watch(threshold, &seen))?;
        Ok(Watchdog { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.stop.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, the panic has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

fn watch(threshold: Duration, stop: &Stop) {
    let look_every = (threshold / 4).max(LOOK_EVERY_MIN);
    let mut runs: HashMap<usize, Run> = HashMap::new();
    let mut stopped = stop.stopped.lock().unwrap_or_else(PoisonError::into_inner);
    while !*stopped {
        let waited = stop.changed.wait_timeout(stopped, look_every);
        stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        let loops = watched_loops();
        let now = Instant::now();
        let present = |address: &usize| loops.iter().any(|watched| Arc::as_ptr(watched).addr() == *address);
        runs.retain(|address, _| present(address));
        for watched in &loops {
            look(watched, &mut runs, threshold, now);
        }
    }
}

/// Looks at one loop.
fn look(watched: &Arc<Watched>, runs: &mut HashMap<usize, Run>, threshold: Duration, now: Instant) {
    let sample = watched.beat.sample();
    let fresh = Run { sample, since: now, report_after: threshold };
    let run = match runs.entry(Arc::as_ptr(watched).addr()) {
        std::collections::hash_map::Entry::Vacant(place) => {
            place.insert(fresh);
            return;
        }
        std::collections::hash_map::Entry::Occupied(place) => place.into_mut(),
    };
    if !sample.is_same_run(&run.sample) {
        *run = fresh;
        return;
    }
    let held = now.duration_since(run.since);
    if held < run.report_after {
        return;
    }
    if run.report_after == threshold {
        tenfold_scoreboard::current().loop_holds.add(1);
    }
    run.report_after = held.max(run.report_after) * 2;
    let frames = trace::capture(&watched.thread, TRACE_TIMEOUT);
    // It may have ended while the trace was taken; a trace of somebody else would accuse the wrong one.
    let still = watched.beat.sample().is_same_run(&run.sample);
    let trace = if still { trace::symbolise(&frames).join("\n  ") } else { "(it has ended)".to_owned() };
    tracing::warn!(
        fiber = sample.name.unwrap_or(""),
        held_ms = held.as_millis() as u64,
        thread = watched.thread.tid(),
        "a fiber holds its loop; everything else on it waits:\n  {trace}"
    );
}
