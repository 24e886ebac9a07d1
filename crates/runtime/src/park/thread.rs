//! Waits of plain threads, and of fibers that must not park: they block.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use tenfold_scoreboard::Cause;

use super::waiter::{ThreadParker, thread_parker};
use super::{Unparked, cancelled, count_wait, earlier, peer};
use crate::account;
use crate::cancel::ThreadCancel;
use crate::readiness;
use crate::task;

#[cold]
pub(super) fn park_thread(cause: Cause, until: Option<Instant>) -> Unparked {
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

pub(super) fn park_thread_polling(until: Option<Instant>) -> Unparked {
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

pub(super) fn thread_limits(until: Option<Instant>) -> (Option<Instant>, Option<Arc<ThreadCancel>>) {
    task::with(|task| (earlier(until, task.deadline), task.thread_cancel()))
}

pub(super) fn is_cancelled(cancel: &Option<Arc<ThreadCancel>>) -> bool {
    cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled())
}

/// Blocks the thread until one of several descriptors is readable; its index. Respects [`interruptible`](super::interruptible) and deadlines.
///
/// For a process that serves several listeners on its only thread. On a fiber use one fiber for each descriptor.
///
/// # Errors
/// `TimedOut`, `ECANCELED`, or poll(2)'s.
pub fn wait_any_readable(fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
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
        let left = left.and_then(|left| Timespec::try_from(left).ok());
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
pub fn is_any_readable(fds: &[BorrowedFd<'_>]) -> bool {
    let mut wanted: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    rustix::event::poll(&mut wanted, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
