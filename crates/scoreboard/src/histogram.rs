//! `Histogram`: how often a time was how long, on a logarithmic scale.
//!
//! ```text
//!   bucket   0: below 1.024 µs
//!   bucket   1: 1.024 to 1.536 µs      two for each power of two: a value is known to within half of itself
//!   bucket   2: 1.536 to 2.048 µs
//!   …        63: from 36 minutes on
//! ```

use crate::counter::Counter;

/// Buckets of a histogram.
pub const BUCKETS: usize = 64;
/// The first power of two that has buckets.
const FIRST: u32 = 10;

/// Counts by length, in nanoseconds. Zeroes are an empty histogram.
#[derive(Debug)]
#[repr(transparent)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
}

impl Histogram {
    /// An empty one.
    pub const fn new() -> Self {
        Self { buckets: [const { Counter::new() }; BUCKETS] }
    }

    /// Counts one value; any number of threads may do so at once.
    #[inline]
    pub fn record(&self, ns: u64) {
        self.record_many(ns, 1);
    }

    /// Counts the same value several times.
    #[inline]
    pub fn record_many(&self, ns: u64, count: u64) {
        self.buckets[bucket(ns)].add(count);
    }

    /// [`Histogram::record_many`] without a locked instruction; see [`Counter::add_single_writer`] for when that is right.
    #[inline]
    pub fn record_single_writer(&self, ns: u64, count: u64) {
        self.buckets[bucket(ns)].add_single_writer(count);
    }

    /// The counts now.
    pub fn reading(&self) -> HistogramReading {
        HistogramReading { buckets: std::array::from_fn(|index| self.buckets[index].get()) }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[inline]
fn bucket(ns: u64) -> usize {
    if ns < 1 << FIRST {
        return 0;
    }
    let power = ns.ilog2();
    let half = (ns >> (power - 1)) & 1;
    (1 + 2 * (power - FIRST) as usize + half as usize).min(BUCKETS - 1)
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramReading {
    buckets: [u64; BUCKETS],
}

impl Default for HistogramReading {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS] }
    }
}

impl HistogramReading {
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The bound in nanoseconds below which at least `share` (0 to 1) of the values lie; `None` without any.
    ///
    /// It is a bucket's upper bound: at most half as much again as the value itself.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let wanted = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (index, in_bucket) in self.buckets.iter().enumerate() {
            seen += in_bucket;
            if count > 0 && seen >= wanted {
                return Some(Self::upper_ns(index));
            }
        }
        None
    }

    /// Each bucket's upper bound in nanoseconds, exclusive, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(index, count)| (Self::upper_ns(index), *count))
    }

    /// What has come since an earlier reading of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self { buckets: std::array::from_fn(|at| self.buckets[at].saturating_sub(earlier.buckets[at])) }
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    fn upper_ns(index: usize) -> u64 {
        let Some(above) = index.checked_sub(1) else { return 1 << FIRST };
        if index == BUCKETS - 1 {
            return u64::MAX;
        }
        let low = 1u64 << (FIRST + above as u32 / 2);
        if above % 2 == 0 { low + low / 2 } else { low * 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_below_its_buckets_bound_and_not_below_the_one_before() {
        for ns in [0, 1, 1_023, 1_024, 1_535, 1_536, 2_048, 50_000_000, 7_777_777_777, u64::MAX] {
            let index = bucket(ns);
            let upper = HistogramReading::upper_ns(index);
            assert!(ns < upper || upper == u64::MAX, "{ns} in {index}");
            assert!(index == 0 || HistogramReading::upper_ns(index - 1) <= ns, "{ns} in {index}");
        }
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let histogram = Histogram::new();
        assert_eq!(histogram.reading().quantile(0.5), None);
        (0..90).for_each(|_| histogram.record(1_000_000));
        let earlier = histogram.reading();
        (0..10).for_each(|_| histogram.record(50_000_000));
        let mut reading = histogram.reading();
        let median = reading.quantile(0.5).unwrap();
        assert!((1_000_000..1_500_000).contains(&median), "{median}");
        let high = reading.quantile(0.99).unwrap();
        assert!((50_000_000..75_000_000).contains(&high), "{high}");
        let since = reading.since(&earlier);
        assert_eq!((since.count(), since.quantile(0.0)), (10, Some(high)));
        reading.merge(&since);
        assert_eq!(reading.count(), 110);
    }
}
