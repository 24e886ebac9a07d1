//! A receive behind a send on the same socket: it is not tried before it waits, and must be what it is anywhere else.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::time::Duration;

use tenfold_runtime::{scope, yield_now};

use crate::common::{everywhere, on_fibers};
use crate::{SHORT, errno, pair, pipe, while_waiting};

#[test]
fn an_answer_comes_whether_it_was_there_before_or_not() {
    everywhere(|| {
        let (mut asker, mut answerer) = pair();
        let mut buf = [0; 8];
        for _ in 0..100 {
            let got = while_waiting(
                || {
                    asker.write_all(b"question").unwrap();
                    asker.read(&mut buf).unwrap()
                },
                || {
                    answerer.read_exact(&mut [0; 8]).unwrap();
                    answerer.write_all(b"answer").unwrap();
                },
            );
            assert_eq!(&buf[..got], b"answer");
            // The answer before the question.
            answerer.write_all(b"early").unwrap();
            asker.write_all(b"question").unwrap();
            let got = asker.read(&mut buf).unwrap();
            assert_eq!(&buf[..got], b"early");
            answerer.read_exact(&mut [0; 8]).unwrap();
        }
        asker.write_all(b"bye").unwrap();
        drop(answerer);
        let reset = asker.read(&mut buf).map_err(|error| error.raw_os_error());
        assert_eq!(reset, Err(Some(libc::ECONNRESET)), "the question was not read");
    });
}

#[test]
fn it_takes_as_much_as_there_is_room_for_and_leaves_the_rest() {
    everywhere(|| {
        let (mut asker, mut answerer) = pair();
        let mut buf = [0; 4];
        let got = while_waiting(
            || {
                asker.write_all(b"q").unwrap();
                asker.read(&mut buf).unwrap()
            },
            || {
                answerer.read_exact(&mut [0]).unwrap();
                answerer.write_all(b"sevenly").unwrap();
            },
        );
        assert_eq!((got, &buf), (4, b"seve"));
        assert_eq!((asker.read(&mut buf).unwrap(), &buf[..3]), (3, &b"nly"[..]));
    });
}

#[test]
fn a_nonblocking_socket_does_not_let_siblings_run() {
    on_fibers(|| {
        let (mut asker, _answerer) = pair();
        asker.set_nonblocking(true).unwrap();
        asker.write_all(b"q").unwrap();
        let ran = Rc::new(Cell::new(false));
        let sibling = tenfold_runtime::spawn_detached("sibling", {
            let ran = ran.clone();
            move || ran.set(true)
        });
        assert!(sibling.is_ok());
        assert_eq!(errno(asker.read(&mut [0; 8])), libc::EAGAIN);
        assert!(!ran.get(), "the read has parked");
        yield_now();
        assert!(ran.get());
    });
}

#[test]
fn the_sockets_time_out_and_a_deadline_end_it() {
    on_fibers(|| {
        let (mut asker, mut answerer) = pair();
        asker.set_read_timeout(Some(SHORT)).unwrap();
        asker.write_all(b"q").unwrap();
        assert_eq!(errno(asker.read(&mut [0; 8])), libc::EAGAIN);
        asker.set_read_timeout(None).unwrap();
        asker.write_all(b"q").unwrap();
        let late = tenfold_runtime::deadline(SHORT, || asker.read(&mut [0; 8]));
        assert_eq!(errno(late), libc::ETIMEDOUT);
        // What comes later is not lost in a buffer that nobody looks at.
        answerer.write_all(b"late").unwrap();
        let mut buf = [0; 8];
        assert_eq!(asker.read(&mut buf).unwrap(), 4);
    });
}

#[test]
fn a_cancelled_receive_loses_nothing() {
    on_fibers(|| {
        for _ in 0..50 {
            let (mut asker, mut answerer) = pair();
            let mut own = asker.try_clone().unwrap();
            let got = scope(|scope| {
                let asking = scope.spawn(move || {
                    own.write_all(b"q").unwrap();
                    let mut buf = [0; 8];
                    own.read(&mut buf).map(|got| buf[..got].to_vec())
                });
                yield_now();
                // The bytes and the cancel race; whoever loses, they are with the reader or in the socket.
                answerer.write_all(b"bytes").unwrap();
                asking.cancel();
                asking.join().unwrap()
            });
            match got {
                Ok(bytes) => assert_eq!(bytes, b"bytes"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                    let mut buf = [0; 8];
                    assert_eq!(asker.read(&mut buf).unwrap(), 5);
                }
            }
        }
    });
}

#[test]
fn a_number_that_has_become_a_pipe_is_read_as_one() {
    on_fibers(|| {
        let (mut asker, _answerer) = pair();
        asker.write_all(b"q").unwrap();
        let (reader, writer) = pipe();
        let number = asker.into_raw_fd();
        // SAFETY: takes numbers; the socket's is given up above and belongs to the pipe from now on.
        assert_eq!(unsafe { libc::dup2(reader.as_raw_fd(), number) }, number);
        // SAFETY: owned by nobody else.
        let mut pipe = unsafe { std::fs::File::from_raw_fd(number) };
        let mut writer = std::fs::File::from(writer);
        let mut buf = [0; 8];
        let got = while_waiting(|| pipe.read(&mut buf).unwrap(), || writer.write_all(b"pipe").unwrap());
        assert_eq!(&buf[..got], b"pipe");
    });
}

#[test]
fn a_datagram_is_answered() {
    everywhere(|| {
        let (asker, answerer) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        asker.connect(answerer.local_addr().unwrap()).unwrap();
        answerer.connect(asker.local_addr().unwrap()).unwrap();
        asker.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buf = [0; 4];
        let got = while_waiting(
            || {
                asker.send(b"question").unwrap();
                asker.recv(&mut buf).unwrap()
            },
            || {
                answerer.recv(&mut [0; 16]).unwrap();
                answerer.send(b"answer").unwrap();
            },
        );
        // The rest of a datagram that is too long is gone, as everywhere.
        assert_eq!((got, &buf), (4, b"answ"));
    });
}
