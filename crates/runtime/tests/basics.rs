//! The scheduler's first duties, on both backends and on plain threads.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{BackendChoice, JoinError, ReactorConfig, Runtime, RuntimeConfig};
use tenfold_runtime::{deadline, scope, sleep, spawn, try_sleep, yield_now};

/// Runs a test on fibers over io_uring (where the kernel allows it), over epoll, and on a plain thread.
fn everywhere(test: fn()) {
    for backend in [BackendChoice::IoUring, BackendChoice::Epoll] {
        let reactor = ReactorConfig { backend, ..ReactorConfig::default() };
        match Runtime::new(&RuntimeConfig { reactor, ..RuntimeConfig::default() }) {
            Ok(runtime) => runtime.run(test).unwrap(),
            Err(error) if backend == BackendChoice::IoUring => eprintln!("left out: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
    std::thread::spawn(test).join().unwrap();
}

#[test]
fn a_result_comes_back_and_a_panic_is_an_error() {
    everywhere(|| {
        assert_eq!(spawn(|| 6 * 7).join().unwrap(), 42);
        let failed = spawn(|| panic!("on purpose")).join();
        assert!(matches!(failed, Err(JoinError::Panicked(_))));
    });
}

#[test]
fn sleeps_overlap() {
    everywhere(|| {
        let start = Instant::now();
        let sleepers: Vec<_> = (0..50).map(|_| spawn(|| sleep(Duration::from_millis(40)))).collect();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(40), "early: {took:?}");
        assert!(took < Duration::from_millis(40 * 50 / 2), "one after another: {took:?}");
    });
}

#[test]
fn a_deadline_ends_every_wait_inside_and_is_gone_afterwards() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let outcome = deadline(Duration::from_millis(10), || listener.accept().map(drop));
        assert_eq!(outcome.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        try_sleep(Duration::from_millis(1)).unwrap();
    });
}

#[test]
fn a_cancelled_task_gets_an_error_from_the_pending_call_and_from_the_next() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let waiting = spawn(move || {
            let first = listener.accept().map(drop).unwrap_err();
            let second = try_sleep(Duration::from_secs(60)).unwrap_err();
            (first.raw_os_error(), second.raw_os_error())
        });
        yield_now();
        waiting.cancel();
        assert_eq!(waiting.join().unwrap(), (Some(125), Some(125)));
    });
}

#[test]
fn streams_talk() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            let mut stream = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all.len()
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&vec![1; 3 << 20]).unwrap();
        drop(client);
        assert_eq!(server.join().unwrap(), 3 << 20);
    });
}

#[test]
fn a_scope_waits_for_its_children_and_lends_them_what_is_outside() {
    everywhere(|| {
        let mut numbers = [0; 8];
        scope(|scope| {
            for (index, number) in numbers.iter_mut().enumerate() {
                scope.spawn(move || {
                    sleep(Duration::from_millis(3));
                    *number = index;
                });
            }
        });
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

#[test]
fn a_scope_under_a_deadline_cancels_children_that_do_not_listen_to_it() {
    everywhere(|| {
        let start = Instant::now();
        let outcome = deadline(Duration::from_millis(20), || {
            scope(|scope| scope.spawn(|| try_sleep(Duration::from_secs(60))).join())
        });
        assert!(start.elapsed() < Duration::from_secs(30));
        match outcome {
            Ok(inner) => assert!(inner.is_err()),
            Err(error) => assert!(matches!(error, JoinError::TimedOut)),
        }
    });
}
