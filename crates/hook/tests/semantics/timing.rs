//! Flags, time-outs, sleeps, deadlines and cancels: when a call ends without having done anything.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tenfold_runtime::{spawn, yield_now};

use crate::common::{everywhere, on_fibers, side_by_side};
use crate::{SHORT, checked, errno, pair, while_waiting};

#[test]
fn a_nonblocking_descriptor_says_so_at_once() {
    everywhere(|| {
        let (mut one, _other) = pair();
        one.set_nonblocking(true).unwrap();
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let body = vec![0; 4 << 20];
        assert!(one.write(&body).unwrap() < body.len(), "a part");
        assert_eq!(one.write(&body).unwrap_err().kind(), ErrorKind::WouldBlock);
        // The flag belongs to the open file, not to the number: a duplicate's counts.
        let (mut one, _other) = pair();
        one.try_clone().unwrap().set_nonblocking(true).unwrap();
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn the_sockets_own_timeouts_end_a_wait_as_the_kernel_would() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        one.set_read_timeout(Some(SHORT)).unwrap();
        one.set_write_timeout(Some(SHORT)).unwrap();
        let started = Instant::now();
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(started.elapsed() >= SHORT, "it has waited");
        let body = vec![0; 4 << 20];
        assert!(one.write(&body).unwrap() < body.len(), "what was written before the time-out");
        assert_eq!(one.write(&body).unwrap_err().kind(), ErrorKind::WouldBlock);
        other.write_all(b"x").unwrap();
        assert_eq!(one.read(&mut [0]).unwrap(), 1);
    });
}

/// Why `dup`, `fcntl`, `ioctl` and `setsockopt` need no hooks: what they have set is asked of the kernel.
#[test]
fn what_was_set_through_a_duplicate_counts() {
    everywhere(|| {
        let (mut one, _other) = pair();
        // SAFETY: takes a number; the new one is owned here alone.
        let copy = unsafe { OwnedFd::from_raw_fd(libc::dup(one.as_raw_fd())) };
        UnixStream::from(copy.try_clone().unwrap()).set_read_timeout(Some(SHORT)).unwrap();
        let started = Instant::now();
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(started.elapsed() >= SHORT, "it has waited");
        for on in [1, 0] {
            // SAFETY: FIONBIO reads an int, which is ours.
            assert_eq!(unsafe { libc::ioctl(copy.as_raw_fd(), libc::FIONBIO, &raw const on) }, 0);
            let started = Instant::now();
            assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(on == 1 || started.elapsed() >= SHORT, "blocking again, it has waited");
        }
    });
}

#[test]
fn a_wait_that_was_too_long_leaves_nothing_behind() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        for _ in 0..20 {
            assert!(one.read(&mut [0]).is_err());
        }
        one.set_read_timeout(None).unwrap();
        while_waiting(|| assert_eq!(one.read(&mut [0]).unwrap(), 1), || other.write_all(b"x").unwrap());
    });
}

#[test]
fn sleeps_overlap_and_are_not_shorter_than_asked() {
    on_fibers(|| {
        let calls: [fn(); 5] = [
            || std::thread::sleep(SHORT),
            // SAFETY: takes a number only.
            || assert_eq!(unsafe { libc::usleep(SHORT.as_micros() as u32) }, 0),
            || {
                let time = libc::timespec { tv_sec: 0, tv_nsec: SHORT.as_nanos() as i64 };
                // SAFETY: `time` outlives the call, and nobody wants the rest.
                assert_eq!(unsafe { libc::nanosleep(&time, std::ptr::null_mut()) }, 0);
            },
            || {
                let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                // SAFETY: `time` outlives the calls, and nobody wants the rest.
                unsafe {
                    libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
                    let at = Duration::new(time.tv_sec as u64, time.tv_nsec as u32) + SHORT;
                    time = libc::timespec { tv_sec: at.as_secs() as i64, tv_nsec: at.subsec_nanos().into() };
                    let none = std::ptr::null_mut();
                    assert_eq!(
                        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &time, none),
                        0
                    );
                }
            },
            || {
                // SAFETY: an empty list.
                assert_eq!(unsafe { libc::poll(std::ptr::null_mut(), 0, SHORT.as_millis() as i32) }, 0);
            },
        ];
        for call in calls {
            let started = Instant::now();
            call();
            let one = started.elapsed();
            assert!(one >= SHORT, "{one:?}");
            let many = side_by_side(100, |_| call());
            assert!(many < one * 50, "a hundred took {many:?}, one {one:?}");
        }
        let one = side_by_side(1, |_| assert_eq!(unsafe_sleep(1), 0));
        let many = side_by_side(10, |_| assert_eq!(unsafe_sleep(1), 0));
        assert!(many < one * 5, "{one:?} {many:?}");
    });
}

fn unsafe_sleep(seconds: u32) -> u32 {
    // SAFETY: takes a number only.
    unsafe { libc::sleep(seconds) }
}

#[test]
fn a_cancelled_task_and_one_out_of_time_get_errors() {
    on_fibers(|| {
        let (one, _other) = pair();
        let waiting = spawn(move || {
            let first = (&one).read(&mut [0]);
            // Sticky, also for a call of another kind.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            (errno(first), errno(listener.accept()))
        });
        yield_now();
        waiting.cancel();
        assert_eq!(waiting.join().unwrap(), (libc::ECANCELED, libc::ECANCELED));

        let (one, _other) = pair();
        let late = tenfold_runtime::deadline(SHORT, || (&one).read(&mut [0]));
        assert_eq!(errno(late), libc::ETIMEDOUT);
        let mut entry = libc::pollfd { fd: one.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let late = tenfold_runtime::deadline(SHORT, || {
            // SAFETY: one entry.
            checked(unsafe { libc::poll(&mut entry, 1, -1) } as isize)
        });
        assert_eq!(errno(late), libc::ETIMEDOUT);
    });
}

#[test]
fn a_sleep_ends_early_when_its_task_is_over_and_does_not_spin() {
    on_fibers(|| {
        let sleeping = spawn(|| {
            let started = Instant::now();
            std::thread::sleep(Duration::from_secs(3600));
            let first = started.elapsed();
            let again = Instant::now();
            (0..3).for_each(|_| std::thread::sleep(Duration::from_secs(3600)));
            (first, again.elapsed())
        });
        yield_now();
        sleeping.cancel();
        let (first, again) = sleeping.join().unwrap();
        assert!(first < Duration::from_secs(60), "{first:?}");
        assert!(again >= Duration::from_millis(30), "three sleeps took {again:?}");
    });
}
