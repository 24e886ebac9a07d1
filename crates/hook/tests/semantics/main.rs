//! What a hooked call does, on fibers over both backends and on plain threads: as the kernel does, but that a fiber parks.
//!
//! Whether a call parks is seen by whether a sibling fiber runs meanwhile: it does what the call waits for. If the call
//! blocked the thread instead, the test would hang, and not pass by luck.

#![allow(unsafe_code, reason = "calls libc's functions as a C library does")]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tenfold_runtime::{scope, yield_now};

#[path = "../common/mod.rs"]
mod common;

mod transfer;

mod asking;

mod timing;

mod connecting;

mod polling;

mod closing;

mod elsewhere;

const SHORT: Duration = Duration::from_millis(30);

/// Runs `first` until it waits (or on a thread of its own), then `second`; the result of `first`.
fn while_waiting<T: Send>(first: impl FnOnce() -> T + Send, second: impl FnOnce()) -> T {
    scope(|scope| {
        let first = scope.spawn(first);
        yield_now();
        second();
        first.join().unwrap()
    })
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = io::pipe().unwrap();
    (reader.into(), writer.into())
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

/// libc's result as std would give it.
fn checked(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

fn flags_of(fd: RawFd) -> i32 {
    // SAFETY: F_GETFL takes numbers only.
    unsafe { libc::fcntl(fd, libc::F_GETFL) }
}
