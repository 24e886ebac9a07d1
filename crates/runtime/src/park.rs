//! The only place that decides how a wait is done: on a fiber, park it and let the thread go on; on a plain thread or in
//! a serial process, make the blocking system call.
//!
//! Two kinds of waits end here: for the kernel ([`run`]: an operation of the reactor) and for other code ([`park`] and
//! [`Waiter::wake`]: channels, locks, joins). Both respect the task's deadline and its cancellation.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use tenfold_reactor::{Op, Token};
use tenfold_scoreboard::Cause;

use crate::account;
use crate::cancel::ThreadCancel;
use crate::expiry;
use crate::readiness;
use crate::remote;
use crate::scheduler::{self, Scheduler};
use crate::table::{FiberId, WakeId};
use crate::task;

pub use tenfold_reactor::WatchedPeer;

/// Why a [`park`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unparked {
    /// Somebody has woken it; spurious wake-ups are possible, so look at what was waited for.
    Woken,
    /// The given time or the task's deadline has passed.
    TimedOut,
    /// The task was cancelled.
    Cancelled,
}

/// Whoever calls this, as somebody to wake later. Any thread may do that.
#[derive(Clone, Debug)]
pub struct Waiter(Kind);

/// Two words of one size, which the compiler keeps in registers. Written in parts and copied as a whole on its way into a
/// queue, a waiter held up a channel's receiver: a sixth of its time in a profile.
#[derive(Clone, Debug)]
enum Kind {
    Fiber(WakeId),
    Thread(Arc<ThreadParker>),
}

#[derive(Debug)]
struct ThreadParker {
    woken: AtomicBool,
    thread: Thread,
    /// Readable once woken, for a thread that has to wait for descriptors at the same time; made at its first such wait.
    eventfd: OnceLock<OwnedFd>,
    /// It waits in poll(2) with `eventfd`, or is about to.
    polling: AtomicBool,
}

thread_local! {
    static PARKER: RefCell<Option<Arc<ThreadParker>>> = const { RefCell::new(None) };
}

impl Waiter {
    /// The running fiber, or the thread where there is none (or where it must not park, see [`inline`]).
    #[inline]
    pub fn current() -> Waiter {
        match fiber_that_may_park() {
            Some(fiber) => Waiter(Kind::Fiber(fiber)),
            None => Waiter(Kind::Thread(thread_parker())),
        }
    }

    /// Makes the present or next [`park`] of the waiter return. Cost: a queue push for a fiber of the same thread, a lock
    /// and perhaps a system call for others.
    #[inline]
    pub fn wake(&self) {
        match &self.0 {
            Kind::Fiber(fiber) => remote::wake(*fiber),
            Kind::Thread(parker) => parker.wake(),
        }
    }
}

impl ThreadParker {
    #[cold]
    fn wake(&self) {
        // Sequentially consistent, as the thread's own side: one of the two sees what the other has written.
        self.woken.store(true, Ordering::SeqCst);
        match self.eventfd.get().filter(|_| self.polling.load(Ordering::SeqCst)) {
            Some(eventfd) => drop(rustix::io::write(eventfd, &1u64.to_ne_bytes())),
            None => self.thread.unpark(),
        }
    }
}

/// Waits until the [`Waiter`] of the calling code is woken, until `until`, until the task's deadline, or until it is
/// cancelled. A wake-up that came before is not lost.
///
/// The wait counts as one for "other"; [`park_for`] says more.
#[inline(always)]
pub fn park(until: Option<Instant>) -> Unparked {
    park_for(Cause::Other, until)
}

/// As [`park`], and says what for, unless somebody has said so with [`crate::waiting_for`].
#[inline(always)]
pub fn park_for(cause: Cause, until: Option<Instant>) -> Unparked {
    let ended = match loop_that_may_park() {
        Some(scheduler) => scheduler.park_current(cause, until),
        None => park_thread(cause, until),
    };
    if ended == Unparked::TimedOut {
        expiry::note_park(cause, until);
    }
    ended
}

#[cold]
fn park_thread(cause: Cause, until: Option<Instant>) -> Unparked {
    count_wait();
    account::blocked(cause, || match peer() {
        None => block_thread(until),
        Some(_) => park_thread_polling(until),
    })
}

fn block_thread(until: Option<Instant>) -> Unparked {
    let (limit, cancel) = thread_limits(until);
    let parker = thread_parker();
    loop {
        if is_cancelled(&cancel) {
            return Unparked::Cancelled;
        }
        if parker.woken.swap(false, Ordering::Acquire) {
            return Unparked::Woken;
        }
        match limit {
            None => std::thread::park(),
            Some(limit) => match limit.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::park_timeout(left),
                _ => return Unparked::TimedOut,
            },
        }
    }
}

/// As [`park`], for futures: a plain thread waits for their sockets and timers as well, and wakes their wakers.
pub(crate) fn park_polling(until: Option<Instant>) -> Unparked {
    let ended = match loop_that_may_park() {
        Some(scheduler) => scheduler.park_current(Cause::Other, until),
        None => account::blocked(Cause::Other, || park_thread_polling(until)),
    };
    if ended == Unparked::TimedOut {
        expiry::note_park(Cause::Other, until);
    }
    ended
}

fn park_thread_polling(until: Option<Instant>) -> Unparked {
    /// A thread that does not poll is woken by unpark.
    struct Polling<'a>(&'a ThreadParker);
    impl Drop for Polling<'_> {
        fn drop(&mut self) {
            self.0.polling.store(false, Ordering::SeqCst);
        }
    }
    let (limit, cancel) = thread_limits(until);
    let peer = peer();
    let parker = thread_parker();
    if parker.eventfd.get().is_none()
        && let Ok(eventfd) = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
    {
        let _ = parker.eventfd.set(eventfd);
    }
    let eventfd = parker.eventfd.get();
    let cancel_fd = cancel.as_ref().and_then(|cancel| cancel.eventfd.as_ref());
    let interrupts: Vec<BorrowedFd<'_>> = eventfd.into_iter().chain(cancel_fd).map(AsFd::as_fd).collect();
    parker.polling.store(true, Ordering::SeqCst);
    let _polling = Polling(&parker);
    loop {
        if is_cancelled(&cancel) {
            return Unparked::Cancelled;
        }
        if parker.woken.swap(false, Ordering::SeqCst) {
            return Unparked::Woken;
        }
        if limit.is_some_and(|limit| limit <= Instant::now()) {
            return Unparked::TimedOut;
        }
        // Without an eventfd (descriptors have run out) a wake-up by another thread is seen by looking now and then.
        let look = eventfd.is_none().then(|| Instant::now() + POLL_BLIND);
        let peer_is_gone = readiness::poll_plain(&interrupts, peer, earlier(limit, look));
        if peer_is_gone.is_err() {
            // Out of memory in the kernel (poll(2), ENOMEM): nothing to do but to go on slower.
            std::thread::sleep(POLL_BLIND);
        }
        // Emptied before `woken` is looked at, which was set before it was filled.
        if let Some(eventfd) = eventfd {
            let _ = rustix::io::read(eventfd, &mut [0u8; 8]);
        }
        if let Ok(true) = peer_is_gone {
            // A wake-up that has come is delivered, as everywhere.
            let woken = parker.woken.swap(false, Ordering::SeqCst);
            return if woken { Unparked::Woken } else { Unparked::Cancelled };
        }
    }
}

/// How often a thread looks that cannot be woken.
const POLL_BLIND: Duration = Duration::from_millis(5);

/// Waits for the next wake-up although the task's time is over or it was cancelled: for what has to be put in order.
/// Spurious wake-ups are possible.
pub(crate) fn park_regardless(cause: Cause) {
    let (deadline, cancelled, thread) = task::with(|task| {
        (
            task.deadline.take(),
            std::mem::take(&mut task.cancelled),
            task.extra.as_mut().and_then(|extra| extra.thread_cancel.take()),
        )
    });
    park_for(cause, None);
    task::with(|task| {
        task.deadline = deadline;
        task.cancelled |= cancelled;
        if thread.is_some() {
            task.extra_mut().thread_cancel = thread;
        }
    });
}

/// Runs an operation: at once if it can be done, else when the kernel says so. Returns when nobody uses its buffers any
/// more.
///
/// # Errors
/// The operation's own; `TimedOut` after `until` or the task's deadline; `ECANCELED` when the task was cancelled. A
/// result that arrived before is returned instead of either.
pub fn run(op: &mut Op<'_>, until: Option<Instant>) -> io::Result<usize> {
    let outcome = match loop_that_may_park().and_then(|scheduler| Some((scheduler.running()?, scheduler))) {
        Some((fiber, scheduler)) => run_on_fiber(&scheduler, fiber, op, until),
        None => run_on_thread(op, until),
    };
    if let Err(error) = &outcome
        && error.kind() == io::ErrorKind::TimedOut
    {
        expiry::note_operation(op, until);
    }
    outcome
}

fn run_on_fiber(
    scheduler: &Scheduler,
    fiber: FiberId,
    op: &mut Op<'_>,
    until: Option<Instant>,
) -> io::Result<usize> {
    let cause = cause_of(op);
    let mut ended = Unparked::Woken;
    let mut limit = None;
    let outcome = scheduler.reactor().run(op, Token(fiber.pack()), |pending| {
        if ended != Unparked::Woken {
            // The cancel is on its way: its target's own completion is what has to be waited for now.
            scheduler.park_running(cause, None);
            return;
        }
        if limit.is_none() {
            let deadline = scheduler.with_running(|record| record.task.deadline).flatten();
            limit = Some(earlier(until, deadline));
        }
        let cancelled = scheduler.with_running(|record| record.task.cancelled) == Some(true);
        ended = match cancelled {
            true => Unparked::Cancelled,
            false if scheduler.park_running(cause, limit.flatten()) => Unparked::TimedOut,
            false if scheduler.with_running(|record| record.task.cancelled) == Some(true) => {
                Unparked::Cancelled
            }
            false => return,
        };
        pending.cancel();
    });
    name_the_end(outcome, ended)
}

fn run_on_thread(op: &mut Op<'_>, until: Option<Instant>) -> io::Result<usize> {
    count_wait();
    let (limit, cancel) = thread_limits(until);
    if is_cancelled(&cancel) {
        return Err(cancelled());
    }
    let shared = task::with(|task| task.interrupt());
    let own = cancel.as_ref().and_then(|cancel| cancel.eventfd.as_ref());
    let interrupt = shared.as_deref().or(own).map(AsFd::as_fd);
    let outcome = account::blocked(cause_of(op), || op.run_blocking(limit, interrupt, peer()));
    let ended = if is_cancelled(&cancel) { Unparked::Cancelled } else { Unparked::Woken };
    name_the_end(outcome, ended)
}

/// What waiting for an operation is, if nobody says more.
fn cause_of(op: &Op<'_>) -> Cause {
    match op {
        Op::ReadAt { .. } | Op::WriteAt { .. } | Op::Fsync { .. } => Cause::Disk,
        _ => Cause::Network,
    }
}

/// A cancelled operation says `ECANCELED` whatever the reason was.
fn name_the_end(outcome: io::Result<usize>, ended: Unparked) -> io::Result<usize> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(ECANCELED) && ended == Unparked::TimedOut => {
            Err(io::ErrorKind::TimedOut.into())
        }
        other => other,
    }
}

const ECANCELED: i32 = 125;

/// The error of a wait that was cancelled.
pub fn cancelled() -> io::Error {
    io::Error::from_raw_os_error(ECANCELED)
}

/// Whether an error means that the task was cancelled.
pub fn is_cancellation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ECANCELED)
}

/// Turns the end of a [`park`] into a result, for waits that report as I/O does.
///
/// # Errors
/// `TimedOut` or `ECANCELED`.
pub fn check(ended: Unparked) -> io::Result<()> {
    match ended {
        Unparked::Woken => Ok(()),
        Unparked::TimedOut => Err(io::ErrorKind::TimedOut.into()),
        Unparked::Cancelled => Err(cancelled()),
    }
}

thread_local! {
    static WAITS: Cell<u64> = const { Cell::new(0) };
}

/// The number of waits on this thread so far. When it is the same before and after a call, the call has not waited: while
/// a fiber runs and does not park, nobody else runs on its thread.
#[inline]
pub fn waits() -> u64 {
    WAITS.get()
}

#[inline]
pub(crate) fn count_wait() {
    WAITS.set(WAITS.get() + 1);
}

/// Runs `f` so that its waits block the thread, although it runs on a fiber: how the model `event` runs a handler that
/// was written for threads.
pub fn inline<R>(f: impl FnOnce() -> R) -> R {
    with_inline(true, f)
}

/// Runs `f` so that its waits park the fiber, inside of [`inline`]: the connection's own reads and writes do not hold the
/// loop, whatever its handler does.
pub fn parking<R>(f: impl FnOnce() -> R) -> R {
    with_inline(false, f)
}

fn with_inline<R>(inline: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            task::set_inline(self.0);
        }
    }
    let _restore = Restore(task::set_inline(inline));
    f()
}

/// Runs `f`; on a plain thread its waits for the kernel end with `ECANCELED` while `interrupt` is readable. How a blocking
/// server's thread, idle in a read or an accept, hears that it should stop. Fibers are cancelled instead.
pub fn interruptible<R>(interrupt: &Arc<OwnedFd>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<OwnedFd>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            task::with(|task| task.extra_mut().interrupt = self.0.take());
        }
    }
    let _restore = Restore(task::with(|task| task.extra_mut().interrupt.replace(interrupt.clone())));
    f()
}

/// Runs `f` for the other end of a connection: once that is gone, its waits fail with `ECANCELED`, and with them those of
/// the scopes that it opens.
///
/// On a fiber this is noticed within about a fifth of a second, and as with every cancel the fiber's waits fail from then
/// on until its end. On a plain thread a wait that has begun notices it at once, if it is one of this crate's: a blocking
/// driver's is not. Joins of [`crate::offload`] and [`crate::lend`] wait on, since they lend what is the caller's.
///
/// Cost: some nanoseconds, and for tasks that take longer than a tenth of a second one system call for up to 256 of them
/// every tenth.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use tenfold_runtime::park::{WatchedPeer, for_peer, is_cancellation};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let server = listener.accept()?.0;
/// drop(client);
/// let slept = for_peer(WatchedPeer::new(&server, true), || tenfold_runtime::try_sleep(std::time::Duration::MAX));
/// assert!(is_cancellation(&slept.unwrap_err()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline]
pub fn for_peer<R>(peer: WatchedPeer, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<WatchedPeer>);
    impl Drop for Restore {
        fn drop(&mut self) {
            task::with(|task| task.peer = self.0);
        }
    }
    scheduler::with_current(Scheduler::arm_patrol);
    let before = task::with(|task| {
        task.peer_is_old = false;
        task.peer.replace(peer)
    });
    let _restore = Restore(before);
    f()
}

fn peer() -> Option<WatchedPeer> {
    task::with(|task| task.peer)
}

/// The task's deadline: the nearest one of [`crate::deadline`]'s that are open.
pub fn current_deadline() -> Option<Instant> {
    task::with(|task| task.deadline)
}

/// Whether the running fiber or thread was cancelled: its waits fail from then on.
pub fn task_is_cancelled() -> bool {
    task::with(|task| task.cancelled || task.thread_cancel().is_some_and(|thread| thread.is_cancelled()))
}

/// Whether the calling code waits by parking a fiber. Cost: two thread-locals; safe to ask in a signal handler.
#[inline]
pub fn parks() -> bool {
    fiber_that_may_park().is_some()
}

/// The running fiber, if its waits park it.
#[inline]
fn fiber_that_may_park() -> Option<WakeId> {
    scheduler::running_that_parks().filter(|_| tenfold_fiber::may_suspend())
}

/// The loop of the running fiber, if its waits park it. Owned, because the thread-local cannot stay borrowed over a switch.
#[inline]
pub(crate) fn loop_that_may_park() -> Option<Rc<Scheduler>> {
    fiber_that_may_park().and_then(|_| scheduler::current())
}

#[cold]
fn thread_parker() -> Arc<ThreadParker> {
    PARKER.with_borrow_mut(|parker| {
        let fresh = || ThreadParker {
            woken: AtomicBool::new(false),
            thread: std::thread::current(),
            eventfd: OnceLock::new(),
            polling: AtomicBool::new(false),
        };
        parker.get_or_insert_with(|| Arc::new(fresh())).clone()
    })
}

fn thread_limits(until: Option<Instant>) -> (Option<Instant>, Option<Arc<ThreadCancel>>) {
    task::with(|task| (earlier(until, task.deadline), task.thread_cancel()))
}

fn is_cancelled(cancel: &Option<Arc<ThreadCancel>>) -> bool {
    cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled())
}

pub(crate) fn earlier(first: Option<Instant>, second: Option<Instant>) -> Option<Instant> {
    match (first, second) {
        (Some(first), Some(second)) => Some(first.min(second)),
        (one, other) => one.or(other),
    }
}

/// A time so far away that it means "never" (136 years), for time-outs that would overflow.
pub(crate) fn after(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()))
}

/// Blocks the thread until one of several descriptors is readable; its index. Respects [`interruptible`] and deadlines.
///
/// For a process that serves several listeners on its only thread. On a fiber use one fiber for each descriptor.
///
/// # Errors
/// `TimedOut`, `ECANCELED`, or poll(2)'s.
pub fn wait_any_readable(fds: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<usize> {
    use rustix::event::{PollFd, PollFlags};
    count_wait();
    let (limit, _) = thread_limits(None);
    let interrupt = task::with(|task| task.interrupt());
    let mut wanted: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    if let Some(interrupt) = &interrupt {
        wanted.push(PollFd::new(interrupt, PollFlags::IN));
    }
    loop {
        let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| rustix::time::Timespec::try_from(left).ok());
        match rustix::event::poll(&mut wanted, left.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => match wanted.iter().position(|fd| !fd.revents().is_empty()) {
                Some(index) if index < fds.len() => return Ok(index),
                _ => return Err(cancelled()),
            },
        }
    }
}

/// Whether one of several descriptors is readable. Waits for nothing; one system call.
pub fn is_any_readable(fds: &[std::os::fd::BorrowedFd<'_>]) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let mut wanted: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    rustix::event::poll(&mut wanted, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Waits until a descriptor is readable, however the caller waits.
///
/// # Errors
/// As [`run`].
pub fn wait_readable(fd: impl AsFd) -> io::Result<()> {
    run(&mut Op::Poll { fd: fd.as_fd(), interest: tenfold_reactor::Interest::READ }, None).map(drop)
}
