//! The watchdog: names whoever holds a loop for too long, with a stack trace.
//!
//! One fiber that computes, or calls something that blocks the thread, holds all others of its loop. Nothing pre-empts it;
//! what can be done is to say so, by name and line. A thread of its own looks at every loop's beat, which costs the
//! loops nothing.
//!
//! The worst case is a lock of the thread's (std's, a C library's) that a fiber holds while it waits, and that a sibling
//! needs: the sibling blocks the thread, which the holder needs to go on. Nothing can undo that, but both are named.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tenfold_fiber::{BeatSample, trace};

use crate::error::RuntimeError;
use crate::foreign;
use crate::watched::{Watched, watched_loops};

/// Shortest time between two looks.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(5);
/// How long a thread gets to answer with its trace.
const TRACE_TIMEOUT: Duration = Duration::from_millis(100);
/// Most parked fibers whose stacks are searched for a lock, and most that are reported.
const PARKED_SEARCHED_MAX: usize = 256;
const PARKED_REPORTED_MAX: usize = 4;
/// The number of futex(2).
#[cfg(target_arch = "x86_64")]
const FUTEX: usize = 202;
#[cfg(not(target_arch = "x86_64"))]
const FUTEX: usize = 98;

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
    let lock = lock_waited_for(watched.thread.tid());
    let frames = trace::capture(&watched.thread, TRACE_TIMEOUT);
    // It may have ended while the trace was taken; a trace of somebody else would accuse the wrong one.
    let still = watched.beat.sample().is_same_run(&run.sample);
    let trace = if still { trace::symbolise(&frames).join("\n  ") } else { "(it has ended)".to_owned() };
    if let (true, Some(lock)) = (still, lock) {
        let holders = possible_holders(watched, lock);
        if !holders.is_empty() {
            tracing::warn!(
                fiber = sample.name.unwrap_or(""),
                held_ms = held.as_millis() as u64,
                thread = watched.thread.tid(),
                "a fiber blocks its loop for a lock, and a fiber that is parked on the same loop may hold it: neither can \
                 go on. Blocked:\n  {trace}\n{holders}"
            );
            return;
        }
    }
    tracing::warn!(
        fiber = sample.name.unwrap_or(""),
        held_ms = held.as_millis() as u64,
        thread = watched.thread.tid(),
        "a fiber holds its loop; everything else on it waits:\n  {trace}"
    );
}

/// The address of the lock (or whatever it is that uses futexes) that a thread sleeps for.
fn lock_waited_for(thread: i32) -> Option<usize> {
    // The number of the call and its arguments in hexadecimal, or "running" (proc(5), /proc/pid/syscall).
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).ok()?;
    let mut words = text.split_ascii_whitespace();
    let number: usize = words.next()?.parse().ok()?;
    let address = words.next()?.strip_prefix("0x")?;
    (number == FUTEX).then(|| usize::from_str_radix(address, 16).ok())?
}

/// The traces of the fibers that wait for a foreign descriptor and have the lock's address on their stacks; of those that
/// have waited longest if none has it.
fn possible_holders(watched: &Watched, lock: usize) -> String {
    let parked = foreign::parked_on(watched.slot, PARKED_SEARCHED_MAX);
    let mut traces: Vec<_> = parked
        .into_iter()
        .map(|parked| {
            let (frames, mentions) =
                trace::capture_parked(&watched.thread, parked.place, Some(lock), TRACE_TIMEOUT);
            (!mentions, parked, frames)
        })
        .collect();
    // Stable: among equals the one that has waited longest stays first.
    traces.sort_by_key(|(unlikely, ..)| *unlikely);
    let none_is_likely = traces.first().is_some_and(|(unlikely, ..)| *unlikely);
    let reported = traces.into_iter().filter(|(unlikely, ..)| none_is_likely || !unlikely);
    let lines = reported.take(PARKED_REPORTED_MAX).map(|(_, parked, frames)| {
        let waits_ms = parked.since.elapsed().as_millis();
        let trace = trace::symbolise(&frames).join("\n  ");
        format!("Parked for {waits_ms} ms: {}\n  {trace}", parked.name)
    });
    lines.collect::<Vec<_>>().join("\n")
}
