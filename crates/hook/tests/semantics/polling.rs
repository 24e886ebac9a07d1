//! `poll` and `select`.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::common::everywhere;
use crate::{pair, while_waiting};

#[test]
fn poll_waits_for_one_for_many_and_for_time() {
    everywhere(|| {
        let (one, mut other) = pair();
        let (third, _fourth) = pair();
        let entry =
            |stream: &UnixStream| libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the lists have as many entries as said.
        let poll =
            |list: &mut [libc::pollfd], ms| unsafe { libc::poll(list.as_mut_ptr(), list.len() as u64, ms) };
        let started = Instant::now();
        assert_eq!(poll(&mut [entry(&one)], 20), 0);
        assert_eq!(poll(&mut [entry(&one), entry(&third)], 20), 0);
        assert_eq!(poll(&mut [], 20), 0);
        assert!(started.elapsed() >= Duration::from_millis(60));
        let mut list = [entry(&one)];
        while_waiting(|| assert_eq!(poll(&mut list, -1), 1), || other.write_all(b"x").unwrap());
        assert_eq!(list[0].revents, libc::POLLIN);
        (&one).read_exact(&mut [0]).unwrap();
        let mut list =
            [entry(&third), entry(&one), libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }];
        while_waiting(|| assert_eq!(poll(&mut list, 60_000), 1), || other.write_all(b"x").unwrap());
        assert_eq!(list.map(|one| one.revents), [0, libc::POLLIN, 0]);
        drop(other);
        let mut list = [libc::pollfd { events: 0, ..entry(&one) }];
        assert_eq!((poll(&mut list, -1), list[0].revents), (1, libc::POLLHUP), "asked for nothing");
        let mut list = [libc::pollfd { fd: 1 << 20, events: libc::POLLIN, revents: 0 }];
        assert_eq!((poll(&mut list, -1), list[0].revents), (1, libc::POLLNVAL));
    });
}

#[test]
fn select_waits_and_says_what_is_left_of_its_time() {
    everywhere(|| {
        let (one, mut other) = pair();
        let (third, _fourth) = pair();
        let select = |streams: &[&UnixStream], ms: i64| {
            // SAFETY: the set is a valid one, and the descriptors are below 1,024.
            unsafe {
                let mut set = std::mem::zeroed::<libc::fd_set>();
                streams.iter().for_each(|stream| libc::FD_SET(stream.as_raw_fd(), &mut set));
                let count = 1 + streams.iter().map(|stream| stream.as_raw_fd()).max().unwrap_or(-1);
                let mut left = libc::timeval { tv_sec: ms / 1000, tv_usec: ms % 1000 * 1000 };
                let none = std::ptr::null_mut();
                let result = libc::select(count, &mut set, none, none, &mut left);
                let ready: Vec<bool> =
                    streams.iter().map(|stream| libc::FD_ISSET(stream.as_raw_fd(), &set)).collect();
                (result, ready, left.tv_sec * 1000 + left.tv_usec / 1000)
            }
        };
        assert_eq!(select(&[&one, &third], 20), (0, vec![false, false], 0));
        let (result, ready, left) =
            while_waiting(|| select(&[&third, &one], 60_000), || other.write_all(b"x").unwrap());
        assert_eq!((result, ready), (1, vec![false, true]));
        assert!((1..60_000).contains(&left), "{left}");
    });
}
