//! Ids of jobs that were given none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::backoff::random;

/// A new id: 32 hexadecimal digits, of which the first twelve are the time in milliseconds. So ids that are made one after
/// another are neighbours in the store's index, and an insert touches the pages that the last one has touched.
pub(crate) fn generate() -> String {
    // The seed must not be shared by workers, which are forks of one master: it belongs to a process number.
    static SEED: Mutex<(u32, u64)> = Mutex::new((0, 0));
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let process = std::process::id();
    let mut seed = SEED.lock().unwrap_or_else(PoisonError::into_inner);
    if seed.0 != process {
        *seed = (process, random());
    }
    let (high, low) = (seed.1 >> 32, seed.1 as u32);
    drop(seed);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let number = (NEXT.fetch_add(1, Ordering::Relaxed) as u32).wrapping_add(low);
    let rest = (u128::from(high) << 48) | (u128::from(number) << 16) | u128::from(process & 0xffff);
    format!("{:012x}{:020x}", time & 0xffff_ffff_ffff, rest & ((1 << 80) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_digits_differ_and_grow() {
        let ids: Vec<String> = (0..1_000).map(|_| generate()).collect();
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        let mut distinct = ids.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids[0][..12] <= ids[999][..12]);
    }
}
