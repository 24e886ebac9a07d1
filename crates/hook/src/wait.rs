//! One call that may have to wait: tried, waited for, tried again.

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::sync::Once;
use std::time::{Duration, Instant};

use tenfold_runtime::foreign::{self, Ended};
use tenfold_runtime::park;

use crate::message::is_no_socket;
use crate::sys::{Raw, failure, is_nonblocking, keeping_errno, socket_option};

/// The highest descriptor that is never waited for: what is written there is read by people, often in an emergency.
const STANDARD_MAX: c_int = 2;

/// Calls on a thread after which the fiber that makes the last one goes to the end of the line.
const CALLS_A_TURN: u32 = 64;

thread_local! {
    /// This thread is the copy, in a forked child, of one that ran a fiber: its loop exists in the parent only.
    static FORKED: Cell<bool> = const { Cell::new(false) };

    /// The socket of this thread's last send, until the next receive.
    static SENT: Cell<c_int> = const { Cell::new(-1) };
}

/// Whether a call on this descriptor parks.
#[inline]
pub(crate) fn parks_on(fd: c_int) -> bool {
    park::parks() && fd > STANDARD_MAX && parks()
}

/// Whether the calling code parks.
#[inline]
pub(crate) fn parks() -> bool {
    park::parks() && may_park()
}

fn may_park() -> bool {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler is fit for a forked child: it reads and writes thread-locals without destructors.
        unsafe { libc::pthread_atfork(None, None, Some(after_fork)) };
    });
    !FORKED.get()
}

unsafe extern "C" fn after_fork() {
    if park::parks() {
        FORKED.set(true);
    }
}

/// Which side of a descriptor is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Read,
    Write,
}

impl Side {
    pub(crate) fn events(self) -> u16 {
        match self {
            Side::Read => libc::POLLIN as u16,
            Side::Write => libc::POLLOUT as u16,
        }
    }

    /// When a call that begins to wait now is out of time, by the socket's own time-out.
    pub(crate) fn until(self, fd: c_int) -> Option<Instant> {
        let name = if self == Side::Read { libc::SO_RCVTIMEO } else { libc::SO_SNDTIMEO };
        let [seconds, micros] = socket_option::<[i64; 2]>(fd, name)?;
        let timeout = Duration::from_secs(seconds as u64) + Duration::from_micros(micros as u64);
        if timeout.is_zero() { None } else { Instant::now().checked_add(timeout) }
    }
}

/// The waits of one call on one descriptor.
pub(crate) struct Patience {
    fd: c_int,
    side: Side,
    /// Whether the call may wait, once that was asked.
    waits: Option<bool>,
    /// Set at the first wait: until when.
    until: Option<Option<Instant>>,
}

impl Patience {
    pub(crate) fn new(fd: c_int, side: Side) -> Patience {
        Patience { fd, side, waits: None, until: None }
    }

    /// Waits, after an attempt that said `EAGAIN`.
    ///
    /// # Errors
    /// What the call has to return: `EAGAIN` if it must not wait or has waited for long enough.
    pub(crate) fn wait(&mut self) -> Result<(), Raw> {
        if !self.may_wait() {
            return Err(failure(libc::EAGAIN));
        }
        let until = *self.until.get_or_insert_with(|| self.side.until(self.fd));
        wait_ready(self.fd, self.side.events(), until, libc::EAGAIN)
    }

    /// Whether the call may wait at all.
    fn may_wait(&mut self) -> bool {
        *self.waits.get_or_insert_with(|| !is_nonblocking(self.fd))
    }

    /// As [`Patience::run`], for a receive.
    ///
    /// Whoever has just sent a question on a socket waits for the answer, so the first attempt would be in vain and is left
    /// out then: a driver's round trip takes one system call less. An answer that was there already costs a turn of the loop.
    pub(crate) fn receive(&mut self, attempt: impl FnMut() -> Raw) -> Raw {
        if SENT.replace(-1) == self.fd
            && self.may_wait()
            && let Err(error) = self.wait()
        {
            return error;
        }
        self.run(attempt)
    }

    /// Tries until it does not say `EAGAIN`.
    pub(crate) fn run(&mut self, mut attempt: impl FnMut() -> Raw) -> Raw {
        loop {
            let result = attempt();
            if is_no_socket(result) {
                // The call is made in another way, and that one counts if it may wait: a file's does not.
                self.waits = Some(false);
            }
            if result != failure(libc::EAGAIN) {
                return result;
            }
            if let Err(error) = self.wait() {
                return error;
            }
        }
    }
}

/// At the end of a call and not within it: siblings may close the descriptor, and the call has parts to write.
impl Drop for Patience {
    fn drop(&mut self) {
        take_turns(|| self.may_wait());
    }
}

/// Lets siblings run after many calls that did not have to wait: a fiber that reads what comes as fast as it reads would
/// hold the loop for as long.
///
/// Only at the end of a call that may wait, which is asked when it is time. Code holds a lock across one that cannot: the first
/// use of a regular expression asks for the number of processors, which is in a file, and a sibling that wants the same
/// expression then would block the thread that the first one needs.
pub(crate) fn take_turns(may_wait: impl FnOnce() -> bool) {
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
    let calls = CALLS.get() + 1;
    if calls < CALLS_A_TURN {
        CALLS.set(calls);
    } else if keeping_errno(may_wait) {
        CALLS.set(0);
        keeping_errno(tenfold_runtime::yield_now);
    }
}

/// A send on this socket has succeeded.
pub(crate) fn note_sent(fd: c_int) {
    SENT.set(fd);
}

/// Parks until the descriptor may be ready; `late` is the error after `until`.
pub(crate) fn wait_ready(fd: c_int, events: u16, until: Option<Instant>, late: c_int) -> Result<(), Raw> {
    if fd < 0 {
        return Err(failure(libc::EBADF));
    }
    // SAFETY: not negative. It is open unless the program is wrong, or another fiber closes it: then the wait says so, and a
    // number without a file is an error of the kernel's.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let ended = keeping_errno(|| foreign::wait(fd, events, until));
    errno_of(ended, late).map_or(Ok(()), |errno| Err(failure(errno)))
}

/// Parks until `until`.
pub(crate) fn sleep_until(until: Instant) -> Ended {
    keeping_errno(|| foreign::sleep_until(until))
}

/// The error that a wait's end means for the call.
pub(crate) fn errno_of(ended: Ended, late: c_int) -> Option<c_int> {
    Some(match ended {
        Ended::Ready => return None,
        Ended::TimedOut => late,
        Ended::Deadline => libc::ETIMEDOUT,
        Ended::Cancelled => libc::ECANCELED,
        Ended::Closed => libc::EBADF,
        Ended::Failed(errno) => errno,
        _ => libc::EIO,
    })
}
