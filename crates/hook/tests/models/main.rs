//! Handlers with unmodified drivers, in the models that people choose between and on both backends: the same answers
//! everywhere, waits that overlap where the model lets handlers wait apart, and services that are killed, stopped and
//! started again under load.
//!
//! This binary is both the tests and the server: started with `TENFOLD_HOOK_FIXTURE` in its environment it serves the
//! routes of `fixture.rs`.
//!
//! ```text
//! cargo test -p tenfold-hook --test models                    all
//! cargo test -p tenfold-hook --test models -- fiber-epoll     one variant
//! cargo test -p tenfold-hook --test models -- kill            one behaviour
//! ```

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use tenfold_testkit::{Case, Options, kill_remaining, run};

use tenfold_hook as _;

mod fixture;
mod services;
mod variant;

mod answers;
mod faults;

use services::{SERVICES, Service};
use variant::Variant;

/// Longer than any case takes on a busy machine; only a hang is longer.
const CASE_TIMEOUT: Duration = Duration::from_secs(180);

type Behaviour = (&'static str, fn(&'static Variant, &'static Service), fn(&Variant, &Service) -> bool);

fn main() -> ExitCode {
    if let Ok(settings) = std::env::var(fixture::FIXTURE) {
        return fixture::main(&settings);
    }
    let options = match Options::parse(std::env::args().skip(1), 2) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    run(&options, cases(), kill_remaining)
}

fn cases() -> Vec<Case> {
    let variants = Variant::all();
    let behaviours = answers::BEHAVIOURS.iter().chain(faults::BEHAVIOURS);
    let mut cases = Vec::new();
    for (name, behaviour, only) in behaviours {
        for service in &SERVICES {
            for variant in variants.iter().copied().filter(|variant| only(variant, service)) {
                let name = format!("{}::{}::{name}", variant.name(), service.name);
                let case = Case::new(name, move || {
                    if service.is_installed() {
                        behaviour(variant, service);
                    }
                });
                // A service is shared by the variants, and may be down in one of its cases.
                cases.push(case.group(service.name).timeout(CASE_TIMEOUT));
            }
        }
    }
    cases
}
