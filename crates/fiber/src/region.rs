#![allow(unsafe_code, reason = "maps, guards and unmaps memory")]
//! One large mapping that holds many stacks.
//!
//! ```text
//!  start                                                                                        end
//!  | guard |      usable <-grows- | guard |      usable <-grows- | ...  | guard |    usable <-grows- |
//!  |<---------- stride ---------->|
//! ```
//!
//! One mapping, because the kernel bounds their number (vm.max_map_count, 65,530 by default) and because a million
//! separate ones would cost more than the stacks. So the memory is MAP_NORESERVE (no commit charge under the default
//! overcommit policy; mmap(2)), and a guard is a mark in the page table (MADV_GUARD_INSTALL, Linux 6.13), not a mapping
//! of its own. On older kernels a guard is an mprotect, which splits the mapping twice per stack: it works, up to about
//! 32,000 stacks.
//!
//! # Invariants
//! I1. `start..end` is one mapping that this `Region` made and nobody else unmaps.
//! I2. A stack's usable part is only discarded (`discard`) while no fiber is on it.

use std::{io, ptr};

use crate::{error::FiberError, registry::Registration};

/// MADV_GUARD_INSTALL of `<asm-generic/mman-common.h>`, Linux 6.13 (madvise(2)).
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// How the pages below a stack are made inaccessible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardKind {
    /// MADV_GUARD_INSTALL when the kernel has it, else `mprotect`. Falls back by itself, also under `mlockall(2)`,
    /// where the kernel refuses guards in locked memory.
    #[default]
    Auto,
    /// `mprotect(PROT_NONE)`: two mappings per stack, so about 32,000 stacks under the default vm.max_map_count.
    Mprotect,
}

/// Sizes of a stack, all multiples of the page size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) usable_bytes: usize,
    pub(crate) guard_bytes: usize,
}

impl Layout {
    #[inline]
    pub(crate) fn stride(self) -> usize {
        self.usable_bytes + self.guard_bytes
    }
}

/// A mapping with room for `stacks` stacks.
#[derive(Debug)]
pub(crate) struct Region {
    start: usize,
    stacks: usize,
    layout: Layout,
    /// Forgotten before the memory goes, so that no handler takes a later mapping for stacks.
    registration: Option<Registration>,
}

impl Region {
    /// Maps room for `stacks` stacks. No memory is used until a stack is.
    pub(crate) fn map(stacks: usize, layout: Layout) -> Result<Self, FiberError> {
        let too_large = || FiberError::Map(io::Error::from_raw_os_error(libc::ENOMEM));
        let bytes = layout.stride().checked_mul(stacks).ok_or_else(too_large)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(FiberError::Map(io::Error::last_os_error()));
        }
        // With transparent huge pages set to "always", touching one stack would make 2 MiB resident. A kernel without
        // huge pages answers EINVAL, which is as good.
        // SAFETY: I1: the mapping was made above.
        unsafe { libc::madvise(address, bytes, libc::MADV_NOHUGEPAGE) };
        let start = address.expose_provenance();
        let mut region = Self { start, stacks, layout, registration: None };
        region.registration =
            Some(Registration::new(start, start + bytes, layout.stride(), layout.guard_bytes)?);
        Ok(region)
    }

    /// Number of stacks that there is room for.
    pub(crate) fn stacks(&self) -> usize {
        self.stacks
    }

    /// Lowest address of the region.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Lowest address (of the guard) of stack number `index`.
    pub(crate) fn slot(&self, index: usize) -> usize {
        assert!(index < self.stacks, "stack {index} of a region of {}", self.stacks);
        self.start + index * self.layout.stride()
    }

    /// Whether `slot` is one of this region's stacks.
    pub(crate) fn contains(&self, slot: usize) -> bool {
        slot.wrapping_sub(self.start) < self.bytes()
    }

    /// Makes the guard of stack `index` inaccessible; answers how.
    ///
    /// `MADV_GUARD_INSTALL` costs about 1 µs, `mprotect` about 3 µs. It is done at a stack's first use and lasts: guards
    /// survive MADV_DONTNEED and fork(2).
    pub(crate) fn guard(&self, index: usize, kind: GuardKind) -> Result<GuardKind, FiberError> {
        let address = ptr::with_exposed_provenance_mut(self.slot(index));
        let bytes = self.layout.guard_bytes;
        if kind == GuardKind::Auto {
            // SAFETY: I1: the guard is inside the mapping, and no stack reaches into it.
            if unsafe { libc::madvise(address, bytes, MADV_GUARD_INSTALL) } == 0 {
                return Ok(GuardKind::Auto);
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(FiberError::Guard(error));
            }
        }
        // SAFETY: as above.
        match unsafe { libc::mprotect(address, bytes, libc::PROT_NONE) } {
            0 => Ok(GuardKind::Mprotect),
            _ => Err(FiberError::Guard(io::Error::last_os_error())),
        }
    }

    fn bytes(&self) -> usize {
        self.stacks * self.layout.stride()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.registration = None;
        // SAFETY: I1; the pool only drops a region when none of its stacks is in use.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.start), self.bytes()) };
    }
}

/// Gives the memory of an unused stack back to the kernel, except for the `keep_bytes` nearest to its high end.
///
/// MADV_DONTNEED, not MADV_FREE: the latter leaves the memory counted as resident until there is pressure, and an
/// operator reads that as a leak. The guard is left alone.
///
/// # Safety
/// `slot` is the lowest address of a stack of a mapped region with this layout, and no fiber is on it (I2).
pub(crate) unsafe fn discard(slot: usize, layout: Layout, keep_bytes: usize) {
    let bytes = layout.usable_bytes.saturating_sub(keep_bytes);
    if bytes == 0 {
        return;
    }
    // An error (the kernel's only reasons here are a locked mapping and a wrong address) means that the memory stays
    // resident, which is correct, so it is not reported.
    // SAFETY: the caller's promise: the range is inside the mapping and holds nothing that will be read again.
    unsafe {
        libc::madvise(ptr::with_exposed_provenance_mut(slot + layout.guard_bytes), bytes, libc::MADV_DONTNEED)
    };
}

/// The page size in bytes.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: sysconf(3) has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("sysconf(_SC_PAGESIZE) cannot fail on Linux")
}
