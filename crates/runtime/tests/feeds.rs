//! Feeds: connections that rest without a fiber, are roused by bytes, ends, time and stop, and hold back a fast sender.

mod common;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::on_fibers;
use tenfold_runtime::feed::{self, Dormant, FeedId, News};
use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::sync::{Receiver, Sender, channel};
use tenfold_runtime::{spawn_detached, yield_now};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(10);

/// What a dormant was roused with.
#[derive(Debug, PartialEq)]
enum Told {
    Bytes(Vec<u8>),
    End,
    TimedOut,
    Stopping,
}

/// A connection's feed and what it was told.
type Roused = (FeedId, Told);

struct Sleeper(Sender<Roused>);

impl Dormant for Sleeper {
    fn rouse(self: Box<Self>, feed: FeedId, news: News<'_>) {
        let told = match news {
            News::Bytes(bytes) => Told::Bytes(bytes.to_vec()),
            News::End(_) => Told::End,
            News::TimedOut => Told::TimedOut,
            News::Stopping => Told::Stopping,
        };
        // Called by the loop, which must not wait: the tests' channels have room.
        self.0.try_send((feed, told)).unwrap();
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap())
}

fn news() -> (Sender<Roused>, Receiver<Roused>) {
    channel(1024)
}

/// Lets a connection rest, and says that it must be able to.
fn rest(feed: Option<FeedId>, stream: &TcpStream, told: &Sender<Roused>, until: Duration) {
    let feed = feed.unwrap_or_else(|| feed::open(stream.socket()));
    let rested = feed::rest(feed, Box::new(Sleeper(told.clone())), until);
    assert!(rested.is_ok(), "nothing has come yet");
}

#[test]
fn bytes_rouse_and_the_connection_rests_again_on_the_same_feed() {
    on_fibers(|| {
        let (mut client, server) = pair();
        let (told, roused) = news();
        let mut feed = None;
        for text in [&b"one"[..], b"two", b"three"] {
            rest(feed, &server, &told, LONG);
            assert_eq!(feed::resting(), 1);
            client.write_all(text).unwrap();
            let (id, news) = roused.recv().unwrap();
            assert_eq!(news, Told::Bytes(text.to_vec()));
            assert_eq!(feed::resting(), 0);
            assert!(feed.is_none_or(|before| before == id));
            feed = Some(id);
        }
        feed::close(feed.unwrap());
    });
}

#[test]
fn the_peers_end_the_time_and_a_stop_rouse_as_well() {
    on_fibers(|| {
        let (told, roused) = news();
        let (client, server) = pair();
        rest(None, &server, &told, LONG);
        drop(client);
        let (id, news) = roused.recv().unwrap();
        assert_eq!(news, Told::End);
        assert_eq!(feed::read(id, &mut [0; 4], None).unwrap(), 0, "the end can be read");
        feed::close(id);

        let (_client, server) = pair();
        let start = Instant::now();
        rest(None, &server, &told, SHORT);
        let (id, news) = roused.recv().unwrap();
        assert_eq!(news, Told::TimedOut);
        assert!(start.elapsed() >= SHORT);

        rest(Some(id), &server, &told, LONG);
        feed::stop_resting();
        assert_eq!(roused.recv().unwrap(), (id, Told::Stopping));
        feed::close(id);
    });
}

#[test]
fn who_is_awake_reads_on_and_waits_for_more() {
    on_fibers(|| {
        let (mut client, server) = pair();
        let (told, roused) = news();
        rest(None, &server, &told, LONG);
        client.write_all(b"head").unwrap();
        let (id, _) = roused.recv().unwrap();
        let timed_out = feed::read(id, &mut [0; 8], Some(Instant::now() + SHORT));
        assert_eq!(timed_out.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert!(spawn_detached("sends", move || client.write_all(b"body").unwrap()).is_ok());
        let (mut all, mut buf) = (Vec::new(), [0; 3]);
        loop {
            match feed::read(id, &mut buf, Some(Instant::now() + LONG)).unwrap() {
                0 => break,
                count => all.extend_from_slice(&buf[..count]),
            }
        }
        assert_eq!(all, b"body");
        feed::close(id);
    });
}

#[test]
fn a_connection_with_unread_bytes_does_not_rest() {
    on_fibers(|| {
        let (mut client, server) = pair();
        let (told, roused) = news();
        rest(None, &server, &told, LONG);
        client.write_all(b"a").unwrap();
        let (id, _) = roused.recv().unwrap();
        client.write_all(b"b").unwrap();
        // The loop takes it in while we wait for something else.
        tenfold_runtime::sleep(SHORT);
        let refused = feed::rest(id, Box::new(Sleeper(told)), LONG);
        assert!(refused.is_err());
        let mut buf = [0; 4];
        assert_eq!(feed::read(id, &mut buf, None).unwrap(), 1);
        assert_eq!(buf[0], b'b');
        feed::close(id);
    });
}

#[test]
fn detaching_gives_what_has_come_and_the_socket_back() {
    on_fibers(|| {
        let (mut client, server) = pair();
        let (told, roused) = news();
        rest(None, &server, &told, LONG);
        client.write_all(b"a").unwrap();
        let (id, _) = roused.recv().unwrap();
        client.write_all(b"bc").unwrap();
        tenfold_runtime::sleep(SHORT);
        assert_eq!(feed::detach(id).unwrap(), b"bc");
        client.write_all(b"d").unwrap();
        let mut buf = [0; 4];
        assert_eq!((&server).read(&mut buf).unwrap(), 1, "read directly from now on");
        assert_eq!(buf[0], b'd');
    });
}

/// A peer that sends as fast as it can, and a fiber that does not read: the bytes that wait in this process are bounded,
/// the sender is stopped by the kernel, and in the end every byte arrives.
#[test]
fn a_firehose_is_held_back_and_loses_nothing() {
    on_fibers(|| {
        const TOTAL: usize = 32 << 20;
        let (client, server) = pair();
        let (told, roused) = news();
        rest(None, &server, &told, LONG);
        let sending = std::thread::spawn(move || {
            let chunk: Vec<u8> = (0..64 << 10).map(|index| (index % 251) as u8).collect();
            let mut sent = 0;
            while sent < TOTAL {
                let take = chunk.len().min(TOTAL - sent);
                (&client).write_all(&chunk[..take]).unwrap();
                sent += take;
            }
        });
        let (id, news) = roused.recv().unwrap();
        let Told::Bytes(first) = news else { panic!("{news:?}") };
        // Nobody reads: after a while the sender must be stuck, with most of its bytes unsent.
        tenfold_runtime::sleep(Duration::from_millis(300));
        assert!(
            !sending.is_finished(),
            "32 MiB fit into no socket buffer, so somebody has taken them all in"
        );
        let mut position = 0;
        let check = |bytes: &[u8], position: usize| {
            let wanted = (position..).map(|at| (at % (64 << 10) % 251) as u8);
            assert!(bytes.iter().copied().eq(wanted.take(bytes.len())), "near byte {position}");
        };
        check(&first, position);
        position += first.len();
        let mut buf = vec![0; 50_000];
        while position < TOTAL {
            let count = feed::read(id, &mut buf, Some(Instant::now() + LONG)).unwrap();
            assert!(count > 0, "the end came at {position}");
            check(&buf[..count], position);
            position += count;
        }
        sending.join().unwrap();
        feed::close(id);
    });
}

#[test]
fn a_number_that_is_used_again_hears_nothing_of_its_earlier_owner() {
    on_fibers(|| {
        let (told, roused) = news();
        let stale = Rc::new(RefCell::new(Vec::new()));
        for round in 0..50_u8 {
            let (mut client, server) = pair();
            rest(None, &server, &told, LONG);
            client.write_all(&[round]).unwrap();
            let (id, news) = roused.recv().unwrap();
            assert_eq!(news, Told::Bytes(vec![round]));
            client.write_all(b"too late").unwrap();
            feed::close(id);
            stale.borrow_mut().push(id);
            drop(server);
            yield_now();
        }
        let (_client, server) = pair();
        rest(None, &server, &told, SHORT);
        let (id, news) = roused.recv().unwrap();
        assert_eq!(news, Told::TimedOut);
        assert!(!stale.borrow().contains(&id), "each use has a generation of its own");
        let closed = feed::read(stale.borrow()[0], &mut [0; 1], None);
        assert_eq!(closed.unwrap_err().kind(), std::io::ErrorKind::NotConnected);
        feed::close(id);
    });
}

#[test]
fn a_fiber_may_be_started_by_a_rouse() {
    struct Starts(Sender<Vec<u8>>);
    impl Dormant for Starts {
        fn rouse(self: Box<Self>, feed: FeedId, news: News<'_>) {
            let News::Bytes(bytes) = news else { return };
            let bytes = bytes.to_vec();
            let started = spawn_detached("request", move || {
                self.0.send(bytes).unwrap();
                feed::close(feed);
            });
            assert!(started.is_ok());
        }
    }
    on_fibers(|| {
        let (mut client, server) = pair();
        let (sender, receiver) = channel(1);
        assert!(feed::rest(feed::open(server.socket()), Box::new(Starts(sender)), LONG).is_ok());
        drop(server);
        client.write_all(b"GET").unwrap();
        assert_eq!(receiver.recv().unwrap(), b"GET");
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "the feed was the last owner");
    });
}
