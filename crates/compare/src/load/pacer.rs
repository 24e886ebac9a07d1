//! Waking up on time, and when that is.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tenfold_runtime::net::TcpStream;
use tenfold_runtime::{Interest, sleep_until};

use super::spec::Arrivals;

/// Wakes its fiber at a point in time to within some tens of microseconds.
///
/// The loop's own timers have ticks of a millisecond. That is fine for time-outs, and is not for a request's intended time: its
/// latency counts from there, and an answer may take 50 µs. (wrk2 is known for that millisecond.)
#[derive(Debug)]
pub(crate) struct Pacer {
    /// A timer's descriptor: readable when its time has come. As a stream it is only ever waited for.
    timer: Option<TcpStream>,
}

impl Pacer {
    /// Without a descriptor for it, wakes to within a millisecond.
    pub(crate) fn new() -> Pacer {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags);
        Pacer { timer: timer.ok().map(TcpStream::from_fd) }
    }

    /// Waits until `due`; returns at once when that has passed.
    ///
    /// # Errors
    /// `ECANCELED` when the run has ended.
    pub(crate) fn wait_until(&self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            match &self.timer {
                Some(timer) => self.wait_for(timer, left)?,
                None => sleep_until(due),
            }
        }
    }

    fn wait_for(&self, timer: &TcpStream, left: Duration) -> io::Result<()> {
        let value = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Setting it also forgets that it was readable (timerfd_create(2)), so it is never read.
        rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        timer.wait_ready(Interest::READ, None)
    }
}

/// The intended times of an open loop's requests.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    /// Seconds from the start to the next request.
    next: f64,
    /// Seconds between requests, or their mean.
    gap: f64,
    arrivals: Arrivals,
    random: u64,
}

impl Schedule {
    /// `rate` requests a second from `start` on; `phase` is the share of a gap before the first.
    pub(crate) fn new(arrivals: Arrivals, rate: f64, start: Instant, phase: f64, seed: u64) -> Schedule {
        let gap = 1.0 / rate;
        let mut schedule = Schedule { start, next: phase * gap, gap, arrivals, random: seed };
        if arrivals == Arrivals::Poisson {
            schedule.next = schedule.gap();
        }
        schedule
    }

    fn gap(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Uniform => self.gap,
            // The inverse of the exponential distribution's function; 1 - u is never 0.
            Arrivals::Poisson => -(1.0 - self.uniform()).ln() * self.gap,
        }
    }

    /// A number from 0 to below 1: SplitMix64 (Steele, Lea and Flood 2014), good enough for gaps and the same in every run.
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Iterator for Schedule {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        // From the start each time: adding up instants would add up their rounding.
        let due = self.start + Duration::from_secs_f64(self.next);
        self.next += self.gap();
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: Arrivals, count: usize) -> Vec<f64> {
        let start = Instant::now();
        let times: Vec<Instant> = Schedule::new(arrivals, 1_000.0, start, 0.0, 7).take(count + 1).collect();
        times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    }

    #[test]
    fn uniform_gaps_are_the_same_and_poisson_gaps_have_their_mean_and_deviation() {
        assert!(gaps(Arrivals::Uniform, 1_000).iter().all(|gap| (gap - 0.001).abs() < 1e-7));
        let poisson = gaps(Arrivals::Poisson, 20_000);
        let mean = poisson.iter().sum::<f64>() / poisson.len() as f64;
        let variance = poisson.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / poisson.len() as f64;
        assert!((mean - 0.001).abs() < 0.000_05, "{mean}");
        // The deviation of an exponential distribution is its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{}", variance.sqrt() / mean);
    }

    #[test]
    fn it_is_never_early_on_a_loop_and_on_a_thread() {
        let check = || {
            let pacer = Pacer::new();
            for micros in [0, 50, 700, 3_000] {
                let due = Instant::now() + Duration::from_micros(micros);
                pacer.wait_until(due).unwrap();
                assert!(Instant::now() >= due);
            }
        };
        check();
        tenfold_runtime::Runtime::new(&Default::default()).unwrap().run(check).unwrap();
    }
}
