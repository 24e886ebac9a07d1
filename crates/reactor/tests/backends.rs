//! The contract of a backend, run on both. A test's `wait` closure plays the scheduler: it polls and dispatches.

use std::cell::RefCell;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tenfold_reactor::{
    BackendChoice, Event, EventLoop, Interest, Op, Pending, Reactor, ReactorConfig, Token,
};

/// Runs a test on io_uring (where the kernel allows it) and on epoll.
fn on_both(test: impl Fn(&Reactor)) {
    for backend in [BackendChoice::IoUring, BackendChoice::Epoll] {
        match Reactor::new(&ReactorConfig { backend, ..ReactorConfig::default() }) {
            Ok(reactor) => test(&reactor),
            Err(error) if backend == BackendChoice::IoUring => eprintln!("left out: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Lets the reactor work until one more event was seen.
fn turn(reactor: &Reactor) {
    reactor.poll(Some(Duration::from_secs(5))).unwrap();
    reactor.dispatch(usize::MAX, |_| {});
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

#[test]
fn a_receive_that_has_to_wait_gets_the_bytes_that_come_later() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        reactor.adopt(&near);
        let mut buf = [0; 16];
        let mut op = Op::Recv { fd: near.as_fd(), buf: &mut buf };
        let mut waits = 0;
        let taken = reactor.run(&mut op, Token(1), |_| {
            waits += 1;
            if waits == 1 {
                far.write_all(b"hello").unwrap();
            }
            turn(reactor);
        });
        assert_eq!(taken.unwrap(), 5);
        assert_eq!(&buf[..5], b"hello");
        assert!(waits > 0);
    });
}

#[test]
fn a_receive_on_a_socket_with_bytes_does_not_wait() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        far.write_all(b"now").unwrap();
        let mut buf = [0; 2];
        let mut op = Op::Recv { fd: near.as_fd(), buf: &mut buf };
        let taken = reactor.run(&mut op, Token(1), |_| panic!("had to wait"));
        assert_eq!(taken.unwrap(), 2, "a partial read is a read");
    });
}

#[test]
fn the_end_of_the_stream_is_zero_bytes() {
    on_both(|reactor| {
        let (near, far) = pair();
        let mut far = Some(far);
        let mut buf = [0; 2];
        let mut op = Op::Recv { fd: near.as_fd(), buf: &mut buf };
        let taken = reactor.run(&mut op, Token(1), |_| {
            far.take();
            turn(reactor);
        });
        assert_eq!(taken.unwrap(), 0);
    });
}

/// A socket is dropped by a thread that has no loop, and another one gets its number.
#[test]
fn a_poll_waits_for_the_present_owner_of_a_number() {
    on_both(|reactor| {
        type Poll = fn(BorrowedFd<'_>) -> Op<'_>;
        let own: Poll = |fd| Op::Poll { fd, interest: Interest::READ };
        let foreign: Poll = |fd| Op::PollForeign { fd, events: 1 };
        for poll in [own, foreign] {
            let (near, mut far) = pair();
            reactor.adopt(&near);
            let mut near = OwnedFd::from(near);
            let wait = |near: &OwnedFd, far: &mut UnixStream| {
                let mut turns = 0;
                let ready = reactor.run(&mut poll(near.as_fd()), Token(1), |_| {
                    turns += 1;
                    assert!(turns <= 3, "nobody hears of the byte");
                    if turns == 1 {
                        far.write_all(b"x").unwrap();
                    }
                    turn(reactor);
                });
                assert_eq!(ready.unwrap() & 1, 1);
            };
            // Registered by a receive, as sockets are.
            let mut buf = [0; 1];
            let mut op = Op::Recv { fd: near.as_fd(), buf: &mut buf };
            let received = reactor.run(&mut op, Token(1), |_| {
                far.write_all(b"x").unwrap();
                turn(reactor);
            });
            assert_eq!(received.unwrap(), 1);
            wait(&near, &mut far);
            let (fresh, mut other) = pair();
            rustix::io::dup2(&fresh, &mut near).unwrap();
            drop(fresh);
            wait(&near, &mut other);
        }
    });
}

#[test]
fn a_report_is_of_the_present_owner_of_a_number() {
    on_both(|reactor| {
        let (near, _far) = pair();
        let mut near = OwnedFd::from(near);
        let mut reports = 0;
        for _ in 0..2 {
            // What was there before is registered and waited for, and nobody says that it is closed.
            let (fresh, mut far) = pair();
            rustix::io::dup2(&fresh, &mut near).unwrap();
            drop(fresh);
            let token = Token::poll(7);
            reactor.poll_once(near.as_fd(), Interest::READ, token);
            far.write_all(b"x").unwrap();
            let before = reports;
            for _ in 0..3 {
                reactor.poll(Some(Duration::from_secs(5))).unwrap();
                reactor.dispatch(usize::MAX, |event| {
                    reports += usize::from(matches!(event, Event::Ready(told, ..) if told == token));
                });
                if reports > before {
                    break;
                }
            }
            assert_eq!(reports, before + 1, "nobody hears of the byte");
        }
    });
}

#[test]
fn a_cancelled_receive_is_over_at_its_own_completion_and_leaves_the_bytes() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        let mut buf = [0; 8];
        let mut op = Op::Recv { fd: near.as_fd(), buf: &mut buf };
        let outcome = reactor.run(&mut op, Token(1), |pending: &Pending<'_>| {
            pending.cancel();
            turn(reactor);
        });
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(125));
        far.write_all(b"later").unwrap();
        let mut op = Op::Recv { fd: near.as_fd(), buf: &mut buf };
        assert_eq!(reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap(), 5);
    });
}

#[test]
fn a_result_that_wins_the_race_against_a_cancel_is_delivered() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        let (mut total, mut written) = (0, 0);
        for _ in 0..200 {
            let mut buf = [0; 1];
            let mut op = Op::Recv { fd: near.as_fd(), buf: &mut buf };
            let outcome = reactor.run(&mut op, Token(1), |pending| {
                written += far.write(b"x").unwrap();
                pending.cancel();
                turn(reactor);
            });
            total += outcome.unwrap_or(0);
        }
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        (&near).read_to_end(&mut rest).unwrap();
        assert_eq!(total + rest.len(), written, "no byte is lost between a cancel and its operation");
    });
}

/// Waits for `count` bytes at most without having tried; how many have come.
fn wait_receive(reactor: &Reactor, near: &UnixStream, count: usize, wait: impl FnMut(&Pending<'_>)) -> usize {
    let mut buf = [0; 16];
    let mut op = Op::WaitRecv { fd: near.as_fd(), buf: &mut buf[..count] };
    reactor.run(&mut op, Token(1), wait).unwrap()
}

#[test]
fn a_wait_without_a_try_gets_what_comes_later_and_what_was_there_before() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        reactor.adopt(&near);
        // Each round finds the socket in another state: not known yet; known, and its bytes seen or not seen by the kernel's
        // report before the wait begins; emptied by a wait or by a try; with bytes left behind.
        for round in 0..60 {
            let early = round % 3 != 0;
            if early {
                far.write_all(b"ab").unwrap();
            }
            if round % 3 == 2 {
                reactor.poll(Some(Duration::ZERO)).unwrap();
                reactor.dispatch(usize::MAX, |_| {});
            }
            let count = if round % 4 == 0 { 1 } else { 8 };
            let mut waits = 0;
            let mut taken = wait_receive(reactor, &near, count, |_| {
                waits += 1;
                if waits == 1 && !early {
                    far.write_all(b"ab").unwrap();
                }
                turn(reactor);
            });
            assert!(waits > 0, "round {round}: it was tried");
            if taken == 1 && round % 8 == 0 {
                taken += wait_receive(reactor, &near, 8, |_| turn(reactor));
            } else if taken == 1 {
                let mut buf = [0; 8];
                taken +=
                    reactor.run(&mut Op::Recv { fd: near.as_fd(), buf: &mut buf }, Token(1), |_| {}).unwrap();
            }
            assert_eq!(taken, 2, "round {round}");
        }
    });
}

#[test]
fn a_wait_without_a_try_sees_the_end_of_the_stream_however_often_it_asks() {
    on_both(|reactor| {
        for is_seen in [false, true] {
            let (near, mut far) = pair();
            reactor.adopt(&near);
            far.write_all(b"ab").unwrap();
            assert_eq!(wait_receive(reactor, &near, 8, |_| turn(reactor)), 2);
            far.write_all(b"c").unwrap();
            drop(far);
            if is_seen {
                reactor.poll(Some(Duration::ZERO)).unwrap();
                reactor.dispatch(usize::MAX, |_| {});
            }
            let lengths = [(); 3].map(|()| wait_receive(reactor, &near, 8, |_| turn(reactor)));
            assert_eq!(lengths, [1, 0, 0]);
            reactor.forget(&near);
        }
    });
}

#[test]
fn a_cancelled_wait_without_a_try_leaves_the_bytes() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        reactor.adopt(&near);
        let mut buf = [0; 8];
        let mut op = Op::WaitRecv { fd: near.as_fd(), buf: &mut buf };
        let outcome = reactor.run(&mut op, Token(1), |pending| {
            pending.cancel();
            turn(reactor);
        });
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(125));
        far.write_all(b"later").unwrap();
        assert_eq!(wait_receive(reactor, &near, 8, |_| turn(reactor)), 5);
    });
}

#[test]
fn a_send_that_fills_the_socket_goes_on_when_the_peer_reads() {
    on_both(|reactor| {
        let (near, far) = pair();
        let payload = vec![7u8; 1 << 20];
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            (&far).read_to_end(&mut all).unwrap();
            all.len()
        });
        let mut sent = 0;
        while sent < payload.len() {
            let mut op = Op::Send { fd: near.as_fd(), buf: &payload[sent..] };
            sent += reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap();
        }
        drop(near);
        assert_eq!(reader.join().unwrap(), 1 << 20);
    });
}

#[test]
fn vectored_sends_keep_their_order() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        let bufs = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cd")];
        let mut op = Op::SendVectored { fd: near.as_fd(), bufs: &bufs };
        assert_eq!(reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap(), 4);
        let mut got = [0; 4];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"abcd");
    });
}

#[test]
fn accept_and_connect_meet() {
    on_both(|reactor| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = None;
        let mut accepted = None;
        let mut op = Op::Accept { listener: listener.as_fd(), accepted: &mut accepted };
        reactor
            .run(&mut op, Token(1), |_| {
                client.get_or_insert_with(|| TcpStream::connect(address).unwrap());
                turn(reactor);
            })
            .unwrap();
        let socket = socket2();
        let mut op = Op::Connect { fd: socket.as_fd(), address };
        reactor.run(&mut op, Token(2), |_| turn(reactor)).unwrap();
        assert!(accepted.is_some());
    });
}

#[test]
fn a_refused_connect_says_so() {
    on_both(|reactor| {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = socket2();
        let mut op = Op::Connect { fd: socket.as_fd(), address };
        let error = reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

fn socket2() -> OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
        .unwrap()
}

#[test]
fn files_are_read_written_and_flushed() {
    on_both(|reactor| {
        let path = std::env::temp_dir().join(format!("tenfold-reactor-{}", std::process::id()));
        let file =
            std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let mut op = Op::WriteAt { fd: file.as_fd(), buf: b"0123456789", offset: 0 };
        assert_eq!(reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap(), 10);
        let mut op = Op::Fsync { fd: file.as_fd(), data_only: true };
        reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap();
        let mut buf = [0; 4];
        let mut op = Op::ReadAt { fd: file.as_fd(), buf: &mut buf, offset: 8 };
        assert_eq!(reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap(), 2, "the end of the file");
        assert_eq!(&buf[..2], b"89");

        let (near, mut far) = pair();
        near.set_nonblocking(true).unwrap();
        let mut offset = 3;
        let mut op = Op::SendFile { fd: near.as_fd(), file: file.as_fd(), offset: &mut offset, len: 4 };
        assert_eq!(reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap(), 4);
        let mut got = [0; 4];
        far.read_exact(&mut got).unwrap();
        assert_eq!((&got, offset), (b"3456", 7));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_poll_reports_the_present_state_and_not_only_edges() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        far.write_all(b"x").unwrap();
        for _ in 0..3 {
            let mut op = Op::Poll { fd: near.as_fd(), interest: Interest::READ };
            reactor.run(&mut op, Token(1), |_| turn(reactor)).unwrap();
        }
    });
}

#[test]
fn a_receive_stream_delivers_everything_in_order_and_then_the_end() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        reactor.adopt(&near);
        let token = Token::receive(42);
        reactor.open_receive(near.as_fd(), token);
        let sender = std::thread::spawn(move || {
            for round in 0..100u32 {
                far.write_all(&round.to_be_bytes().repeat(1000)).unwrap();
            }
        });
        let mut got = Vec::new();
        let mut ended = false;
        while !ended {
            let mut paused = false;
            reactor.poll(Some(Duration::from_secs(5))).unwrap();
            reactor.dispatch(usize::MAX, |event| match event {
                Event::Received(from, bytes) => {
                    assert_eq!(from, token);
                    got.extend_from_slice(bytes);
                }
                Event::ReceivePaused(_) => paused = true,
                Event::ReceiveEnded(_, outcome) => {
                    outcome.unwrap();
                    ended = true;
                }
                _ => {}
            });
            if paused {
                reactor.open_receive(near.as_fd(), token);
            }
        }
        sender.join().unwrap();
        let expected: Vec<u8> = (0..100u32).flat_map(|round| round.to_be_bytes().repeat(1000)).collect();
        assert_eq!(got.len(), expected.len());
        assert!(got == expected);
    });
}

#[test]
fn a_receive_stream_that_is_closed_pauses_and_keeps_the_socket_usable() {
    on_both(|reactor| {
        let (near, mut far) = pair();
        let token = Token::receive(1);
        reactor.open_receive(near.as_fd(), token);
        reactor.poll(Some(Duration::ZERO)).unwrap();
        reactor.close_stream(near.as_fd(), token);
        let mut paused = false;
        while !paused {
            reactor.poll(Some(Duration::from_secs(5))).unwrap();
            reactor.dispatch(usize::MAX, |event| paused |= matches!(event, Event::ReceivePaused(_)));
        }
        far.write_all(b"still here").unwrap();
        let mut buf = [0; 16];
        let mut op = Op::Recv { fd: near.as_fd(), buf: &mut buf };
        assert_eq!(reactor.run(&mut op, Token(9), |_| turn(reactor)).unwrap(), 10);
    });
}

#[test]
fn a_number_that_is_used_again_is_not_mistaken_for_its_earlier_owner() {
    on_both(|reactor| {
        for round in 0..20 {
            let (near, mut far) = pair();
            reactor.adopt(&near);
            let token = Token::receive(round);
            reactor.open_receive(near.as_fd(), token);
            far.write_all(b"x").unwrap();
            let mut seen = false;
            while !seen {
                reactor.poll(Some(Duration::from_secs(5))).unwrap();
                reactor.dispatch(usize::MAX, |event| {
                    if let Event::Received(from, _) = event {
                        seen |= from == token;
                    }
                });
            }
            reactor.close_stream(near.as_fd(), token);
            if round % 2 == 0 {
                reactor.forget(&near);
            }
        }
    });
}

#[test]
fn timers_fire_in_order_and_never_early() {
    on_both(|reactor| {
        let start = Instant::now();
        reactor.add_timer(start + Duration::from_millis(30), 2);
        reactor.add_timer(start + Duration::from_millis(5), 1);
        let gone = reactor.add_timer(start + Duration::from_millis(10), 9);
        assert!(reactor.cancel_timer(gone));
        let mut fired = Vec::new();
        while fired.len() < 2 {
            reactor.poll(None).unwrap();
            reactor.dispatch(usize::MAX, |event| {
                if let Event::Timer(value) = event {
                    fired.push((value, start.elapsed()));
                }
            });
        }
        assert_eq!(fired.iter().map(|timer| timer.0).collect::<Vec<_>>(), [1, 2]);
        assert!(fired[0].1 >= Duration::from_millis(5) && fired[1].1 >= Duration::from_millis(30));
    });
}

#[test]
fn a_wake_up_from_another_thread_ends_a_wait_however_it_races() {
    on_both(|reactor| {
        for _ in 0..200 {
            let waker = reactor.waker();
            let other = std::thread::spawn(move || waker.wake());
            // Without the wake-up this waits for ever and the test runner says so.
            reactor.poll(None).unwrap();
            reactor.dispatch(usize::MAX, |_| {});
            other.join().unwrap();
        }
    });
}

#[test]
fn many_operations_are_in_flight_at_once() {
    on_both(|reactor| {
        // More than the submission queue has entries.
        let pairs: Vec<_> = (0..3000).map(|_| pair()).collect();
        for (index, (near, _)) in pairs.iter().enumerate() {
            reactor.adopt(near);
            reactor.open_receive(near.as_fd(), Token::receive(index as u64));
        }
        reactor.poll(Some(Duration::ZERO)).unwrap();
        for (_, far) in &pairs {
            (&*far).write_all(b"x").unwrap();
        }
        let mut seen = vec![false; pairs.len()];
        while seen.contains(&false) {
            reactor.poll(Some(Duration::from_secs(5))).unwrap();
            let mut again = Vec::new();
            reactor.dispatch(usize::MAX, |event| match event {
                Event::Received(token, _) => seen[token.value() as usize] = true,
                Event::ReceivePaused(token) => again.push(token),
                _ => {}
            });
            for token in again {
                reactor.open_receive(pairs[token.value() as usize].0.as_fd(), token);
            }
        }
    });
}

#[test]
fn the_classic_interface_adds_sets_and_deletes_watches_level_by_level() {
    for backend in [BackendChoice::Auto, BackendChoice::Epoll] {
        let events = EventLoop::new(&ReactorConfig { backend, ..ReactorConfig::default() }).unwrap();
        let (near, mut far) = pair();
        near.set_nonblocking(true).unwrap();
        far.write_all(b"abc").unwrap();
        let calls = Rc::new(RefCell::new(Vec::new()));
        let (log, reader) = (calls.clone(), near.try_clone().unwrap());
        events.add(near.as_fd(), Interest::READ, move |events, _, ready| {
            if ready.writable() {
                log.borrow_mut().push(b'w');
                events.stop();
                return;
            }
            // One byte a call: level by level means that it is called again for the rest.
            let mut byte = [0];
            (&reader).read_exact(&mut byte).unwrap();
            log.borrow_mut().push(byte[0]);
        });
        let log = calls.clone();
        let near = Rc::new(near);
        set_when_three(&events, log, near.clone());
        events.run().unwrap();
        events.del(near.as_fd());
        assert!(calls.borrow().starts_with(b"abcw"));
    }
}

/// Changes the watch to writing once three bytes were read.
fn set_when_three(events: &EventLoop, log: Rc<RefCell<Vec<u8>>>, near: Rc<UnixStream>) {
    events.after(Duration::from_millis(1), move |events| match log.borrow().len() {
        0..3 => set_when_three(events, log.clone(), near.clone()),
        _ => events.set(near.as_fd(), Interest::WRITE),
    });
}
