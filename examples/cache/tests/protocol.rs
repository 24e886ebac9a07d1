//! One list of cases for this cache, on each backend, and for memcached: what a client sees is the same.
//!
//! The cases speak raw bytes; two of them hand over to client libraries: our own `client::memcached`, and Python's
//! `pymemcache`. A private memcached is started where it is installed.
//!
//! ```text
//! cargo test -p tenfold-cache --test protocol                   all
//! cargo test -p tenfold-cache --test protocol -- memcached      what memcached itself says to the cases
//! ```

#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use tenfold_testkit::services::Memcached;
use tenfold_testkit::{Case, Client, Options, ServerProcess, kill_remaining, run};

#[path = "protocol/clients.rs"]
mod clients;
#[path = "protocol/commands.rs"]
mod commands;
#[path = "protocol/own.rs"]
mod own;
#[path = "protocol/transcripts.rs"]
mod transcripts;

/// Who is asked.
pub(crate) struct Target {
    name: &'static str,
    backend: Option<&'static str>,
    server: OnceLock<Server>,
}

enum Server {
    Cache(ServerProcess),
    Memcached(Memcached),
}

impl Target {
    /// Its address; it is started at the first call.
    pub(crate) fn address(&self) -> String {
        let server = self.server.get_or_init(|| match self.backend {
            Some(backend) => Server::Cache(cache(&["-t", "2", "--backend", backend])),
            None => Server::Memcached(Memcached::start().expect("it was found before")),
        });
        match server {
            Server::Cache(server) => server.address().to_owned(),
            Server::Memcached(server) => server.address(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address())
    }
}

/// The cache with these arguments, on a port of its own.
pub(crate) fn cache(arguments: &[&str]) -> ServerProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache"));
    ServerProcess::start(command.args(["-p", "0"]).args(arguments))
}

fn main() -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let options = match Options::parse(std::env::args().skip(1), threads) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut targets = vec![("cache-epoll", Some("epoll")), ("cache-auto", Some("auto"))];
    if Memcached::start().is_some() {
        targets.push(("memcached", None));
    }
    let mut cases = own::cases();
    for (name, backend) in targets {
        let target: &'static Target = Box::leak(Box::new(Target { name, backend, server: OnceLock::new() }));
        for (case, run) in transcripts::cases()
            .chain(commands::cases())
            .chain(clients::cases())
            .chain(transcripts::newer_cases().filter(|_| backend.is_some()))
        {
            let name = format!("{}::{case}", target.name);
            cases.push(Case::new(name, move || run(target)).group(target.name));
        }
    }
    run(&options, cases, kill_remaining)
}

/// A case that keeps nothing.
pub(crate) type Plain = fn(&'static Target);

/// A name and what it does with a target.
pub(crate) type Named = (&'static str, Box<dyn Fn(&'static Target) + Send + Sync>);
