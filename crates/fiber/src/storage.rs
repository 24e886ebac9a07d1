#![allow(unsafe_code, reason = "discards the memory of unused stacks")]
//! What a pool and its stacks share: the regions, and the lists of free slots in them.
//!
//! Called by `StackPool` and, when a stack is dropped, by `Stack`. A slot is the lowest address of a stack's guard; it stands for
//! the stack while nobody owns one.
//!
//! # Invariants
//! I1. A slot is in exactly one place: fresh (not below its region's `used` count), `warm`, `cold`, or in one `Stack`.
//! I2. A slot's guard is installed before the slot leaves "fresh".
//! I3. A region is dropped only with all of its used slots in `warm` or `cold`, and they leave these lists with it. While
//! a `Stack` exists, forgotten ones included, it holds an `Rc<Storage>` and so everything that has not been dropped.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use crate::{
    error::FiberError,
    pool::{PoolStats, StackConfig, Trimmed},
    region::{self, GuardKind, Layout, Region},
    stack::Stack,
};

/// Stacks in the first region; every further one has twice as many as the one before.
const REGION_STACKS_MIN: usize = 1024;
/// Stacks in the largest region: a million stacks are 67 regions.
const REGION_STACKS_MAX: usize = 16 << 10;
/// Smallest region to try when the kernel refuses a larger one.
const REGION_STACKS_LEAST: usize = 16;
/// How much of a warm stack, from its high end, a trim never takes.
const WARM_BYTES: usize = 16 << 10;
/// Warm stacks whose deep part is given back in one trim.
const DEEP_TRIMS: usize = 64;

/// The regions of a pool and its free slots.
#[derive(Debug)]
pub(crate) struct Storage {
    layout: Layout,
    /// Log2 of a stack's distance to the next, rounded down: the bits of a slot's address that tell neighbours apart.
    colour_shift: u32,
    stacks_max: usize,
    warm_max: usize,
    trim_max: usize,
    in_use: Cell<usize>,
    /// Most in use in this period, and in the one before.
    peak: Cell<usize>,
    peak_before: Cell<usize>,
    /// Free slots with memory; the back is the most recently used.
    warm: RefCell<VecDeque<usize>>,
    /// Free slots without memory.
    cold: RefCell<Vec<usize>>,
    regions: RefCell<Regions>,
}

#[derive(Debug)]
struct Regions {
    list: Vec<Region>,
    /// Slots of the last region that have left "fresh"; all slots of the others have.
    used_of_last: usize,
    guard: GuardKind,
    /// Next warm stack to be shortened, as a position in `warm`.
    deep_cursor: usize,
}

impl Storage {
    pub(crate) fn new(config: StackConfig) -> Result<Self, FiberError> {
        let page = region::page_bytes();
        if !(16 << 10..=256 << 20).contains(&config.usable_bytes) {
            return Err(FiberError::Config("usable_bytes must be between 16 KiB and 256 MiB"));
        }
        if !(1..=1024).contains(&config.guard_pages) {
            return Err(FiberError::Config("guard_pages must be between 1 and 1024"));
        }
        if config.stacks_max == 0 {
            return Err(FiberError::Config("stacks_max must be at least 1"));
        }
        let layout = Layout {
            usable_bytes: config.usable_bytes.next_multiple_of(page),
            guard_bytes: config.guard_pages * page,
        };
        Ok(Self {
            layout,
            colour_shift: layout.stride().ilog2(),
            stacks_max: config.stacks_max,
            warm_max: config.warm_max,
            trim_max: config.trim_max,
            in_use: Cell::new(0),
            peak: Cell::new(0),
            peak_before: Cell::new(0),
            warm: RefCell::default(),
            cold: RefCell::default(),
            regions: RefCell::new(Regions {
                list: Vec::new(),
                used_of_last: 0,
                guard: config.guard,
                deep_cursor: 0,
            }),
        })
    }

    #[inline]
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    #[inline]
    pub(crate) fn colour_shift(&self) -> u32 {
        self.colour_shift
    }

    #[inline(always)]
    pub(crate) fn take(&self) -> Result<usize, FiberError> {
        let (warm, next) = {
            let mut warm = self.warm.borrow_mut();
            (warm.pop_back(), warm.back().copied())
        };
        // Who starts one fiber often starts several.
        if let Some(next) = next {
            Stack::prefetch(next, self);
        }
        let slot = match warm {
            Some(slot) => slot,
            None => self.take_without_memory()?,
        };
        let in_use = self.in_use.get() + 1;
        self.in_use.set(in_use);
        if in_use > self.peak.get() {
            self.peak.set(in_use);
        }
        Ok(slot)
    }

    /// Puts a slot back; called by `Stack::drop` only.
    #[inline]
    pub(crate) fn put_back(&self, slot: usize) {
        self.in_use.set(self.in_use.get() - 1);
        self.warm.borrow_mut().push_back(slot);
    }

    #[cold]
    fn take_without_memory(&self) -> Result<usize, FiberError> {
        match self.cold.borrow_mut().pop() {
            Some(slot) => Ok(slot),
            None => self.regions.borrow_mut().take_fresh(self.in_use.get(), self.stacks_max, self.layout),
        }
    }

    pub(crate) fn trim(&self) -> Trimmed {
        let in_use = self.in_use.get();
        let peak = self.peak.get().max(self.peak_before.get());
        self.peak_before.set(self.peak.get());
        self.peak.set(in_use);
        let keep = (peak - in_use).min(self.warm_max);

        let mut warm = self.warm.borrow_mut();
        let mut cold = self.cold.borrow_mut();
        let released = warm.len().saturating_sub(keep).min(self.trim_max);
        for slot in warm.drain(..released) {
            // SAFETY: I1: a warm slot has no fiber on it.
            unsafe { region::discard(slot, self.layout, 0) };
            cold.push(slot);
        }
        // A burst should not leave a list for a million entries behind.
        if warm.capacity() > 1024 && warm.len() < warm.capacity() / 8 {
            let room = warm.len() * 2;
            warm.shrink_to(room);
        }
        Trimmed { released, shortened: self.shorten(&warm) }
    }

    /// Releases the deep part of the next few warm stacks.
    fn shorten(&self, warm: &VecDeque<usize>) -> usize {
        if self.layout.usable_bytes <= WARM_BYTES {
            return 0;
        }
        let cursor = &mut self.regions.borrow_mut().deep_cursor;
        let count = warm.len().min(DEEP_TRIMS);
        for _ in 0..count {
            *cursor = (*cursor + 1) % warm.len();
            // SAFETY: I1: a warm slot has no fiber on it.
            unsafe { region::discard(warm[*cursor], self.layout, WARM_BYTES) };
        }
        count
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let regions = self.regions.borrow();
        let mapped = regions.list.iter().map(Region::stacks).sum::<usize>();
        PoolStats {
            in_use: self.in_use.get(),
            in_use_peak: self.peak.get(),
            warm: self.warm.borrow().len(),
            cold: self.cold.borrow().len(),
            mapped,
            regions: regions.list.len(),
            mapped_bytes: mapped * self.layout.stride(),
            guard: regions.guard,
        }
    }

    /// Unmaps the regions in which no stack is in use.
    pub(crate) fn drop_idle_regions(&self) {
        let mut warm = self.warm.borrow_mut();
        let mut cold = self.cold.borrow_mut();
        let mut regions = self.regions.borrow_mut();
        let used_of_last = regions.used_of_last;
        let last = regions.list.last().map(Region::start);

        let mut free: Vec<usize> = warm.iter().chain(cold.iter()).copied().collect();
        free.sort_unstable();
        let free_in = |region: &Region| {
            let from = free.partition_point(|&slot| slot < region.start());
            free[from..].iter().take_while(|&&slot| region.contains(slot)).count()
        };
        let (idle, busy): (Vec<_>, Vec<_>) =
            std::mem::take(&mut regions.list).into_iter().partition(|region| {
                let used = if Some(region.start()) == last { used_of_last } else { region.stacks() };
                free_in(region) == used
            });
        let stays = |slot: &usize| busy.iter().any(|region| region.contains(*slot));
        if busy.is_empty() {
            warm.clear();
            cold.clear();
        } else {
            warm.retain(&stays);
            cold.retain(&stays);
        }
        drop(idle); // I3: their slots have left the lists.
        regions.list = busy;
        // Nobody takes from a pool that is gone; this only keeps the count true.
        regions.used_of_last = regions.list.last().map_or(0, Region::stacks);
    }
}

impl Regions {
    fn take_fresh(&mut self, in_use: usize, stacks_max: usize, layout: Layout) -> Result<usize, FiberError> {
        // Warm and cold are empty here, so what is in use is all there is.
        if in_use >= stacks_max {
            return Err(FiberError::StacksExhausted { stacks_max });
        }
        if self.list.last().is_none_or(|last| self.used_of_last == last.stacks()) {
            let region = self.map_next(stacks_max - in_use, layout)?;
            self.list.push(region);
            self.used_of_last = 0;
        }
        let last = self.list.last().expect("a region was pushed if there was none");
        let index = self.used_of_last;
        self.guard = last.guard(index, self.guard)?;
        self.used_of_last += 1;
        Ok(last.slot(index))
    }

    /// Maps the next region: twice the last one's size, and less when the kernel does not have that much.
    fn map_next(&self, stacks_left: usize, layout: Layout) -> Result<Region, FiberError> {
        let wanted = self.list.last().map_or(REGION_STACKS_MIN, |last| last.stacks() * 2);
        let mut stacks = wanted.min(REGION_STACKS_MAX).min(stacks_left);
        loop {
            match Region::map(stacks, layout) {
                Err(FiberError::Map(_)) if stacks > REGION_STACKS_LEAST => stacks /= 2,
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests;
