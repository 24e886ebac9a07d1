//! What spawning, yielding, switching through channels and parking cost.
//!
//! `cargo run --release -p tenfold-runtime --example bench_fibers [parked fibers [part of a name]]`
//!
//! Prints the best and the median of several rounds. Run it on an idle machine, pinned to one core. A channel switch is
//! one send that wakes the other fiber and one receive that parks.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tenfold_runtime::sync::{Mutex, Semaphore, channel};
use tenfold_runtime::{Runtime, RuntimeConfig, reserve, sleep, spawn, spawn_detached, yield_now};

const ROUNDS: usize = 15;
const OPERATIONS: u32 = 200_000;
/// Fibers that are started before they get to run.
const BATCH: u32 = 64;

fn main() {
    let parked =
        std::env::args().nth(1).map_or(1_000_000, |count| count.parse().expect("a number of fibers"));
    let runtime = Runtime::new(&RuntimeConfig::default()).expect("a runtime");
    println!("backend: {}", runtime.backend_name());
    runtime
        .run(|| {
            spawn_and_finish();
            reserve_spawn_and_finish();
            spawn_and_join();
            yield_to_each_other();
            ping_pong();
            locks();
        })
        .expect("no loop runs yet");
    let runtime = Runtime::new(&RuntimeConfig::default()).expect("a runtime");
    runtime.run(move || park(parked)).expect("no loop runs yet");
}

fn spawn_and_finish() {
    let count = Rc::new(Cell::new(0_u32));
    report("spawn_detached, run and finish", OPERATIONS, || {
        for _ in 0..OPERATIONS / BATCH {
            for _ in 0..BATCH {
                let count = count.clone();
                let spawned = spawn_detached("bench", move || count.set(count.get() + 1));
                assert!(spawned.is_ok());
            }
            yield_now();
        }
    });
    std::hint::black_box(count.get());
}

/// The way of a server's requests: a stack first, then what is to run on it.
fn reserve_spawn_and_finish() {
    let count = Rc::new(Cell::new(0_u32));
    report("reserve, spawn, run and finish", OPERATIONS, || {
        for _ in 0..OPERATIONS / BATCH {
            for _ in 0..BATCH {
                let count = count.clone();
                reserve().expect("a stack").spawn("bench", move || count.set(count.get() + 1));
            }
            yield_now();
        }
    });
    std::hint::black_box(count.get());
}

fn spawn_and_join() {
    report("spawn and join", OPERATIONS, || {
        for _ in 0..OPERATIONS / BATCH {
            let handles: [_; BATCH as usize] = std::array::from_fn(|number| spawn(move || number));
            for (number, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.join().expect("it returns"), number);
            }
        }
    });
}

fn yield_to_each_other() {
    report("yield, two fibers", OPERATIONS, || {
        let other = spawn(|| (0..OPERATIONS / 2).for_each(|_| yield_now()));
        (0..OPERATIONS / 2).for_each(|_| yield_now());
        other.join().expect("it returns");
    });
}

fn ping_pong() {
    report("channel ping-pong, a switch", OPERATIONS, || {
        let (there, from_here) = channel::<u32>(1);
        let (back, from_there) = channel::<u32>(1);
        let other = spawn(move || {
            for number in &from_here {
                back.send(number).expect("the other side lives");
            }
        });
        for number in 0..OPERATIONS / 2 {
            there.send(number).expect("the other side lives");
            assert_eq!(from_there.recv(), Ok(number));
        }
        drop(there);
        other.join().expect("it returns");
    });
}

fn locks() {
    let mutex = Mutex::new(0_u32);
    report("lock and unlock a free mutex", OPERATIONS, || {
        (0..OPERATIONS).for_each(|_| *mutex.lock().expect("not cancelled") += 1);
    });
    let semaphore = Semaphore::new(1);
    report("take and give a permit", OPERATIONS, || {
        (0..OPERATIONS).for_each(|_| drop(semaphore.acquire().expect("not cancelled")));
    });
}

fn park(count: usize) {
    let (resident, mappings) = (status_kib("VmRSS:"), mappings_count());
    let start = Instant::now();
    for _ in 0..count {
        let spawned = spawn_detached("sleeper", || sleep(Duration::from_secs(3600)));
        assert!(spawned.is_ok(), "a stack");
    }
    // Every sleeper is in front of us in the run queue.
    yield_now();
    let each = start.elapsed().as_nanos() / count.max(1) as u128;
    let grown = status_kib("VmRSS:") - resident;
    println!("{count} sleeping fibers: {each} ns each to make");
    println!("  {:.2} KiB resident each", grown as f64 / count as f64);
    println!("  {} more mappings", mappings_count() - mappings);
    println!("  {:.2} KiB page tables each", status_kib("VmPTE:") as f64 / count as f64);
}

fn report(what: &str, operations: u32, mut round: impl FnMut()) {
    if std::env::args().nth(2).is_some_and(|only| !what.contains(&only)) {
        return;
    }
    round();
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_nanos() as f64 / f64::from(operations)
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!("{what}: best {:.1} ns, median {:.1}", nanos[0], nanos[ROUNDS / 2]);
}

fn status_kib(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is always there");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

fn mappings_count() -> usize {
    fs::read_to_string("/proc/self/maps").expect("Linux has /proc/self/maps").lines().count()
}
