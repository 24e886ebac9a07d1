//! How fast jobs are taken in and run, on one machine, beside what its disk can do.
//!
//! It is a whole server: a master, a keeper, and one worker whose fibers enqueue. `rate PRODUCERS JOBS [redis://HOST:PORT]`; files
//! go to the working directory.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getppid, kill_process};
use tenfold_jobs::{AppJobs, Ask, JobHandler, Jobs, Queue};
use tenfold_server::runtime::{Runtime, scope, sleep};
use tenfold_server::{App, Companion, Settings, serve};

/// 256 bytes with their quotes.
const PAYLOAD: usize = 254;

struct Producers;

impl Companion for Producers {}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| words.get(index).map(|word| word.parse::<u64>().expect("a number"));
    let (producers, count) = (number(0).unwrap_or(64), number(1).unwrap_or(50_000));
    let directory = std::env::current_dir().expect("a working directory");
    let file = directory.join(format!("rate-{}.db", std::process::id()));
    println!("one fdatasync after another: {:.0}/s", syncs(&directory.join("rate.sync")));
    let settings = Settings {
        listen: vec!["127.0.0.1:0".into()],
        workers: Some(1),
        jobs: Some(match words.get(2) {
            Some(engine) => {
                let joint = if engine.contains('?') { '&' } else { '?' };
                format!("{engine}{joint}spool={}", file.display())
            }
            None => file.display().to_string(),
        }),
        ..Settings::default()
    };
    let app = App::new()
        .job("run", (|_: String| ()).queue("run"))
        .job("keep", (|_: String| ()).queue("keep"))
        .queue(Queue::new("run").capacity(10_000_000).bytes_max(1 << 40).fibers(256))
        .queue(Queue::new("keep").capacity(10_000_000).bytes_max(1 << 40).no_workers())
        .companion(move |state| {
            let jobs = state.get::<Jobs>().cloned().ok_or("there are no jobs")?;
            std::thread::spawn(move || {
                let runtime = Runtime::new(&Default::default()).expect("a loop");
                runtime.run(move || measure(&jobs, producers, count)).expect("a loop");
                // The master has served its purpose.
                kill_process(getppid().expect("a master"), Signal::INT).expect("it lives");
            });
            Ok(Box::new(Producers))
        });
    let outcome = serve(app, &settings, Vec::new(), |_| ());
    for extension in ["", "-wal", "-shm", ".lock", ".sock"] {
        let _ = std::fs::remove_file(format!("{}{extension}", file.display()));
    }
    outcome.expect("it serves");
}

fn measure(jobs: &Jobs, producers: u64, count: u64) {
    sleep(Duration::from_millis(300));
    for (producers, count, name) in
        [(1, count / 50, "keep"), (producers, count, "keep"), (producers, count, "run")]
    {
        let begun = Instant::now();
        let left = Arc::new(AtomicU64::new(count));
        scope(|scope| {
            for _ in 0..producers {
                let left = left.clone();
                scope.spawn(move || {
                    let payload = "x".repeat(PAYLOAD);
                    let next =
                        || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                    while next().is_ok() {
                        jobs.enqueue(name, &payload).expect("it is kept");
                    }
                });
            }
        });
        print!("{producers} producers: {:.0} jobs/s on disk", count as f64 / begun.elapsed().as_secs_f64());
        if name == "run" {
            while live(jobs) > 0 {
                sleep(Duration::from_millis(5));
            }
            print!(", and run {:.0}/s", count as f64 / begun.elapsed().as_secs_f64());
        }
        println!();
        std::io::stdout().flush().expect("a terminal");
    }
}

fn live(jobs: &Jobs) -> u64 {
    let all = jobs.ask(&Ask::Queues).expect("an answer");
    let queues = all["queues"].as_array().expect("a list");
    queues.iter().find(|queue| queue["name"] == "run").and_then(|queue| queue["live"].as_u64()).unwrap_or(0)
}

/// Synchronised appends a second.
fn syncs(path: &Path) -> f64 {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_millis(500) {
        file.write_all(&[7; 512]).and_then(|()| file.sync_data()).expect("a disk");
        count += 1;
    }
    let _ = std::fs::remove_file(path);
    f64::from(count) / begun.elapsed().as_secs_f64()
}
