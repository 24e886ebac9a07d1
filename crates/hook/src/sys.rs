//! System calls, made here and not through libc, whose names are ours now.
//!
//! A result is the kernel's: a negative number is an error. Only [`finish`] writes `errno`, so that nothing which happens
//! on the way (other fibers of this thread run meanwhile) leaves a trace there.

use std::ffi::c_int;

/// A system call's number or error, as the kernel gives it.
pub(crate) type Raw = isize;

/// Makes a system call.
///
/// # Safety
/// As the call itself.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) unsafe fn call(number: libc::c_long, args: [usize; 6]) -> Raw {
    let result;
    // SAFETY: the caller's promise. The kernel changes rcx and r11 (syscall(2), "Architecture calling conventions").
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Makes a system call.
///
/// # Safety
/// As the call itself.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) unsafe fn call(number: libc::c_long, args: [usize; 6]) -> Raw {
    let result;
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack),
        );
    }
    result
}

/// A system call with any number of arguments that are numbers or pointers.
macro_rules! syscall {
    (@arg) => { 0 };
    (@arg $arg:expr) => { $arg as usize };
    ($number:ident $(, $a:expr $(, $b:expr $(, $c:expr $(, $d:expr $(, $e:expr $(, $f:expr)?)?)?)?)?)?) => {
        $crate::sys::call(
            libc::$number,
            [
                syscall!(@arg $($a)?),
                syscall!(@arg $($($b)?)?),
                syscall!(@arg $($($($c)?)?)?),
                syscall!(@arg $($($($($d)?)?)?)?),
                syscall!(@arg $($($($($($e)?)?)?)?)?),
                syscall!(@arg $($($($($($($f)?)?)?)?)?)?),
            ],
        )
    };
}
pub(crate) use syscall;

/// An error as the kernel writes it.
pub(crate) const fn failure(errno: c_int) -> Raw {
    -(errno as Raw)
}

/// Turns a result into libc's: −1 and `errno` for an error.
#[inline]
pub(crate) fn finish(raw: Raw) -> isize {
    if raw >= 0 {
        return raw;
    }
    // SAFETY: the calling thread's own variable; a fiber does not change its thread.
    unsafe { *libc::__errno_location() = -raw as c_int };
    -1
}

/// As [`finish`], for functions that return an `int`.
#[inline]
pub(crate) fn finish_int(raw: Raw) -> c_int {
    finish(raw) as c_int
}

/// Runs `f`, during which other fibers of the thread run, and leaves `errno` as it was: a call that succeeds does not
/// write it (errno(3)).
pub(crate) fn keeping_errno<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the calling thread's own variable; a fiber does not change its thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *place };
    let result = f();
    // SAFETY: as above.
    unsafe { *place = before };
    result
}

/// Whether the descriptor's calls do not wait.
pub(crate) fn is_nonblocking(fd: c_int) -> bool {
    // SAFETY: F_GETFL touches no memory of ours.
    let flags = unsafe { syscall!(SYS_fcntl, fd, libc::F_GETFL) };
    flags < 0 || flags as c_int & libc::O_NONBLOCK != 0
}

/// One of a socket's options, if it has it.
pub(crate) fn socket_option<T: Copy + Default>(fd: c_int, name: c_int) -> Option<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` and `len` are ours and outlive the call; `T` is an integer or an array of them.
    let result =
        unsafe { syscall!(SYS_getsockopt, fd, libc::SOL_SOCKET, name, &raw mut value, &raw mut len) };
    (result == 0).then_some(value)
}
