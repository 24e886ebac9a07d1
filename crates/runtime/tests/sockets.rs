//! Streams and datagrams: partial reads, ends, time-outs, closing under a waiter, cancel races.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use common::{Dice, everywhere};
use tenfold_runtime::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use tenfold_runtime::park::is_cancellation;
use tenfold_runtime::{deadline, deadline_at, spawn, yield_now};

const SHORT: Duration = Duration::from_millis(10);

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap())
}

#[test]
fn a_read_returns_what_is_there_and_then_the_end() {
    everywhere(|| {
        let (mut one, mut other) = tcp_pair();
        one.write_all(b"abc").unwrap();
        let mut buf = [0; 16];
        assert_eq!(other.read(&mut buf[..2]).unwrap(), 2);
        assert_eq!(other.read(&mut buf).unwrap(), 1);
        one.shutdown(Shutdown::Write).unwrap();
        assert_eq!(other.read(&mut buf).unwrap(), 0);
        assert_eq!(other.read(&mut buf).unwrap(), 0, "the end stays");
        other.write_all(b"d").unwrap();
        assert_eq!(one.read(&mut buf).unwrap(), 1, "the other direction is open still");
    });
}

#[test]
fn reads_and_writes_time_out_and_work_afterwards() {
    everywhere(|| {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        one.set_read_timeout(Some(SHORT));
        assert_eq!(one.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
        one.set_write_timeout(Some(SHORT));
        let stuck = loop {
            if let Err(error) = one.write(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(stuck.kind(), ErrorKind::TimedOut);
        let mut buf = vec![0; 1 << 20];
        while one.is_full() {
            assert!(other.read(&mut buf).unwrap() > 0);
        }
        assert_eq!(one.write(b"x").unwrap(), 1);
    });
}

/// Whether a byte more would have to wait.
trait IsFull {
    fn is_full(&self) -> bool;
}

impl IsFull for UnixStream {
    fn is_full(&self) -> bool {
        self.clone().into_stream().try_write(b"x").is_err()
    }
}

#[test]
fn a_wait_for_an_answer_gets_it_early_or_late_and_ends_at_its_time() {
    everywhere(|| {
        let (mut one, mut other) = tcp_pair();
        let mut buf = [0; 16];
        let soon = || Some(Instant::now() + SHORT);
        assert_eq!(one.await_until(&mut buf, soon()).unwrap_err().kind(), ErrorKind::TimedOut);
        for _ in 0..20 {
            // Here the answer is there before anybody waits for it.
            other.write_all(b"early").unwrap();
            assert_eq!(one.await_until(&mut buf, None).unwrap(), 5);
            let mut answering = other.clone();
            let late = spawn(move || {
                let mut question = [0; 8];
                let count = answering.read(&mut question).unwrap();
                answering.write_all(&question[..count]).unwrap();
            });
            one.write_all(b"late").unwrap();
            assert_eq!(one.await_until(&mut buf, None).unwrap(), 4);
            late.join().unwrap();
        }
        let waiting = one.clone();
        let cancelled = spawn(move || waiting.await_until(&mut [0; 1], None));
        yield_now();
        cancelled.cancel();
        assert!(is_cancellation(&cancelled.join().unwrap().unwrap_err()));
        other.shutdown(Shutdown::Write).unwrap();
        assert_eq!(one.await_until(&mut buf, None).unwrap(), 0);
        assert_eq!(one.await_until(&mut buf, None).unwrap(), 0, "the end stays");
    });
}

#[test]
fn the_nearest_of_nested_deadlines_counts() {
    everywhere(|| {
        let (one, _other) = tcp_pair();
        let start = Instant::now();
        let read = || (&one).read(&mut [0; 1]).unwrap_err().kind();
        let inner = deadline(Duration::from_secs(60), || deadline(SHORT, read));
        assert_eq!(inner, ErrorKind::TimedOut);
        let outer = deadline(SHORT, || deadline(Duration::from_secs(60), read));
        assert_eq!(outer, ErrorKind::TimedOut);
        assert_eq!(deadline_at(start, read), ErrorKind::TimedOut, "one that has passed already");
        assert!(start.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn shutting_down_wakes_who_reads() {
    everywhere(|| {
        let (one, _other) = tcp_pair();
        let reading = spawn({
            let one = one.clone();
            move || (&one).read(&mut [0; 1])
        });
        yield_now();
        one.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn a_peer_that_resets_is_an_error_or_an_end_and_never_a_hang() {
    everywhere(|| {
        let (one, mut other) = tcp_pair();
        other.write_all(b"unread").unwrap();
        yield_now();
        drop(one); // With unread bytes: a reset (RFC 9293 3.6.1).
        let mut buf = Vec::new();
        match other.read_to_end(&mut buf) {
            Ok(_) => assert!(buf.is_empty()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    });
}

/// Bytes, a cancel and a deadline at the same moment: whatever wins, bytes that were taken are reported and those that were
/// not are in the socket still.
#[test]
fn thousands_of_races_between_bytes_cancels_and_deadlines_lose_no_byte() {
    everywhere(|| {
        let mut dice = Dice(7);
        let (mut one, other) = tcp_pair();
        for _ in 0..2000 {
            let limit = Duration::from_micros(dice.below(3000));
            let reading = spawn({
                let other = other.clone();
                move || deadline(limit, || (&other).read(&mut [0; 4]))
            });
            if dice.below(2) == 0 {
                yield_now();
            }
            match dice.below(3) {
                0 => {
                    reading.cancel();
                    one.write_all(b"x").unwrap();
                }
                1 => {
                    one.write_all(b"x").unwrap();
                    reading.cancel();
                }
                _ => one.write_all(b"x").unwrap(),
            }
            match reading.join().unwrap() {
                Ok(count) => assert_eq!(count, 1),
                Err(error) => {
                    let cancelled = error.raw_os_error() == Some(125);
                    assert!(cancelled || error.kind() == ErrorKind::TimedOut, "{error}");
                    assert_eq!((&other).read(&mut [0; 4]).unwrap(), 1);
                }
            }
        }
    });
}

#[test]
fn an_accept_that_was_given_up_leaves_the_connection_for_the_next() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let until = Some(Instant::now() + SHORT);
        assert_eq!(listener.accept_until(until).unwrap_err().kind(), ErrorKind::TimedOut);
        let mut one = TcpStream::connect(address).unwrap();
        one.write_all(b"x").unwrap();
        assert_eq!(listener.accept().unwrap().read(&mut [0; 4]).unwrap(), 1);
    });
}

#[test]
fn a_refused_connection_is_an_error() {
    everywhere(|| {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn unix_sockets_connect_by_path() {
    everywhere(|| {
        let name = format!("tenfold-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let server = spawn(move || {
            let mut stream = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        assert_eq!(server.join().unwrap(), "hello");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn datagrams_arrive_whole_and_a_receive_waits_for_them() {
    everywhere(|| {
        let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = other.local_addr().unwrap();
        let receiving = spawn(move || {
            let mut buf = [0; 16];
            let (count, from) = other.recv_from(&mut buf).unwrap();
            other.connect(from).unwrap();
            other.send(&buf[..count]).unwrap();
            other.set_read_timeout(Some(SHORT));
            other.recv(&mut buf).unwrap_err().kind()
        });
        yield_now();
        assert_eq!(one.send_to(b"ping", address).unwrap(), 4);
        let mut buf = [0; 2];
        assert_eq!(one.recv(&mut buf).unwrap(), 2, "the rest of the datagram is lost");
        assert_eq!(receiving.join().unwrap(), ErrorKind::TimedOut);
    });
}

#[test]
fn io_copy_moves_a_stream() {
    everywhere(|| {
        let (mut source, feed) = UnixStream::pair().unwrap();
        let (sink, mut drain) = UnixStream::pair().unwrap();
        let feeding = spawn(move || (&feed).write_all(&vec![3; 300_000]).unwrap());
        let copying = spawn(move || std::io::copy(&mut source, &mut &sink).unwrap());
        let mut all = Vec::new();
        drain.read_to_end(&mut all).unwrap();
        feeding.join().unwrap();
        assert_eq!((copying.join().unwrap(), all.len()), (300_000, 300_000));
    });
}
