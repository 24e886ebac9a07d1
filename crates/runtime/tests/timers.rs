//! `timer::after` and `timer::every`: never early, without drift, and taken back. From fibers over both backends, and from a thread.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::everywhere;
use tenfold_runtime::timer::{after, every};
use tenfold_runtime::{deadline, sleep};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_timer_runs_once_and_never_early() {
    everywhere(|| {
        let (sender, receiver) = mpsc::channel();
        for delay in [7, 1, 0, 3, 12] {
            let (sender, begun) = (sender.clone(), Instant::now());
            after(MS * delay, move || sender.send((delay, begun.elapsed())).unwrap()).unwrap();
        }
        drop(sender);
        let mut ran: Vec<(u32, Duration)> = receiver.iter().collect();
        assert!(ran.iter().all(|(delay, passed)| *passed >= MS * *delay), "{ran:?}");
        ran.sort_unstable();
        assert_eq!(ran.iter().map(|(delay, _)| *delay).collect::<Vec<_>>(), [0, 1, 3, 7, 12]);
    });
}

#[test]
fn a_period_does_not_drift_and_leaves_out_what_a_long_run_has_missed() {
    everywhere(|| {
        let period = MS * 5;
        let (sender, receiver) = mpsc::channel();
        let (before, mut runs) = (Instant::now(), 0);
        let timer = every(period, move || {
            let _ = sender.send(Instant::now());
            runs += 1;
            // It waits, and with that misses two of its times.
            if runs == 2 {
                sleep(MS * 12);
            }
        });
        let timer = timer.unwrap();
        let ran: Vec<Instant> = receiver.iter().take(6).collect();
        assert!(timer.cancel());
        // The n-th run begins at a multiple of the period since it was begun, or late: never before the one it stands for.
        for (index, at) in ran.iter().enumerate() {
            assert!(at.duration_since(before) >= period * (index as u32 + 1), "run {index} is early");
        }
        let gap = ran[2].duration_since(ran[1]);
        assert!(gap >= MS * 12, "runs do not overlap: {gap:?}");
    });
}

#[test]
fn what_is_taken_back_does_not_run_and_is_dropped() {
    everywhere(|| {
        let (count, held) = (Arc::new(AtomicU64::new(0)), Arc::new(()));
        let (in_timer, keeps) = (count.clone(), held.clone());
        let timer = after(MS * 20, move || {
            let _keeps = keeps;
            in_timer.fetch_add(1, Ordering::Relaxed);
        });
        let timer = timer.unwrap();
        assert!(timer.cancel() && !timer.cancel());
        assert_eq!(Arc::strong_count(&held), 1, "what it had captured is gone");
        let (sender, receiver) = mpsc::channel();
        // Due after it: when this has run, the other one's time has passed.
        let later = after(MS * 30, move || sender.send(()).unwrap()).unwrap();
        receiver.recv().unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 0);
        assert!(!later.cancel(), "it has run");
    });
}

#[test]
fn a_period_that_is_taken_back_within_its_own_run_is_over() {
    let (sender, receiver) = mpsc::channel::<tenfold_runtime::timer::Timer>();
    let (said, heard) = mpsc::channel();
    let timer = every(MS, move || {
        let mine = receiver.recv().unwrap();
        said.send(mine.cancel()).unwrap();
    });
    sender.send(timer.unwrap()).unwrap();
    assert!(heard.recv().unwrap());
    assert!(heard.recv().is_err(), "its function was dropped without another run");
}

#[test]
fn a_panic_ends_its_own_run_and_a_wait_holds_up_no_other() {
    let (sender, receiver) = mpsc::channel();
    let slow = every(MS, || sleep(Duration::from_secs(3600))).unwrap();
    let mut runs = 0;
    let timer = every(MS, move || {
        runs += 1;
        sender.send(runs).unwrap();
        assert!(runs != 1, "on purpose");
    });
    assert_eq!(receiver.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(timer.unwrap().cancel() && slow.cancel());
}

#[test]
fn a_deadline_of_who_begins_it_is_none_of_the_timers() {
    everywhere(|| {
        let (sender, receiver) = mpsc::channel();
        deadline(MS, || {
            after(MS * 5, move || sender.send(tenfold_runtime::try_sleep(MS).is_ok()).unwrap()).unwrap();
        });
        assert!(receiver.recv().unwrap());
    });
}

#[test]
fn a_period_of_nothing_is_refused() {
    assert_eq!(every(Duration::ZERO, || ()).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
