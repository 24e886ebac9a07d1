//! Many calls at once, on fibers over both backends and on plain threads: who wins, what the others get, what is left.

mod common;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::everywhere;
use tenfold_runtime::fan_out::{
    CallError, FanOutError, Retry, RetryBudget, first_of, hedged, join_all, join_all_bounded, partial, race,
};
use tenfold_runtime::net::UnixStream;
use tenfold_runtime::park::is_cancellation;
use tenfold_runtime::{JoinError, deadline, spawn, try_sleep, yield_now};

const FOREVER: Duration = Duration::from_secs(600);

/// Waits for ever, and says how that ended.
fn hang() -> Result<u32, std::io::ErrorKind> {
    Err(try_sleep(FOREVER).map_err(|error| error.kind()).expect_err("nobody waits that long"))
}

#[test]
fn all_results_come_in_order_and_a_panic_is_its_own() {
    everywhere(|| {
        let mut results = join_all((0..20).map(|number| {
            move || {
                if number == 7 {
                    std::panic::resume_unwind(Box::new("seven"));
                }
                yield_now();
                number
            }
        }));
        let lost = results.remove(7).unwrap_err();
        assert!(matches!(&lost, JoinError::Panicked(text) if text.downcast_ref() == Some(&"seven")));
        let numbers: Vec<_> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(numbers, (0..20).filter(|number| *number != 7).collect::<Vec<_>>());
        assert!(join_all(Vec::<fn()>::new()).is_empty());
    });
}

#[test]
fn no_more_run_at_once_than_allowed_and_all_of_these_do() {
    everywhere(|| {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let calls = (0..30).map(|_| {
            || {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                try_sleep(Duration::from_millis(1)).unwrap();
                running.fetch_sub(1, SeqCst);
            }
        });
        assert!(join_all_bounded(4, calls).iter().all(Result::is_ok));
        assert_eq!(most.load(SeqCst), 4);
    });
}

#[test]
fn the_first_success_wins_and_the_others_are_cancelled() {
    everywhere(|| {
        let cancelled = AtomicUsize::new(0);
        let winner = race((0..5).map(|number| {
            let cancelled = &cancelled;
            move || match number {
                0 => Err("failed early"),
                3 => Ok(number),
                _ => {
                    hang().unwrap_err();
                    cancelled.fetch_add(1, SeqCst);
                    Err("cancelled")
                }
            }
        }));
        assert_eq!((winner.unwrap(), cancelled.load(SeqCst)), (3, 3));
    });
}

#[test]
fn when_too_many_have_failed_it_ends_at_once_with_all_failures() {
    everywhere(|| {
        let outcome: Result<Vec<(usize, u32)>, _> = first_of(
            2,
            (0..3).map(|number| {
                move || match number {
                    0 => hang().map_err(|_| "cancelled"),
                    _ => Err("down"),
                }
            }),
        );
        let Err(FanOutError::TooFew { wanted: 2, succeeded: 0, failures }) = outcome else {
            panic!("{outcome:?}")
        };
        // The two that fail do so in any order where they are threads; the one that they cancel is the last.
        let numbers: Vec<_> = failures.iter().map(|(number, _)| *number).collect();
        assert!(matches!(numbers[..], [1, 2, ..] | [2, 1, ..]), "{failures:?}");
        assert!(matches!(first_of(0, [|| Err::<(), ()>(())]), Ok(none) if none.is_empty()));
        assert!(matches!(race(Vec::<fn() -> Result<(), ()>>::new()), Err(FanOutError::TooFew { .. })));
    });
}

#[test]
fn a_hedge_starts_when_a_call_is_late_and_at_once_when_it_fails() {
    everywhere(|| {
        let calls = AtomicUsize::new(0);
        let quick = hedged(FOREVER, 3, |number| {
            calls.fetch_add(1, SeqCst);
            if number < 2 { Err("down") } else { Ok(number) }
        });
        assert_eq!((quick.unwrap(), calls.load(SeqCst)), (2, 3));
        let late = hedged(Duration::from_millis(2), 3, |number| match number {
            0 => hang(),
            _ => Ok(7),
        });
        assert_eq!(late.unwrap(), 7);
        let failed: Result<(), _> = hedged(FOREVER, 2, Err::<(), _>);
        assert!(matches!(failed, Err(FanOutError::TooFew { failures, .. }) if failures.len() == 2));
        let over = deadline(Duration::from_millis(5), || hedged(Duration::from_millis(1), 2, |_| hang()));
        assert!(matches!(over, Err(FanOutError::TimedOut)), "{over:?}");
    });
}

#[test]
fn what_has_answered_in_time_counts_and_the_rest_timed_out() {
    everywhere(|| {
        let until = Instant::now() + Duration::from_millis(20);
        let page =
            partial(until, (0..4).map(|number| move || if number % 2 == 0 { Ok(number) } else { hang() }));
        assert_eq!(page.answers().copied().collect::<Vec<_>>(), [0, 2]);
        assert!(!page.is_complete());
        let results = page.into_results();
        assert!(matches!(results[1], Err(CallError::Failed(_))), "{results:?}");
    });
}

/// Two levels of calls, each leaf reading from a socket whose other end is returned.
fn tree(ends: Vec<Vec<UnixStream>>) -> Vec<Result<std::io::Error, JoinError>> {
    let branches = join_all(ends.into_iter().map(|leaves| {
        move || join_all(leaves.into_iter().map(|mut leaf| move || leaf.read(&mut [0]).unwrap_err()))
    }));
    branches.into_iter().flat_map(|branch| branch.expect("a branch waits for its leaves")).collect()
}

/// A tree's sockets, and their other ends.
fn sockets() -> (Vec<Vec<UnixStream>>, Vec<UnixStream>) {
    let mut others = Vec::new();
    let ours = (0..3).map(|_| {
        let pairs = (0..3).map(|_| {
            let (one, other) = UnixStream::pair().unwrap();
            others.push(other);
            one
        });
        pairs.collect()
    });
    (ours.collect(), others)
}

#[test]
fn a_deadline_ends_the_whole_tree_down_to_its_sockets() {
    everywhere(|| {
        let (ours, others) = sockets();
        let leaves = deadline(Duration::from_millis(10), || tree(ours));
        assert_eq!(leaves.len(), 9);
        for leaf in leaves {
            // Its own deadline, or its parent's cancel, whose deadline is the same.
            let error = leaf.unwrap();
            assert!(error.kind() == std::io::ErrorKind::TimedOut || is_cancellation(&error), "{error:?}");
        }
        // All ends are closed: the other side reads the end of the stream and not a byte.
        others.into_iter().for_each(|mut other| assert_eq!(other.read(&mut [0]).unwrap(), 0));
    });
}

#[test]
fn cancelling_the_root_ends_the_whole_tree_down_to_its_sockets() {
    everywhere(|| {
        let (ours, others) = sockets();
        let root = spawn(move || tree(ours));
        let cancel = root.cancel_handle();
        spawn(move || cancel.cancel()).join().unwrap();
        for mut other in others {
            assert_eq!(other.read(&mut [0]).unwrap(), 0);
        }
        assert!(root.join().is_ok());
    });
}

#[test]
fn retries_stop_at_success_at_hopeless_errors_at_their_number_and_at_the_deadline() {
    everywhere(|| {
        let retry = Retry::new(4).pause_first(Duration::from_millis(1));
        let tries = AtomicUsize::new(0);
        let fail_until = |good: usize| {
            tries.store(0, SeqCst);
            let tries = &tries;
            move |_: u32| if tries.fetch_add(1, SeqCst) + 1 == good { Ok(good) } else { Err("down") }
        };
        assert_eq!((retry.run(fail_until(3), |_| true), tries.load(SeqCst)), (Ok(3), 3));
        assert_eq!((retry.run(fail_until(9), |_| true), tries.load(SeqCst)), (Err("down"), 4));
        assert_eq!((retry.run(fail_until(3), |_| false), tries.load(SeqCst)), (Err("down"), 1));
        let patient = Retry::new(9).pause_first(FOREVER).pause_max(FOREVER);
        let late = deadline(Duration::from_millis(50), || patient.run(fail_until(9), |_| true));
        assert!(late.is_err() && tries.load(SeqCst) < 9);
    });
}

#[test]
fn a_budget_bounds_the_retries_of_all_callers() {
    everywhere(|| {
        let budget = Arc::new(RetryBudget::new(0.5, 3));
        let retry = Retry::new(100).pause_first(Duration::ZERO).budget(budget);
        let mut tries = 0;
        for _ in 0..20 {
            let failed: Result<(), ()> = retry.run(
                |_| {
                    tries += 1;
                    Err(())
                },
                |()| true,
            );
            assert!(failed.is_err());
        }
        // Twenty calls, the three tokens of the start, and what twenty calls have earned, of which the first is lost.
        assert!((20 + 3 + 9..=20 + 3 + 10).contains(&tries), "{tries}");
    });
}
