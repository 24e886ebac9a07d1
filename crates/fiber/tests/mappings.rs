//! Many stacks are few mappings. One test to a file: it counts the lines of /proc/self/maps, which other tests' threads
//! would change.

use std::fs;

use tenfold_fiber::{Fiber, GuardKind, Resume, StackConfig, StackPool, suspend};

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn forty_thousand_parked_fibers_are_a_handful_of_mappings_and_all_come_back() {
    const FIBERS: usize = 40_000;
    let pool = StackPool::new(StackConfig::default()).unwrap();
    let before = mappings();
    let mut fibers: Vec<_> = (0..FIBERS)
        .map(|_| {
            let mut fiber = Fiber::new(pool.take().unwrap(), "parked", || {
                suspend();
            });
            assert_eq!(fiber.resume(), Resume::Suspended);
            fiber
        })
        .collect();
    let stats = pool.stats();
    assert_eq!(stats.in_use, FIBERS);
    if stats.guard == GuardKind::Auto {
        // One per region; the heap and this test's own buffers account for the rest.
        assert!(mappings() - before <= stats.regions + 8, "{} for {stats:?}", mappings() - before);
    }
    for fiber in &mut fibers {
        assert_eq!(fiber.resume(), Resume::Finished);
    }
    for fiber in fibers {
        pool.put(fiber.into_stack().unwrap());
    }
    assert_eq!((pool.stats().in_use, pool.stats().warm), (0, FIBERS));
    drop(pool);
    assert!(mappings() <= before + 8, "regions without a stack in use are unmapped");
}
