//! `poll` and `ppoll`.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use libc::{nfds_t, pollfd, sigset_t, timespec};

use crate::sys::{Raw, failure, finish_int, syscall};
use crate::wait::{errno_of, parks, sleep_until, take_turns, wait_ready};

/// The kernel's sigset_t has 64 bits, libc's 1,024.
const KERNEL_SIGSET_BYTES: usize = 8;

/// poll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout_ms: c_int) -> c_int {
    let timeout = (timeout_ms >= 0).then(|| Duration::from_millis(timeout_ms as u64));
    // SAFETY: the caller's list, as for poll(2).
    finish_int(unsafe { poll_until(fds, count, timeout) })
}

/// ppoll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's list, time and mask, as for ppoll(2). The kernel writes the time that is left to its third
    // argument, libc's function does not: hence the copy.
    unsafe {
        let Some(given) = timeout.as_ref() else {
            // Signals are the thread's: with a mask of its own the call cannot be shared with other fibers.
            return finish_int(match mask.is_null() {
                true => poll_until(fds, count, None),
                false => syscall!(SYS_ppoll, fds, count, 0, mask, KERNEL_SIGSET_BYTES),
            });
        };
        match duration(given) {
            Some(timeout) if mask.is_null() => finish_int(poll_until(fds, count, Some(timeout))),
            _ => {
                let mut copy = *given;
                finish_int(syscall!(SYS_ppoll, fds, count, &raw mut copy, mask, KERNEL_SIGSET_BYTES))
            }
        }
    }
}

/// # Safety
/// As poll(2).
unsafe fn poll_until(fds: *mut pollfd, count: nfds_t, timeout: Option<Duration>) -> Raw {
    // SAFETY: the caller's promise.
    unsafe {
        if timeout.is_some_and(|timeout| timeout.is_zero()) || !parks() {
            return plain(fds, count, timeout);
        }
        let first = plain(fds, count, Some(Duration::ZERO));
        if first != 0 {
            // A driver whose sockets do not block reads as long as there is something, and asks here in between.
            take_turns(|| true);
            return first;
        }
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let waited = match count {
            0 => &[],
            count => std::slice::from_raw_parts(fds, count as usize),
        };
        loop {
            let interests = waited.iter().map(|one| (one.fd, one.events as u16));
            match wait_any(interests, until) {
                // In time, or at its end: what is ready now is what counts.
                Ok(()) => match plain(fds, count, Some(Duration::ZERO)) {
                    0 if until.is_some_and(|until| until <= Instant::now()) => return 0,
                    0 => {}
                    result => return result,
                },
                Err(error) => return error,
            }
        }
    }
}

/// # Safety
/// As poll(2).
unsafe fn plain(fds: *mut pollfd, count: nfds_t, timeout: Option<Duration>) -> Raw {
    let limit = timeout.map(|time| timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos() as libc::c_long,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the caller's promise; `limit` outlives the call.
    unsafe { syscall!(SYS_ppoll, fds, count, limit, 0, KERNEL_SIGSET_BYTES) }
}

/// Parks until one of several descriptors may be ready, or `until`.
///
/// One is waited for directly. Several go into an epoll instance made for this wait, which is waited for in their place:
/// a fiber waits for one thing at a time, and nothing is left behind on any of them.
pub(crate) fn wait_any(
    mut interests: impl Iterator<Item = (c_int, u16)> + Clone,
    until: Option<Instant>,
) -> Result<(), Raw> {
    let in_time = |error| if error == failure(libc::EAGAIN) { Ok(()) } else { Err(error) };
    let mut open = interests.clone().filter(|(fd, _)| *fd >= 0);
    match (open.next(), open.next()) {
        (None, _) => {
            let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(u32::MAX.into()));
            let ended = sleep_until(until);
            errno_of(ended, libc::EAGAIN).map_or(Ok(()), |errno| in_time(failure(errno)))
        }
        (Some((fd, events)), None) => wait_ready(fd, events, until, libc::EAGAIN).or_else(in_time),
        _ => {
            let all = Several::new(&mut interests)?;
            wait_ready(all.0, libc::POLLIN as u16, until, libc::EAGAIN).or_else(in_time)
        }
    }
}

/// An epoll instance.
struct Several(c_int);

impl Several {
    fn new(interests: &mut impl Iterator<Item = (c_int, u16)>) -> Result<Several, Raw> {
        // SAFETY: epoll_create1(2) and epoll_ctl(2) take numbers, and an event that is ours.
        let made = unsafe { syscall!(SYS_epoll_create1, libc::EPOLL_CLOEXEC) };
        if made < 0 {
            return Err(made);
        }
        let several = Several(made as c_int);
        for (fd, events) in interests.filter(|(fd, _)| *fd >= 0) {
            let mut event = libc::epoll_event { events: u32::from(events), u64: fd as u64 };
            // The same descriptor may be in the list twice, for one direction each: EEXIST, so watched for both.
            // SAFETY: as above.
            let added =
                unsafe { syscall!(SYS_epoll_ctl, several.0, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
            if added == failure(libc::EEXIST) {
                event.events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLPRI) as u32;
                // SAFETY: as above.
                unsafe { syscall!(SYS_epoll_ctl, several.0, libc::EPOLL_CTL_MOD, fd, &raw mut event) };
            }
            // Any other failure: always ready (EPERM), which the poll before has said, or closed since, which the next
            // one will.
        }
        Ok(several)
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        // SAFETY: ours, and closed once.
        unsafe { syscall!(SYS_close, self.0) };
    }
}

/// A time of libc's; `None` when it is not one.
pub(crate) fn duration(time: &timespec) -> Option<Duration> {
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanos))
}
