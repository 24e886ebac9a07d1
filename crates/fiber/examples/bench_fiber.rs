//! How long spawning and switching take, and what a million parked fibers weigh.
//!
//! `cargo run --release -p tenfold-fiber --example bench_fiber [parked fibers]`
//!
//! Prints the median and the best of several rounds. Run it on an idle machine, pinned to one core.

use std::{cell::Cell, fs, hint::black_box, rc::Rc, time::Instant};

use tenfold_fiber::{Fiber, FiberError, Resume, StackConfig, StackPool, suspend};

const ROUNDS: usize = 15;
const OPERATIONS: u32 = 1_000_000;

fn main() -> Result<(), FiberError> {
    let parked =
        std::env::args().nth(1).map_or(1_000_000, |count| count.parse().expect("a number of fibers"));
    spawn_and_finish()?;
    switch_one()?;
    switch_many(64)?;
    switch_many(10_000)?;
    park(parked)
}

fn spawn_and_finish() -> Result<(), FiberError> {
    let pool = StackPool::new(StackConfig::default())?;
    let counter = Rc::new(Cell::new(0_u64));
    report("spawn, run and finish", OPERATIONS, || {
        for _ in 0..OPERATIONS {
            let stack = pool.take().expect("one stack");
            let mut fiber = Fiber::new(stack, "bench", {
                let counter = Rc::clone(&counter);
                move || counter.set(counter.get() + 1)
            });
            assert_eq!(fiber.resume(), Resume::Finished);
            pool.put(fiber.into_stack().expect("finished"));
        }
    });
    black_box(counter.get());
    Ok(())
}

/// One fiber, again and again: the bare cost of a switch there and back.
fn switch_one() -> Result<(), FiberError> {
    let pool = StackPool::new(StackConfig::default())?;
    let mut fiber = endless(&pool)?;
    report("resume and suspend, one fiber", OPERATIONS, || {
        for _ in 0..OPERATIONS {
            fiber.resume();
        }
    });
    Ok(())
}

/// Many fibers in turn: with the cache misses that a server has.
fn switch_many(count: u32) -> Result<(), FiberError> {
    let pool = StackPool::new(StackConfig::default())?;
    let mut fibers = (0..count).map(|_| endless(&pool)).collect::<Result<Vec<_>, _>>()?;
    let laps = OPERATIONS / count;
    report(&format!("resume and suspend, {count} fibers in turn"), laps * count, || {
        for _ in 0..laps {
            for fiber in &mut fibers {
                fiber.resume();
            }
        }
    });
    Ok(())
}

fn park(count: usize) -> Result<(), FiberError> {
    let pool = StackPool::new(StackConfig { stacks_max: count.max(1), ..StackConfig::default() })?;
    let mut fibers = Vec::with_capacity(count);
    let (resident, mappings) = (resident_bytes(), mappings_count());
    let start = Instant::now();
    for _ in 0..count {
        let mut fiber = endless(&pool)?;
        fiber.resume();
        fibers.push(fiber);
    }
    let each = start.elapsed().as_nanos() / count.max(1) as u128;
    let grown = resident_bytes() - resident;
    println!("{count} parked fibers: {each} ns each to make");
    println!("  {:.2} KiB resident each", grown as f64 / count as f64 / 1024.0);
    println!("  {} more mappings, {} regions", mappings_count() - mappings, pool.stats().regions);
    println!("  {:.2} KiB page tables each", page_table_bytes() as f64 / count as f64 / 1024.0);
    Ok(())
}

fn endless(pool: &StackPool) -> Result<Fiber, FiberError> {
    Ok(Fiber::new(pool.take()?, "endless", || {
        while suspend() {
            black_box(());
        }
    }))
}

fn report(what: &str, operations: u32, mut round: impl FnMut()) {
    round();
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_nanos() as f64 / f64::from(operations)
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!("{what}: {:.1} ns (best {:.1})", nanos[ROUNDS / 2], nanos[0]);
}

/// Resident set size: the second field of /proc/self/statm, in pages (proc_pid_statm(5)).
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages: usize =
        statm.split_whitespace().nth(1).and_then(|field| field.parse().ok()).expect("a number");
    pages * 4096
}

fn mappings_count() -> usize {
    fs::read_to_string("/proc/self/maps").expect("Linux has /proc/self/maps").lines().count()
}

fn page_table_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPTE:")).expect("VmPTE is always there");
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}
