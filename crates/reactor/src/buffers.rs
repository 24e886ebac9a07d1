//! Receive buffers that the kernel picks from (io_uring's provided buffer ring, since 5.19).
//!
//! An idle connection has no buffer: its receive operation names this group, and the kernel takes a buffer when bytes
//! arrive. The loop copies them out in the same turn and gives the buffer back, so the group serves any number of
//! connections. When one batch of arrivals needs more than there are, receives end with `ENOBUFS` and are started again.
//!
//! Invariants:
//! - I1: `ring` points to `entries * 16` bytes of page-aligned zeroed memory that lives as long as the mapping.
//! - I2: a buffer is either in the ring (the kernel may write it) or lent to the loop (nobody writes it), never both.

#![allow(unsafe_code, reason = "shares memory with the kernel")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::error::ReactorError;

/// The one group of a reactor.
pub(crate) const GROUP: u16 = 0;

pub(crate) struct BufferRing {
    ring: NonNull<BufRingEntry>,
    buffers: NonNull<u8>,
    entries: u16,
    bytes_each: u32,
    tail: u16,
}

impl BufferRing {
    /// Maps `entries` (a power of two) buffers. Untouched ones take no memory.
    pub(crate) fn new(entries: u16, bytes_each: u32) -> Result<BufferRing, ReactorError> {
        assert!(entries.is_power_of_two(), "the kernel wraps the ring by a mask");
        let ring = map(usize::from(entries) * size_of::<BufRingEntry>())?.cast();
        let buffers = map(usize::from(entries) * bytes_each as usize)?;
        let mut this = BufferRing { ring, buffers, entries, bytes_each, tail: 0 };
        for id in 0..entries {
            this.give_back(id);
        }
        Ok(this)
    }

    pub(crate) fn ring_address(&self) -> u64 {
        self.ring.as_ptr() as u64
    }

    pub(crate) fn entries(&self) -> u16 {
        self.entries
    }

    /// The first `len` bytes of a lent buffer.
    pub(crate) fn bytes(&self, id: u16, len: usize) -> (*const u8, usize) {
        debug_assert!(id < self.entries && len <= self.bytes_each as usize);
        // SAFETY: I1, and `id` came from the kernel, which got it from `give_back`.
        (unsafe { self.buffers.as_ptr().add(usize::from(id) * self.bytes_each as usize) }, len)
    }

    /// Returns a lent buffer to the kernel.
    pub(crate) fn give_back(&mut self, id: u16) {
        let (address, _) = self.bytes(id, 0);
        // SAFETY: I1; the mask keeps the index inside; I2: the kernel does not read beyond the tail published below.
        let entry = unsafe { &mut *self.ring.as_ptr().add(usize::from(self.tail & (self.entries - 1))) };
        entry.set_addr(address as u64);
        entry.set_len(self.bytes_each);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: I1; the tail is a u16 inside the first entry, aligned, and the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: the io_uring that used this memory was dropped before (field order in the backend), and the mappings
        // are ours.
        unsafe {
            let _ = munmap(self.ring.as_ptr().cast(), usize::from(self.entries) * size_of::<BufRingEntry>());
            let _ =
                munmap(self.buffers.as_ptr().cast(), usize::from(self.entries) * self.bytes_each as usize);
        }
    }
}

fn map(bytes: usize) -> Result<NonNull<u8>, ReactorError> {
    // SAFETY: a new private anonymous mapping touches no existing memory.
    let address = unsafe {
        mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }
    .map_err(ReactorError::system("map receive buffers"))?;
    Ok(NonNull::new(address.cast()).expect("mmap does not return null"))
}
