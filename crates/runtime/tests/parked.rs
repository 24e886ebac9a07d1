//! A million sleeping fibers: a page each, and no mapping each. A debug build, whose frames are larger, takes fewer.

use std::fs;
use std::time::Duration;

use tenfold_runtime::{Runtime, RuntimeConfig, sleep, spawn_detached, yield_now};

const FIBERS: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

fn status_kib(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn sleeping_fibers_take_a_page_each_and_no_mapping_each() {
    let runtime = Runtime::new(&RuntimeConfig::default()).unwrap();
    runtime
        .run(|| {
            let (resident, mapped) = (status_kib("VmRSS:"), mappings());
            for _ in 0..FIBERS {
                let started = spawn_detached("sleeper", || sleep(Duration::from_secs(3600)));
                assert!(started.is_ok());
            }
            yield_now();
            let each = (status_kib("VmRSS:") - resident) as f64 / FIBERS as f64;
            assert!(each >= 3.9, "they are asleep on their stacks: {each} KiB");
            // Unoptimised frames may need a second page.
            let most = if cfg!(debug_assertions) { 8.6 } else { 4.5 };
            assert!(each <= most, "{each} KiB each");
            // Regions of up to 16,384 stacks, and what the allocator maps.
            let grown = mappings() - mapped;
            assert!(grown <= FIBERS / 1000, "{grown} more mappings");
        })
        .unwrap();
}
