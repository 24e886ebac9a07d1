//! Guards by mprotect cost two mappings each, and the kernel bounds their number. One test to a file: it uses the
//! process's mappings up.

use std::fs;

use tenfold_fiber::{Fiber, FiberError, GuardKind, Resume, StackConfig, StackPool, suspend};

#[test]
fn a_pool_that_runs_out_of_mappings_says_so_and_goes_on_with_what_it_has() {
    let max_map_count: usize =
        fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if max_map_count > 200_000 {
        println!("left out: vm.max_map_count is {max_map_count}, this would take too long");
        return;
    }
    let config = StackConfig { guard: GuardKind::Mprotect, guard_pages: 1, ..StackConfig::default() };
    let pool = StackPool::new(config).unwrap();
    // Room beforehand: without mappings, large allocations fail as well.
    let mut fibers = Vec::with_capacity(max_map_count);
    let error = loop {
        match pool.take() {
            Ok(stack) => {
                let mut fiber = Fiber::new(stack, "parked", || {
                    suspend();
                });
                assert_eq!(fiber.resume(), Resume::Suspended);
                fibers.push(fiber);
            }
            Err(error) => break error,
        }
    };
    let count = fibers.len();
    assert!(matches!(error, FiberError::Guard(_) | FiberError::Map(_)), "{error}");
    assert!(count > max_map_count / 2 - 2000 && count <= max_map_count / 2, "{count} of {max_map_count}");
    for mut fiber in fibers {
        assert_eq!(fiber.resume(), Resume::Finished);
        pool.put(fiber.into_stack().unwrap());
    }
    assert!(pool.take().is_ok(), "a pool that was refused a stack goes on with the others");
}
