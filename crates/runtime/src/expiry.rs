//! What a task was waiting for when its deadline passed.
//!
//! Noted by `park.rs` at the first wait that a deadline ends, on the fiber or thread that waited: so its own stack can be
//! walked, without a signal and without the right to trace. Whoever runs the task takes the note when it is over, see
//! [`take_expiry`].

use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tenfold_reactor::Op;
use tenfold_scoreboard::Cause;

use crate::cause::Named;
use crate::task;

/// Shortest time between two stacks: when everything times out at once, one stack is as good as a thousand, and walking
/// one takes some ten microseconds.
const STACK_EVERY_MS: u64 = 200;
/// Most frames of a stack.
const FRAMES_MAX: usize = 64;

/// The end of a wait by the task's deadline.
#[derive(Clone, Debug, Default)]
pub struct Expiry {
    /// What the wait was for, as `database orders: receiving from 10.0.0.5:5432`: the name of [`crate::waiting_for`] if
    /// there was one, then the operation, or a word as `sleep` and `lock`; `other` where only the stack tells.
    pub what: String,
    /// Return addresses from the wait outwards, for [`crate::trace::symbolise`]; empty when another one was taken just
    /// before.
    pub frames: Vec<usize>,
}

/// Takes the note of the first wait of this task that its deadline has ended since the last call.
///
/// ```
/// use std::time::Duration;
/// use tenfold_runtime::{deadline, sleep, take_expiry};
/// deadline(Duration::from_millis(1), || sleep(Duration::from_secs(60)));
/// assert_eq!(take_expiry().unwrap().what, "sleep");
/// assert!(take_expiry().is_none());
/// ```
#[inline]
pub fn take_expiry() -> Option<Box<Expiry>> {
    task::with(|task| task.extra.as_mut()?.expiry.take())
}

/// A [`crate::park::park`] has ended by its time.
#[cold]
pub(crate) fn note_park(cause: Cause, until: Option<Instant>) {
    if is_first(until) {
        keep(cause.name());
    }
}

/// A wait for the kernel has ended by its time.
#[cold]
pub(crate) fn note_operation(op: &Op<'_>, until: Option<Instant>) {
    if is_first(until) {
        keep(&describe(op));
    }
}

/// Whether it was the task's deadline that ended the wait, for the first time, and not a limit of the wait's own.
fn is_first(until: Option<Instant>) -> bool {
    let deadline = task::with(|task| match &task.extra {
        Some(extra) if extra.expiry.is_some() => None,
        _ => task.deadline,
    });
    deadline.is_some_and(|at| until.is_none_or(|until| at <= until) && at <= Instant::now())
}

fn keep(what: &str) {
    let what = match task::with(|task| task.named) {
        Some(Named { cause, what: name }) => format!("{} {name}: {what}", cause.name()),
        None => what.to_owned(),
    };
    let frames = if is_time_for_a_stack() { tenfold_fiber::trace::here(FRAMES_MAX) } else { Vec::new() };
    task::with(|task| task.extra_mut().expiry = Some(Box::new(Expiry { what, frames })));
}

fn is_time_for_a_stack() -> bool {
    static START: OnceLock<Instant> = OnceLock::new();
    /// Milliseconds from `START` to the next stack.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64;
    let next = NEXT.load(Ordering::Relaxed);
    now >= next
        && NEXT.compare_exchange(next, now + STACK_EVERY_MS, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

fn describe(op: &Op<'_>) -> String {
    let (what, fd) = match op {
        Op::Accept { .. } => return "accepting a connection".into(),
        Op::Connect { address, .. } => return format!("connecting to {address}"),
        Op::Recv { fd, .. } | Op::WaitRecv { fd, .. } | Op::RecvVectored { fd, .. } => ("receiving from", fd),
        Op::Send { fd, .. } | Op::SendVectored { fd, .. } | Op::SendFile { fd, .. } => ("sending to", fd),
        Op::Poll { fd, .. } | Op::PollForeign { fd, .. } => ("readiness of", fd),
        _ => return "an operation of the kernel".into(),
    };
    let mut text = what.to_owned();
    match peer(fd.as_fd()) {
        Some(peer) => drop(write!(text, " {peer}")),
        None => text.push_str(" a descriptor without a peer"),
    }
    text
}

fn peer(fd: BorrowedFd<'_>) -> Option<String> {
    let address = rustix::net::getpeername(fd).ok().flatten()?;
    match std::net::SocketAddr::try_from(address.clone()) {
        Ok(address) => Some(address.to_string()),
        Err(_) => {
            let unix = rustix::net::SocketAddrUnix::try_from(address).ok()?;
            let path = unix.path().map(|path| path.to_string_lossy().into_owned());
            Some(path.map_or_else(|| "an unnamed Unix socket".into(), |path| format!("unix:{path}")))
        }
    }
}
