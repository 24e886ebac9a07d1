#![allow(unsafe_code, reason = "gives back the string that a word was made from")]
//! A `&'static str` in one word, so that a signal handler or another thread can never read half of it.
//!
//! A pointer and a length are two stores, and a reader between them would pair one name's pointer with another name's
//! length. User addresses have at most 48 bits unless a program asks the kernel for more (x86: 57-bit addresses only
//! with a hint above 2^47, Documentation/arch/x86/x86_64/5level-paging.rst; arm64: the same for 52 bits,
//! Documentation/arch/arm64/memory.rst), which leaves 16 bits for the length.
//!
//! # Invariants
//! I1. A non-zero word was made by [`PackedName::new`], hence from a `&'static str`, and is never changed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A name that one thread sets and others read at any time: the one before or the one after, never parts of both.
///
/// ```
/// use tenfold_fiber::SharedName;
///
/// let name = SharedName::new();
/// assert_eq!(name.get(), None);
/// name.set("GET /");
/// assert_eq!(name.get(), Some("GET /"));
/// ```
#[derive(Debug, Default)]
pub struct SharedName(AtomicU64);

impl SharedName {
    /// No name yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Sets it; a name longer than 65,535 bytes is cut at a character. Cost: a plain store.
    #[inline]
    pub fn set(&self, name: &'static str) {
        self.0.store(PackedName::new(name).word(), Relaxed);
    }

    /// Takes it away.
    #[inline]
    pub fn clear(&self) {
        self.0.store(PackedName::NONE.word(), Relaxed);
    }

    /// What was set last; `None` for no name.
    #[inline]
    pub fn get(&self) -> Option<&'static str> {
        // SAFETY: only `set` and `clear` store, and both store a name's word.
        unsafe { PackedName::from_word(self.0.load(Relaxed)) }.get()
    }
}

/// A static string in one word; zero is "no name".
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedName(u64);

const LEN_BITS: u32 = 16;
const LEN_MAX: usize = (1 << LEN_BITS) - 1;

impl PackedName {
    /// No name.
    pub(crate) const NONE: Self = Self(0);

    /// Packs `name`; a name longer than 65,535 bytes is cut at a character.
    ///
    /// A string beyond 48 bits (nothing on Linux puts a program's statics there) becomes "no name".
    #[inline]
    pub(crate) fn new(name: &'static str) -> Self {
        let len = if name.len() <= LEN_MAX { name.len() } else { name.floor_char_boundary(LEN_MAX) };
        let address = name.as_ptr().expose_provenance() as u64;
        if address >> (u64::BITS - LEN_BITS) != 0 {
            return Self::NONE;
        }
        Self(address << LEN_BITS | len as u64)
    }

    /// The word, to be stored in an atomic.
    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    /// The string; `None` for "no name".
    #[inline]
    pub(crate) fn get(self) -> Option<&'static str> {
        if self.0 == 0 {
            return None;
        }
        let pointer = std::ptr::with_exposed_provenance::<u8>((self.0 >> LEN_BITS) as usize);
        let len = self.0 as usize & LEN_MAX;
        // SAFETY: I1: the word holds the address of a `&'static str` and a length on a character boundary within it.
        Some(unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(pointer, len)) })
    }

    /// The name that `word` was made from.
    ///
    /// # Safety
    /// `word` is zero or came from [`PackedName::word`].
    #[inline]
    pub(crate) unsafe fn from_word(word: u64) -> Self {
        Self(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_packing() {
        for name in ["", "GET /users/{id}", "größe"] {
            assert_eq!(PackedName::new(name).get(), Some(name));
        }
        assert_eq!(PackedName::NONE.get(), None);
    }

    #[test]
    fn a_name_beyond_the_length_bound_is_cut_at_a_character() {
        let long: &'static str = Box::leak(format!("{}é", "x".repeat(LEN_MAX - 1)).into_boxed_str());
        let packed = PackedName::new(long).get().unwrap();
        assert_eq!(packed.len(), LEN_MAX - 1, "the two bytes of é straddle the bound");
    }
}
