//! Starting fibers; on a plain thread the same calls start threads.

use std::time::Instant;

use tenfold_scoreboard::Account;

use crate::cancel::{CancelHandle, Target, ThreadCancel};
use crate::error::RuntimeError;
use crate::join::{self, JoinHandle};
use crate::park::{self, Waiter};
use crate::remote::LoopHandle;
use crate::scheduler::{self, Scheduler};
use crate::task;

/// Starts `f` on a fiber of this thread, or, where there is no loop, on a thread of its own.
///
/// # Panics
/// When there is no stack left, as `std::thread::spawn` does. [`Builder::spawn`] returns an error instead.
///
/// ```
/// let sum = tenfold_runtime::spawn(|| 1 + 1);
/// assert_eq!(sum.join().unwrap(), 2);
/// ```
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().spawn(f).unwrap_or_else(|error| panic!("cannot spawn: {error}"))
}

/// Starts `f` on a fiber of this thread without a handle: what a connection or an accept loop needs. Its panic is logged.
///
/// # Errors
/// When there is no stack left; `f` goes back.
///
/// # Panics
/// When this thread runs no loop.
#[inline]
pub fn spawn_detached<F: FnOnce() + 'static>(name: &'static str, f: F) -> Result<(), (RuntimeError, F)> {
    scheduler::with_current_borrowed(|scheduler| scheduler.start_detached(name, f))
        .expect("spawn_detached is for fibers of a loop, and this thread runs none")
}

/// A stack that waits for something to run: for callers who want to keep what they own when there is none left.
#[derive(Debug)]
pub struct Reserved(tenfold_fiber::Stack);

/// Takes a stack of this thread's loop.
///
/// # Errors
/// When there is none left.
///
/// # Panics
/// When this thread runs no loop.
#[inline]
pub fn reserve() -> Result<Reserved, RuntimeError> {
    match scheduler::with_current_borrowed(Scheduler::reserve) {
        Some(Ok(stack)) => Ok(Reserved(stack)),
        Some(Err(error)) => Err(error.into()),
        None => panic!("this thread runs no loop"),
    }
}

impl Reserved {
    /// Starts `f` on the stack. It belongs to the loop that it was taken from.
    #[inline]
    pub fn spawn(self, name: &'static str, f: impl FnOnce() + 'static) {
        scheduler::with_current_borrowed(|scheduler| scheduler.start_on(self.0, name, f));
    }
}

/// Lets the other fibers that are ready run first. On a plain thread: `std::thread::yield_now`.
#[inline]
pub fn yield_now() {
    match park::loop_that_may_park() {
        Some(scheduler) => scheduler.yield_running(),
        None => std::thread::yield_now(),
    }
}

/// Names the running fiber in logs, the watchdog's report and the overflow report; nothing happens on a plain thread.
pub fn set_name(name: &'static str) {
    scheduler::with_current(|scheduler| scheduler.set_name(name));
}

/// A way to the loop of this thread for others, where it runs one.
pub fn current_loop() -> Option<LoopHandle> {
    scheduler::with_current(|scheduler| scheduler.handle())
}

/// Starts a fiber or thread with settings of its own.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: Option<&'static str>,
    stack_bytes: Option<usize>,
}

impl Builder {
    /// The defaults: no name, the loop's stack size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The name in logs, traces and the overflow report.
    pub fn name(mut self, name: &'static str) -> Builder {
        self.name = Some(name);
        self
    }

    /// Usable bytes of the stack. Each size that is in use has a pool of its own: use few.
    pub fn stack_bytes(mut self, bytes: usize) -> Builder {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Starts `f`.
    ///
    /// # Errors
    /// When there is no stack or thread left.
    pub fn spawn<T: Send + 'static>(
        self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, RuntimeError> {
        let (packet, run) = join::packet(f);
        let cancel = self.start(inherited_deadline(), None, run)?;
        Ok(JoinHandle::new(packet, cancel))
    }

    /// Starts a closure whose result, if any, goes its own way.
    pub(crate) fn start(
        self,
        deadline: Option<Instant>,
        parent: Option<&'static Account>,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<CancelHandle, RuntimeError> {
        let name = self.name.unwrap_or("fiber");
        let mut run = Some(run);
        let started = if park::parks() {
            scheduler::with_current(|scheduler| {
                let run = run.take().expect("taken once");
                let id = scheduler.start(name, self.stack_bytes, deadline, run).map_err(|failed| failed.0)?;
                scheduler.adopt(id, parent);
                Ok(CancelHandle(Target::Fiber { scheduler: scheduler.id, fiber: id }))
            })
        } else {
            None
        };
        match started {
            Some(outcome) => outcome,
            None => {
                let run = run.take().expect("no fiber took it");
                start_thread(name, self.stack_bytes, (deadline, parent), run)
            }
        }
    }
}

fn inherited_deadline() -> Option<Instant> {
    task::with(|task| task.deadline)
}

fn start_thread(
    name: &'static str,
    stack_bytes: Option<usize>,
    (deadline, parent): (Option<Instant>, Option<&'static Account>),
    run: impl FnOnce() + Send + 'static,
) -> Result<CancelHandle, RuntimeError> {
    let cancel = ThreadCancel::new();
    let mine = cancel.clone();
    let mut builder = std::thread::Builder::new().name(name.into());
    if let Some(bytes) = stack_bytes {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(move || {
        mine.adopt_current_thread();
        task::with(|task| {
            task.deadline = deadline;
            task.adopt(parent);
            task.extra_mut().thread_cancel = Some(mine);
        });
        run();
    })?;
    Ok(CancelHandle(Target::Thread(cancel)))
}

impl CancelHandle {
    /// The calling fiber or thread, to be cancelled by others. `None` on a thread that the runtime has not started.
    pub fn current() -> Option<CancelHandle> {
        if park::parks() {
            return scheduler::with_current(|scheduler| {
                let fiber = scheduler.running()?;
                Some(CancelHandle(Target::Fiber { scheduler: scheduler.id, fiber }))
            })
            .flatten();
        }
        task::with(|task| task.thread_cancel()).map(|thread| CancelHandle(Target::Thread(thread)))
    }
}

// A waiter is what crosses threads: it must stay sendable.
const _: fn() = || {
    fn is_send<T: Send + Sync>() {}
    is_send::<Waiter>();
    is_send::<CancelHandle>();
};
