//! Reading and writing: what arrives, how much of it, and in which order.

use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd};

use tenfold_runtime::{scope, yield_now};

use crate::common::{everywhere, on_fibers};
use crate::{pair, pipe, tcp_pair, while_waiting};

#[test]
fn a_read_waits_for_what_a_sibling_writes() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        let mut buf = [0; 8];
        let got = while_waiting(|| one.read(&mut buf).unwrap(), || other.write_all(b"hello").unwrap());
        assert_eq!((got, &buf[..5]), (5, &b"hello"[..]));
        drop(other);
        assert_eq!(one.read(&mut buf).unwrap(), 0, "the end of the stream");
    });
}

#[test]
fn a_write_goes_on_until_everything_is_written() {
    everywhere(|| {
        let (mut one, mut other) = tcp_pair();
        let body = vec![7; 8 << 20];
        let mut got = Vec::new();
        while_waiting(
            || {
                // One call, as for a blocking socket.
                assert_eq!(one.write(&body).unwrap(), body.len());
                drop(one);
            },
            || assert!(other.read_to_end(&mut got).is_ok()),
        );
        assert_eq!(got, body);
    });
}

#[test]
fn vectored_writes_are_whole_and_in_order() {
    everywhere(|| {
        let (mut one, mut other) = tcp_pair();
        let parts: Vec<Vec<u8>> = (0..100_u8).map(|part| vec![part; 60_000 + usize::from(part)]).collect();
        let slices: Vec<_> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
        let mut got = Vec::new();
        while_waiting(
            || {
                assert_eq!(one.write_vectored(&slices).unwrap(), parts.concat().len());
                drop(one);
            },
            || assert!(other.read_to_end(&mut got).is_ok()),
        );
        assert!(got == parts.concat());
    });
}

#[test]
fn vectored_reads_fill_their_buffers_in_order() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        let (mut first, mut second) = ([0; 3], [0; 5]);
        let mut bufs = [io::IoSliceMut::new(&mut first), io::IoSliceMut::new(&mut second)];
        let got = while_waiting(
            || one.read_vectored(&mut bufs).unwrap(),
            || {
                other.write_all(b"abcdef").unwrap();
            },
        );
        assert_eq!((got, &first, &second[..3]), (6, b"abc", &b"def"[..]));
    });
}

#[test]
fn waitall_waits_for_all_and_peek_takes_nothing() {
    everywhere(|| {
        let (one, mut other) = tcp_pair();
        let mut buf = [0_u8; 6];
        let fd = one.as_raw_fd();
        let got = while_waiting(
            // SAFETY: `buf` has six bytes.
            || unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), 6, libc::MSG_WAITALL) },
            || {
                other.write_all(b"abc").unwrap();
                yield_now();
                other.write_all(b"def").unwrap();
            },
        );
        assert_eq!((got, &buf), (6, b"abcdef"));
        let mut peeked = [0; 1];
        let got = while_waiting(|| one.peek(&mut peeked).unwrap(), || other.write_all(b"x").unwrap());
        assert_eq!((got, &peeked), (1, b"x"));
        assert_eq!((&one).read(&mut peeked).unwrap(), 1);
    });
}

#[test]
fn datagrams_keep_their_borders_and_senders() {
    everywhere(|| {
        let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut buf = [0; 16];
        let (got, from) = while_waiting(
            || one.recv_from(&mut buf).unwrap(),
            || {
                other.send_to(b"first", one.local_addr().unwrap()).unwrap();
                other.send_to(b"second", one.local_addr().unwrap()).unwrap();
            },
        );
        assert_eq!((&buf[..got], from), (&b"first"[..], other.local_addr().unwrap()));
        assert_eq!(one.recv(&mut buf).unwrap(), 6);
        one.connect(other.local_addr().unwrap()).unwrap();
        while_waiting(
            || assert_eq!(other.recv_from(&mut buf).unwrap().0, 1),
            || assert_eq!(one.send(b"x").unwrap(), 1),
        );
    });
}

#[test]
fn a_reader_and_a_writer_wait_for_the_same_descriptor() {
    everywhere(|| {
        let (one, mut other) = tcp_pair();
        let body = vec![1; 8 << 20];
        scope(|scope| {
            let reader = scope.spawn(|| {
                let mut byte = [0];
                (&one).read_exact(&mut byte).unwrap();
                byte[0]
            });
            let writer = scope.spawn(|| (&one).write_all(&body).unwrap());
            yield_now();
            let mut got = vec![0; body.len()];
            other.read_exact(&mut got).unwrap();
            writer.join().unwrap();
            other.write_all(&[9]).unwrap();
            assert_eq!(reader.join().unwrap(), 9);
        });
    });
}

#[test]
fn a_fiber_whose_calls_never_wait_takes_turns() {
    on_fibers(|| {
        let (mut one, other) = pair();
        let ran = std::sync::atomic::AtomicBool::new(false);
        scope(|scope| {
            scope.spawn(|| ran.store(true, std::sync::atomic::Ordering::Relaxed));
            let mut calls = 0;
            // Each finds room or a byte at once.
            while !ran.load(std::sync::atomic::Ordering::Relaxed) {
                one.write_all(b"x").unwrap();
                (&other).read_exact(&mut [0]).unwrap();
                calls += 1;
                assert!(calls < 10_000, "the sibling never runs");
            }
        });
    });
}

/// Code holds locks across calls that cannot wait: std's `available_parallelism` reads files, and a `LazyLock` may ask for it.
#[test]
fn a_call_that_cannot_wait_never_lets_siblings_run() {
    on_fibers(|| {
        let (mut nonblocking, _other) = pair();
        nonblocking.set_nonblocking(true).unwrap();
        let mut file = std::fs::File::open("/proc/self/status").unwrap();
        let mut read = || {
            io::Seek::rewind(&mut file).unwrap();
            assert!(file.read(&mut [0; 8]).unwrap() > 0);
        };
        let mut refused =
            || assert_eq!(nonblocking.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let calls: [&mut dyn FnMut(); 2] = [&mut read, &mut refused];
        for call in calls {
            let ran = std::sync::atomic::AtomicBool::new(false);
            scope(|scope| {
                scope.spawn(|| ran.store(true, std::sync::atomic::Ordering::Relaxed));
                (0..1_000).for_each(|_| call());
                assert!(!ran.load(std::sync::atomic::Ordering::Relaxed), "a sibling has run");
            });
        }
    });
}

#[test]
fn pipes_park_and_regular_files_pass() {
    everywhere(|| {
        let (reader, writer) = pipe();
        let (mut reader, mut writer) = (std::fs::File::from(reader), std::fs::File::from(writer));
        let body = vec![3; 1 << 20];
        let mut got = Vec::new();
        while_waiting(
            || {
                assert_eq!(writer.write(&body).unwrap(), body.len());
                drop(writer);
            },
            || assert!(reader.read_to_end(&mut got).is_ok()),
        );
        assert_eq!(got, body);
        // SAFETY: memfd_create(2) takes a string, and gives a descriptor that nobody else has.
        let mut file = unsafe { std::fs::File::from_raw_fd(libc::memfd_create(c"x".as_ptr(), 0)) };
        file.write_all(b"text").unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut text = String::new();
        assert_eq!(file.read_to_string(&mut text).unwrap(), 4);
    });
}

#[test]
fn a_counter_of_events_parks() {
    everywhere(|| {
        // SAFETY: eventfd(2) takes numbers and gives a descriptor that nobody else has.
        let counter = unsafe { std::fs::File::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
        let mut count = [0; 8];
        while_waiting(
            || (&counter).read_exact(&mut count).unwrap(),
            || {
                (&counter).write_all(&5_u64.to_ne_bytes()).unwrap();
            },
        );
        assert_eq!(u64::from_ne_bytes(count), 5);
    });
}

#[test]
fn the_fortified_names_are_the_same_calls() {
    unsafe extern "C" {
        fn __recv_chk(fd: i32, buf: *mut u8, len: usize, bytes: usize, flags: i32) -> isize;
        fn __read_chk(fd: i32, buf: *mut u8, len: usize, bytes: usize) -> isize;
        fn __poll_chk(fds: *mut libc::pollfd, count: u64, timeout: i32, bytes: usize) -> i32;
    }
    everywhere(|| {
        let (one, mut other) = pair();
        let fd = one.as_raw_fd();
        let mut buf = [0_u8; 4];
        let at = buf.as_mut_ptr() as usize;
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: `buf` has four bytes and outlives the calls; one entry.
        unsafe {
            let size = size_of::<libc::pollfd>();
            let got =
                while_waiting(|| __poll_chk(&mut entry, 1, -1, size), || other.write_all(b"a").unwrap());
            assert_eq!(got, 1);
            assert_eq!(__recv_chk(fd, at as *mut u8, 4, 4, 0), 1);
            let got =
                while_waiting(|| __recv_chk(fd, at as *mut u8, 4, 4, 0), || other.write_all(b"b").unwrap());
            assert_eq!(got, 1);
            let got =
                while_waiting(|| __read_chk(fd, at as *mut u8, 4, 4), || other.write_all(b"c").unwrap());
            assert_eq!(got, 1);
        }
        assert_eq!(buf[0], b'c');
    });
}
