//! What happens to a call whose descriptor is closed or shut down meanwhile.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use crate::common::{everywhere, on_fibers};
use crate::{checked, errno, pair, while_waiting};

#[test]
fn closing_a_descriptor_ends_its_waiters_calls() {
    on_fibers(|| {
        let (one, _other) = pair();
        let fd = one.as_raw_fd();
        let result = while_waiting(|| checked(unsafe_recv(fd)), || drop(one));
        assert_eq!(errno(result), libc::EBADF);
        // Also when the number has a new owner before the waiter runs, and that one gets what is its own.
        let (one, _other) = pair();
        let fd = one.as_raw_fd();
        let (mut reader, mut writer) = pair();
        let result = while_waiting(
            || checked(unsafe_recv(fd)),
            || {
                // SAFETY: takes numbers; `one`'s number is replaced by a duplicate of `reader`.
                assert_eq!(unsafe { libc::dup2(reader.as_raw_fd(), fd) }, fd);
                writer.write_all(b"x").unwrap();
            },
        );
        assert_eq!(errno(result), libc::EBADF);
        assert_eq!(reader.read(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn closing_a_range_of_descriptors_ends_its_waiters_calls() {
    on_fibers(|| {
        let (one, _other) = pair();
        let fd = one.into_raw_fd();
        let close = || {
            // SAFETY: the range is the one descriptor that was given up above.
            assert_eq!(unsafe { libc::close_range(fd as u32, fd as u32, 0) }, 0);
        };
        assert_eq!(errno(while_waiting(|| checked(unsafe_recv(fd)), close)), libc::EBADF);
    });
}

#[test]
fn closing_on_another_thread_ends_a_fibers_wait() {
    on_fibers(|| {
        let (one, _other) = pair();
        let fd = one.as_raw_fd();
        let (says, hears) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            hears.recv().unwrap();
            drop(one);
        });
        let result = while_waiting(|| checked(unsafe_recv(fd)), || says.send(()).unwrap());
        assert_eq!(errno(result), libc::EBADF);
        thread.join().unwrap();
    });
}

fn unsafe_recv(fd: RawFd) -> isize {
    let mut byte = 0_u8;
    // SAFETY: `byte` is ours.
    unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, 0) }
}

#[test]
fn a_shutdown_ends_a_read() {
    everywhere(|| {
        let (one, _other) = pair();
        let got = while_waiting(
            || (&one).read(&mut [0]).unwrap(),
            || {
                one.shutdown(std::net::Shutdown::Both).unwrap();
            },
        );
        assert_eq!(got, 0);
    });
}
