//! The names that C code gets when it is compiled with `_FORTIFY_SOURCE`: the same calls with the size of the caller's
//! buffer behind, which libc compares and aborts.

use std::ffi::{c_int, c_void};

use libc::{nfds_t, pollfd, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec};

unsafe extern "C" {
    fn __chk_fail() -> !;
}

fn check(fits: bool) {
    if !fits {
        // SAFETY: says "buffer overflow detected" and aborts.
        unsafe { __chk_fail() }
    }
}

fn check_list(count: nfds_t, bytes: size_t) {
    check(bytes / size_of::<pollfd>() >= count as usize);
}

/// `read` with the size of its buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, bytes: size_t) -> ssize_t {
    check(len <= bytes);
    // SAFETY: the caller's buffer.
    unsafe { crate::stream::read(fd, buf, len) }
}

/// `recv` with the size of its buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    bytes: size_t,
    flags: c_int,
) -> ssize_t {
    check(len <= bytes);
    // SAFETY: the caller's buffer.
    unsafe { crate::message::recv(fd, buf, len, flags) }
}

/// `recvfrom` with the size of its buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    bytes: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    check(len <= bytes);
    // SAFETY: the caller's buffers.
    unsafe { crate::message::recvfrom(fd, buf, len, flags, from, from_len) }
}

/// `poll` with the size of its list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, bytes: size_t) -> c_int {
    check_list(count, bytes);
    // SAFETY: the caller's list.
    unsafe { crate::poll::poll(fds, count, timeout) }
}

/// `ppoll` with the size of its list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    bytes: size_t,
) -> c_int {
    check_list(count, bytes);
    // SAFETY: the caller's list.
    unsafe { crate::poll::ppoll(fds, count, timeout, mask) }
}
