//! `ProcessShare`: which part of something that the whole machine has belongs to this process.
//!
//! A bound on what all workers hold together (connections that a database allows, say) cannot be counted in one process.
//! So the master says to each worker its number and how many there are, and each takes its part: nobody has to be asked,
//! and the sum is exact.

use std::sync::atomic::{AtomicU64, Ordering};

/// Number in the upper half, count in the lower.
static SHARE: AtomicU64 = AtomicU64::new(1);

/// This process's number among those that share, and how many they are.
///
/// ```
/// use tenfold_runtime::ProcessShare;
/// let parts: Vec<usize> = (0..4).map(|index| ProcessShare::new(index, 4).of(10)).collect();
/// assert_eq!(parts, [3, 3, 2, 2]); // the remainder goes to the first
/// assert_eq!(ProcessShare::new(4, 4).of(10), 0); // one more than there should be has nothing
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessShare {
    index: u32,
    count: u32,
}

impl ProcessShare {
    /// Process `index`, from zero, of `count`, at least one.
    pub fn new(index: usize, count: usize) -> ProcessShare {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        ProcessShare { index: number(index), count: number(count).max(1) }
    }

    /// What was set by [`ProcessShare::set`]; all of it before that.
    ///
    /// From then on the process depends on how many there are, which its slot on the scoreboard tells the master: with another
    /// number of workers it has to be replaced.
    pub fn current() -> ProcessShare {
        let share = SHARE.load(Ordering::Relaxed);
        tenfold_scoreboard::current().has_share.set(1);
        ProcessShare { index: (share >> 32) as u32, count: share as u32 }
    }

    /// Makes this the process's share. Called by a worker before it runs the application's code; what was divided before
    /// stays as it is.
    pub fn set(self) {
        SHARE.store(u64::from(self.index) << 32 | u64::from(self.count), Ordering::Relaxed);
    }

    /// This process's part of `total`. Parts differ by one at most, the first processes have the larger ones, and their sum
    /// is `total`; zero for a process beyond the count.
    pub fn of(self, total: usize) -> usize {
        let (index, count) = (self.index as usize, self.count as usize);
        if index >= count {
            return 0;
        }
        total / count + usize::from(index < total % count)
    }

    /// How many processes share.
    pub fn processes(self) -> usize {
        self.count as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_whatever_the_numbers() {
        for count in 1..12 {
            for total in 0..40 {
                let parts: Vec<usize> =
                    (0..count).map(|index| ProcessShare::new(index, count).of(total)).collect();
                assert_eq!(parts.iter().sum::<usize>(), total);
                assert!(parts.is_sorted_by(|first, second| first >= second && first - second <= 1));
            }
        }
    }
}
