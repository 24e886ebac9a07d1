//! The calls that end a descriptor's number: whoever waits for it hears of it first.
//!
//! Closing does not end what waits in the kernel, and the number may name another file before the waiter runs again: it
//! would then read what was meant for somebody else.

use std::ffi::{c_int, c_uint};

use tenfold_runtime::foreign::{closing, closing_range};

use crate::sys::{finish_int, syscall};

/// close(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    closing(fd);
    // SAFETY: as close(2): the caller owns the descriptor.
    finish_int(unsafe { syscall!(SYS_close, fd) })
}

/// close_range(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if flags as c_uint & libc::CLOSE_RANGE_CLOEXEC == 0 {
        closing_range(first, last);
    }
    // SAFETY: as close_range(2): the caller owns the descriptors.
    finish_int(unsafe { syscall!(SYS_close_range, first, last, flags) })
}

/// closefrom(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(first: c_int) {
    // SAFETY: the caller owns the descriptors; it has no error to return (closefrom(3)).
    unsafe { close_range(first.max(0) as c_uint, c_uint::MAX, 0) };
}

/// dup2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    if from == to {
        // SAFETY: F_GETFD only looks whether the descriptor is open.
        let result = unsafe { syscall!(SYS_fcntl, from, libc::F_GETFD) };
        return finish_int(if result < 0 { result } else { to as isize });
    }
    // SAFETY: as dup2(2).
    unsafe { dup3(from, to, 0) }
}

/// dup3(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: F_GETFD only looks whether the descriptor is open: if it is not, nothing happens to `to`.
    if from != to && unsafe { syscall!(SYS_fcntl, from, libc::F_GETFD) } >= 0 {
        closing(to);
    }
    // SAFETY: as dup3(2).
    finish_int(unsafe { syscall!(SYS_dup3, from, to, flags) })
}
