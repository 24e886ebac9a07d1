//! One suite for every model and every backend: what a client sees must not depend on how handlers run.
//!
//! Black box: the cases speak raw HTTP/1.1 over sockets to servers in processes of their own. This binary is both: started
//! with `TENFOLD_FIXTURE` in its environment it becomes a server with the fixture's routes and the settings in the
//! variable; else it runs every behaviour for every variant, which is a model and, where it has a loop, a backend.
//!
//! ```text
//! cargo test -p tenfold-server --test conformance                       all
//! cargo test -p tenfold-server --test conformance -- fiber-epoll        one variant
//! cargo test -p tenfold-server --test conformance -- chunked            one behaviour
//! ```
//!
//! Where models have to differ, a case asks the model's facts (`only` in a list of behaviours), never for its name. Cases
//! of one variant run one after another, since they share a server; variants run side by side. Nothing sleeps for order: a
//! client knows that its request is being handled because the handler asks for its body (100 Continue).

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use tenfold_testkit::{Case, Options, kill_remaining, run};

mod fixture;
mod held;
#[macro_use]
mod variant;

mod keepalive;
mod pipelining;

mod chunked;
mod expect_continue;
mod head;

mod limits;
mod malformed;
mod slow_client;
mod slow_crowd;

mod client_gone;
mod half_close;

mod bodies;
mod errors;
mod panic;

mod async_handlers;
mod concurrency;
mod deadlines;
mod faults;
mod lanes;
mod overload;
mod storm;
mod table;
mod upgrade;
mod watchdog;

mod fullness;
mod service_apps;
mod services;
mod settings;
mod share;
mod sight;
mod stop;

use variant::{Behaviour, Variant};

/// Longer than any case takes on a busy machine; only a hang is longer.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Ok(settings) = std::env::var(fixture::FIXTURE) {
        return fixture::main(&settings);
    }
    // Cases wait more than they compute.
    let threads = 3 * std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let options = match Options::parse(std::env::args().skip(1), threads) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    raise_descriptors();
    run(&options, cases(), kill_remaining)
}

/// A thousand connections each in several cases at a time are more than the usual soft limit.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Variants take turns in the list, so that different ones run side by side.
fn cases() -> Vec<Case> {
    let variants = Variant::all();
    let mut cases = settings::cases();
    for behaviour in behaviours() {
        for variant in variants.iter().copied().filter(|variant| (behaviour.only)(variant)) {
            let module = behaviour.module.rsplit("::").next().unwrap_or_default();
            let name = format!("{}::{module}::{}", variant.name(), behaviour.name);
            let case = Case::new(name, move || (behaviour.run)(variant));
            let timeout = if storm::is_long() { 3 * CASE_TIMEOUT } else { CASE_TIMEOUT };
            cases.push(case.group(variant.name()).timeout(timeout));
        }
    }
    cases
}

fn behaviours() -> impl Iterator<Item = Behaviour> {
    [
        keepalive::behaviours(),
        pipelining::behaviours(),
        chunked::behaviours(),
        expect_continue::behaviours(),
        head::behaviours(),
        limits::behaviours(),
        malformed::behaviours(),
        slow_client::behaviours(),
        slow_crowd::behaviours(),
        client_gone::behaviours(),
        half_close::behaviours(),
        bodies::behaviours(),
        errors::behaviours(),
        panic::behaviours(),
        table::behaviours(),
        async_handlers::behaviours(),
        concurrency::behaviours(),
        lanes::behaviours(),
        overload::behaviours(),
        faults::behaviours(),
        deadlines::behaviours(),
        upgrade::behaviours(),
        watchdog::behaviours(),
        share::behaviours(),
        stop::behaviours(),
        sight::behaviours(),
        fullness::behaviours(),
        services::behaviours(),
    ]
    .into_iter()
    .flatten()
}
