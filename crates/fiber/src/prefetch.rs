#![allow(unsafe_code, reason = "the processor's hint takes a pointer")]
//! Memory that is asked for before it is needed.
//!
//! A fiber that has waited for some milliseconds finds nothing of its own in the caches, and what it begins with (its record,
//! its frames) is a chain of misses of 100 ns each. Its scheduler knows before who runs next.

/// Asks the processor to bring `lines` cache lines of 64 bytes into its caches, from the one with `address` on. It waits for
/// nothing, and any address will do: a wrong one costs the time of a miss and has no effect.
///
/// Nothing happens on processors without such a hint for us.
#[inline(always)]
pub fn prefetch(address: usize, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = std::ptr::without_provenance(address.wrapping_add(64 * line));
        // SAFETY: a hint reads nothing that a program could see, and faults at no address (Intel's manual, volume 2,
        // PREFETCHh; AMD's, volume 3, PREFETCHlevel).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_will_do() {
        let here = 7;
        for address in [0, 1, usize::MAX, usize::MAX / 2, std::ptr::from_ref(&here).addr()] {
            prefetch(address, 3);
        }
        assert_eq!(here, 7);
    }
}
