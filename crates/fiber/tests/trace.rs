//! Asking a thread where it is.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use tenfold_fiber::{
    Beat, Fiber, FiberError, StackConfig, StackPool, overflow,
    trace::{self, TracedThread},
};

const LONG: Duration = Duration::from_secs(20);

#[inline(never)]
fn turn(spins: &AtomicU64) {
    for _ in 0..black_box(1000) {
        spins.fetch_add(1, Relaxed);
    }
}

#[inline(never)]
fn spin_in_the_handler_of_a_route(spins: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        turn(spins);
    }
    black_box(spins); // Keeps the frame: what follows the loop is not a tail call.
}

#[inline(never)]
fn a_careless_caller(spins: &AtomicU64, stop: &AtomicBool) {
    spin_in_the_handler_of_a_route(spins, stop);
    black_box(stop);
}

/// Captures until a trace names `functions` in this order. One try is not enough: a function that is interrupted in its
/// first instruction, or in a loop without a frame, hides its direct caller.
fn capture_naming(traced: &TracedThread, functions: &[&str]) -> String {
    let mut lines = String::new();
    for _ in 0..200 {
        lines = trace::symbolise(&trace::capture(traced, LONG)).join("\n");
        let positions: Option<Vec<_>> = functions.iter().map(|function| lines.find(function)).collect();
        if positions.is_some_and(|positions| positions.is_sorted()) {
            return lines;
        }
    }
    panic!("no trace names {functions:?}; the last one:\n{lines}");
}

/// Runs `spinner` on another thread, and `look` here once it spins.
fn while_spinning(
    spinner: impl FnOnce(Arc<AtomicU64>, Arc<AtomicBool>) + Send + 'static,
    look: impl FnOnce(&TracedThread),
) {
    trace::install(trace::default_signal()).unwrap();
    let (spins, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn({
        let (spins, stop) = (Arc::clone(&spins), Arc::clone(&stop));
        move || {
            let _alt = overflow::install_for_thread().unwrap();
            send.send(trace::register_thread().unwrap()).unwrap();
            spinner(spins, stop);
        }
    });
    let traced = receive.recv().unwrap();
    while spins.load(Relaxed) == 0 {
        thread::yield_now();
    }
    look(&traced);
    stop.store(true, Relaxed);
    thread.join().unwrap();
}

#[test]
fn a_spinning_fiber_is_caught_with_its_function_and_callers_up_to_the_fibers_root() {
    let spinner = |spins: Arc<AtomicU64>, stop: Arc<AtomicBool>| {
        let pool = StackPool::new(StackConfig::default()).unwrap();
        let mut fiber = Fiber::new(pool.take().unwrap(), "spins", move || a_careless_caller(&spins, &stop));
        fiber.resume();
    };
    while_spinning(spinner, |traced| {
        let lines = capture_naming(traced, &["spin_in_the_handler_of_a_route", "a_careless_caller"]);
        assert!(lines.contains("trace.rs:"), "source lines:\n{lines}");
        assert!(!lines.contains("while_spinning"), "the fiber's own stack, not its resumer's:\n{lines}");
    });
}

#[test]
fn a_plain_thread_is_caught_too() {
    while_spinning(
        |spins, stop| a_careless_caller(&spins, &stop),
        |traced| {
            let lines = capture_naming(traced, &["a_careless_caller", "thread_start"]);
            assert!(lines.contains("while_spinning"), "up to the thread's start:\n{lines}");
        },
    );
}

#[test]
fn capturing_again_and_again_during_switches_never_fails_or_crashes() {
    let spinner = |spins: Arc<AtomicU64>, stop: Arc<AtomicBool>| {
        let pool = StackPool::new(StackConfig::default()).unwrap();
        let mut fiber = Fiber::new(pool.take().unwrap(), "switches", || while tenfold_fiber::suspend() {});
        while !stop.load(Relaxed) {
            fiber.resume();
            spins.fetch_add(1, Relaxed);
        }
    };
    while_spinning(spinner, |traced| {
        for _ in 0..500 {
            assert!(!trace::capture(traced, LONG).is_empty());
        }
    });
}

#[test]
fn a_thread_that_has_ended_has_no_frames() {
    trace::install(trace::default_signal()).unwrap();
    let traced = thread::spawn(|| trace::register_thread().unwrap()).join().unwrap();
    assert_eq!(trace::capture(&traced, Duration::from_millis(20)), Vec::<usize>::new());
}

#[test]
fn a_second_signal_for_tracing_is_refused() {
    trace::install(trace::default_signal()).unwrap();
    trace::install(trace::default_signal()).unwrap();
    let refused = trace::install(trace::default_signal() + 1);
    assert!(matches!(refused, Err(FiberError::Signal { .. })), "{refused:?}");
}

#[test]
fn an_address_in_no_function_stays_a_number() {
    assert_eq!(trace::symbolise(&[0x10]), ["0x10"]);
}

#[test]
fn a_beat_tells_a_watchdog_who_holds_the_loop() {
    let beat = Arc::new(Beat::new());
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let thread = thread::spawn({
        let beat = Arc::clone(&beat);
        move || {
            beat.enter("GET /slow");
            entered.send(()).unwrap();
            wait_release.recv().unwrap();
            beat.leave();
        }
    });
    wait_entered.recv().unwrap();
    let first = beat.sample();
    assert_eq!(first.name, Some("GET /slow"));
    assert!(beat.sample().is_same_run(&first));
    release.send(()).unwrap();
    thread.join().unwrap();
    assert!(!beat.sample().is_same_run(&first));
}
