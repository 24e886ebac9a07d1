//! `connect` and `accept`: the two for which the kernel has no flag "do not wait".
//!
//! io_uring has one for its own connect. With epoll the socket is non-blocking for the length of one system call: others who
//! share the open socket could see that, but a socket that is not connected yet has nobody else. What was refused: the
//! offload pool, whose threads a few hosts that do not answer would hold for two minutes each, and names and files with
//! them; and `SO_SNDTIMEO`, which others see as well, and which holds the thread for a tick of the kernel's clock.

use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use libc::{sockaddr, socklen_t};
use tenfold_runtime::foreign::{self, Ended};

use crate::sys::{Raw, failure, finish_int, keeping_errno, socket_option, syscall};
use crate::wait::{Patience, Side, errno_of, parks_on, sleep_until, wait_ready};

/// Pauses between attempts at a Unix socket whose backlog is full: nothing tells when there is room.
const BACKLOG_PAUSE_MIN: Duration = Duration::from_millis(1);
const BACKLOG_PAUSE_MAX: Duration = Duration::from_millis(20);

/// connect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the caller's address, as for connect(2).
    unsafe {
        // A datagram socket only takes note of the address.
        if !parks_on(fd) || socket_option(fd, libc::SO_TYPE) == Some(libc::SOCK_DGRAM) {
            return finish_int(syscall!(SYS_connect, fd, address, len));
        }
        finish_int(connect_parking(fd, address, len))
    }
}

/// accept(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: the caller's buffers, as for accept(2).
    unsafe { accept4(fd, address, len, 0) }
}

/// accept4(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's buffers, as for accept4(2).
    let attempt = || unsafe { syscall!(SYS_accept4, fd, address, len, flags) };
    if !parks_on(fd) {
        return finish_int(attempt());
    }
    finish_int(
        Patience::new(fd, Side::Read).run(|| if is_ready(fd) { attempt() } else { failure(libc::EAGAIN) }),
    )
}

/// # Safety
/// As connect(2).
unsafe fn connect_parking(fd: c_int, address: *const sockaddr, len: socklen_t) -> Raw {
    // SAFETY: F_GETFL and F_SETFL touch no memory of ours.
    let flags = unsafe { syscall!(SYS_fcntl, fd, libc::F_GETFL) };
    if flags < 0 {
        return flags;
    }
    let blocking = flags as c_int & libc::O_NONBLOCK == 0;
    let until = Side::Write.until(fd);
    if blocking {
        // SAFETY: the caller's promise.
        match unsafe { connect_by_the_loop(fd, address, len, until) } {
            // An earlier connect, that was given up, is still under way; a blocking one joins it.
            Some(result) if result == failure(libc::EALREADY) => return join(fd, until),
            Some(result) => return result,
            None => {}
        }
    }
    // SAFETY: as above.
    let set = |flags: Raw| unsafe { syscall!(SYS_fcntl, fd, libc::F_SETFL, flags) };
    let attempt = || {
        if blocking {
            set(flags | libc::O_NONBLOCK as Raw);
        }
        // SAFETY: the caller's promise.
        let result = unsafe { syscall!(SYS_connect, fd, address, len) };
        if blocking {
            set(flags);
        }
        result
    };
    let first = attempt();
    if !blocking {
        return first;
    }
    if first == failure(libc::EAGAIN) {
        return wait_for_backlog(until, attempt);
    }
    // EALREADY: an earlier connect, that was given up, is still under way; a blocking one joins it.
    if first != failure(libc::EINPROGRESS) && first != failure(libc::EALREADY) {
        return first;
    }
    join(fd, until)
}

/// Waits for the end of a connect that is under way.
fn join(fd: c_int, until: Option<Instant>) -> Raw {
    match wait_ready(fd, Side::Write.events(), until, libc::EINPROGRESS) {
        Ok(()) => failure(socket_option::<c_int>(fd, libc::SO_ERROR).unwrap_or(libc::EBADF)),
        Err(error) => error,
    }
}

/// Has io_uring connect, which asks the kernel not to wait without a flag that others could see. `None` with epoll.
///
/// # Safety
/// As connect(2).
unsafe fn connect_by_the_loop(
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
    until: Option<Instant>,
) -> Option<Raw> {
    if address.is_null() || len as usize > size_of::<libc::sockaddr_storage>() {
        // The kernel has an error for each.
        return None;
    }
    // SAFETY: `fd` is open: its flags were just read. The address is the caller's, as for connect(2).
    let (socket, address) = unsafe {
        (BorrowedFd::borrow_raw(fd), std::slice::from_raw_parts(address.cast::<u8>(), len as usize))
    };
    let result = keeping_errno(|| foreign::connect(socket, address, until))?;
    Some(match result {
        Ok(()) => 0,
        Err(ended) => failure(errno_of(ended, libc::EINPROGRESS).unwrap_or(libc::EIO)),
    })
}

/// Tries again and again, with growing pauses.
fn wait_for_backlog(until: Option<Instant>, attempt: impl Fn() -> Raw) -> Raw {
    let mut pause = BACKLOG_PAUSE_MIN;
    loop {
        if until.is_some_and(|until| until <= Instant::now()) {
            return failure(libc::EAGAIN);
        }
        match sleep_until(Instant::now() + pause) {
            Ended::TimedOut => {}
            ended => return failure(errno_of(ended, libc::EAGAIN).unwrap_or(libc::EAGAIN)),
        }
        let result = attempt();
        if result != failure(libc::EAGAIN) {
            return result;
        }
        pause = (pause * 2).min(BACKLOG_PAUSE_MAX);
    }
}

fn is_ready(fd: c_int) -> bool {
    let mut wanted = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both are ours and outlive the call.
    unsafe { syscall!(SYS_ppoll, &raw mut wanted, 1, &raw const now, 0, 0) != 0 }
}
