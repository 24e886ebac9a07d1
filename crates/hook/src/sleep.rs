//! The sleep family.
//!
//! A sleep that ends early because its task is cancelled or out of time says that it has ended: `EINTR` with the rest
//! would be more exact, but std's `thread::sleep` goes on with the rest. The next call that can fail does.

use std::ffi::{c_int, c_uint};
use std::time::{Duration, Instant};

use libc::{clockid_t, timespec};

use crate::poll::duration;
use crate::sys::{failure, finish_int, syscall};
use crate::wait::{parks, sleep_until};

/// sleep(3).
#[unsafe(no_mangle)]
pub extern "C" fn sleep(seconds: c_uint) -> c_uint {
    if parks() {
        park_for(Duration::from_secs(seconds.into()));
        return 0;
    }
    let mut left = timespec { tv_sec: seconds.into(), tv_nsec: 0 };
    // SAFETY: `left` is ours; the kernel writes the rest to it when it is interrupted.
    let result =
        unsafe { syscall!(SYS_clock_nanosleep, libc::CLOCK_REALTIME, 0, &raw const left, &raw mut left) };
    if result == 0 { 0 } else { left.tv_sec as c_uint }
}

/// usleep(3).
#[unsafe(no_mangle)]
pub extern "C" fn usleep(micros: libc::useconds_t) -> c_int {
    if parks() {
        park_for(Duration::from_micros(micros.into()));
        return 0;
    }
    let time = timespec { tv_sec: (micros / 1_000_000).into(), tv_nsec: (micros % 1_000_000 * 1000).into() };
    // SAFETY: `time` is ours.
    finish_int(unsafe { syscall!(SYS_clock_nanosleep, libc::CLOCK_REALTIME, 0, &raw const time, 0) })
}

/// nanosleep(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int {
    // SAFETY: the caller's times, as for nanosleep(2). CLOCK_REALTIME and not MONOTONIC, which a relative sleep measures
    // alike (clock_nanosleep(2), "NOTES"), as libc does.
    let result = unsafe { clock_sleep(libc::CLOCK_REALTIME, 0, time, rest) };
    finish_int(failure(result))
}

/// clock_nanosleep(2), which returns its error and leaves `errno` alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    rest: *mut timespec,
) -> c_int {
    // SAFETY: the caller's times, as for clock_nanosleep(2).
    unsafe { clock_sleep(clock, flags, time, rest) }
}

/// # Safety
/// As clock_nanosleep(2).
unsafe fn clock_sleep(clock: clockid_t, flags: c_int, time: *const timespec, rest: *mut timespec) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let known = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME);
        let asked = time.as_ref().and_then(duration).filter(|_| known && parks());
        let Some(asked) = asked else {
            return -syscall!(SYS_clock_nanosleep, clock, flags, time, rest) as c_int;
        };
        // A point in time of a clock that somebody sets meanwhile is missed by as much.
        let left = match flags & libc::TIMER_ABSTIME {
            0 => asked,
            _ => asked.saturating_sub(clock_now(clock)),
        };
        park_for(left);
        0
    }
}

fn clock_now(clock: clockid_t) -> Duration {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours.
    unsafe { libc::clock_gettime(clock, &mut now) };
    duration(&now).unwrap_or_default()
}

fn park_for(time: Duration) {
    let now = Instant::now();
    sleep_until(now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into())));
}
