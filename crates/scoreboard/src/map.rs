//! The shared mappings, the process-wide pointer to the current slot, and the clock.
//!
//! With `robust.rs` the only file of this crate with unsafe code. All things it hands out are
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
//! - **I2b.** A file is made new (`O_EXCL`), with its full length, by whoever creates a board in it, for its own user
//!   only, and nobody cuts it: a page behind a file's end would be a SIGBUS. It is opened only when its header says
//!   the same layout and its length is right.
//! - **I2c.** Words are atomics as well, and any bytes are valid words.
//! - **I3.** `CURRENT` only ever holds addresses that came from a
//!   `&'static Slot`.
#![allow(
    unsafe_code,
    reason = "shared mappings, a pointer to a slot, and a clock that std does not give as a number"
)]

use std::{
    fs::File,
    io,
    mem::size_of,
    os::fd::AsRawFd,
    ptr, slice,
    sync::atomic::{
        AtomicPtr, AtomicU64,
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
    let address = map::<Slot>(count, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)?;
    // SAFETY: I1 gives the lifetime, I2 the contents and the alignment; the
    // mapping is `bytes` long, which is `count` slots. Other processes write to
    // it only through the atomics of `Slot`.
    Ok(unsafe { slice::from_raw_parts(address.cast::<Slot>(), count) })
}

/// Maps `count` slots of a file from byte `offset` on, which is a multiple of the page size.
///
/// # Errors
/// What mmap(2) answers.
pub(crate) fn file(file: &File, count: usize, offset: i64) -> io::Result<&'static [Slot]> {
    assert!(count > 0, "the board checks its bounds before it maps");
    let address = map::<Slot>(count, libc::MAP_SHARED, file.as_raw_fd(), offset)?;
    // SAFETY: as in `shared`; I2b gives the contents (a new file is zeroes, and an old one has this very layout, of
    // which any contents are valid: nothing but integers), the length, and that it stays.
    Ok(unsafe { slice::from_raw_parts(address.cast::<Slot>(), count) })
}

/// Maps `count` words that this process shares with the children it forks, or those that a file begins with.
///
/// # Errors
/// What mmap(2) answers.
pub(crate) fn words(file: Option<&File>, count: usize) -> io::Result<&'static [AtomicU64]> {
    let (flags, fd) = file.map_or((libc::MAP_ANONYMOUS, -1), |file| (0, file.as_raw_fd()));
    let address = map::<AtomicU64>(count, libc::MAP_SHARED | flags, fd, 0)?;
    // SAFETY: I1 gives the lifetime, I2c the contents; a page is aligned for a word. Anonymous memory is `count` words long,
    // and so is a file: I2b. Other processes write to it through atomics, or through the locks that robust.rs makes in a
    // part of it that nobody reads as words.
    Ok(unsafe { slice::from_raw_parts(address.cast::<AtomicU64>(), count) })
}

fn map<T>(count: usize, flags: i32, fd: i32, offset: i64) -> io::Result<*mut libc::c_void> {
    let bytes = count.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
    let address =
        unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address) }
}

/// See [`crate::now_ns`].
#[inline]
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local of the right type, and the call keeps it no longer than it lasts. It cannot fail:
    // the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
