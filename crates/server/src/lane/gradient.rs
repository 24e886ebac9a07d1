//! `Gradient`: finds how many requests a lane should run at once, from how long they take.
//!
//! What a request takes when few run is the base; when the present ones take longer than that by more than a quarter, the
//! limit shrinks by the ratio, else it grows by its square root. The base is measured anew now and then, by letting few run
//! for some fifty requests: Envoy's adaptive concurrency does the same. The obvious alternative, a long average in place of
//! a measured base (Netflix's Gradient2), was tried and drifts: while the limit grows slowly the average learns that slow
//! is normal, and the limit of a service of 64 at once went to its maximum.
//!
//! Three known failures of such limiters are left out: nothing is learnt from requests that were refused, since those are
//! fast; the limit does not grow while half of it is unused, or an idle night would end in a morning without a limit; and
//! no minimum is kept for ever, since one lucky request would then hold the limit down.
//!
//! No I/O and no clock: times are parameters.

use std::time::{Duration, Instant};

/// Bounds of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GradientConfig {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

/// How much longer than the base requests may take before the limit shrinks.
const TOLERANCE: f64 = 1.25;
/// Most that one step shrinks the limit by.
const SHRINK_MIN: f64 = 0.5;
/// Requests of one step.
const STEP_SAMPLES: u32 = 25;
/// Requests that the base is measured from.
const BASE_SAMPLES: u32 = 50;
/// How long a base is believed.
const BASE_AGE_MAX: Duration = Duration::from_secs(30);
/// A request that ran into its deadline says that there are too many.
const BACK_OFF: f64 = 0.95;

#[derive(Debug)]
pub(crate) struct Gradient {
    config: GradientConfig,
    limit: f64,
    base_secs: f64,
    /// When the base has to be measured again; `None` while it is.
    measure_at: Option<Instant>,
    sum_secs: f64,
    samples: u32,
}

impl Gradient {
    /// Begins with a measurement, at the least limit.
    pub(crate) fn new(config: GradientConfig) -> Gradient {
        let limit = config.min as f64;
        Gradient { config, limit, base_secs: 0.0, measure_at: None, sum_secs: 0.0, samples: 0 }
    }

    /// The limit now.
    pub(crate) fn limit(&self) -> usize {
        let limit = if self.measure_at.is_none() { self.config.min } else { self.limit as usize };
        limit.clamp(self.config.min, self.config.max)
    }

    /// A request that was one of `running` has ended at `now` after `took`.
    pub(crate) fn sample(&mut self, took: Duration, running: usize, timed_out: bool, now: Instant) {
        let (min, max) = (self.config.min as f64, self.config.max as f64);
        if timed_out {
            self.limit = (self.limit * BACK_OFF).clamp(min, max);
            return;
        }
        let Some(measure_at) = self.measure_at else { return self.measure(took, running, now) };
        self.sum_secs += took.as_secs_f64();
        self.samples += 1;
        if self.samples < STEP_SAMPLES {
            return;
        }
        let secs = self.take_average();
        let gradient = (TOLERANCE * self.base_secs / secs).clamp(SHRINK_MIN, 1.0);
        let is_used = running as f64 >= self.limit / 2.0;
        if is_used || gradient < 1.0 {
            self.limit = (self.limit * gradient + self.limit.sqrt()).clamp(min, max);
        }
        if now >= measure_at {
            self.measure_at = None;
        }
    }

    /// Few may start; who has started before is not counted.
    fn measure(&mut self, took: Duration, running: usize, now: Instant) {
        if running > self.config.min {
            return;
        }
        self.sum_secs += took.as_secs_f64();
        self.samples += 1;
        if self.samples >= BASE_SAMPLES {
            self.base_secs = self.take_average();
            self.measure_at = Some(now + BASE_AGE_MAX);
        }
    }

    fn take_average(&mut self) -> f64 {
        let average = self.sum_secs / f64::from(self.samples);
        (self.sum_secs, self.samples) = (0.0, 0);
        average.max(1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Service {
        gradient: Gradient,
        now: Instant,
    }

    impl Service {
        fn new(min: usize, max: usize) -> Service {
            let now = Instant::now();
            Service { gradient: Gradient::new(GradientConfig { min, max }), now }
        }

        /// A service of `capacity` at once that takes `service` each: more at once take in proportion longer.
        fn run(&mut self, capacity: usize, service: Duration, samples: usize) -> usize {
            for _ in 0..samples {
                let running = self.gradient.limit();
                let slower = (running as f64 / capacity as f64).max(1.0);
                let took = service.mul_f64(slower);
                self.now += took / running as u32;
                self.gradient.sample(took, running, false, self.now);
            }
            self.gradient.limit()
        }
    }

    #[test]
    fn it_finds_the_neighbourhood_of_the_capacity_and_stays_there() {
        let mut service = Service::new(4, 1000);
        for samples in [2_000, 20_000, 200_000] {
            service.run(64, Duration::from_millis(20), samples);
            // Not in a measurement.
            while service.gradient.measure_at.is_none() {
                service.run(64, Duration::from_millis(20), 1);
            }
            let limit = service.gradient.limit();
            assert!((48..=128).contains(&limit), "{limit} after {samples}");
        }
    }

    #[test]
    fn it_does_not_grow_while_half_of_it_is_unused() {
        let mut service = Service::new(10, 1000);
        service.run(1000, Duration::from_millis(5), 60);
        let before = service.gradient.limit();
        for _ in 0..1000 {
            service.gradient.sample(Duration::from_millis(5), before / 2 - 1, false, service.now);
        }
        assert_eq!(service.gradient.limit(), before);
    }

    #[test]
    fn it_shrinks_when_requests_take_longer_and_recovers() {
        let mut service = Service::new(4, 200);
        let high = service.run(1000, Duration::from_millis(10), 1500);
        assert_eq!(high, 200);
        let low = service.run(1000, Duration::from_millis(200), 250);
        assert!(low < high / 2, "{low} after {high}");
        let again = service.run(1000, Duration::from_millis(10), 1500);
        assert!(again > 2 * low, "{again} after {low}");
    }

    #[test]
    fn what_is_slower_for_good_becomes_the_base() {
        let mut service = Service::new(4, 200);
        service.run(1000, Duration::from_millis(10), 1500);
        service.run(1000, Duration::from_millis(100), 60_000);
        assert!(service.gradient.base_secs > 0.09, "{}", service.gradient.base_secs);
        assert!(service.run(1000, Duration::from_millis(100), 1500) > 100);
    }

    #[test]
    fn time_outs_count_as_too_many_and_the_bounds_hold() {
        let mut service = Service::new(3, 50);
        assert_eq!(service.run(100_000, Duration::from_millis(1), 5000), 50);
        for _ in 0..1000 {
            service.gradient.sample(Duration::from_secs(1), 12, true, service.now);
        }
        assert_eq!(service.gradient.limit(), 3);
    }
}
