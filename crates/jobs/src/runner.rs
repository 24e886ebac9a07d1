//! `Runner`: runs jobs, in a worker beside its requests, or in a process that does nothing else.
//!
//! It has threads of its own, in every model: one with a loop, whose fibers run the jobs of most queues, and one for each
//! running job of a queue that asks for threads or has processes of its own. So jobs hold up no request's loop, and the `serial` model stays what it is
//! for its requests.
//!
//! ```text
//!   store's thread ── Run ──► fiber or thread: deadline, catch a panic, handler ──► End ──► store
//!   stop: no new ones ─► those that run end by themselves ─► what is left is cancelled and goes back
//! ```

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tenfold_server::runtime::{
    Builder, CancelHandle, LoopHandle, Runtime, RuntimeConfig, deadline, sync::Semaphore,
};
use tenfold_server::{Companion, StateMap};

use crate::cx::JobCx;
use crate::handler::JobResult;
use crate::jobs::Jobs;
use crate::queue::Workers;
use crate::store::{Desk, Event};
use crate::wire::{End, Lease, Outcome, Want, millis};

/// Usable bytes of a job's stack on a fiber: as a handler's.
const STACK_BYTES: usize = 256 << 10;
/// Before the end of a graceful stop, jobs that still run are cancelled, so that they can go back in good order.
const CANCEL_BEFORE: Duration = Duration::from_secs(2);
/// How often a stopping runner looks whether it is done.
const LOOK: Duration = Duration::from_millis(5);
/// A job without a handler here rests before somebody else may try: another generation may have one.
const STRANGER_REST: Duration = Duration::from_secs(5);

pub(crate) struct Runner {
    shared: Arc<Shared>,
    /// Ends the loop.
    end: Option<Arc<Semaphore>>,
}

struct Shared {
    jobs: Jobs,
    state: Arc<StateMap>,
    desk: Mutex<Option<Arc<dyn Desk>>>,
    fibers: Option<LoopHandle>,
    running: Mutex<HashMap<i64, Option<CancelHandle>>>,
    /// Runs are cancelled because the worker ends: that is no failure of theirs.
    ending: AtomicBool,
}

impl Runner {
    /// Starts to take what `wants` says, with the jobs that are among the state. Called in the process that runs them.
    pub(crate) fn start(state: &Arc<StateMap>, wants: Vec<Want>) -> Result<Runner, String> {
        let jobs = state.get::<Jobs>().cloned().ok_or("the jobs are not among the state")?;
        let on_fibers = |want: &Want| matches!(jobs.registry.queue(&want.queue).workers, Workers::Fibers(_));
        let (fibers, end) = match wants.iter().any(on_fibers) {
            true => {
                let end = Arc::new(Semaphore::new(0));
                (Some(start_loop(end.clone())?), Some(end))
            }
            false => (None, None),
        };
        let shared = Arc::new(Shared {
            jobs: jobs.clone(),
            state: state.clone(),
            desk: Mutex::default(),
            fibers,
            running: Mutex::default(),
            ending: AtomicBool::new(false),
        });
        // The first job may come before the desk is known here: it waits for the lock.
        let mut place = shared.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let for_sink = shared.clone();
        let sink = Arc::new(move |event| for_sink.take(event));
        let desk = jobs.store.work(jobs.registry.hello(), wants, sink);
        *place = Some(desk.map_err(|error| format!("cannot run jobs: {error}"))?);
        drop(place);
        Ok(Runner { shared, end })
    }
}

/// A thread with a loop, on which others start fibers.
fn start_loop(end: Arc<Semaphore>) -> Result<LoopHandle, String> {
    let (made, is_made) = mpsc::channel();
    let run = move || {
        let config = RuntimeConfig { stack_bytes: STACK_BYTES, ..RuntimeConfig::default() };
        let runtime = match Runtime::new(&config) {
            Ok(runtime) => runtime,
            Err(error) => return drop(made.send(Err(error.to_string()))),
        };
        let _ = made.send(Ok(runtime.handle()));
        if let Err(error) = runtime.run(move || drop(end.acquire())) {
            tracing::error!(target: "jobs", %error, "the loop of the jobs has ended");
        }
    };
    let thread = std::thread::Builder::new().name("jobs".into()).spawn(run);
    thread.map_err(|error| format!("cannot start the thread of the jobs: {error}"))?;
    is_made.recv().map_err(|_| "the thread of the jobs did not start".to_owned())?
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<i64, Option<CancelHandle>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> Option<Arc<dyn Desk>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Called on the store's thread.
    fn take(self: &Arc<Self>, event: Event) {
        match event {
            Event::Cancel(seq) => {
                let handle = self.running().get(&seq).cloned().flatten();
                if let Some(handle) = handle {
                    handle.cancel();
                }
            }
            Event::Run(lease) => {
                self.running().insert(lease.seq, None);
                let workers = self.jobs.registry.queue(&lease.queue).workers;
                match (&self.fibers, workers) {
                    (Some(fibers), Workers::Fibers(_)) => {
                        let shared = self.clone();
                        fibers.spawn("job", move || shared.run(lease));
                    }
                    _ => self.run_on_thread(lease),
                }
            }
        }
    }

    fn run_on_thread(self: &Arc<Self>, lease: Lease) {
        let (seq, attempt, shared) = (lease.seq, lease.attempt, self.clone());
        if let Err(error) = Builder::new().name("job").spawn(move || shared.run(lease)) {
            tracing::warn!(target: "jobs", %error, "no thread for a job");
            self.end(End { seq, attempt, outcome: Outcome::Returned });
        }
    }

    /// Runs a job: on its fiber, or on its thread.
    fn run(&self, lease: Lease) {
        let (seq, attempt) = (lease.seq, lease.attempt);
        self.running().insert(seq, CancelHandle::current());
        let outcome = match self.desk() {
            Some(desk) if !self.ending.load(Ordering::Acquire) => self.outcome(lease, desk),
            _ => Outcome::Returned,
        };
        self.end(End { seq, attempt, outcome });
    }

    fn end(&self, end: End) {
        let desk = self.desk();
        // In this order: a runner that has nothing running has told all ends.
        let seq = end.seq;
        if let Some(desk) = desk {
            desk.end(end);
        }
        self.running().remove(&seq);
    }

    fn outcome(&self, lease: Lease, desk: Arc<dyn Desk>) -> Outcome {
        let Some(job) = self.jobs.registry.job(&lease.name) else {
            let error = format!("no handler of the name {:?}", lease.name);
            return Outcome::Retry { after_ms: millis(STRANGER_REST), error };
        };
        let cx = JobCx { lease, state: self.state.clone(), jobs: self.jobs.clone(), desk };
        let run = || (job.run)(&cx, &cx.lease.payload);
        let run = || match job.options.timeout {
            Some(timeout) => deadline(timeout, run),
            None => run(),
        };
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(run));
        let result: JobResult =
            outcome.unwrap_or_else(|panic| Err(crate::handler::JobError::retry(said(&*panic))));
        let Err(error) = result else { return Outcome::Done };
        if error.is_done() {
            return Outcome::Done;
        }
        if self.ending.load(Ordering::Acquire) {
            return Outcome::Returned;
        }
        tracing::debug!(target: "jobs", id = cx.id(), name = cx.name(), %error, "a job has failed");
        let options = &job.options;
        match error.is_dead() || cx.attempt() >= options.retries {
            true => Outcome::Dead { error: error.to_string() },
            false => {
                let rest = error.rest().unwrap_or_else(|| options.backoff.after(cx.attempt()));
                Outcome::Retry { after_ms: millis(rest), error: error.to_string() }
            }
        }
    }
}

/// A panic's message.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("for no reason that is text"))
}

impl Companion for Runner {
    fn stop(&self) {
        if let Some(desk) = self.shared.desk() {
            desk.stop();
        }
    }

    fn wait(&self, until: Instant) {
        self.stop();
        let cancel_at = until.checked_sub(CANCEL_BEFORE).unwrap_or(until);
        let is_done = || {
            let settled = self.shared.desk().is_none_or(|desk| desk.is_settled());
            self.shared.running().is_empty() && settled
        };
        while !is_done() && Instant::now() < until {
            if Instant::now() >= cancel_at && !self.shared.ending.swap(true, Ordering::AcqRel) {
                let handles: Vec<_> = self.shared.running().values().flatten().cloned().collect();
                handles.iter().for_each(CancelHandle::cancel);
            }
            std::thread::sleep(LOOK);
        }
        self.abandon();
        if let Some(end) = &self.end {
            end.release(1);
        }
    }

    fn abandon(&self) {
        if let Some(desk) = self.shared.desk() {
            desk.close();
        }
    }
}
