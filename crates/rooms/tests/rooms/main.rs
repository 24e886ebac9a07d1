//! WebSockets and rooms, seen from outside: over sockets, in every model, and with `kill -9`.
//!
//! This binary is the servers as well: with `TENFOLD_ROOMS_FIXTURE` in its environment it serves the application of
//! `fixture.rs`.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use tenfold_testkit::{Case, Options, kill_remaining, run};

mod fixture;
mod site;

mod protocol;
mod recovery;
mod rooms;
mod sight;
mod slow;
mod stop;

fn main() -> ExitCode {
    if let Ok(settings) = std::env::var(fixture::FIXTURE) {
        return fixture::main(&settings);
    }
    let options = match Options::parse(std::env::args().skip(1), 4) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let groups =
        [protocol::cases(), rooms::cases(), recovery::cases(), slow::cases(), sight::cases(), stop::cases()];
    let cases = groups.into_iter().flatten().map(|case| case.timeout(Duration::from_secs(600)));
    run(&options, cases.collect::<Vec<Case>>(), kill_remaining)
}
