//! A server under one model, and one round of load driven at it.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::child::{Child, this_program};
use super::sampler::{Sample, Sampler};
use super::stages::{Board, BoardFile, Stages};
use super::tree;
use crate::error::Error;
use crate::load::{Errors, LoadOutcome, LoadSpec};
use crate::part::Part;

/// How much longer than its specification says a load generator may take before it is ended.
const LOAD_RESERVE: Duration = Duration::from_secs(20);

/// Processor time is counted in ticks of 10 ms; below five of them a quotient says nothing.
const CPU_MS_MIN: f64 = 50.0;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    board: Board,
    _file: BoardFile,
    /// What it took before the first request.
    memory_idle_kib: u64,
    /// Its open descriptors before the first request.
    descriptors_idle: u64,
}

/// What one round has shown.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) outcome: LoadOutcome,
    /// `None` where too little was used up to tell.
    pub(crate) user_us_per_request: Option<f64>,
    pub(crate) system_us_per_request: Option<f64>,
    pub(crate) switches_per_request: Option<f64>,
    pub(crate) threads_max: usize,
    pub(crate) memory_max_kib: u64,
    pub(crate) memory_idle_kib: u64,
    /// Connections and memory in KiB as they were seen together, by connections.
    pub(crate) memory_by_connections: Vec<(u64, u64)>,
    pub(crate) stages: Option<Stages>,
}

impl Server {
    /// Starts a server and waits until it serves.
    pub(crate) fn start(part: &Part) -> Result<Server, Error> {
        let file = BoardFile::new();
        let child = Child::start(&part.with_board(&file.0))?;
        let board = Board::open(&file.0)?;
        let processes = tree::processes(child.id());
        let (memory_idle_kib, descriptors_idle) =
            (tree::memory_kib(&processes), tree::descriptors(&processes));
        Ok(Server { child, board, _file: file, memory_idle_kib, descriptors_idle })
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> &str {
        &self.child.address
    }

    /// Drives one load at it and looks at it meanwhile.
    pub(crate) fn round(&self, spec: &LoadSpec) -> Result<Round, Error> {
        let sampler = Sampler::start(self.child.id(), self.board);
        let outcome = drive(spec);
        let end = Instant::now();
        let samples = sampler.finish();
        Ok(self.sum_up(outcome?, &samples, end))
    }

    fn sum_up(&self, outcome: LoadOutcome, samples: &[Sample], end: Instant) -> Round {
        let (from, to, requests) = window(&outcome, samples, end);
        let per_request = |amount: f64| (requests > 0.0).then_some(amount / requests);
        let most = |number: fn(&Sample) -> u64| samples.iter().map(number).max().unwrap_or(0);
        let (user_ms, system_ms) = (to.cpu.user_ms - from.cpu.user_ms, to.cpu.system_ms - from.cpu.system_ms);
        let can_tell = user_ms + system_ms >= CPU_MS_MIN;
        let mut memory_by_connections: Vec<(u64, u64)> =
            samples.iter().map(|sample| (self.connections(sample), sample.memory_kib)).collect();
        memory_by_connections.sort_unstable();
        memory_by_connections.dedup_by_key(|(connections, _)| *connections);
        let cpu_us = per_request((user_ms + system_ms) * 1_000.0).filter(|_| can_tell);
        let stages = to.ticks.stages_since(&from.ticks).map(|stages| Stages { cpu_us, ..stages });
        Round {
            user_us_per_request: per_request(user_ms * 1_000.0).filter(|_| can_tell),
            system_us_per_request: per_request(system_ms * 1_000.0).filter(|_| can_tell),
            switches_per_request: per_request(to.switches.saturating_sub(from.switches) as f64),
            threads_max: most(|sample| sample.threads as u64) as usize,
            memory_max_kib: most(|sample| sample.memory_kib),
            memory_idle_kib: self.memory_idle_kib,
            memory_by_connections,
            stages,
            outcome,
        }
    }

    /// Descriptors beyond those of an idle server: its connections, where handlers open none.
    fn connections(&self, sample: &Sample) -> u64 {
        sample.descriptors.saturating_sub(self.descriptors_idle)
    }
}

/// The looks between which the measured time lies, and how many requests were done between them.
///
/// The generator says how long it measured, and it ends when it has: so the measured time began that long before its end. Its
/// warm-up, and the connections that it opened, lie before.
fn window<'a>(outcome: &LoadOutcome, samples: &'a [Sample], end: Instant) -> (&'a Sample, &'a Sample, f64) {
    let measured = Duration::try_from_secs_f64(outcome.generator.wall_seconds).unwrap_or_default();
    let start = end.checked_sub(measured).unwrap_or(end);
    let (first, to) = (&samples[0], &samples[samples.len() - 1]);
    // Requests that come at once are all there is: nothing was going on before them.
    let at_once = outcome.targets.iter().any(|target| !target.timeline.is_empty());
    let from = samples.iter().rev().find(|sample| sample.at <= start && !at_once).unwrap_or(first);
    // Streams are long requests: while they last nothing is finished, and the generator's own count has to do.
    let finished = to.ticks.requests().saturating_sub(from.ticks.requests());
    if finished > 0 {
        return (from, to, finished as f64);
    }
    let done: u64 = outcome.targets.iter().map(|target| target.successes + answered(&target.errors)).sum();
    // Without the server's own count: as many a second between the looks as in the measured time.
    let looked = to.at.duration_since(from.at).as_secs_f64();
    let share = if at_once { 1.0 } else { looked / measured.as_secs_f64().max(looked / 2.0).max(1e-3) };
    (from, to, done as f64 * share)
}

/// Errors that a server has worked for.
fn answered(errors: &Errors) -> u64 {
    errors.status + errors.body
}

/// Runs a load generator in a process of its own.
fn drive(spec: &LoadSpec) -> Result<LoadOutcome, Error> {
    let failed = |reason: String| Error::Part { part: "the load generator".into(), reason };
    let mut command = this_program()?;
    command.args(["load", "--spec", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().map_err(|error| failed(error.to_string()))?;
    let longest =
        Duration::from_millis(spec.warm_up_ms + spec.duration_ms + 2 * spec.timeout_ms) + LOAD_RESERVE;
    let text = serde_json::to_string(spec)?;
    if let Some(mut stdin) = process.stdin.take() {
        // If it does not listen it says so by its end.
        let _ = stdin.write_all(text.as_bytes());
    }
    let reading = process.stdout.take().map(|mut stdout| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        })
    });
    let until = Instant::now() + longest;
    let status = loop {
        match process.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                let _ = process.kill();
                let _ = process.wait();
                return Err(failed(format!("it did not end within {longest:?}")));
            }
        }
    };
    let text = reading.and_then(|thread| thread.join().ok()).unwrap_or_default();
    // Its exit code is 1 as well when no request has succeeded, and then its outcome says why.
    if let Ok(outcome) = serde_json::from_str(&text) {
        return Ok(outcome);
    }
    let mut words = String::new();
    if let Some(stderr) = process.stderr.take() {
        let _ = stderr.take(4 << 10).read_to_string(&mut words);
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(failed(if words.is_empty() { format!("it ended with {status}") } else { words }))
}
