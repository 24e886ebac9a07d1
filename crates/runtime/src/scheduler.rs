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

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_fiber::overflow::AltStack;
use tenfold_fiber::{Beat, Fiber, FiberError, Resume, StackConfig, StackPool};
use tenfold_reactor::{Event, PEERS_MAX, Reactor, WatchedPeer};
use tenfold_scoreboard::{Account, Cause, now_ns};

use crate::error::RuntimeError;
use crate::feed::Feeds;
use crate::join::panic_message;
use crate::main_loop::RuntimeConfig;
use crate::park::{self, Unparked, earlier};
use crate::readiness::Readiness;
use crate::remote::{self, LoopHandle, Message, Remote};
use crate::table::{FIBERS_MAX, FiberId, LOOPS_MAX, Place, Record, State, Table, WakeId};
use crate::watched::{Watched, watch};

/// Most fibers that run before I/O is looked at again.
const RESUMES_PER_TURN: usize = 64;
/// Longest time that fibers run before I/O is looked at again; the clock is read after every sixteenth of them.
const TURN: Duration = Duration::from_micros(500);
/// Most completions that are dispatched before fibers run again.
const EVENTS_PER_TURN: usize = 1024;
/// How often memory of stacks that are not needed any more is given back.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// How often a loop asks whether the peers are still there that its fibers work for: one is missed after twice that time.
const PATROL_EVERY: Duration = Duration::from_millis(100);
/// The pause before the rest of a patrol, where there are many fibers: it then takes at most a hundredth of the loop.
const PATROL_PAUSE: Duration = Duration::from_millis(10);
/// Fibers that are looked at without a pause.
const PATROL_RECORDS: usize = 4096;
/// What the first frames of a fiber take, at the high end of its stack.
const FIRST_FRAMES_BYTES: usize = 256;
/// How long fibers that are still alive when the main one has returned get to notice that they were cancelled.
const END_GRACE: Duration = Duration::from_secs(5);

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

/// The looks at the peers that fibers work for.
#[derive(Default)]
struct Patrol {
    /// Its timer runs.
    armed: Cell<bool>,
    /// The record to go on with.
    next: Cell<usize>,
    /// The present round has met somebody who works for a peer.
    met_any: Cell<bool>,
}

thread_local! {
    // Not dropped with the thread (`Entered` empties it), because a thread-local with a destructor has a state that every
    // access would have to look at, and no access would be inlined.
    static CURRENT: RefCell<Option<ManuallyDrop<Rc<Scheduler>>>> = const { RefCell::new(None) };
}

thread_local! {
    /// The loop and the running fiber, unless its waits block the thread: then zero. Beside `CURRENT`, because every wait
    /// looks at it, and one word, because it was written a moment before (see `FiberId`).
    static PARKING: Cell<u64> = const { Cell::new(0) };
}

/// The loop and the running fiber, unless its waits block the thread.
#[inline]
pub(crate) fn running_that_parks() -> Option<WakeId> {
    WakeId::from_word(PARKING.get())
}

/// Runs `f` on this thread's scheduler, if it has one.
///
/// Counted and not borrowed: with `f` inside the thread-local's access neither was inlined, and a
/// switch through a channel spent an eighth of its time in that call.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(&Scheduler) -> R) -> Option<R> {
    current().map(|scheduler| f(&scheduler))
}

/// As [`with_current`], for an `f` that neither switches fibers nor runs code of the user's, and whose result is a stack: the
/// scheduler's count would have to go down while the result is there, and for the panic that the compiler sees in that
/// it keeps the result in memory instead of registers.
#[inline]
pub(crate) fn with_current_borrowed<R>(f: impl FnOnce(&Scheduler) -> R) -> Option<R> {
    CURRENT.with_borrow(|current| current.as_deref().map(|scheduler| f(scheduler)))
}

/// As [`with_current`], for a caller that knows that there is one and that may switch fibers: the thread-local is not
/// borrowed meanwhile.
#[inline]
pub(crate) fn with_current_rc<R>(f: impl FnOnce(&Scheduler) -> R) -> R {
    f(&current().expect("a running fiber has a scheduler"))
}

/// This thread's scheduler, if it has one.
#[inline]
pub(crate) fn current() -> Option<Rc<Scheduler>> {
    CURRENT.with_borrow(|current| current.as_deref().cloned())
}

/// Makes the scheduler the thread's own for as long as it lives.
pub(crate) struct Entered {
    _watched: Option<Arc<Watched>>,
}

impl Entered {
    pub(crate) fn enter(scheduler: &Rc<Scheduler>) -> Result<Entered, RuntimeError> {
        CURRENT.with_borrow_mut(|current| match current {
            Some(_) => Err(RuntimeError::Nested),
            None => {
                *current = Some(ManuallyDrop::new(scheduler.clone()));
                Ok(())
            }
        })?;
        Ok(Entered { _watched: watch(&scheduler.beat, scheduler.id) })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(CURRENT.take().map(ManuallyDrop::into_inner));
    }
}

impl Scheduler {
    pub(crate) fn new(config: &RuntimeConfig) -> Result<Scheduler, RuntimeError> {
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

    pub(crate) fn set_running_inline(&self, inline: bool) {
        let parking = self.running.get().filter(|_| !inline);
        PARKING.set(parking.map_or(0, |fiber| WakeId::new(self.id, fiber).word()));
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

    #[cold]
    fn take_stack_of_size(&self, bytes: usize) -> Result<tenfold_fiber::Stack, FiberError> {
        let mut pools = self.stacks_of_size.borrow_mut();
        if let Some((_, pool)) = pools.iter().find(|(size, _)| *size == bytes) {
            return pool.take();
        }
        let pool = StackPool::new(StackConfig { usable_bytes: bytes, ..self.stack_config.clone() })?;
        let stack = pool.take();
        pools.push((bytes, pool));
        stack
    }

    /// A stack has gone back to its pool: sees to it that it does not keep its memory for ever.
    #[inline]
    fn arm_trim(&self) {
        if !self.trim_armed.replace(true) {
            self.reactor.add_timer(self.reactor.now() + TRIM_EVERY, TIMER_TRIM);
        }
    }

    fn trim(&self) {
        let mut busy = self.table.borrow().len() > 1;
        let others = self.stacks_of_size.borrow();
        for pool in std::iter::once(&self.stacks).chain(others.iter().map(|(_, pool)| pool)) {
            pool.trim();
            let stats = pool.stats();
            busy |= stats.warm > stats.in_use;
        }
        // An idle process is not woken every second for ever: the timer rests until a fiber ends again.
        self.trim_armed.set(busy);
        if busy {
            self.reactor.add_timer(self.reactor.now() + TRIM_EVERY, TIMER_TRIM);
        }
    }

    /// A fiber works for a peer from now on: sees to it that somebody asks whether that is still there.
    #[inline]
    pub(crate) fn arm_patrol(&self) {
        if !self.patrol.armed.replace(true) {
            self.reactor.add_timer(self.reactor.now() + PATROL_EVERY, TIMER_PATROL);
        }
    }

    /// Cancels the fibers whose peers are gone.
    ///
    /// Asking now and then costs nothing for a request that is over before. A poll entry for each request would be one
    /// more submission, or two system calls with epoll, for nearly all of them in vain.
    fn patrol(&self) {
        let served = self.table.borrow_mut().served_peers(self.patrol.next.get(), PATROL_RECORDS, PEERS_MAX);
        if served.any {
            self.patrol.met_any.set(true);
        }
        if !served.peers.is_empty() {
            let peers: Vec<WatchedPeer> = served.peers.iter().map(|(_, peer)| *peer).collect();
            // Without memory in the kernel nobody is known to be gone, and the next round asks again.
            for gone in WatchedPeer::gone(&peers).unwrap_or_default() {
                self.cancel(served.peers[gone].0);
            }
        }
        self.patrol.next.set(served.next.unwrap_or(0));
        let pause = match served.next {
            Some(_) => PATROL_PAUSE,
            // A loop at rest is not woken for ever.
            None if !self.patrol.met_any.replace(false) => return self.patrol.armed.set(false),
            None => PATROL_EVERY,
        };
        self.reactor.add_timer(self.reactor.now() + pause, TIMER_PATROL);
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

    /// The loop's own clock is right while it dispatches, and old while a fiber runs.
    pub(crate) fn turn_now(&self) -> Instant {
        if self.running.get().is_some() { Instant::now() } else { self.reactor.now() }
    }

    /// When a wake-up comes.
    fn wake_ns(&self) -> u64 {
        self.ns(self.turn_now())
    }

    /// A time as accounts have it.
    fn ns(&self, at: Instant) -> u64 {
        let (then, then_ns) = self.clock;
        match at.checked_duration_since(then) {
            Some(after) => then_ns.saturating_add(after.as_nanos() as u64),
            None => then_ns,
        }
    }

    /// The loop's clock, which is read once a turn, as accounts have it.
    pub(crate) fn turn_ns(&self) -> u64 {
        self.ns(self.reactor.now())
    }

    /// The running fiber has read the clock, and is about to end or to park.
    #[inline]
    pub(crate) fn note_reading(&self, now: u64) {
        self.read.set((now, self.runs.get()));
    }

    /// What the run before this one has noted, if nothing has happened between the two.
    #[inline]
    pub(crate) fn reading_of_last_run(&self) -> Option<u64> {
        let (read, run) = self.read.get();
        (run + 1 == self.runs.get()).then_some(read)
    }

    pub(crate) fn cancel(&self, id: FiberId) {
        if let Some(record) = self.table.borrow_mut().get(id) {
            record.task.cancelled = true;
        }
        self.wake(id);
    }

    /// Parks the running fiber until it is woken, until `until` or its deadline, or until it is cancelled.
    ///
    /// Inlined into its callers, as all of the way to the switch: each `ret` after a switch is one that the processor's
    /// return stack predicts wrong (some 6 ns).
    #[inline(always)]
    pub(crate) fn park_current(&self, cause: Cause, until: Option<Instant>) -> Unparked {
        let id = self.running.get().expect("only a running fiber parks");
        {
            let mut table = self.table.borrow_mut();
            let record = table.alive(id);
            if record.task.cancelled {
                return Unparked::Cancelled;
            }
            let limit = earlier(until, record.task.deadline);
            if !self.begin_park(record, id, cause, limit) {
                return Unparked::Woken;
            }
        }
        tenfold_fiber::suspend();
        let mut table = self.table.borrow_mut();
        let record = table.alive(id);
        let timed_out = self.end_park(record);
        match (timed_out, record.task.cancelled) {
            (true, _) => Unparked::TimedOut,
            (false, true) => Unparked::Cancelled,
            (false, false) => Unparked::Woken,
        }
    }

    /// Parks the running fiber until it is woken or `until`, whatever else; true when the time was the reason.
    pub(crate) fn park_running(&self, cause: Cause, until: Option<Instant>) -> bool {
        let id = self.running.get().expect("only a running fiber parks");
        if !self.begin_park(self.table.borrow_mut().alive(id), id, cause, until) {
            return false;
        }
        tenfold_fiber::suspend();
        self.end_park(self.table.borrow_mut().alive(id))
    }

    /// False when the wake-up has come before.
    #[inline]
    fn begin_park(&self, record: &mut Record, id: FiberId, cause: Cause, until: Option<Instant>) -> bool {
        park::count_wait();
        if std::mem::take(&mut record.permit) {
            return false;
        }
        record.state = State::Parked;
        record.resting_at = std::ptr::from_ref(&id).addr();
        record.timed_out = false;
        if let Some(until) = until {
            record.timer = Some(self.reactor.add_timer(until, id.pack()));
        }
        if record.task.account.is_some() {
            record.task.note_park(cause);
            record.task.due_ns = until.map_or(u64::MAX, |until| self.ns(until));
        }
        true
    }

    #[inline]
    fn end_park(&self, record: &mut Record) -> bool {
        record.task.note_resume();
        if let Some(timer) = record.timer.take() {
            self.reactor.cancel_timer(timer);
        }
        std::mem::take(&mut record.timed_out)
    }

    /// Puts the running fiber at the end of the run queue.
    #[inline]
    pub(crate) fn yield_running(&self) {
        let id = self.running.get().expect("only a running fiber yields");
        let accounted = {
            let mut table = self.table.borrow_mut();
            let record = table.alive(id);
            record.state = State::Ready;
            record.task.note_yield();
            record.task.account.is_some()
        };
        self.ready.borrow_mut().push_back(id);
        tenfold_fiber::suspend();
        if accounted {
            self.table.borrow_mut().alive(id).task.note_resume();
        }
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

    /// Turns until that fiber has ended.
    pub(crate) fn drive_to_end_of(&self, main: FiberId) -> Result<(), RuntimeError> {
        let is_over = || self.table.borrow_mut().get(main).is_none();
        while !is_over() {
            self.turn(None, &is_over)?;
        }
        Ok(())
    }

    /// Cancels what is left and lets it end.
    pub(crate) fn end(&self) -> Result<(), RuntimeError> {
        self.feeds.stop_all(self);
        // Not in the head of the loop: a borrow there would last over it.
        let ids = self.table.borrow().ids();
        for id in ids {
            self.cancel(id);
        }
        let limit = Instant::now() + END_GRACE;
        while self.table.borrow().len() > 0 && Instant::now() < limit {
            self.turn(Some(Duration::from_millis(100)), &|| self.table.borrow().len() == 0)?;
        }
        match self.table.borrow().len() {
            0 => {}
            left => {
                tracing::warn!(fibers = left, "fibers did not end when they were cancelled; leaking them")
            }
        }
        Ok(())
    }

    fn turn(&self, sleep_max: Option<Duration>, is_over: &dyn Fn() -> bool) -> Result<(), RuntimeError> {
        self.resume_ready();
        self.read_messages();
        let idle = self.ready.borrow().is_empty() && !self.remote.has_messages() && !is_over();
        if idle {
            self.reactor.poll(sleep_max)?;
        } else if self.reactor.has_news() {
            self.reactor.poll(Some(Duration::ZERO))?;
        } else {
            self.reactor.refresh_clock();
        }
        self.reactor.dispatch(EVENTS_PER_TURN, |event| self.handle_event(event));
        Ok(())
    }

    fn resume_ready(&self) {
        let started = self.reactor.now();
        self.count_run();
        for count in 1..=RESUMES_PER_TURN {
            let Some(id) = self.ready.borrow_mut().pop_front() else { break };
            self.look_ahead();
            self.resume(id);
            if count % 16 == 0 && started.elapsed() > TURN {
                break;
            }
        }
        self.beat.leave();
    }

    /// Asks for the memory that the next runs begin with, while the present one runs: of the next fiber, whose record was asked
    /// for one run before, what its record leads to, and the record of the one behind it. A wake-up has asked as well, but what
    /// was started or woken many runs ago may be gone again.
    #[inline]
    fn look_ahead(&self) {
        let ready = self.ready.borrow();
        let Some(next) = ready.front() else { return };
        let mut table = self.table.borrow_mut();
        if let Some(second) = ready.get(1) {
            table.prefetch(*second);
        }
        if let Some(record) = table.get(*next) {
            record.prefetch();
        }
    }

    #[inline]
    fn resume(&self, id: FiberId) {
        let (place, name) = {
            let mut table = self.table.borrow_mut();
            let Some(record) = table.get(id) else { return };
            let Some(place) = record.fiber.take() else { return };
            record.state = State::Running;
            PARKING.set(if record.task.inline { 0 } else { WakeId::new(self.id, id).word() });
            (place, record.name)
        };
        self.running.set(Some(id));
        self.count_run();
        self.beat.enter(name);
        let outcome = place.borrow_mut().as_mut().map(Fiber::resume);
        self.running.set(None);
        PARKING.set(0);
        if outcome == Some(Resume::Suspended) {
            // It was taken from there, so there is nothing to drop.
            self.table.borrow_mut().alive(id).fiber = Some(place);
        } else {
            self.finish(id, place);
        }
    }

    #[inline]
    fn count_run(&self) {
        self.runs.set(self.runs.get() + 1);
    }

    #[inline]
    fn finish(&self, id: FiberId, place: Place) {
        // Dropped where it is, which gives its stack back: taken out first it would be copied, and wait for the switch's last
        // stores (4 ns).
        *place.borrow_mut() = None;
        let extra = self.table.borrow_mut().remove(id, place);
        self.arm_trim();
        // What the task owned is dropped outside of the borrow: its locals' destructors are the user's code.
        drop(extra);
    }

    fn read_messages(&self) {
        if !self.remote.has_messages() {
            return;
        }
        let mut messages = self.messages.take();
        self.remote.receive(&mut messages);
        for message in messages.drain(..) {
            match message {
                Message::Wake(id) => self.wake(id),
                Message::Cancel(id) => self.cancel(id),
                Message::Forget(place) => self.readiness.remove(self, place),
                Message::Spawn(name, f) => {
                    if let Err((error, _)) = self.start_detached(name, f) {
                        tracing::error!(%error, name, "a fiber that another thread asked for could not start");
                    }
                }
            }
        }
        *self.messages.borrow_mut() = messages;
    }

    fn handle_event(&self, event: Event<'_>) {
        match event {
            Event::Finished(token) => self.wake(FiberId::unpack(token.0)),
            Event::Timer(TIMER_TRIM) => self.trim(),
            Event::Timer(TIMER_PATROL) => self.patrol(),
            Event::Timer(value) if value & TIMER_FEED != 0 => self.feeds.timer(self, value & !TIMER_FEED),
            Event::Timer(value) if value & TIMER_WAKER != 0 => self.readiness.timer(value & !TIMER_WAKER),
            Event::Timer(value) => self.time_out(FiberId::unpack(value)),
            Event::Received(token, bytes) => self.feeds.received(self, token, bytes),
            Event::ReceiveEnded(token, outcome) => self.feeds.ended(self, token, outcome),
            Event::ReceivePaused(token) => self.feeds.paused(self, token),
            Event::Ready(token, _, _) if self.feeds.readable(self, token) => {}
            Event::Ready(token, ready, more) => self.readiness.ready(self, token, ready, more),
            _ => {}
        }
    }

    fn time_out(&self, id: FiberId) {
        if let Some(record) = self.table.borrow_mut().get(id) {
            record.timer = None;
            record.timed_out = true;
            if record.state == State::Parked {
                // A busy loop notices late; the wait was over before.
                record.task.note_wake(|| record.task.due_ns.min(self.wake_ns()));
            }
        }
        self.wake(id);
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
