//! Runs the workloads under the models: starts servers, interleaves rounds, and makes the report.
//!
//! ```text
//!   for each workload
//!     start its helper (a simulator) and one server for each model, all on the server's processors
//!     for each round: for each model: drive load from another processor, look at the server's processes
//!     end them
//! ```
//!
//! Only one server has anything to do at a time; the others wait and cost nothing. Rounds are interleaved, so that a machine
//! that drifts drifts for all models. Runs in a process of its own, which binds itself to the load's processors.

mod options;
mod progress;

use std::time::{Duration, Instant};

use tenfold_server::{Facts, MODELS};

use crate::error::Error;
use crate::measure::{Child, Machine, Round, Server};
use crate::part::{Part, Role, Scratch, ServerSpec, bind_to};
use crate::report::{Measured, Point, Report, Row, WorkloadReport};
use crate::store::{self, StoreChoice};
use crate::workload::{Dial, Helper, Setup, Workload, calls_max};

pub use options::Options;

use self::progress::Progress;

/// `--quick` begins nothing new after this time: what is under way then ends within two minutes.
const QUICK_MAX: Duration = Duration::from_secs(108);

/// How long each point of a curve is measured.
const POINT_SECONDS: f64 = 1.0;

/// Compares.
///
/// # Errors
/// [`Error::Usage`] for options that cannot be, before anything is started; others when a process that all depends on does
/// not start. A model that does not run a workload is a row of the report that says why.
pub fn run(options: &Options) -> Result<Report, Error> {
    let plan = options.check()?;
    let machine = Machine::this(options.workers);
    bind_to(&machine.load_cpus)?;
    let start = Instant::now();
    let scratch = Scratch::create()?;
    let mut report = Report::begin(machine);
    report.workers = options.workers;
    report.threads = options.threads;
    report.store = options.store.to_string();
    report.quick = options.quick;
    let progress = Progress::begin(plan.iter().map(|chosen| steps(*chosen, options)).sum());
    let bench =
        Bench { options, scratch: &scratch, machine: report.machine.clone(), start, progress: &progress };
    for workload in plan {
        report.workloads.push(bench.compare(workload)?);
    }
    progress.end();
    report.took_seconds = start.elapsed().as_secs_f64();
    report.conclude();
    Ok(report)
}

/// How often the bar moves.
fn steps(workload: &dyn Workload, options: &Options) -> u64 {
    (options.models.len() * (1 + options.dial(workload).rounds)) as u64
}

/// What all workloads are measured with.
struct Bench<'a> {
    options: &'a Options,
    scratch: &'a Scratch,
    machine: Machine,
    start: Instant,
    progress: &'a Progress,
}

/// One row in the making.
struct Entry {
    row: Row,
    dial: Dial,
    server: Option<Server>,
    rounds: Vec<Round>,
}

impl Bench<'_> {
    fn compare(&self, workload: &dyn Workload) -> Result<WorkloadReport, Error> {
        let (helper, setup) = self.helper(workload)?;
        let dial = self.options.dial(workload);
        let mut entries = Vec::new();
        for model in &self.options.models {
            self.progress.says(workload.name(), model, "starts");
            entries.extend(self.enter(workload, model, &setup));
            self.progress.step();
        }
        for number in 0..dial.rounds {
            for entry in &mut entries {
                self.progress.says(workload.name(), &entry.row.title(), &format!("round {}", number + 1));
                self.round(workload, entry);
                self.progress.step();
            }
        }
        if !self.options.quick {
            entries.iter_mut().for_each(|entry| self.curve(workload, entry));
        }
        drop(helper);
        Ok(WorkloadReport {
            name: workload.name().into(),
            teaches: workload.teaches().into(),
            load: load_in_words(&workload.load("", &dial)),
            seconds: dial.seconds,
            rows: entries.into_iter().map(|entry| entry.finish(workload)).collect(),
        })
    }

    /// Starts what has to run beside the servers, and says where it is.
    fn helper(&self, workload: &dyn Workload) -> Result<(Option<Child>, Setup), Error> {
        let mut setup = Setup { directory: self.scratch.0.clone(), ..Setup::default() };
        let start = |role| Child::start(&Part { cpus: self.machine.load_cpus.clone(), role });
        let child = match (workload.helper(), &self.options.store) {
            (Helper::None, _) => None,
            (Helper::Suppliers, _) => Some(start(Role::Suppliers)?),
            (Helper::Store, StoreChoice::Simulated(latency)) => {
                Some(start(Role::Store { latency_us: latency.as_micros() as u64 })?)
            }
            (Helper::Store, _) => None,
        };
        match (workload.helper(), &child) {
            (Helper::Suppliers, Some(child)) => setup.suppliers.clone_from(&child.address),
            (Helper::Store, Some(child)) => setup.store.clone_from(&child.address),
            (Helper::Store, None) => {
                setup.store = self.options.store.address(&self.scratch.0.join("items.sqlite"));
                store::fill(&setup.store).map_err(|error| Error::Part {
                    part: self.options.store.to_string(),
                    reason: format!("cannot be filled: {error}"),
                })?;
            }
            _ => {}
        }
        Ok((child, setup))
    }

    /// Starts the server of a model; two of them where lanes are shown as well.
    fn enter(&self, workload: &dyn Workload, model: &str, setup: &Setup) -> Vec<Entry> {
        let server = ServerSpec {
            model: model.into(),
            workers: self.options.workers,
            threads: self.options.threads,
            board: None,
        };
        let facts = server.facts();
        let mut entries = vec![self.start_server(workload, &server, &facts, setup, false)];
        if facts.is_ok_and(|facts| workload.has_lanes_variant(&facts)) {
            let facts = server.facts();
            entries.push(self.start_server(workload, &server, &facts, setup, true));
        }
        entries
    }

    fn start_server(
        &self,
        workload: &dyn Workload,
        server: &ServerSpec,
        facts: &Result<Facts, String>,
        setup: &Setup,
        lanes: bool,
    ) -> Entry {
        let row =
            Row { model: server.model.clone(), variant: lanes.then(|| "lanes".into()), ..Row::default() };
        let mut entry = Entry { row, dial: self.options.dial(workload), server: None, rounds: Vec::new() };
        let facts = match facts {
            Ok(facts) => facts,
            Err(refusal) => return entry.refused(refusal.clone()),
        };
        if self.is_late() {
            return entry.refused("left out: --quick has used up its time".into());
        }
        entry.row.note = workload.fit(&mut entry.dial, facts, self.options.workers);
        let role = match &self.options.route {
            Some(_) => Role::Application { server: server.clone() },
            None => Role::Workload {
                name: workload.name().into(),
                setup: Setup { calls_max: calls_max(facts), lanes, ..setup.clone() },
                server: server.clone(),
            },
        };
        match Server::start(&Part { cpus: self.machine.server_cpus.clone(), role }) {
            Ok(server) => Entry { server: Some(server), ..entry },
            Err(error) => entry.refused(error.to_string()),
        }
    }

    /// Measures an entry once; what cannot be measured is refused from then on.
    fn round(&self, workload: &dyn Workload, entry: &mut Entry) {
        let Some(server) = &entry.server else { return };
        if self.is_late() {
            return;
        }
        match server.round(&self.pinned(workload.load(server.url(), &entry.dial))) {
            Ok(round) => entry.rounds.push(round),
            Err(error) => {
                entry.row.refused = Some(error.to_string());
                entry.server = None;
            }
        }
    }

    /// The curve of throughput and latency: one short run at each step.
    fn curve(&self, workload: &dyn Workload, entry: &mut Entry) {
        let Some(server) = &entry.server else { return };
        let connections =
            workload.sweep().iter().map(|connections| (*connections as f64, *connections, None));
        let rates = workload.sweep_rates().iter().map(|rate| (*rate, entry.dial.connections, Some(*rate)));
        for (at, connections, rate) in connections.chain(rates) {
            self.progress.says(workload.name(), &entry.row.title(), &format!("at {at}"));
            let dial = Dial {
                connections,
                rate: rate.unwrap_or(entry.dial.rate),
                seconds: POINT_SECONDS,
                ..entry.dial.clone()
            };
            let round = server.round(&self.pinned(workload.load(server.url(), &dial)));
            let point =
                round.ok().and_then(|round| Point::of(at, &round.outcome, workload.measured_target()));
            entry.row.curve.extend(point);
        }
    }

    fn pinned(&self, mut spec: crate::load::LoadSpec) -> crate::load::LoadSpec {
        spec.cpus.clone_from(&self.machine.load_cpus);
        spec.threads = self.machine.load_cpus.len().clamp(1, 4);
        spec
    }

    fn is_late(&self) -> bool {
        self.options.quick && self.start.elapsed() > QUICK_MAX
    }
}

impl Entry {
    fn refused(mut self, reason: String) -> Entry {
        self.row.refused = Some(reason);
        self
    }

    fn finish(self, workload: &dyn Workload) -> Row {
        let Entry { mut row, dial, server, rounds } = self;
        drop(server);
        row.measured = Measured::of(&rounds, workload.measured_target(), dial.connections);
        if row.measured.is_none() && row.refused.is_none() {
            row.refused = Some("left out: --quick has used up its time".into());
        }
        row
    }
}

/// The targets' shapes, for the head of a table.
fn load_in_words(spec: &crate::load::LoadSpec) -> String {
    use crate::load::Shape;
    let shape = |shape: &Shape| match *shape {
        Shape::Closed { connections, .. } => format!("closed loop over {connections} connections"),
        Shape::Open { rate, .. } => format!("open loop at {rate} requests/s"),
        Shape::AtOnce { requests } => format!("{requests} requests at once"),
        Shape::Idle { connections, active_per_second } => {
            format!("{connections} connections, {active_per_second} requests/s over all of them")
        }
        Shape::Trickle { connections, bytes_per_step, every_ms } => {
            format!("{connections} clients sending {bytes_per_step} B every {every_ms} ms")
        }
        Shape::Stream { connections } => format!("{connections} clients that listen"),
    };
    spec.targets.iter().map(|target| shape(&target.shape)).collect::<Vec<_>>().join(" + ")
}

/// The names of all models.
pub(crate) fn all_models() -> Vec<String> {
    MODELS.iter().map(|model| model.name().to_owned()).collect()
}
