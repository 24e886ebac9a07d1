//! A lock of std's that is held over a wait, and that a sibling then needs, stops the thread for good. The watchdog says so
//! and names both.
//!
//! The test runs itself as a child, since nothing gets that thread going again.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tenfold_runtime::{
    BackendChoice, ReactorConfig, Runtime, RuntimeConfig, Watchdog, scope, set_name, yield_now,
};

use tenfold_hook as _;

const CHILD: &str = "TENFOLD_HOOK_HELD_LOCK";

#[inline(never)]
fn waits_with_the_lock(lock: &Mutex<u32>, stream: &UnixStream) {
    let mut held = lock.lock().unwrap();
    *held += 1;
    let mut stream = stream;
    stream.read_exact(&mut [0]).unwrap();
    *held += 1;
}

#[inline(never)]
fn needs_the_lock(lock: &Mutex<u32>) -> u32 {
    *lock.lock().unwrap()
}

#[inline(never)]
fn waits_without_a_lock(stream: &UnixStream) {
    let mut stream = stream;
    let _ = stream.read(&mut [0]);
}

fn child(backend: BackendChoice) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let reactor = ReactorConfig { backend, ..ReactorConfig::default() };
    let runtime = Runtime::new(&RuntimeConfig { reactor, ..RuntimeConfig::default() }).unwrap();
    let _watchdog = Watchdog::start(Duration::from_millis(50)).unwrap();
    runtime
        .run(|| {
            let lock = Mutex::new(0);
            let (one, _other) = UnixStream::pair().unwrap();
            let (third, _fourth) = UnixStream::pair().unwrap();
            scope(|scope| {
                scope.spawn(|| {
                    set_name("bystander");
                    waits_without_a_lock(&third);
                });
                scope.spawn(|| {
                    set_name("holder");
                    waits_with_the_lock(&lock, &one);
                });
                scope.spawn(|| {
                    set_name("sibling");
                    yield_now();
                    needs_the_lock(&lock);
                });
            });
        })
        .unwrap();
}

#[test]
fn a_lock_held_over_a_wait_is_reported_with_both_stacks() {
    match std::env::var(CHILD).as_deref() {
        Ok("epoll") => return child(BackendChoice::Epoll),
        Ok(_) => return child(BackendChoice::IoUring),
        Err(_) => {}
    }
    let has_io_uring = Runtime::new(&RuntimeConfig {
        reactor: ReactorConfig { backend: BackendChoice::IoUring, ..ReactorConfig::default() },
        ..RuntimeConfig::default()
    })
    .is_ok();
    for backend in ["epoll", "io_uring"] {
        if backend == "io_uring" && !has_io_uring {
            eprintln!("left out: io_uring");
            continue;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_lock_held_over_a_wait_is_reported_with_both_stacks", "--exact", "--nocapture"])
            .env(CHILD, backend)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut report = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // The event's fields come last.
        while !report.contains("held_ms=") {
            match lines.next() {
                Some(line) => report = report + &line.unwrap() + "\n",
                None => break,
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let at = |text: &str| report.find(text).unwrap_or_else(|| panic!("no {text:?} in:\n{report}"));
        assert!(at("blocks its loop for a lock") < at("needs_the_lock"), "{report}");
        assert!(at("needs_the_lock") < at(": holder"), "{report}");
        assert!(at(": holder") < at("waits_with_the_lock"), "{report}");
        assert!(report.contains("sibling"), "{report}");
        assert!(
            !report.contains("waits_without_a_lock"),
            "the bystander has nothing to do with it:\n{report}"
        );
    }
}
