//! The processes that a comparison starts beside itself, all of the same executable: a server under one model, a simulator.
//!
//! They are started with a hidden word of the command line and one JSON argument, say on standard output where they listen,
//! and end with the process that has started them, however that ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};
use tenfold_server::{App, Facts, Limits, Settings};

use crate::error::Error;
use crate::simulator::{StoreSimulator, Suppliers};
use crate::workload::{self, Setup};

/// The hidden word.
pub const WORD: &str = "compare-part";

/// What such a process is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The processors that it may use.
    pub cpus: Vec<usize>,
    /// What it does.
    pub role: Role,
}

/// What such a process does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Serves a workload's handlers.
    Workload {
        /// Which one.
        name: String,
        /// What its handlers find around them.
        setup: Setup,
        /// How it serves.
        server: ServerSpec,
    },
    /// Serves the application that this executable is.
    Application {
        /// How it serves.
        server: ServerSpec,
    },
    /// Answers as a store does.
    Store {
        /// How long it takes for an answer, in microseconds.
        latency_us: u64,
    },
    /// Answers as the suppliers of `ads` do.
    Suppliers,
}

/// How a server serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// The model.
    pub model: String,
    /// Worker processes.
    pub workers: usize,
    /// Threads of a worker, where its model has a number of them: of `pool` and of the pool in `event-pool`. The handler
    /// processes of `event-worker` are a quarter of it.
    pub threads: usize,
    /// Where it keeps its scoreboard, for whoever measures it; without it keeps account of nothing.
    #[serde(default)]
    pub board: Option<PathBuf>,
}

impl ServerSpec {
    /// The server's settings: the defaults but for what would stand in the way of a measurement.
    pub fn settings(&self) -> Settings {
        // A request's own limits are as on the internet; how long a connection may be used is not what is measured.
        let limits = Limits { requests_max: u64::MAX >> 1, ..Limits::default() };
        let mut settings = Settings {
            model: self.model.clone(),
            listen: vec!["127.0.0.1:0".into()],
            workers: Some(self.workers),
            // Some workloads hold a loop on purpose; stack traces of that would be what is measured.
            watchdog_ms: 0,
            graceful_timeout_secs: 1.0,
            sight: if self.board.is_some() { "on" } else { "off" }.into(),
            scoreboard_file: self.board.clone(),
            limits,
            ..Settings::default()
        };
        match self.model.as_str() {
            "pool" => settings.threads = Some(self.threads),
            "event-pool" => settings.pool_threads = Some(self.threads),
            "event-worker" => settings.handlers = Some((self.threads / 4).max(1)),
            _ => {}
        }
        settings
    }

    /// What the model takes with these settings.
    ///
    /// # Errors
    /// One line, when the model refuses them.
    pub fn facts(&self) -> Result<Facts, String> {
        let settings = self.settings();
        Ok(settings.check()?.facts(&settings))
    }
}

impl Part {
    /// Reads the argument.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn from_json(text: &str) -> Result<Part, Error> {
        Ok(serde_json::from_str(text)?)
    }

    /// Binds this process to its processors and its life to its parent's. Call it before anything else, and before a fork.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn settle(&self) -> Result<(), Error> {
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| Error::System { what: "tie a process to its parent", source: error.into() })?;
        bind_to(&self.cpus)
    }

    /// The app to serve, for a part that serves one of its own.
    ///
    /// # Errors
    /// One line.
    pub fn app(&self) -> Option<Result<(App, Settings), String>> {
        match &self.role {
            Role::Workload { name, setup, server } => {
                let app = workload::find(name).and_then(|workload| workload.app(setup));
                Some(app.map(|app| (app, server.settings())))
            }
            _ => None,
        }
    }

    /// Simulates until the process is ended; returns at once for a part that serves.
    ///
    /// # Errors
    /// [`Error::Part`] when it cannot.
    pub fn simulate(&self) -> Result<(), Error> {
        let failed = |reason: String| Error::Part { part: self.title().into(), reason };
        match self.role {
            Role::Store { latency_us } => {
                let simulator = StoreSimulator::bind().map_err(|error| failed(error.to_string()))?;
                announce(&simulator.url());
                simulator.serve(Duration::from_micros(latency_us)).map_err(failed)
            }
            Role::Suppliers => {
                let suppliers = Suppliers::bind().map_err(|error| failed(error.to_string()))?;
                announce(suppliers.url());
                suppliers.serve().map_err(failed)
            }
            Role::Workload { .. } | Role::Application { .. } => Ok(()),
        }
    }

    /// The same part, and where its scoreboard is if it serves.
    pub(crate) fn with_board(&self, path: &Path) -> Part {
        let mut part = self.clone();
        match &mut part.role {
            Role::Workload { server, .. } | Role::Application { server } => server.board = Some(path.into()),
            Role::Store { .. } | Role::Suppliers => {}
        }
        part
    }

    /// What it is called in messages.
    pub(crate) fn title(&self) -> &str {
        match &self.role {
            Role::Workload { server, .. } | Role::Application { server } => &server.model,
            Role::Store { .. } => "the store simulator",
            Role::Suppliers => "the suppliers",
        }
    }
}

/// Says where this part listens, once it does.
pub fn announce(address: &str) {
    let mut out = std::io::stdout();
    // Who has started it and does not listen any more is about to end it.
    let _ = writeln!(out, "{address}").and_then(|()| out.flush());
}

/// Binds the calling thread, and the threads and processes that it starts from now on, to processors.
pub(crate) fn bind_to(cpus: &[usize]) -> Result<(), Error> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set)
        .map_err(|error| Error::System { what: "bind a process to its processors", source: error.into() })
}

/// A directory for the files of a comparison, removed with this value.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn create() -> Result<Scratch, Error> {
        let failed = |source| Error::System { what: "make a directory for the comparison's files", source };
        let path = std::env::temp_dir().join(format!("tenfold-compare-{}", std::process::id()));
        // Fails if somebody else has put it there.
        std::fs::create_dir(&path).map_err(failed)?;
        let scratch = Scratch(path);
        workload::prepare(&scratch.0).map_err(failed)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_takes_the_settings_of_a_comparison() {
        for model in tenfold_server::MODELS {
            let server = ServerSpec { model: model.name().into(), workers: 1, threads: 64, board: None };
            let facts = server.facts().unwrap();
            assert!(facts.descriptors_max < 20_000, "{}", model.name());
        }
    }

    #[test]
    fn a_part_goes_through_json() {
        let server = ServerSpec { model: "fiber".into(), workers: 1, threads: 64, board: None };
        let part = Part { cpus: vec![0], role: Role::Application { server } };
        assert_eq!(Part::from_json(&serde_json::to_string(&part).unwrap()).unwrap(), part);
        assert!(Part::from_json("{}").unwrap_err().is_usage());
    }
}
