#![allow(
    unsafe_code,
    reason = "implements corosensei's unsafe Stack trait and keeps a pointer above a stack's first frame"
)]
//! One stack, owned: taken from a pool, given to a fiber, given back.
//!
//! ```text
//!   slot                low                          base                 slot + stride
//!    | guard             | frames, from right to left  | pool | 8 bytes | colour |
//! ```
//!
//! # Invariants
//! I1. `limit..base` lies in one slot of a region of `pool`, with the guard at its low end installed, and belongs to this
//! `Stack` alone until it is dropped.
//! I2. The region stays mapped as long as this `Stack` exists, also when it is forgotten: it holds the pool's storage.
//! I3. The word at `base` is an `Rc<Storage>` as a pointer, from `new` until `drop`: it is above the first frame, and I1 keeps
//! everybody else away.

use std::{fmt, num::NonZeroUsize, ptr, rc::Rc};

use crate::prefetch::prefetch;
use crate::storage::Storage;

/// A stack for one fiber, from [`StackPool::take`](crate::StackPool::take).
///
/// Dropping it gives it back to its pool, warm; [`StackPool::put`](crate::StackPool::put) is that under the name of what
/// it does. A stack stays on the thread of its pool (it is neither `Send` nor `Sync`).
///
/// One word; the rest is computed from it or lies above the first frame, in a line that the fiber touches anyway. With two
/// or three words each move was a copy of words that were written a moment before, all at once, and a processor does not
/// forward several stores to one load. Measured from two words to one: spawn and join 114 to 109 ns, a bare spawn 68 to 67.
pub struct Stack {
    /// The high end, where the first frame goes.
    base: NonZeroUsize,
}

/// What lies above the first frame: the pool's pointer, and as much again to keep `base` aligned to 16 bytes.
const POOL_BYTES: usize = 16;

/// Tops of stacks differ by up to 15 cache lines. All stacks start on a page boundary, so without this the hottest lines
/// of all fibers would compete for the few ways of the same few sets of the first-level cache (set = address bits 6 to 11).
/// More colours would spread better, and push a shallow fiber's frames over the end of its first page. Measured on a Zen
/// core (32 KiB, 8 ways): 64 fibers in turn take 6.9 ns a switch with it and 10.3 ns without.
const COLOURS: usize = 16;
const COLOUR_BYTES: usize = 64;

impl Stack {
    /// The stack in the slot at `slot`.
    ///
    /// # Safety
    /// I1 and I2 hold for `slot`.
    #[inline]
    pub(crate) unsafe fn new(slot: usize, pool: Rc<Storage>) -> Self {
        let base = Self::base_of(slot, &pool);
        // SAFETY: I1: the slot is ours; `base` is in its last page, below its end, and aligned.
        unsafe { ptr::with_exposed_provenance_mut::<*const Storage>(base).write(Rc::into_raw(pool)) };
        Self { base: NonZeroUsize::new(base).expect("the end of a mapping is not zero") }
    }

    #[inline]
    fn base_of(slot: usize, pool: &Storage) -> usize {
        let colour = (slot >> pool.colour_shift()) % COLOURS * COLOUR_BYTES;
        slot + pool.layout().stride() - colour - POOL_BYTES
    }

    /// Asks for the memory that a fiber on the stack in `slot` will touch first.
    #[inline]
    pub(crate) fn prefetch(slot: usize, pool: &Storage) {
        prefetch(Self::base_of(slot, pool) - 2 * 64, 3);
    }

    #[inline]
    fn pool(&self) -> &Storage {
        // SAFETY: I3: a share of the storage that lives as long as `self`.
        unsafe { &**ptr::with_exposed_provenance::<*const Storage>(self.base.get()) }
    }

    /// Bytes that frames can use, the guard not counted. Up to 976 bytes less than configured: stacks start at slightly
    /// different offsets, so that they do not compete for the same cache lines.
    #[inline]
    pub fn usable_bytes(&self) -> usize {
        self.base.get() - self.low()
    }

    /// The high end, where the first frame goes.
    #[inline]
    pub fn high(&self) -> usize {
        self.base.get()
    }

    /// The lowest usable address: the end of the guard.
    #[inline]
    pub(crate) fn low(&self) -> usize {
        self.slot() + self.pool().layout().guard_bytes
    }

    /// The low end, guard included. Slots end on page boundaries, so rounding up takes the colour off again.
    #[inline]
    fn slot(&self) -> usize {
        self.base.get().next_multiple_of(COLOURS * COLOUR_BYTES) - self.pool().layout().stride()
    }

    pub(crate) fn belongs_to(&self, storage: &Rc<Storage>) -> bool {
        ptr::eq(self.pool(), Rc::as_ptr(storage))
    }
}

// SAFETY: I1: `limit..base` is exclusively ours, at least 15 KiB of it usable, 16-byte aligned (page aligned, minus a
// multiple of 16), with a guard of at least one page at its low end, and it stays so while the value exists.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> NonZeroUsize {
        self.base
    }

    #[inline]
    fn limit(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.slot()).expect("the kernel maps nothing at zero")
    }
}

impl Drop for Stack {
    #[inline]
    fn drop(&mut self) {
        let slot = self.slot();
        // SAFETY: I3: made by `into_raw`, and taken back once, here.
        let pool =
            unsafe { Rc::from_raw(ptr::with_exposed_provenance::<*const Storage>(self.base.get()).read()) };
        pool.put_back(slot);
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("low", &format_args!("{:#x}", self.low()))
            .field("high", &format_args!("{:#x}", self.high()))
            .finish()
    }
}
