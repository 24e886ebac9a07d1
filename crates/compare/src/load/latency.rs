//! Durations with their frequencies: an HDR histogram that can be written as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Shortest time that is told from others: 1/8 µs.
const NANOS_MIN: u64 = 128;

/// Longest time; what is longer counts as this: two hours, more than the longest run.
const NANOS_MAX: u64 = 7_200_000_000_000;

/// Recorded durations: three significant digits from 1/8 µs to two hours.
///
/// About 250 KiB once something was recorded, whatever the number of durations; recording takes constant time. As JSON it is
/// the percentiles, for people, and the non-empty buckets as pairs of nanoseconds and count, from which it is read back.
///
/// ```
/// use std::time::Duration;
/// use tenfold_compare::load::Latency;
/// let mut latency = Latency::new();
/// (1..=100).for_each(|ms| latency.record(Duration::from_millis(ms)));
/// assert_eq!(latency.count(), 100);
/// assert_eq!(latency.p50().as_millis(), 50);
/// let same: Latency = serde_json::from_str(&serde_json::to_string(&latency)?)?;
/// assert_eq!(same.p99(), latency.p99());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone)]
pub struct Latency {
    nanos: Histogram<u64>,
}

impl Latency {
    /// Nothing recorded.
    pub fn new() -> Latency {
        Latency::with_digits(3)
    }

    /// Coarser and smaller: for one interval among many.
    pub(crate) fn with_digits(digits: u8) -> Latency {
        let nanos = Histogram::new_with_bounds(NANOS_MIN, NANOS_MAX, digits);
        Latency { nanos: nanos.expect("the bounds are constants that are far enough apart") }
    }

    /// Records a duration.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        self.nanos.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(NANOS_MAX));
    }

    /// Adds what another has recorded.
    pub fn add(&mut self, other: &Latency) {
        for bucket in other.nanos.iter_recorded() {
            self.nanos.saturating_record_n(bucket.value_iterated_to(), bucket.count_at_value());
        }
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.nanos.len()
    }

    /// The duration that this share (0 to 1) does not exceed; zero when nothing was recorded.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.nanos.value_at_quantile(share).min(self.nanos.max()))
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    /// The 90th percentile.
    pub fn p90(&self) -> Duration {
        self.quantile(0.9)
    }

    /// The 99th percentile.
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    /// The 99.9th percentile.
    pub fn p999(&self) -> Duration {
        self.quantile(0.999)
    }

    /// The shortest.
    pub fn min(&self) -> Duration {
        Duration::from_nanos(if self.count() == 0 { 0 } else { self.nanos.min() })
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.nanos.max())
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.nanos.mean() as u64)
    }

    /// The standard deviation.
    pub fn deviation(&self) -> Duration {
        Duration::from_nanos(self.nanos.stdev() as u64)
    }

    /// The non-empty buckets in order: their longest duration in nanoseconds, and their count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.nanos.iter_recorded().map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()))
    }
}

impl Default for Latency {
    fn default() -> Self {
        Latency::new()
    }
}

impl PartialEq for Latency {
    fn eq(&self, other: &Latency) -> bool {
        self.buckets().eq(other.buckets())
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency")
            .field("count", &self.count())
            .field("p50", &self.p50())
            .field("p99", &self.p99())
            .field("max", &self.max())
            .finish()
    }
}

/// The JSON form; when reading only `buckets` counts, the rest is for people and other programs.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default)]
    count: u64,
    #[serde(default)]
    min_ns: u64,
    #[serde(default)]
    mean_ns: u64,
    #[serde(default)]
    p50_ns: u64,
    #[serde(default)]
    p90_ns: u64,
    #[serde(default)]
    p99_ns: u64,
    #[serde(default)]
    p999_ns: u64,
    #[serde(default)]
    max_ns: u64,
    buckets: Vec<(u64, u64)>,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            count: self.count(),
            min_ns: nanos(self.min()),
            mean_ns: nanos(self.mean()),
            p50_ns: nanos(self.p50()),
            p90_ns: nanos(self.p90()),
            p99_ns: nanos(self.p99()),
            p999_ns: nanos(self.p999()),
            max_ns: nanos(self.max()),
            buckets: self.buckets().collect(),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Latency, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let mut latency = Latency::new();
        for (value, count) in written.buckets {
            latency.nanos.saturating_record_n(value, count);
        }
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_recorded_is_zero_everywhere() {
        let none = Latency::new();
        assert_eq!((none.count(), none.min(), none.p999()), (0, Duration::ZERO, Duration::ZERO));
        let read: Latency = serde_json::from_str(&serde_json::to_string(&none).unwrap()).unwrap();
        assert_eq!(read, none);
    }

    #[test]
    fn adding_is_recording_both() {
        let (mut one, mut other, mut both) = (Latency::new(), Latency::new(), Latency::new());
        for step in 1..500u64 {
            let duration = Duration::from_micros(step * step);
            if step % 2 == 0 { &mut one } else { &mut other }.record(duration);
            both.record(duration);
        }
        one.add(&other);
        assert_eq!(one, both);
    }

    #[test]
    fn three_digits_are_kept_and_the_longest_is_bounded() {
        let mut latency = Latency::new();
        latency.record(Duration::from_micros(1234));
        let off = latency.p50().abs_diff(Duration::from_micros(1234));
        assert!(off < Duration::from_nanos(2_000), "{off:?}");
        latency.record(Duration::from_secs(1_000_000));
        assert!(latency.max() >= Duration::from_secs(7_200), "{latency:?}");
    }
}
