//! The scheduler of one thread: a run queue of fibers over a reactor.
//!
//! One turn of its loop, run by the thread that called [`crate::Runtime::run`]:
//!
//! ```text
//!   resume ready fibers, first in first out, at most 64 or 500 µs
//!     → take messages of other threads
//!     → let the reactor submit, and sleep only if nothing is ready
//!     → dispatch completions and timers: they fill the run queue
//! ```
//!
//! The bound on resumes keeps fibers that never wait from starving those that wait for the kernel. A fiber never leaves
//! its thread.

mod clock;
mod current;
mod parking;
mod patrol;
mod stacks;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tenfold_fiber::overflow::AltStack;
use tenfold_fiber::{Beat, Fiber, FiberError, StackConfig, StackPool};
use tenfold_reactor::Reactor;
use tenfold_scoreboard::{Account, now_ns};

use self::patrol::Patrol;
use crate::error::RuntimeError;
use crate::feed::Feeds;
use crate::join::panic_message;
use crate::main_loop::RuntimeConfig;
use crate::readiness::Readiness;
use crate::remote::{self, LoopHandle, Message, Remote};
use crate::table::{FIBERS_MAX, FiberId, LOOPS_MAX, Record, State, Table};

pub(crate) use self::current::{
    Entered, current, running_that_parks, with_current, with_current_borrowed, with_current_rc,
};

/// What the first frames of a fiber take, at the high end of its stack.
const FIRST_FRAMES_BYTES: usize = 256;

/// What a timer's value means: the bits above a fiber's packed number.
const TIMER_WAKER: u64 = 1 << 61;
const TIMER_FEED: u64 = 1 << 62;
const TIMER_TRIM: u64 = 1 << 63;
const TIMER_PATROL: u64 = TIMER_TRIM | 1;

pub(crate) struct Scheduler {
    pub(crate) id: u32,
    reactor: Reactor,
    table: RefCell<Table>,
    ready: RefCell<VecDeque<FiberId>>,
    running: Cell<Option<FiberId>>,
    pub(crate) feeds: Feeds,
    pub(crate) readiness: Readiness,
    remote: Arc<Remote>,
    messages: RefCell<Vec<Message>>,
    /// The stacks of nearly all fibers.
    stacks: StackPool,
    /// Those of fibers that asked for another size.
    stacks_of_size: RefCell<Vec<(usize, StackPool)>>,
    stack_config: StackConfig,
    trim_armed: Cell<bool>,
    patrol: Patrol,
    beat: Arc<Beat>,
    /// One moment by both clocks.
    clock: (Instant, u64),
    /// Counts the runs of fibers, and the turns.
    runs: Cell<u64>,
    /// A reading of the clock at the end of a run, and which run that was.
    read: Cell<(u64, u64)>,
    _overflow: Option<AltStack>,
}

impl Scheduler {
    pub(crate) fn new(config: &RuntimeConfig) -> Result<Scheduler, RuntimeError> {
        tenfold_fiber::prepare_biased_locks();
        let stack_config = StackConfig {
            usable_bytes: config.stack_bytes,
            stacks_max: config.fibers_max.min(FIBERS_MAX),
            ..StackConfig::default()
        };
        let reactor = Reactor::new(&config.reactor)?;
        let remote = Arc::new(Remote::new(reactor.waker()));
        let id = remote::register(&remote).ok_or(RuntimeError::TooManyLoops { loops_max: LOOPS_MAX - 1 })?;
        // Without the handler an overflow is a bare SIGSEGV; where it cannot be installed that is what is left.
        let overflow = tenfold_fiber::overflow::install()
            .and_then(|()| tenfold_fiber::overflow::install_for_thread())
            .inspect_err(|error| tracing::warn!(%error, "stack overflows will not be reported by name"));
        Ok(Scheduler {
            id,
            reactor,
            table: RefCell::default(),
            ready: RefCell::default(),
            running: Cell::new(None),
            feeds: Feeds::default(),
            readiness: Readiness::default(),
            remote,
            messages: RefCell::default(),
            stacks: StackPool::new(stack_config.clone())?,
            stacks_of_size: RefCell::default(),
            stack_config,
            trim_armed: Cell::new(false),
            patrol: Patrol::default(),
            beat: Arc::default(),
            clock: (Instant::now(), now_ns()),
            runs: Cell::new(0),
            read: Cell::new((0, 0)),
            _overflow: overflow.ok(),
        })
    }

    pub(crate) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    pub(crate) fn handle(&self) -> LoopHandle {
        LoopHandle(self.remote.clone())
    }

    /// The fiber on the thread; `None` when the loop itself runs.
    #[inline]
    pub(crate) fn running(&self) -> Option<FiberId> {
        self.running.get()
    }

    #[inline]
    pub(crate) fn with_running<R>(&self, look: impl FnOnce(&mut Record) -> R) -> Option<R> {
        let id = self.running.get()?;
        self.table.borrow_mut().get(id).map(look)
    }

    /// Starts a fiber; it runs when its turn comes.
    ///
    /// On failure what was to run goes back.
    #[inline]
    pub(crate) fn start<F: FnOnce() + 'static>(
        &self,
        name: &'static str,
        stack_bytes: Option<usize>,
        deadline: Option<Instant>,
        f: F,
    ) -> Result<FiberId, (RuntimeError, F)> {
        let stack = match stack_bytes {
            Some(bytes) if bytes != self.stack_config.usable_bytes => self.take_stack_of_size(bytes),
            _ => self.stacks.take(),
        };
        match stack {
            Ok(stack) => {
                let high = stack.high();
                Ok(self.enlist(|| Fiber::new(stack, name, f), name, deadline, high))
            }
            Err(error) => Err((error.into(), f)),
        }
    }

    /// As `start`, for a closure whose panic nobody else would see: it is logged and ends the fiber, nothing more.
    #[inline]
    pub(crate) fn start_detached<F: FnOnce() + 'static>(
        &self,
        name: &'static str,
        f: F,
    ) -> Result<(), (RuntimeError, F)> {
        let stack = match self.stacks.take() {
            Ok(stack) => stack,
            Err(error) => return Err((error.into(), f)),
        };
        self.start_on(stack, name, f);
        Ok(())
    }

    /// Takes a stack before there is anything to run on it.
    #[inline]
    pub(crate) fn reserve(&self) -> Result<tenfold_fiber::Stack, FiberError> {
        self.stacks.take()
    }

    /// Starts a fiber on a stack from [`Scheduler::reserve`]. Its panic is logged.
    #[inline]
    pub(crate) fn start_on<F: FnOnce() + 'static>(
        &self,
        stack: tenfold_fiber::Stack,
        name: &'static str,
        f: F,
    ) {
        let guarded = move || {
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
                let panic = panic_message(panic.as_ref());
                tracing::error!(fiber = tenfold_fiber::name(), panic, "a fiber panicked");
            }
        };
        let high = stack.high();
        self.enlist(|| Fiber::new(stack, name, guarded), name, None, high);
    }

    #[inline]
    fn enlist(
        &self,
        make: impl FnOnce() -> Fiber,
        name: &'static str,
        deadline: Option<Instant>,
        high: usize,
    ) -> FiberId {
        let id = self.table.borrow_mut().insert(make, name, deadline, high.wrapping_sub(FIRST_FRAMES_BYTES));
        self.ready.borrow_mut().push_back(id);
        id
    }

    /// Makes a fiber's present or next park return.
    #[inline]
    pub(crate) fn wake(&self, id: FiberId) {
        let mut table = self.table.borrow_mut();
        let Some(record) = table.get(id) else { return };
        match record.state {
            State::Parked => {
                record.task.note_wake(|| self.wake_ns());
                record.state = State::Ready;
                record.prefetch();
                self.ready.borrow_mut().push_back(id);
            }
            State::Running | State::Ready => record.permit = true,
        }
    }

    pub(crate) fn cancel(&self, id: FiberId) {
        if let Some(record) = self.table.borrow_mut().get(id) {
            record.task.cancelled = true;
        }
        self.wake(id);
    }

    /// Makes a fiber that was just started a child of the task with that account.
    pub(crate) fn adopt(&self, id: FiberId, parent: Option<&'static Account>) {
        if let Some(record) = self.table.borrow_mut().get(id) {
            record.task.adopt(parent);
        }
    }

    pub(crate) fn set_name(&self, name: &'static str) {
        self.with_running(|record| record.name = name);
        tenfold_fiber::set_name(name);
        self.beat.enter(name);
    }

    /// Adds a timer for a feed.
    pub(crate) fn add_feed_timer(&self, at: Instant, feed: u64) -> tenfold_reactor::TimerId {
        self.reactor.add_timer(at, feed | TIMER_FEED)
    }

    /// Adds a timer for a future.
    pub(crate) fn add_waker_timer(&self, at: Instant, place: u64) -> tenfold_reactor::TimerId {
        self.reactor.add_timer(at, place | TIMER_WAKER)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        remote::unregister(self.id);
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Scheduler").field("id", &self.id).finish_non_exhaustive()
    }
}
