//! Sockets: `recv`, `send` and their longer forms.

use std::ffi::{c_int, c_void};

use libc::{msghdr, size_t, sockaddr, socklen_t, ssize_t};

use crate::sys::{Raw, failure, finish, socket_option, syscall};
use crate::vector::{Rest, bytes};
use crate::wait::{Patience, Side, note_sent, parks_on};

/// Flags that say themselves that the call does not wait, or for which the kernel's own waiting cannot be taken apart.
const PLAIN_RECV: c_int = libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE | libc::MSG_OOB;
const PLAIN_SEND: c_int = libc::MSG_DONTWAIT | libc::MSG_OOB;

/// recv(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's buffer, as for recv(2).
    finish(unsafe { receive(fd, buf, len, flags, std::ptr::null_mut(), std::ptr::null_mut()) })
}

/// recvfrom(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller's buffers, as for recvfrom(2).
    finish(unsafe { receive(fd, buf, len, flags, from, from_len) })
}

/// recvmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's message, as for recvmsg(2). Its header is written by a successful attempt only (an attempt that
    // says EAGAIN leaves it as it was: net/socket.c, ___sys_recvmsg).
    unsafe {
        if flags & (PLAIN_RECV | libc::MSG_WAITALL) != 0 || !parks_on(fd) {
            return finish(syscall!(SYS_recvmsg, fd, message, flags));
        }
        let attempt = || syscall!(SYS_recvmsg, fd, message, flags | libc::MSG_DONTWAIT);
        finish(Patience::new(fd, Side::Read).run(attempt))
    }
}

/// send(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's buffer, as for send(2).
    finish(unsafe { send_all(fd, buf, len, flags, std::ptr::null(), 0) })
}

/// sendto(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> ssize_t {
    // SAFETY: the caller's buffers, as for sendto(2).
    finish(unsafe { send_all(fd, buf, len, flags, to, to_len) })
}

/// sendmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's message, as for sendmsg(2).
    unsafe {
        if flags & PLAIN_SEND != 0 || !parks_on(fd) || message.is_null() {
            return finish(syscall!(SYS_sendmsg, fd, message, flags));
        }
        finish(send_message(fd, &*message, flags))
    }
}

/// # Safety
/// As recvfrom(2).
pub(crate) unsafe fn receive(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> Raw {
    // SAFETY: the caller's promise, here and below; `taken` is never more than `len`.
    unsafe {
        if flags & PLAIN_RECV != 0 || !parks_on(fd) {
            return syscall!(SYS_recvfrom, fd, buf, len, flags, from, from_len);
        }
        let all =
            flags & libc::MSG_WAITALL != 0 && socket_option(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM);
        if all && flags & libc::MSG_PEEK != 0 {
            // To wait for more without taking what is there is beyond poll(2).
            return syscall!(SYS_recvfrom, fd, buf, len, flags, from, from_len);
        }
        let mut patience = Patience::new(fd, Side::Read);
        let mut taken = 0;
        loop {
            let result = patience.receive(|| {
                let flags = flags | libc::MSG_DONTWAIT;
                syscall!(SYS_recvfrom, fd, buf.byte_add(taken), len - taken, flags, from, from_len)
            });
            match result {
                0 => return taken as Raw,
                error if error < 0 => return if taken > 0 { taken as Raw } else { error },
                more => taken += more as usize,
            }
            if !all || taken == len {
                return taken as Raw;
            }
        }
    }
}

/// A blocking send comes back when everything is written (on a datagram socket one attempt does that).
///
/// # Safety
/// As sendto(2).
pub(crate) unsafe fn send_all(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> Raw {
    // SAFETY: the caller's promise, here and below; `sent` is never more than `len`.
    unsafe {
        if flags & PLAIN_SEND != 0 || !parks_on(fd) {
            return syscall!(SYS_sendto, fd, buf, len, flags, to, to_len);
        }
        let mut patience = Patience::new(fd, Side::Write);
        let mut sent = 0;
        loop {
            let result = patience.run(|| {
                let flags = flags | libc::MSG_DONTWAIT;
                syscall!(SYS_sendto, fd, buf.byte_add(sent), len - sent, flags, to, to_len)
            });
            match result {
                error if error < 0 => return if sent > 0 { sent as Raw } else { error },
                0 => return sent as Raw,
                more => sent += more as usize,
            }
            if sent >= len {
                note_sent(fd);
                return sent as Raw;
            }
        }
    }
}

/// As [`send_all`]; what travels beside the bytes goes with the first part.
///
/// # Safety
/// As sendmsg(2).
pub(crate) unsafe fn send_message(fd: c_int, message: &msghdr, flags: c_int) -> Raw {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        let (buffers, count) = (message.msg_iov, message.msg_iovlen);
        let mut patience = Patience::new(fd, Side::Write);
        let flags = flags | libc::MSG_DONTWAIT;
        let first = patience.run(|| syscall!(SYS_sendmsg, fd, &raw const *message, flags));
        if first <= 0 {
            return first;
        }
        let len = bytes(buffers, count);
        let mut sent = first as usize;
        while sent < len {
            let mut rest = Rest::after(buffers, count, sent);
            let mut next = std::mem::zeroed::<msghdr>();
            next.msg_name = message.msg_name;
            next.msg_namelen = message.msg_namelen;
            next.msg_iov = rest.as_mut_ptr();
            next.msg_iovlen = rest.len();
            match patience.run(|| syscall!(SYS_sendmsg, fd, &raw const next, flags)) {
                more if more > 0 => sent += more as usize,
                _ => break,
            }
        }
        note_sent(fd);
        sent as Raw
    }
}

/// Whether an attempt says that the descriptor is not a socket.
pub(crate) fn is_no_socket(result: Raw) -> bool {
    result == failure(libc::ENOTSOCK)
}
