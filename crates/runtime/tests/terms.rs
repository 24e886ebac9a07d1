//! `on_terms` says three things at once and takes all of them back, on both backends and on plain threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::park::{self, Terms, WatchedPeer, current_deadline, on_terms};
use tenfold_runtime::{BackendChoice, ReactorConfig, Runtime, RuntimeConfig};
use tenfold_runtime::{deadline_at, take_expiry, try_sleep};

/// Runs a test on fibers over io_uring (where the kernel allows it), over epoll, and on a plain thread.
fn everywhere(test: fn(bool)) {
    for backend in [BackendChoice::IoUring, BackendChoice::Epoll] {
        let reactor = ReactorConfig { backend, ..ReactorConfig::default() };
        match Runtime::new(&RuntimeConfig { reactor, ..RuntimeConfig::default() }) {
            Ok(runtime) => runtime.run(move || test(true)).unwrap(),
            Err(error) if backend == BackendChoice::IoUring => eprintln!("left out: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
    std::thread::spawn(move || test(false)).join().unwrap();
}

/// A connection whose other end is there as long as the second of the two.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap(), client)
}

fn peer(server: &TcpStream) -> WatchedPeer {
    WatchedPeer::new(&**server.socket(), true)
}

#[test]
fn the_terms_hold_inside_and_are_gone_afterwards() {
    everywhere(|on_fiber| {
        let (server, _client) = connection();
        let far = Instant::now() + Duration::from_secs(3600);
        let terms = Terms { peer: peer(&server), deadline: Some(far), inline: true };
        let (parks, expiry) = on_terms(terms, || {
            assert_eq!(current_deadline(), Some(far));
            // Within them others may be said, as ever.
            assert_eq!(park::parking(park::parks), on_fiber);
            park::parks()
        });
        assert!(!parks && expiry.is_none());
        assert_eq!((park::parks(), current_deadline()), (on_fiber, None));
    });
}

#[test]
fn a_nearer_deadline_outside_counts_and_the_first_wait_that_it_ends_is_noted() {
    everywhere(|_| {
        let (server, _client) = connection();
        let far = Instant::now() + Duration::from_secs(3600);
        let terms = Terms { peer: peer(&server), deadline: Some(far), inline: false };
        deadline_at(Instant::now(), || {
            let (slept, expiry) = on_terms(terms, || try_sleep(Duration::from_secs(60)));
            assert_eq!(slept.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
            assert_eq!(expiry.expect("a wait has ended by the deadline").what, "sleep");
        });
        assert!(take_expiry().is_none());
        try_sleep(Duration::from_millis(1)).unwrap();
    });
}

#[test]
fn a_panic_takes_them_back_as_well() {
    everywhere(|on_fiber| {
        let (server, _client) = connection();
        let terms = Terms { peer: peer(&server), deadline: Some(Instant::now()), inline: true };
        let outcome = catch_unwind(AssertUnwindSafe(|| on_terms(terms, || panic!("on purpose"))));
        assert!(outcome.is_err());
        assert_eq!((park::parks(), current_deadline()), (on_fiber, None));
        try_sleep(Duration::from_millis(1)).unwrap();
    });
}

#[test]
fn whoever_works_for_a_peer_that_is_gone_is_cancelled() {
    everywhere(|_| {
        let (server, client) = connection();
        drop(client);
        let terms = Terms { peer: peer(&server), deadline: None, inline: false };
        let (slept, expiry) = on_terms(terms, || try_sleep(Duration::from_secs(3600)));
        assert!(park::is_cancellation(&slept.unwrap_err()) && expiry.is_none());
    });
}
