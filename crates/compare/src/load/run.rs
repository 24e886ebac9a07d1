//! A whole run: threads, their loops, the common start, and the sum of what came of it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use tenfold_runtime::sync::WaitGroup;
use tenfold_runtime::{ReactorConfig, Runtime, RuntimeConfig};

use super::job::{Job, Signals};
use super::latency::Latency;
use super::outcome::{GeneratorOutcome, LoadOutcome};
use super::shapes;
use super::spec::{LoadSpec, Shape};
use super::tally::{Tally, Window};
use super::target::Target;
use crate::error::Error;

/// How often a thread looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// Drives a load, and blocks the calling thread until it is over. `stop` ends it early, with what was measured until then.
///
/// Takes as long as the specification says: opening connections, warm-up, the measured time, and at most the time-out for the
/// last answers. The load runs on threads of its own; the caller's must not be a fiber.
///
/// # Errors
/// [`Error::InvalidSpec`], [`Error::Resolve`]; [`Error::System`] and [`Error::Runtime`] when the system refuses what the
/// generator needs. A server that does not answer is no error but the outcome.
///
/// ```no_run
/// use std::sync::{Arc, atomic::AtomicBool};
/// use tenfold_compare::load::{self, LoadSpec, Shape, TargetSpec};
///
/// let shape = Shape::Closed { connections: 64, pipeline: 1, close: false };
/// let spec = LoadSpec::new(vec![TargetSpec::get("http://127.0.0.1:8080/hello", shape)]);
/// let outcome = load::run(&spec, &Arc::new(AtomicBool::new(false)))?;
/// println!("{:.0} requests/s", outcome.targets[0].requests_per_second);
/// # Ok::<(), tenfold_compare::Error>(())
/// ```
pub fn run(spec: &LoadSpec, stop: &Arc<AtomicBool>) -> Result<LoadOutcome, Error> {
    spec.check()?;
    let prepare = |(index, target)| Target::prepare(target, &format!("targets[{index}]"));
    let targets: Vec<Target> = spec.targets.iter().enumerate().map(prepare).collect::<Result<_, _>>()?;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let (ready, readiness) = channel();
        for index in 0..spec.threads {
            let (go, start) = channel();
            let (targets, ready, stop) = (targets.clone(), ready.clone(), stop.clone());
            let thread = std::thread::Builder::new().name(format!("load {index}"));
            let work = move || work(spec, targets, index, &stop, ready, start);
            let handle = thread
                .spawn_scoped(scope, work)
                .map_err(|source| Error::System { what: "start a thread", source })?;
            threads.push((go, handle));
        }
        drop(ready);
        // Ends early when a thread could not start; then the others are not told to.
        if readiness.iter().take(spec.threads).count() == spec.threads {
            let window = window_from_now(spec);
            for (go, _) in &threads {
                // A thread that is gone is found when it is joined.
                let _ = go.send(window);
            }
        }
        let mut parts = Vec::new();
        for (go, handle) in threads {
            drop(go);
            parts.push(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(sum(spec, parts.into_iter().flatten(), stop.load(Ordering::Relaxed)))
    })
}

fn window_from_now(spec: &LoadSpec) -> Window {
    let start = Instant::now();
    let begin = start + Duration::from_millis(spec.warm_up_ms);
    Window { start, begin, end: begin + Duration::from_millis(spec.duration_ms) }
}

/// What one thread has measured.
struct Part {
    tallies: Vec<Tally>,
    backend: &'static str,
    window: Window,
    /// When measuring has ended.
    until: Instant,
    cpu: Duration,
    wall: Duration,
}

/// The main function of a thread; `None` when it was told to stop before the start.
fn work(
    spec: &LoadSpec,
    targets: Vec<Target>,
    index: usize,
    stop: &Arc<AtomicBool>,
    ready: Sender<()>,
    start: Receiver<Window>,
) -> Result<Option<Part>, Error> {
    if !spec.cpus.is_empty() {
        bind(spec.cpus[index % spec.cpus.len()])?;
    }
    let backend = spec.backend.parse().map_err(|_| Error::invalid("backend", "unknown"))?;
    let config = RuntimeConfig {
        reactor: ReactorConfig { backend, ..ReactorConfig::default() },
        ..RuntimeConfig::default()
    };
    let runtime = Runtime::new(&config)?;
    let signals = Signals::default();
    let jobs = jobs(spec, targets, index, &signals);
    let meter = {
        let (jobs, stop) = (jobs.clone(), stop.clone());
        runtime.run(move || drive(&jobs, &signals, &stop, &ready, &start))?
    };
    let backend = runtime.backend_name();
    drop(runtime);
    let Some(Meter { window, until, cpu, wall }) = meter else { return Ok(None) };
    let tallies = jobs.into_iter().map(|job| match Rc::try_unwrap(job) {
        Ok(job) => job.into_tally(),
        // A fiber that did not end in its grace still has it: what it has counted so far is whole.
        Err(job) => job.take_tally(),
    });
    Ok(Some(Part { tallies: tallies.collect(), backend, window, until, cpu, wall }))
}

fn bind(cpu: usize) -> Result<(), Error> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
        .map_err(|errno| Error::invalid("cpus", format!("cannot run on processor {cpu}: {errno}")))
}

fn jobs(spec: &LoadSpec, targets: Vec<Target>, index: usize, signals: &Signals) -> Vec<Rc<Job>> {
    let now = Instant::now();
    let not_yet = Window { start: now, begin: now, end: now };
    let timeout = Duration::from_millis(spec.timeout_ms);
    let place = (index, spec.threads);
    let one = |(number, target): (usize, Target)| {
        let shape = spec.targets[number].shape.share(index, spec.threads);
        let seed = (number * LoadSpec::THREADS_MAX + index) as u64;
        let tally = Tally::new(not_yet, spec.intervals);
        Rc::new(Job::new(target, shape, place, seed, timeout, tally, signals.clone()))
    };
    targets.into_iter().enumerate().map(one).collect()
}

/// The main fiber of a thread.
fn drive(
    jobs: &[Rc<Job>],
    signals: &Signals,
    stop: &AtomicBool,
    ready: &Sender<()>,
    start: &Receiver<Window>,
) -> Option<Meter> {
    let closed_gate = signals.gate.join();
    jobs.iter().filter(|job| !job.shape.is_nothing()).for_each(shapes::start);
    if !wait(&signals.preparing, stop, None) {
        return None;
    }
    ready.send(()).ok()?;
    // Blocks the thread and its loop: nothing is under way, and the others are about to be ready as well.
    let window = start.recv().ok()?;
    jobs.iter().for_each(|job| job.tally().window = window);
    drop(closed_gate);
    Some(Meter::run(window, signals, stop))
}

/// Waits until the group has no members or until `until`; false when it was told to stop.
fn wait(group: &WaitGroup, stop: &AtomicBool, until: Option<Instant>) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let look = Instant::now() + LOOK;
        let limit = until.map_or(look, |until| until.min(look));
        if group.wait_until(Some(limit)).is_ok() || until.is_some_and(|until| until <= Instant::now()) {
            return true;
        }
    }
}

/// What the measured time has cost this thread.
struct Meter {
    window: Window,
    until: Instant,
    cpu: Duration,
    wall: Duration,
}

impl Meter {
    /// Waits for the run's end, reading the clocks at the ends of the measured time.
    fn run(window: Window, signals: &Signals, stop: &AtomicBool) -> Meter {
        let mut going = wait(&signals.working, stop, Some(window.begin));
        let (cpu, since) = (thread_time(), Instant::now());
        going = going && wait(&signals.working, stop, Some(window.end));
        let until = Instant::now();
        let meter = Meter { window, until, cpu: thread_time() - cpu, wall: until - since };
        if going {
            wait(&signals.working, stop, None);
        }
        meter
    }
}

/// User and system time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn sum(spec: &LoadSpec, parts: impl Iterator<Item = Part>, interrupted: bool) -> LoadOutcome {
    let mut outcome = LoadOutcome { interrupted, ..LoadOutcome::default() };
    let mut tallies: Vec<Tally> = Vec::new();
    let mut end = None;
    let generator = &mut outcome.generator;
    for part in parts {
        generator.backend = part.backend.to_owned();
        generator.cpu_seconds += part.cpu.as_secs_f64();
        generator.wall_seconds = generator.wall_seconds.max(part.wall.as_secs_f64());
        let share = part.cpu.as_secs_f64() / part.wall.as_secs_f64().max(1e-9);
        generator.busiest_thread_share = generator.busiest_thread_share.max(share.min(1.0));
        end = end.max(Some(part.until.min(part.window.end)));
        match tallies.is_empty() {
            true => tallies = part.tallies,
            false => tallies.iter_mut().zip(part.tallies).for_each(|(all, one)| all.add(one)),
        }
    }
    let mut lateness = Latency::new();
    tallies.iter().for_each(|tally| lateness.add(&tally.lateness));
    generator.saturated = generator.busiest_thread_share > GeneratorOutcome::SHARE_MAX
        || lateness.p99() > Duration::from_millis(GeneratorOutcome::LATE_MAX_MS);
    generator.lateness = lateness;
    generator.threads = spec.threads;
    generator.cpus.clone_from(&spec.cpus);
    if let Some(end) = end {
        let results = spec.targets.iter().zip(tallies).map(|(target, tally)| {
            let until = match target.shape {
                // Its end is that of the last answer, not that of the time that it was given.
                Shape::AtOnce { .. } => tally.last_end.unwrap_or(end),
                _ => end,
            };
            tally.outcome(target, until)
        });
        outcome.targets = results.collect();
    }
    outcome
}

impl Shape {
    /// One thread's share.
    fn share(&self, index: usize, threads: usize) -> Shape {
        let part = |count: usize| count / threads + usize::from(index < count % threads);
        let mut share = self.clone();
        match &mut share {
            Shape::Closed { connections, .. }
            | Shape::Trickle { connections, .. }
            | Shape::Stream { connections } => *connections = part(*connections),
            Shape::AtOnce { requests } => *requests = part(*requests),
            Shape::Open { rate, connections_max, .. } => {
                *rate /= threads as f64;
                *connections_max = part(*connections_max);
            }
            Shape::Idle { connections, active_per_second } => {
                // By connections, so that each is as active as the others.
                let all = *connections;
                *connections = part(all);
                *active_per_second *= *connections as f64 / all as f64;
            }
        }
        share
    }

    /// Whether a share is empty: fewer connections than threads.
    fn is_nothing(&self) -> bool {
        match *self {
            Shape::Open { connections_max, .. } => connections_max == 0,
            _ => self.connections_held() == 0,
        }
    }
}
