//! What a comparison is asked for.

use std::path::PathBuf;

use tenfold_server::find_model;

use super::all_models;
use crate::error::Error;
use crate::load::LoadSpec;
use crate::store::StoreChoice;
use crate::workload::{self, Dial, Route, WORKLOADS, Workload};

/// Shortest round, in seconds.
const SECONDS_MIN: f64 = 0.05;

/// Longest round, in seconds.
const SECONDS_MAX: f64 = 600.0;

/// Most rounds.
const ROUNDS_MAX: usize = 100;

/// Most requests a second that can be asked for.
const RATE_MAX: f64 = 1_000_000.0;

/// The options of `compare`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The models; all unless given.
    pub models: Vec<String>,
    /// The workloads; all unless given.
    pub workloads: Vec<String>,
    /// One route of the app instead of the workloads.
    pub route: Option<Route>,
    /// Worker processes; default 1.
    pub workers: usize,
    /// Threads of a worker where its model has a number of them; default 64.
    pub threads: usize,
    /// Seconds of a round, instead of the workload's own.
    pub seconds: Option<f64>,
    /// Requests a second, instead of the workload's own.
    pub rate: Option<f64>,
    /// Connections, instead of the workload's own.
    pub connections: Option<usize>,
    /// Rounds, instead of the workload's own.
    pub rounds: Option<usize>,
    /// Everything in less than two minutes.
    pub quick: bool,
    /// What `cycle` asks.
    pub store: StoreChoice,
    /// Where the report goes as JSON.
    pub json: Option<PathBuf>,
    /// Where the report goes as a page.
    pub html: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            models: all_models(),
            workloads: WORKLOADS.iter().map(|workload| workload.name().to_owned()).collect(),
            route: None,
            workers: 1,
            threads: 64,
            seconds: None,
            rate: None,
            connections: None,
            rounds: None,
            quick: false,
            store: StoreChoice::default(),
            json: None,
            html: None,
        }
    }
}

impl Options {
    /// Checks them as a whole, and says what is to be measured.
    ///
    /// # Errors
    /// [`Error::Usage`], in one line.
    pub fn check(&self) -> Result<Vec<&dyn Workload>, Error> {
        let wrong = |text: String| Err(Error::Usage(text));
        for model in &self.models {
            find_model(model).map_err(Error::Usage)?;
        }
        if !(1..=64).contains(&self.workers) || !(1..=4_096).contains(&self.threads) {
            return wrong("--workers is 1 to 64 and --threads 1 to 4096".into());
        }
        if self.seconds.is_some_and(|seconds| !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds)) {
            return wrong(format!("--seconds is {SECONDS_MIN} to {SECONDS_MAX}"));
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= RATE_MAX)) {
            return wrong(format!("--rate is more than 0 and at most {RATE_MAX}"));
        }
        let connections_max = LoadSpec::CONNECTIONS_MAX - 1_000;
        if self.connections.is_some_and(|connections| !(1..=connections_max).contains(&connections)) {
            return wrong(format!("--connections is 1 to {connections_max}"));
        }
        if self.rounds.is_some_and(|rounds| !(1..=ROUNDS_MAX).contains(&rounds)) {
            return wrong(format!("--rounds is 1 to {ROUNDS_MAX}"));
        }
        for path in [&self.json, &self.html].into_iter().flatten() {
            if path.parent().is_some_and(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
                return wrong(format!("{}: there is no such directory", path.display()));
            }
        }
        if let Some(route) = &self.route {
            return Ok(vec![route]);
        }
        self.workloads.iter().map(|name| workload::find(name).map_err(Error::Usage)).collect()
    }

    /// How much load a workload gets: its own numbers, with the user's on top.
    pub(super) fn dial(&self, workload: &dyn Workload) -> Dial {
        let own = workload.dial(self.quick);
        Dial {
            seconds: self.seconds.unwrap_or(own.seconds),
            rate: self.rate.unwrap_or(own.rate),
            connections: self.connections.unwrap_or(own.connections),
            rounds: self.rounds.unwrap_or(own.rounds),
            ..own
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_all_models_and_all_workloads() {
        let options = Options::default();
        assert_eq!((options.check().unwrap().len(), options.models.len()), (10, 8));
    }

    #[test]
    fn a_mistake_is_one_line_that_names_it() {
        let own = Options::default;
        for (word, options) in [
            ("fibre", Options { models: vec!["fibre".into()], ..own() }),
            ("helo", Options { workloads: vec!["helo".into()], ..own() }),
            ("--workers", Options { workers: 0, ..own() }),
            ("--threads", Options { threads: 100_000, ..own() }),
            ("--seconds", Options { seconds: Some(f64::NAN), ..own() }),
            ("--rate", Options { rate: Some(0.0), ..own() }),
            ("--connections", Options { connections: Some(1 << 20), ..own() }),
            ("--rounds", Options { rounds: Some(0), ..own() }),
            ("/nonexistent", Options { html: Some("/nonexistent/x.html".into()), ..own() }),
        ] {
            let line = options.check().err().expect(word).to_string();
            assert!(line.contains(word) && !line.contains('\n'), "{line}");
        }
    }
}
