//! The negative list: what blocks the thread in spite of the hook, because making it park would be wrong.
//!
//! Each is called on a fiber while a sibling is ready to run. If the sibling has run when the call is back, the call has
//! parked, and the list in `docs/drivers.md` is out of date.

use std::cell::Cell;
use std::io::Write;
use std::time::Duration;

use tenfold_runtime::spawn;

mod common;

use common::on_fibers;

const SHORT: Duration = Duration::from_millis(20);

/// Whether a fiber that is ready runs during `call`.
fn lets_siblings_run(call: impl FnOnce()) -> bool {
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let sibling = ran.clone();
    let sibling = spawn(move || sibling.store(true, std::sync::atomic::Ordering::Relaxed));
    call();
    let ran = ran.load(std::sync::atomic::Ordering::Relaxed);
    sibling.join().unwrap();
    ran
}

#[test]
fn the_question_is_one_that_can_be_answered_with_yes() {
    on_fibers(|| {
        assert!(lets_siblings_run(|| std::thread::sleep(SHORT)));
        assert!(!lets_siblings_run(|| {}));
    });
}

/// std has one word of state for each thread: a sibling that parks as well would take the other's wake-up.
#[test]
fn thread_park_and_what_is_made_of_it() {
    on_fibers(|| {
        assert!(!lets_siblings_run(|| std::thread::park_timeout(SHORT)));
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        assert!(!lets_siblings_run(|| assert!(receiver.recv_timeout(SHORT).is_err())));
    });
}

/// Whoever waits for a lock that a sibling holds waits for ever; see `held_lock.rs`.
#[test]
fn locks_and_condition_variables_of_std() {
    on_fibers(|| {
        let (lock, changed) = (std::sync::Mutex::new(()), std::sync::Condvar::new());
        let wait = || drop(changed.wait_timeout(lock.lock().unwrap(), SHORT).unwrap());
        assert!(!lets_siblings_run(wait));
    });
}

/// A thread's place in the queue is a thread-local: a sibling that queues as well would be linked in twice.
#[test]
fn parking_lot() {
    on_fibers(|| {
        let (lock, changed) = (parking_lot::Mutex::new(()), parking_lot::Condvar::new());
        assert!(!lets_siblings_run(|| assert!(changed.wait_for(&mut lock.lock(), SHORT).timed_out())));
    });
}

/// What the sync wrappers of asynchronous drivers (`postgres`, `reqwest::blocking`) do: they enter a runtime, which is
/// noted in a thread-local. A sibling that enters one meanwhile would panic.
#[test]
fn wrappers_of_tokio() {
    on_fibers(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(!lets_siblings_run(|| runtime.block_on(async { tokio::time::sleep(SHORT).await })));
    });
}

/// They are always ready, and may take their time all the same: `tenfold::fs`, or `offload`.
#[test]
fn regular_files() {
    on_fibers(|| {
        let path = std::env::temp_dir().join(format!("tenfold-hook-file-{}", std::process::id()));
        let ran = lets_siblings_run(|| {
            let mut file = std::fs::File::create(&path).unwrap();
            file.write_all(&[1; 100_000]).unwrap();
            file.sync_all().unwrap();
            assert_eq!(std::fs::read(&path).unwrap().len(), 100_000);
        });
        assert!(!ran);
        std::fs::remove_file(&path).unwrap();
    });
}

/// `waitpid` is not hooked: a child's end is no descriptor's.
#[test]
fn waiting_for_a_child() {
    on_fibers(|| {
        let wait = || {
            let status = std::process::Command::new("sleep").arg("0.02").status().unwrap();
            assert!(status.success());
        };
        assert!(!lets_siblings_run(wait));
    });
}

/// A thread-local is the thread's: what is set before a wait is seen by siblings during it.
#[test]
fn thread_locals_are_shared_by_the_fibers_of_a_thread() {
    thread_local!(static CURRENT: Cell<u32> = const { Cell::new(0) });
    on_fibers(|| {
        CURRENT.set(1);
        let seen = spawn(|| CURRENT.get());
        std::thread::sleep(SHORT);
        assert_eq!(seen.join().unwrap(), 1);
    });
}
