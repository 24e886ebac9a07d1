//! The workloads: each is a handler and a shape of load that make one thing visible. One file each; a new one is a new file
//! and a line in [`WORKLOADS`].
//!
//! Handlers are written once, as plain blocking code, and run in the server's processes. Everything else here runs in the
//! process that compares.

mod hello;

mod cpu;
mod io;

mod ads;
mod cycle;

mod idle;
mod mixed;
mod push;
mod slow;

mod copy;

mod route;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tenfold_server::{App, Facts};

use crate::load::{LoadSpec, TargetSpec};

pub use route::Route;

/// A handler and the load that is driven at it.
pub trait Workload: Sync {
    /// The word that chooses it.
    fn name(&self) -> &'static str;

    /// What must become visible, in one line.
    fn teaches(&self) -> &'static str;

    /// How much load, and for how long, unless the user says something else.
    fn dial(&self, quick: bool) -> Dial;

    /// The handlers. Called in the process that becomes the master of the server.
    ///
    /// # Errors
    /// One line.
    fn app(&self, setup: &Setup) -> Result<App, String>;

    /// The load, at a server with this URL.
    fn load(&self, url: &str, dial: &Dial) -> LoadSpec;

    /// Which of the load's targets the row of the table shows; the others are named beneath.
    fn measured_target(&self) -> usize {
        0
    }

    /// What has to run beside the server.
    fn helper(&self) -> Helper {
        Helper::None
    }

    /// Cuts the load down to what a model can take in, and says so; or says how the model meets it.
    fn fit(&self, _dial: &mut Dial, _facts: &Facts, _workers: usize) -> Option<String> {
        None
    }

    /// Whether the model is measured a second time, with lanes.
    fn has_lanes_variant(&self, _facts: &Facts) -> bool {
        false
    }

    /// Numbers of connections for the curve of throughput and latency; empty for none.
    fn sweep(&self) -> &'static [usize] {
        &[]
    }

    /// Rates for the same curve, where the load is an open loop.
    fn sweep_rates(&self) -> &'static [f64] {
        &[]
    }
}

/// All workloads, in the order of the report.
pub static WORKLOADS: [&dyn Workload; 10] = [
    &hello::Hello,
    &cpu::Cpu,
    &io::Io,
    &cycle::Cycle,
    &ads::Ads,
    &idle::Idle,
    &slow::Slow,
    &mixed::Mixed,
    &copy::Copy,
    &push::Push,
];

/// Finds a workload by its name.
///
/// # Errors
/// One line with the names that there are.
pub fn find(name: &str) -> Result<&'static dyn Workload, String> {
    WORKLOADS.into_iter().find(|workload| workload.name() == name).ok_or_else(|| {
        let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name()).collect();
        format!("unknown workload {name:?}: expected one of {}", names.join(", "))
    })
}

/// What has to run beside a server, in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    /// Nothing.
    None,
    /// The store of `--store`, where that is the simulator.
    Store,
    /// The suppliers' simulator.
    Suppliers,
}

/// What a handler finds around it; given to the server's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The store's address, as `Store::open` takes it.
    pub store: String,
    /// The suppliers' URL.
    pub suppliers: String,
    /// Most calls of a process that wait at a time where each takes a thread; `None` for no bound.
    pub calls_max: Option<usize>,
    /// Whether long requests have a lane of their own.
    pub lanes: bool,
    /// A directory that is there as long as the server is.
    pub directory: PathBuf,
}

/// How much load, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dial {
    /// Of each round.
    pub seconds: f64,
    /// Load before the measured time of each round, which does not count.
    pub warm_up_ms: u64,
    /// Each round measures every model once.
    pub rounds: usize,
    /// Connections; most connections of an open loop; requests of a load that comes at once.
    pub connections: usize,
    /// Requests a second, where the load is an open loop or says how many connections are active.
    pub rate: f64,
    /// After which a request counts as an error.
    pub timeout_ms: u64,
}

impl Dial {
    /// For load that follows the server.
    pub(crate) fn closed(quick: bool, connections: usize) -> Dial {
        match quick {
            true => {
                Dial { seconds: 0.35, warm_up_ms: 100, rounds: 2, connections, rate: 0.0, timeout_ms: 1_500 }
            }
            false => {
                Dial { seconds: 3.0, warm_up_ms: 500, rounds: 3, connections, rate: 0.0, timeout_ms: 10_000 }
            }
        }
    }

    /// For requests that come at the same instant; the run ends with the last answer.
    pub(crate) fn at_once(quick: bool, requests: usize) -> Dial {
        let rounds = if quick { 1 } else { 3 };
        Dial { seconds: 0.1, warm_up_ms: 50, rounds, timeout_ms: 10_000, ..Dial::closed(quick, requests) }
    }

    /// The load's specification, for the targets that the workload names.
    pub(crate) fn spec(&self, targets: Vec<TargetSpec>) -> LoadSpec {
        let mut spec = LoadSpec::new(targets);
        spec.duration_ms = ((self.seconds * 1_000.0) as u64).max(1);
        spec.warm_up_ms = self.warm_up_ms;
        spec.timeout_ms = self.timeout_ms;
        // Twenty a second at most: shorter ones have too few requests for a percentile.
        spec.intervals = ((self.seconds * 20.0) as usize).clamp(8, 60);
        spec
    }

    /// A model whose connections hold their threads serves no more of them at a time than it has threads.
    pub(crate) fn say_who_waits(&self, facts: &Facts, workers: usize) -> Option<String> {
        let most = facts.at_once.filter(|_| !facts.evented)? * workers;
        (most < self.connections).then(|| {
            format!("serves {most} of {} connections at a time, the others wait in line", self.connections)
        })
    }

    /// A model whose connections hold their threads takes in no more of them than it has threads.
    pub(crate) fn fit_held_connections(&mut self, facts: &Facts, workers: usize) -> Option<String> {
        if facts.evented {
            return None;
        }
        let most = facts.at_once? * workers;
        if most >= self.connections {
            return None;
        }
        let wanted = std::mem::replace(&mut self.connections, most);
        Some(format!("takes in {most} of {wanted} connections: each holds a thread"))
    }
}

/// Makes the files that handlers need.
///
/// # Errors
/// The system's.
pub(crate) fn prepare(directory: &Path) -> std::io::Result<()> {
    copy::prepare(directory)
}

/// See [`ads::calls_max`].
pub(crate) fn calls_max(facts: &Facts) -> Option<usize> {
    ads::calls_max(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_found_by_its_name_and_builds_its_app() {
        let setup = Setup { suppliers: "http://127.0.0.1:1".into(), ..Setup::default() };
        for workload in WORKLOADS {
            assert_eq!(find(workload.name()).map(|found| found.name()), Ok(workload.name()));
            workload.app(&setup).unwrap().build().unwrap();
        }
        assert!(find("nope").err().unwrap().contains("cycle"));
    }

    #[test]
    fn every_load_is_one_that_the_generator_takes() {
        for (workload, quick) in
            WORKLOADS.into_iter().flat_map(|workload| [(workload, true), (workload, false)])
        {
            let spec = workload.load("http://127.0.0.1:1", &workload.dial(quick));
            spec.check().unwrap_or_else(|error| panic!("{}: {error}", workload.name()));
            assert!(workload.measured_target() < spec.targets.len());
        }
    }

    #[test]
    fn a_model_that_holds_a_thread_for_each_connection_is_given_no_more() {
        let facts = |model: &str| {
            let settings = tenfold_server::Settings { model: model.into(), ..Default::default() };
            tenfold_server::find_model(model).unwrap().facts(&settings)
        };
        let mut dial = Dial::closed(true, 10_000);
        assert_eq!(dial.clone().fit_held_connections(&facts("fiber"), 1), None);
        assert!(dial.fit_held_connections(&facts("pool"), 2).unwrap().contains("128 of 10000"));
        assert_eq!(dial.connections, 128);
    }
}
