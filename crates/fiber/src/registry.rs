//! Which addresses are fiber stacks: a table that signal handlers can read.
//!
//! Written when a region is mapped or unmapped, by any thread; read by the overflow and the trace handlers, which may
//! have interrupted anything, a writer included. So: a static array of atomics, no lock, no allocation.
//!
//! A reader only trusts an entry about a stack that it is running on (or has just fallen off), and such a stack is in
//! use, so its region cannot be unmapped meanwhile. An entry that changes under a reader is therefore about another
//! region; checking `start` again after reading keeps the reader from mixing the two.

use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::error::FiberError;

/// Most regions in the process. With regions of 16,384 stacks that is 64 million fibers.
pub(crate) const REGIONS_MAX: usize = 4096;

static REGIONS: [Entry; REGIONS_MAX] = [const { Entry::new() }; REGIONS_MAX];
/// No entry at or above this index was ever used, so that a look-up does not scan the whole table.
static SCAN_END: AtomicUsize = AtomicUsize::new(0);

/// `start` of an entry that a writer has claimed and not yet filled in.
const CLAIMED: usize = 1;

struct Entry {
    /// Lowest address; 0 when the entry is free. Written last, so that a reader who sees it sees the rest.
    start: AtomicUsize,
    end: AtomicUsize,
    /// Bytes from one stack to the next, guard included.
    stride: AtomicUsize,
    /// Bytes of guard at the low end of each stack.
    guard: AtomicUsize,
}

impl Entry {
    const fn new() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            stride: AtomicUsize::new(0),
            guard: AtomicUsize::new(0),
        }
    }
}

/// An entry in the table; the region stays known until this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    index: usize,
}

/// One fiber stack, as found by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackBounds {
    /// Lowest address of the guard.
    pub(crate) guard_low: usize,
    /// Lowest usable address, end of the guard.
    pub(crate) low: usize,
    /// End of the stack: one past its highest address.
    pub(crate) high: usize,
}

impl Registration {
    /// Makes `start..end` known as stacks of `stride` bytes with `guard` bytes of guard at the low end of each.
    pub(crate) fn new(start: usize, end: usize, stride: usize, guard: usize) -> Result<Self, FiberError> {
        for (index, entry) in REGIONS.iter().enumerate() {
            if entry.start.load(Relaxed) != 0
                || entry.start.compare_exchange(0, CLAIMED, AcqRel, Relaxed).is_err()
            {
                continue;
            }
            entry.end.store(end, Relaxed);
            entry.stride.store(stride, Relaxed);
            entry.guard.store(guard, Relaxed);
            entry.start.store(start, Release);
            SCAN_END.fetch_max(index + 1, AcqRel);
            return Ok(Self { index });
        }
        Err(FiberError::RegionsExhausted { regions_max: REGIONS_MAX })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        REGIONS[self.index].start.store(0, Release);
    }
}

/// The fiber stack that `address` is in, guard included. Safe in a signal handler.
pub(crate) fn find(address: usize) -> Option<StackBounds> {
    for entry in &REGIONS[..SCAN_END.load(Acquire)] {
        let start = entry.start.load(Acquire);
        if start <= CLAIMED || address < start {
            continue;
        }
        let (end, stride, guard) =
            (entry.end.load(Acquire), entry.stride.load(Acquire), entry.guard.load(Acquire));
        if address >= end || stride == 0 || entry.start.load(Acquire) != start {
            continue;
        }
        let guard_low = address - (address - start) % stride;
        return Some(StackBounds { guard_low, low: guard_low + guard, high: guard_low + stride });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_finds_its_stack_until_the_region_is_gone() {
        // Addresses that no mapping can have, so that regions of other tests do not matter.
        let start = usize::MAX - (1 << 20) + 1 - 4096;
        let registration = Registration::new(start, start + 4 * 8192, 8192, 4096).unwrap();
        let second = StackBounds { guard_low: start + 8192, low: start + 12288, high: start + 16384 };
        assert_eq!(find(start + 8192), Some(second));
        assert_eq!(find(start + 16383), Some(second));
        assert_eq!(find(start - 1), None);
        assert_eq!(find(start + 4 * 8192), None);
        drop(registration);
        assert_eq!(find(start + 8192), None);
    }
}
