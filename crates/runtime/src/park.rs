//! The only place that decides how a wait is done: on a fiber, park it and let the thread go on; on a plain thread or in
//! a serial process, make the blocking system call.
//!
//! Two kinds of waits end here: for the kernel ([`run`]: an operation of the reactor) and for other code ([`park`] and
//! [`Waiter::wake`]: channels, locks, joins). Both respect the task's deadline and its cancellation.

mod operation;
mod terms;
mod thread;
mod waiter;

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_scoreboard::Cause;

use self::thread::{park_thread, park_thread_polling};
use crate::account;
use crate::expiry;
use crate::scheduler::{self, Scheduler};
use crate::table::WakeId;
use crate::task;

pub use self::operation::{cancelled, is_cancellation, run, wait_readable};
pub(crate) use self::terms::Before;
pub use self::terms::{Terms, on_terms};
pub use self::thread::{is_any_readable, wait_any_readable};
pub use self::waiter::Waiter;
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
