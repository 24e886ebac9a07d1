//! The shared mapping, and the process-wide pointer to the current slot.
//!
//! The only file of this crate with unsafe code. Both things it hands out are
//! plain `&'static` references to atomics, so nothing outside can go wrong.
//!
//! Invariants:
//! - **I1.** A mapping made here is never unmapped and never remapped: its
//!   references are valid in this process, and in every child it forks, until
//!   the process ends. A board is made once in a master's life, so that is not
//!   a leak that grows.
//! - **I2.** `Slot` is made of atomics only, and all zeroes is a valid `Slot`
//!   (`slot::State::Free` is 0, counters start at 0). Anonymous memory is zero
//!   (mmap(2), MAP_ANONYMOUS), and page-aligned, which is more than 128.
//! - **I3.** `CURRENT` only ever holds addresses that came from a
//!   `&'static Slot`.
#![allow(unsafe_code, reason = "one shared anonymous mapping, and a pointer to one of its slots")]

use std::{
    io,
    mem::size_of,
    ptr, slice,
    sync::atomic::{
        AtomicPtr,
        Ordering::{Acquire, Release},
    },
};

use crate::slot::Slot;

/// Where a process counts that nobody gave a slot.
static FALLBACK: Slot = Slot::new();

static CURRENT: AtomicPtr<Slot> = AtomicPtr::new((&raw const FALLBACK).cast_mut());

/// See [`crate::current`].
#[inline]
pub(crate) fn current() -> &'static Slot {
    // SAFETY: I3: the address came from a `&'static Slot`. The Acquire pairs
    // with the Release below, so the slot's own initialisation is visible.
    unsafe { &*CURRENT.load(Acquire) }
}

/// See [`crate::set_current`].
pub(crate) fn set_current(slot: &'static Slot) {
    CURRENT.store(ptr::from_ref(slot).cast_mut(), Release);
}

/// Maps `count` free slots that this process shares with the children it forks.
///
/// Pages cost memory only once touched. `count` must not be zero.
///
/// # Errors
/// What mmap(2) answers, `ENOMEM` in practice.
pub(crate) fn shared(count: usize) -> io::Result<&'static [Slot]> {
    assert!(count > 0, "the board checks its bounds before it maps");
    let bytes = count.checked_mul(size_of::<Slot>()).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice
    // touches no memory that exists.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: I1 gives the lifetime, I2 the contents and the alignment; the
    // mapping is `bytes` long, which is `count` slots. Other processes write to
    // it only through the atomics of `Slot`.
    Ok(unsafe { slice::from_raw_parts(address.cast::<Slot>(), count) })
}
