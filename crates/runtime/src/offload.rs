//! Running a closure on the thread pool, so that it does not hold the loop: blocking calls that cannot park, and long
//! computations.
//!
//! One pool a process, made when it is first needed (so after fork). Its threads come as work does, at most
//! `threads_max`, and go after ten idle seconds. What is in the queue is bounded as well: who comes when it is full waits
//! for room, in order, as for everything else.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tenfold_fiber::lend_scope;

use crate::cause::Cause;
use crate::join::{self, JoinError};
use crate::park::{self, Waiter};
use crate::sync::{Permit, Semaphore, WaitError};

/// Bounds of the pool.
#[derive(Clone, Debug)]
pub struct OffloadConfig {
    /// Most threads; default 64.
    pub threads_max: usize,
    /// Most closures that wait for a thread; default 1,024. Whoever comes then waits for room.
    pub queue_max: usize,
    /// How long a thread without work stays; default 10 s.
    pub idle_timeout: Duration,
}

impl Default for OffloadConfig {
    fn default() -> Self {
        OffloadConfig { threads_max: 64, queue_max: 1024, idle_timeout: Duration::from_secs(10) }
    }
}

/// Why a closure has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OffloadError {
    /// It has panicked; this is the panic's payload.
    #[error("the closure panicked: {}", join::panic_message(.0.as_ref()))]
    Panicked(Box<dyn Any + Send>),
    /// The task's deadline has passed. A closure that runs already runs on.
    #[error("the closure did not end in time")]
    TimedOut,
    /// The task was cancelled. A closure that runs already runs on.
    #[error("the wait for the closure was cancelled")]
    Cancelled,
    /// The system has no thread for the pool.
    #[error("no thread to run it: {0}")]
    NoThread(io::Error),
}

impl From<OffloadError> for io::Error {
    fn from(error: OffloadError) -> io::Error {
        match error {
            OffloadError::TimedOut => io::ErrorKind::TimedOut.into(),
            OffloadError::Cancelled => park::cancelled(),
            OffloadError::NoThread(error) => error,
            panicked => io::Error::other(panicked.to_string()),
        }
    }
}

impl From<JoinError> for OffloadError {
    fn from(error: JoinError) -> OffloadError {
        match error {
            JoinError::Panicked(panic) => OffloadError::Panicked(panic),
            JoinError::TimedOut => OffloadError::TimedOut,
            JoinError::Cancelled => OffloadError::Cancelled,
            JoinError::NotStarted(_) => unreachable!("an accepted job runs on a thread of the pool"),
        }
    }
}

impl From<WaitError> for OffloadError {
    fn from(error: WaitError) -> OffloadError {
        match error {
            WaitError::Cancelled => OffloadError::Cancelled,
            _ => OffloadError::TimedOut,
        }
    }
}

/// Sets the pool's bounds. To be called before its first use in the process.
///
/// # Errors
/// The configuration goes back when the pool has its bounds already.
pub fn configure_offload(config: OffloadConfig) -> Result<(), OffloadConfig> {
    let mut config = Some(config);
    POOL.get_or_init(|| Pool::new(config.take().expect("called once")));
    config.map_or(Ok(()), Err)
}

/// Runs `f` on a thread of the pool and parks meanwhile; on a plain thread it simply runs.
///
/// ```
/// let sum = tenfold_runtime::offload(|| (1..=10).sum::<i32>());
/// assert_eq!(sum.unwrap(), 55);
/// ```
///
/// # Errors
/// [`OffloadError`].
///
/// # Cancel safety
/// When the task is cancelled or out of time this returns at once, and `f` is finished without it.
pub fn offload<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, OffloadError> {
    if !park::parks() {
        return in_place(f);
    }
    let (packet, run) = join::packet(f);
    submit(Box::new(run))?;
    Ok(packet.wait_for(Cause::Offload, None)?)
}

/// As [`offload`], for a closure that borrows.
///
/// # Errors
/// [`OffloadError`]; the ends of the task's time come only before `f` has begun to wait for a thread.
///
/// # Cancel safety
/// It returns when `f` has ended and not before, whatever happens to the task.
pub fn offload_scoped<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, OffloadError> {
    if !park::parks() {
        return in_place(f);
    }
    let waiter = Waiter::current();
    let packet = lend_scope(
        move || waiter.wake(),
        |_| park::park_regardless(Cause::Offload),
        |lender| {
            let (packet, run) = join::packet(f);
            let lent = lender.lend(run);
            submit(Box::new(move || lent.run())).map(|()| packet)
        },
    )?;
    Ok(packet.wait_for(Cause::Offload, None)?)
}

fn in_place<T>(f: impl FnOnce() -> T) -> Result<T, OffloadError> {
    std::panic::catch_unwind(AssertUnwindSafe(f)).map_err(OffloadError::Panicked)
}

/// Threads of the pool at the moment.
pub fn offload_threads() -> usize {
    POOL.get().map_or(0, |pool| pool.lock().threads)
}

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    config: OffloadConfig,
    /// A permit for each closure that runs or waits in the queue.
    room: Semaphore,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Job, Permit<'static>)>,
    threads: usize,
    idle: usize,
}

static POOL: OnceLock<Pool> = OnceLock::new();

fn submit(job: Job) -> Result<(), OffloadError> {
    let pool = POOL.get_or_init(|| Pool::new(OffloadConfig::default()));
    let room = pool.room.acquire()?;
    let mut state = pool.lock();
    state.queue.push_back((job, room));
    // An idle thread may have been woken for another closure and not have run yet: count what waits, not only who idles.
    if state.queue.len() <= state.idle {
        drop(state);
        pool.changed.notify_one();
        return Ok(());
    }
    if state.threads < pool.config.threads_max {
        state.threads += 1;
        let spawned = std::thread::Builder::new().name("offload".into()).spawn(|| pool.work());
        if let Err(error) = spawned {
            state.threads -= 1;
            if state.threads == 0 {
                // Nobody will ever run it. It is the last one: the lock has not been let go of since it was pushed.
                let dropped = state.queue.pop_back();
                drop(state);
                drop(dropped);
                return Err(OffloadError::NoThread(error));
            }
        }
    }
    Ok(())
}

impl Pool {
    fn new(config: OffloadConfig) -> Pool {
        let threads_max = config.threads_max.max(1);
        let room = Semaphore::new(threads_max.saturating_add(config.queue_max).min(Semaphore::PERMITS_MAX));
        Pool {
            config: OffloadConfig { threads_max, ..config },
            room,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread of the pool does.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((job, room)) = state.queue.pop_front() {
                drop(state);
                // Its panic is in its packet; what could panic still is a destructor of the user's.
                if std::panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("what an offloaded closure left behind panicked when it was dropped");
                }
                drop(room);
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, waited) = self
                .changed
                .wait_timeout(state, self.config.idle_timeout)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}
