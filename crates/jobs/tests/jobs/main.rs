//! Jobs, seen from outside: over HTTP, over the keeper's socket, and with `kill -9`.
//!
//! This binary is the servers as well: with `TENFOLD_JOBS_FIXTURE` in its environment it serves the application of
//! `fixture.rs`, and with `TENFOLD_TOPIC_ROLE` it appends to a topic, or reads one. What jobs have done is in files of the test's
//! directory, which each run appends to.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use tenfold_testkit::{Case, Options, kill_remaining, run};

mod fixture;
mod on;
mod producers;
mod site;

mod apart;
mod disk;
mod engines;
mod faults;
mod kills;
mod queues;
mod retries;
mod schedules;
mod stop;
mod topics;

fn main() -> ExitCode {
    if let Ok(settings) = std::env::var(fixture::FIXTURE) {
        return fixture::main(&settings);
    }
    if let Ok(role) = std::env::var(topics::ROLE) {
        return topics::main(&role);
    }
    let options = match Options::parse(std::env::args().skip(1), 4) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let groups = [
        queues::cases(),
        retries::cases(),
        stop::cases(),
        schedules::cases(),
        apart::cases(),
        disk::cases(),
        faults::cases(),
        engines::cases(),
        topics::cases(),
        kills::cases(),
    ];
    let cases = groups.into_iter().flatten().map(|case| case.timeout(Duration::from_secs(3600)));
    run(&options, cases.collect::<Vec<Case>>(), kill_remaining)
}
