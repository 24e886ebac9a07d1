//! `cpu`: ten requests of 100 ms of computing each, all at once. Concurrency buys nothing on one core, parallelism does.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tenfold_server::App;

use super::{Dial, Setup, Workload};
use crate::load::{LoadSpec, Shape, TargetSpec};

pub(super) struct Cpu;

/// What each request computes.
const WORK: Duration = Duration::from_millis(100);

fn compute() -> String {
    format!("{} rounds\n", burn(WORK))
}

/// Computes until this thread has used up `work` of processor time, and says how many rounds that took.
///
/// Not a wall clock: under time-slicing ten of these would then take as long as one. And no number of rounds that was found
/// beforehand: a core that changes its frequency would change the work. The clock costs a system call each 50 µs or so.
pub(super) fn burn(work: Duration) -> u64 {
    let end = thread_time() + work;
    let mut rounds: u64 = 0;
    while thread_time() < end {
        for _ in 0..20_000 {
            rounds = black_box(rounds + 1);
        }
    }
    rounds
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Workload for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn teaches(&self) -> &'static str {
        "10 requests of 100 ms of computing at once: on one core the last ends at 1 s in every model, only parallelism helps"
    }

    fn dial(&self, quick: bool) -> Dial {
        Dial::at_once(quick, 10)
    }

    fn app(&self, _setup: &Setup) -> Result<App, String> {
        Ok(App::new().get("/cpu", compute))
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape = Shape::AtOnce { requests: dial.connections };
        dial.spec(vec![TargetSpec::get(format!("{url}/cpu"), shape)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_measured_in_the_time_of_its_own_thread() {
        let before = thread_time();
        assert!(burn(Duration::from_millis(20)) > 0);
        let used = thread_time() - before;
        assert!(used >= Duration::from_millis(20) && used < Duration::from_millis(40), "{used:?}");
    }
}
