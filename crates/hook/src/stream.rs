//! Any descriptor: `read`, `write` and their vectored forms.
//!
//! A socket is tried first, since that is what drivers have. What is not one may be a pipe, a terminal or a counter of
//! events, and is waited for; a regular file, a directory or a disk is never ready or not, and is read at once.

use std::ffi::{c_int, c_void};

use libc::{iovec, msghdr, size_t, ssize_t};

use crate::message::{is_no_socket, receive, send_all, send_message};
use crate::sys::{Raw, failure, finish, syscall};
use crate::vector::{Rest, bytes};
use crate::wait::{Patience, Side, parks_on};

/// read(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: the caller's buffer, as for read(2).
    unsafe {
        if len == 0 || !parks_on(fd) {
            return finish(syscall!(SYS_read, fd, buf, len));
        }
        let result = receive(fd, buf, len, 0, std::ptr::null_mut(), std::ptr::null_mut());
        if !is_no_socket(result) {
            return finish(result);
        }
        let buffer = iovec { iov_base: buf, iov_len: len };
        finish(read_other(fd, &raw const buffer, 1))
    }
}

/// readv(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn readv(fd: c_int, buffers: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's buffers, as for readv(2).
    unsafe {
        if !(1..=libc::UIO_MAXIOV).contains(&count) || !parks_on(fd) || bytes(buffers, count as usize) == 0 {
            return finish(syscall!(SYS_readv, fd, buffers, count));
        }
        let mut message = std::mem::zeroed::<msghdr>();
        message.msg_iov = buffers.cast_mut();
        message.msg_iovlen = count as usize;
        let attempt = || syscall!(SYS_recvmsg, fd, &raw mut message, libc::MSG_DONTWAIT);
        let result = Patience::new(fd, Side::Read).run(attempt);
        if !is_no_socket(result) {
            return finish(result);
        }
        finish(read_other(fd, buffers, count as usize))
    }
}

/// write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: the caller's buffer, as for write(2).
    unsafe {
        if len == 0 || !parks_on(fd) {
            return finish(syscall!(SYS_write, fd, buf, len));
        }
        let result = send_all(fd, buf, len, 0, std::ptr::null(), 0);
        if !is_no_socket(result) {
            return finish(result);
        }
        let buffer = iovec { iov_base: buf.cast_mut(), iov_len: len };
        finish(write_other(fd, &raw const buffer, 1))
    }
}

/// writev(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, buffers: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's buffers, as for writev(2).
    unsafe {
        if !(1..=libc::UIO_MAXIOV).contains(&count) || !parks_on(fd) || bytes(buffers, count as usize) == 0 {
            return finish(syscall!(SYS_writev, fd, buffers, count));
        }
        let mut message = std::mem::zeroed::<msghdr>();
        message.msg_iov = buffers.cast_mut();
        message.msg_iovlen = count as usize;
        let result = send_message(fd, &message, 0);
        if !is_no_socket(result) {
            return finish(result);
        }
        finish(write_other(fd, buffers, count as usize))
    }
}

/// # Safety
/// As readv(2).
unsafe fn read_other(fd: c_int, buffers: *const iovec, count: usize) -> Raw {
    // SAFETY: the caller's promise.
    unsafe {
        if !can_be_waited_for(fd) {
            return syscall!(SYS_readv, fd, buffers, count);
        }
        Patience::new(fd, Side::Read).run(|| {
            // Offset −1 is the descriptor's own position (preadv2(2)).
            match syscall!(SYS_preadv2, fd, buffers, count, usize::MAX, usize::MAX, libc::RWF_NOWAIT) {
                refused if knows_no_attempt(refused) => {
                    if_ready(fd, Side::Read, || syscall!(SYS_readv, fd, buffers, count))
                }
                other => other,
            }
        })
    }
}

/// # Safety
/// As writev(2).
unsafe fn write_other(fd: c_int, buffers: *const iovec, count: usize) -> Raw {
    // SAFETY: the caller's promise.
    unsafe {
        if !can_be_waited_for(fd) {
            return syscall!(SYS_writev, fd, buffers, count);
        }
        let len = bytes(buffers, count);
        let mut patience = Patience::new(fd, Side::Write);
        let mut written = 0;
        while written < len {
            let mut rest = Rest::after(buffers, count, written);
            let (buffers, count) = (rest.as_mut_ptr(), rest.len());
            let result = patience.run(|| {
                match syscall!(SYS_pwritev2, fd, buffers, count, usize::MAX, usize::MAX, libc::RWF_NOWAIT) {
                    refused if knows_no_attempt(refused) => {
                        if_ready(fd, Side::Write, || syscall!(SYS_writev, fd, buffers, count))
                    }
                    other => other,
                }
            });
            match result {
                error if error < 0 => return if written > 0 { written as Raw } else { error },
                0 => break,
                more => written += more as usize,
            }
        }
        written as Raw
    }
}

/// Whether the descriptor can be ready or not.
fn can_be_waited_for(fd: c_int) -> bool {
    // SAFETY: fstat(2) fills `status`, which is ours; zeroes are a valid value.
    let (result, status) = unsafe {
        let mut status = std::mem::zeroed::<libc::stat>();
        (syscall!(SYS_fstat, fd, &raw mut status), status)
    };
    result == 0 && !matches!(status.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK)
}

/// Some files (terminals, on older kernels pipes) cannot be tried; nor can a pipe at a position (ESPIPE before 4.17).
fn knows_no_attempt(result: Raw) -> bool {
    [libc::EOPNOTSUPP, libc::EINVAL, libc::ESPIPE, libc::ENOSYS].iter().any(|errno| result == failure(*errno))
}

/// Makes a call that may wait if a poll says that it will not. Another reader may be faster; then it waits.
fn if_ready(fd: c_int, side: Side, call: impl FnOnce() -> Raw) -> Raw {
    let mut wanted = libc::pollfd { fd, events: side.events() as i16, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both are ours and outlive the call.
    match unsafe { syscall!(SYS_ppoll, &raw mut wanted, 1, &raw const now, 0, 0) } {
        0 => failure(libc::EAGAIN),
        _ => call(),
    }
}
