//! Waits for the kernel: operations of the reactor.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use tenfold_reactor::{Op, Token};
use tenfold_scoreboard::Cause;

use super::thread::{is_cancelled, thread_limits};
use super::{Unparked, count_wait, earlier, loop_that_may_park, peer};
use crate::account;
use crate::expiry;
use crate::scheduler::Scheduler;
use crate::table::FiberId;
use crate::task;

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

/// Waits until a descriptor is readable, however the caller waits.
///
/// # Errors
/// As [`run`].
pub fn wait_readable(fd: impl AsFd) -> io::Result<()> {
    run(&mut Op::Poll { fd: fd.as_fd(), interest: tenfold_reactor::Interest::READ }, None).map(drop)
}
