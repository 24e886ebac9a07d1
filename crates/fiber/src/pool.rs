#![allow(unsafe_code, reason = "makes stacks of the slots that the storage hands out")]
//! The stacks of one thread.
//!
//! ```text
//!             take                      put
//!   fresh  ----------->             ----------->  warm (last in, first out)
//!   (guard at first use)   in use                   |
//!   cold   ----------->             <-----------    | trim: the oldest beyond the high-water mark
//!     ^                                take         v
//!     +---------------------------------------------+
//! ```
//!
//! A warm stack has its top pages in memory and most likely in the cache; that is why the last one in is the first out,
//! and why the ones at the other end of the line can be given back to the kernel. Only the memory is given back: a slot
//! that was once handed out is never handed out for anything but a stack.
//!
//! This file is what the scheduler calls; the lists and the regions are in `storage.rs`, whose invariants are cited here.

use std::rc::Rc;

use crate::{error::FiberError, region::GuardKind, stack::Stack, storage::Storage};

/// Sizes and bounds of a [`StackPool`].
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Bytes that a fiber can use; rounded up to whole pages. Default 64 KiB, at least 16 KiB, at most 256 MiB.
    pub usable_bytes: usize,
    /// Pages of guard below each stack. Default 16: C code has no stack probes, and a large frame must not jump over the
    /// guard. It costs address space only. At least 1, at most 1024.
    pub guard_pages: usize,
    /// Most stacks that the pool will ever have. Default 1,048,576.
    pub stacks_max: usize,
    /// Most warm stacks that [`StackPool::trim`] leaves. Default 65,536, that is about 256 MiB to 1 GiB.
    pub warm_max: usize,
    /// Most stacks that one [`StackPool::trim`] gives back. Default 4,096, which takes a few milliseconds.
    pub trim_max: usize,
    /// How guards are made. Default [`GuardKind::Auto`].
    pub guard: GuardKind,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            usable_bytes: 64 << 10,
            guard_pages: 16,
            stacks_max: 1 << 20,
            warm_max: 1 << 16,
            trim_max: 4096,
            guard: GuardKind::Auto,
        }
    }
}

/// The stacks of one thread. Neither `Send` nor `Sync`.
///
/// Dropping the pool unmaps the regions in which no stack is in use. The others stay until their last stack is dropped;
/// a region with the stack of a fiber that was dropped while suspended stays for ever, because the kernel or another
/// thread may still write there.
#[derive(Debug)]
pub struct StackPool {
    pub(crate) storage: Rc<Storage>,
}

impl StackPool {
    /// An empty pool; nothing is mapped before the first [`take`](Self::take).
    ///
    /// # Errors
    /// [`FiberError::Config`] for a value outside the bounds that [`StackConfig`] names.
    pub fn new(config: StackConfig) -> Result<Self, FiberError> {
        Ok(Self { storage: Rc::new(Storage::new(config)?) })
    }

    /// A stack: the one given back last, or one without memory, or a new one. Bounded by `stacks_max`.
    ///
    /// A warm stack takes a few nanoseconds, a new one a system call (about 1 µs).
    ///
    /// # Errors
    /// [`FiberError::StacksExhausted`] at `stacks_max`; [`FiberError::Map`], [`FiberError::RegionsExhausted`] and
    /// [`FiberError::Guard`] when there is no room for a new one. The pool stays usable.
    #[inline(always)] // So that a stack stays in registers on its way.
    pub fn take(&self) -> Result<Stack, FiberError> {
        let slot = self.storage.take()?;
        // SAFETY: storage.rs, I1: the slot is in no list any more; I2: its guard is installed; I3: the `Rc` keeps the region.
        Ok(unsafe { Stack::new(slot, Rc::clone(&self.storage)) })
    }

    /// Gives `stack` back, warm. The same as dropping it.
    ///
    /// # Panics
    /// In debug builds, when the stack is another pool's (in release builds it goes back to that one).
    #[inline]
    pub fn put(&self, stack: Stack) {
        debug_assert!(stack.belongs_to(&self.storage), "a stack goes back to the pool it was taken from");
        drop(stack);
    }

    /// Gives memory that is not needed back to the kernel. To be called about once a second.
    ///
    /// Keeps as many warm stacks as the busiest moment of this period or the one before would take, at most `warm_max`.
    /// Of the rest, the least recently used ones (at most `trim_max` per call) become cold: their memory is gone, their
    /// address space stays. Of the kept ones, a few per call, in turn, lose all but their top 16 KiB, so that one deep
    /// request does not keep a deep stack resident for ever.
    ///
    /// Costs one system call (0.2 to 1 µs) per stack given back. Page tables stay: 1/512 of the address space of all
    /// stacks that were ever in use at once.
    pub fn trim(&self) -> Trimmed {
        self.storage.trim()
    }

    /// What the pool has at the moment. Costs a walk over the regions, some dozens at most.
    pub fn stats(&self) -> PoolStats {
        self.storage.stats()
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        self.storage.drop_idle_regions();
    }
}

/// Counts of a [`StackPool`], in stacks unless the name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Taken and not given back, those of fibers that were dropped while suspended included.
    pub in_use: usize,
    /// Most in use at once since the last [`StackPool::trim`].
    pub in_use_peak: usize,
    /// Given back, memory kept.
    pub warm: usize,
    /// Given back, memory released.
    pub cold: usize,
    /// Room for stacks in all regions, used or not.
    pub mapped: usize,
    /// Regions, that is, mappings.
    pub regions: usize,
    /// Address space of all regions, in bytes.
    pub mapped_bytes: usize,
    /// How guards are made; [`GuardKind::Mprotect`] after a fallback.
    pub guard: GuardKind,
}

/// What one [`StackPool::trim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Stacks that became cold.
    pub released: usize,
    /// Warm stacks that lost all but their top 16 KiB.
    pub shortened: usize,
}
