//! What becomes of fibers that panic, overflow, outlive the main one, or are woken from elsewhere. What ends a process is
//! tried in a child: this program, run again for one test with a variable set.

mod common;

use std::cell::Cell;
use std::hint::black_box;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{everywhere, on_fibers};
use tenfold_runtime::sync::channel;
use tenfold_runtime::{
    JoinError, Local, Runtime, RuntimeConfig, RuntimeError, current_loop, scope, set_name, sleep, spawn,
    spawn_detached, try_sleep, yield_now,
};

const CHILD: &str = "TENFOLD_TEST_CHILD";

/// Runs `test` of this program alone in a child in which `is_child` says yes.
fn child(test: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    Command::new(program).args([test, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap()
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn a_stack_overflow_names_the_fiber() {
    #[allow(unconditional_recursion, reason = "that is the point")]
    fn endless(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        endless(depth + 1) + frame[depth as usize % 64]
    }
    if is_child() {
        Runtime::new(&RuntimeConfig::default())
            .unwrap()
            .run(|| {
                set_name("GET /recursive");
                black_box(endless(0));
            })
            .unwrap();
        unreachable!("the stack ends");
    }
    let output = child("a_stack_overflow_names_the_fiber");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("GET /recursive"), "{text}");
}

#[test]
fn a_detached_fibers_panic_ends_that_fiber_and_nothing_else() {
    on_fibers(|| {
        let (sender, receiver) = channel(1);
        assert!(spawn_detached("panics", || panic!("on purpose")).is_ok());
        assert!(spawn_detached("sends", move || sender.send(1).unwrap()).is_ok());
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.recv().ok(), None);
    });
}

#[test]
fn the_main_fibers_panic_goes_to_the_caller_and_the_runtime_is_usable_afterwards() {
    let runtime = Runtime::new(&RuntimeConfig::default()).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.run(|| panic!("on purpose")).unwrap();
    }));
    assert!(caught.is_err());
    assert_eq!(runtime.run(|| 5).unwrap(), 5);
}

#[test]
fn fibers_that_outlive_the_main_one_are_cancelled() {
    let cancelled = Arc::new(AtomicBool::new(false));
    let runtime = Runtime::new(&RuntimeConfig::default()).unwrap();
    runtime
        .run({
            let cancelled = cancelled.clone();
            move || {
                drop(spawn(move || {
                    let outcome = try_sleep(Duration::from_secs(3600));
                    cancelled.store(outcome.is_err(), Ordering::SeqCst);
                }));
                yield_now();
            }
        })
        .unwrap();
    assert!(cancelled.load(Ordering::SeqCst));
}

#[test]
fn a_runtime_inside_of_a_runtime_is_refused() {
    on_fibers(|| {
        let inner = Runtime::new(&RuntimeConfig::default()).unwrap();
        assert!(matches!(inner.run(|| ()), Err(RuntimeError::Nested)));
    });
}

#[test]
fn a_panic_in_a_scope_cancels_the_children_and_waits_for_them() {
    everywhere(|| {
        let ended = AtomicBool::new(false);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scope(|scope| {
                scope.spawn(|| {
                    let outcome = try_sleep(Duration::from_secs(3600));
                    ended.store(outcome.is_err(), Ordering::SeqCst);
                });
                yield_now();
                panic!("on purpose");
            })
        }));
        assert!(caught.is_err());
        assert!(ended.load(Ordering::SeqCst));
    });
}

#[test]
fn a_childs_panic_is_its_joiners_and_its_siblings_live() {
    everywhere(|| {
        let (failed, fine) = scope(|scope| {
            let failed = scope.spawn(|| panic!("on purpose"));
            let fine = scope.spawn(|| {
                sleep(Duration::from_millis(5));
                1
            });
            (failed.join(), fine.join())
        });
        assert!(matches!(failed, Err(JoinError::Panicked(_))));
        assert_eq!(fine.unwrap(), 1);
    });
}

#[test]
fn each_fiber_has_locals_of_its_own_over_its_waits() {
    static NUMBER: Local<Cell<u32>> = Local::new(|| Cell::new(0));
    everywhere(|| {
        let tasks: Vec<_> = (1..20)
            .map(|number| {
                spawn(move || {
                    NUMBER.with(|local| local.set(number));
                    yield_now();
                    sleep(Duration::from_millis(1));
                    NUMBER.with(Cell::get)
                })
            })
            .collect();
        for (number, task) in (1..20).zip(tasks) {
            assert_eq!(task.join().unwrap(), number);
        }
        assert_eq!(NUMBER.with(Cell::get), 0);
    });
}

#[test]
fn other_threads_start_fibers_here_and_wake_them() {
    on_fibers(|| {
        let (sender, receiver) = channel(1);
        let handle = current_loop().unwrap();
        let here = std::thread::current().id();
        let thread = std::thread::spawn(move || {
            for number in 0..500 {
                let sender = sender.clone();
                handle.spawn("from outside", move || {
                    sender.send((number, std::thread::current().id())).unwrap();
                });
            }
        });
        let mut seen: Vec<_> = receiver.iter().collect();
        thread.join().unwrap();
        assert!(seen.iter().all(|(_, thread)| *thread == here));
        seen.sort_by_key(|(number, _)| *number);
        assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    });
}

#[test]
fn a_fiber_that_never_waits_does_not_starve_timers() {
    on_fibers(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let busy = spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    yield_now();
                }
            }
        });
        let start = Instant::now();
        sleep(Duration::from_millis(5));
        assert!(start.elapsed() < Duration::from_secs(5));
        stop.store(true, Ordering::Relaxed);
        busy.join().unwrap();
    });
}
