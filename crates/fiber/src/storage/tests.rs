//! Slots: in which order they are given, bounds, and what trimming takes from memory.

use std::{ptr, rc::Rc};

use super::*;
use crate::pool::StackPool;

/// Bytes that the last colour and the pool's pointer take from a stack.
const COLOUR_LOSS: usize = 15 * 64 + 16;

fn small(stacks_max: usize) -> StackPool {
    StackPool::new(StackConfig { stacks_max, ..StackConfig::default() }).unwrap()
}

/// Pages in memory of the usable part of a slot, per mincore(2).
fn resident_pages(low: usize, high: usize) -> usize {
    let page = region::page_bytes();
    let low = low.next_multiple_of(page);
    let mut pages = vec![0_u8; (high - low).div_ceil(page)];
    // SAFETY: the range is mapped, and `pages` has a byte for each page of it.
    let result =
        unsafe { libc::mincore(ptr::with_exposed_provenance_mut(low), high - low, pages.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    pages.iter().filter(|&&page| page & 1 == 1).count()
}
/// Makes the whole usable part resident.
fn touch(stack: &Stack) {
    for address in (stack.low()..stack.high()).step_by(region::page_bytes()) {
        // SAFETY: the stack is ours and no fiber is on it.
        unsafe { ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) };
    }
}

#[test]
fn the_stack_given_back_last_is_taken_first() {
    let pool = small(8);
    let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
    let (low_a, low_b) = (a.low(), b.low());
    assert_ne!(low_a, low_b);
    pool.put(b);
    pool.put(a);
    assert_eq!(pool.take().unwrap().low(), low_a, "taken and dropped: it goes back on top");
    let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
    assert_eq!((first.low(), second.low()), (low_a, low_b));
}

#[test]
fn more_stacks_than_the_bound_are_refused_until_one_is_given_back() {
    let pool = small(2);
    let (a, _b) = (pool.take().unwrap(), pool.take().unwrap());
    assert!(matches!(pool.take(), Err(FiberError::StacksExhausted { stacks_max: 2 })));
    pool.put(a);
    assert!(pool.take().is_ok());
}

#[test]
fn sizes_out_of_bounds_are_configuration_errors() {
    let default = StackConfig::default;
    for config in [
        StackConfig { usable_bytes: 4096, ..default() },
        StackConfig { usable_bytes: usize::MAX, ..default() },
        StackConfig { guard_pages: 0, ..default() },
        StackConfig { guard_pages: 1 << 40, ..default() },
        StackConfig { stacks_max: 0, ..default() },
    ] {
        assert!(matches!(StackPool::new(config.clone()), Err(FiberError::Config(_))), "{config:?}");
    }
}

#[test]
fn a_stack_has_the_configured_size_rounded_up_to_pages() {
    for (asked, got) in [(64 << 10, 64 << 10), (100_000, 102_400), (256 << 10, 256 << 10), (1 << 20, 1 << 20)]
    {
        let pool = StackPool::new(StackConfig { usable_bytes: asked, ..StackConfig::default() }).unwrap();
        let usable = pool.take().unwrap().usable_bytes();
        assert!(usable <= got && usable + COLOUR_LOSS >= got, "{asked}: {usable}");
    }
}
#[test]
fn neighbouring_stacks_start_on_different_cache_lines() {
    let pool = small(64);
    let stacks: Vec<_> = (0..16).map(|_| pool.take().unwrap()).collect();
    let mut lines: Vec<_> = stacks.iter().map(|stack| stack.high() % 4096 / 64).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 16);
}

#[test]
fn trim_keeps_what_two_periods_needed_and_releases_the_rest() {
    let pool = small(64);
    let stacks: Vec<_> = (0..32).map(|_| pool.take().unwrap()).collect();
    let bounds: Vec<_> = stacks.iter().map(|stack| (stack.low(), stack.high())).collect();
    stacks.iter().for_each(touch);
    drop(stacks);
    assert_eq!(pool.trim().released, 0, "the period that just ended needed all 32");
    assert_eq!(pool.trim().released, 0, "and so did the one before");
    let resident = |bounds: &[(usize, usize)]| -> usize {
        bounds.iter().map(|&(low, high)| resident_pages(low, high)).sum()
    };
    assert!(resident(&bounds) >= 32, "tops are kept");
    assert_eq!(pool.trim().released, 32, "two quiet periods later none is needed");
    assert_eq!(resident(&bounds), 0);
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.warm, stats.cold), (0, 0, 32));
    assert!(bounds.contains(&{
        let again = pool.take().unwrap();
        (again.low(), again.high())
    }));
}

#[test]
fn trim_takes_the_deep_part_of_warm_stacks_and_leaves_their_tops() {
    let pool = small(4);
    let stack = pool.take().unwrap();
    touch(&stack);
    let (low, high) = (stack.low(), stack.high());
    drop(stack);
    assert_eq!(resident_pages(low, high), 16);
    let trimmed = pool.trim();
    assert_eq!((trimmed.released, trimmed.shortened), (0, 1));
    assert_eq!(resident_pages(low, high), WARM_BYTES / region::page_bytes());
}

#[test]
fn one_trim_releases_at_most_trim_max_oldest_first() {
    let pool = StackPool::new(StackConfig { stacks_max: 8, trim_max: 3, warm_max: 0, ..Default::default() })
        .unwrap();
    let stacks: Vec<_> = (0..8).map(|_| pool.take().unwrap()).collect();
    let newest = stacks.last().unwrap().low();
    for stack in stacks {
        pool.put(stack);
    }
    assert_eq!([pool.trim().released, pool.trim().released], [3, 3]);
    assert_eq!(pool.take().unwrap().low(), newest);
    assert_eq!(pool.trim().released, 2);
}

#[test]
fn regions_double_so_that_many_stacks_are_few_mappings() {
    let pool = small(1 << 20);
    let stacks: Vec<_> = (0..20_000).map(|_| pool.take().unwrap()).collect();
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.regions), (20_000, 5));
    drop(stacks);
}

#[test]
fn mprotect_guards_on_request_are_reported() {
    let config = StackConfig { guard: GuardKind::Mprotect, ..StackConfig::default() };
    let pool = StackPool::new(config).unwrap();
    let stack = pool.take().unwrap();
    assert_eq!(pool.stats().guard, GuardKind::Mprotect);
    touch(&stack);
}

#[test]
fn a_stack_outlives_its_pool() {
    let pool = small(4);
    let storage = Rc::downgrade(&pool.storage);
    let stack = pool.take().unwrap();
    drop(pool.take().unwrap());
    drop(pool);
    assert_eq!(storage.upgrade().unwrap().stats().regions, 1);
    touch(&stack);
    drop(stack);
    assert!(storage.upgrade().is_none(), "the last stack takes the rest with it");
}

#[test]
fn dropping_a_pool_unmaps_idle_regions_and_keeps_those_with_a_stack_in_use() {
    let pool = small(1 << 20);
    let storage = Rc::clone(&pool.storage);
    let first_region: Vec<_> = (0..1024).map(|_| pool.take().unwrap()).collect();
    let (in_second, idle) = (pool.take().unwrap(), pool.take().unwrap());
    drop((first_region, idle));
    assert_eq!((storage.stats().regions, storage.stats().warm), (2, 1025));
    drop(pool);
    let stats = storage.stats();
    assert_eq!(
        (stats.regions, stats.in_use, stats.warm),
        (1, 1, 1),
        "the second region has all that is left"
    );
    touch(&in_second);
    drop(in_second);
    assert_eq!((storage.stats().in_use, storage.stats().warm), (0, 2));
}
