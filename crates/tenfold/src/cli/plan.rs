//! `plan`: the arithmetic of capacity.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tenfold_compare::plan::Plan;
use tenfold_compare::plan::measured::MeasuredReport;
use tenfold_compare::units;

use super::{Error, print};

/// Most bytes of a report.
const REPORT_BYTES_MAX: u64 = 64 << 20;

#[derive(Args)]
pub(crate) struct PlanOptions {
    /// Time of one request when nothing is in its way: 200ms.
    #[arg(long, value_name = "TIME", required_unless_present = "from")]
    latency: Option<String>,
    /// Worker processes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: u64,
    /// Threads of a worker, each with a request.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: u64,
    /// Processor time of a request: 20ms.
    #[arg(long, value_name = "TIME")]
    cpu_per_request: Option<String>,
    /// Processors; those of this machine unless given.
    #[arg(long, value_name = "N")]
    cores: Option<u64>,
    /// Memory of a worker process.
    #[arg(long, value_name = "SIZE", default_value = "40MiB")]
    memory_per_worker: String,
    /// Memory of a thread that waits.
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    memory_per_thread: String,
    /// Memory of a fiber that waits, with its connection.
    #[arg(long, value_name = "SIZE", default_value = "16KiB")]
    memory_per_fiber: String,
    /// Requests a second that are wanted.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Plan from what was measured: a file of `compare --json`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["latency", "cpu_per_request"])]
    from: Option<PathBuf>,
}

/// Does what `plan` says.
pub(crate) fn run(options: &PlanOptions) -> Result<ExitCode, Error> {
    let plan = options.plan()?;
    plan.check()?;
    match &options.from {
        Some(file) => print(&read(file)?.text(options.rate)),
        None => print(&plan.text()),
    }
}

impl PlanOptions {
    fn plan(&self) -> Result<Plan, Error> {
        let here = || std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        // Of a report only the rate is looked at.
        let latency = self.latency.as_deref().unwrap_or("1s");
        Ok(Plan {
            threads: self.threads,
            cpu_per_request: match &self.cpu_per_request {
                Some(text) => Some(duration("--cpu-per-request", text)?),
                None => None,
            },
            cores: self.cores.unwrap_or_else(here),
            memory_per_worker: bytes("--memory-per-worker", &self.memory_per_worker)?,
            memory_per_thread: bytes("--memory-per-thread", &self.memory_per_thread)?,
            memory_per_fiber: bytes("--memory-per-fiber", &self.memory_per_fiber)?,
            rate: self.rate,
            ..Plan::new(duration("--latency", latency)?, self.workers)
        })
    }
}

fn duration(option: &str, text: &str) -> Result<Duration, Error> {
    units::parse_duration(text).map_err(|error| Error::Usage(format!("{option}: {error}")))
}

fn bytes(option: &str, text: &str) -> Result<u64, Error> {
    units::parse_bytes(text).map_err(|error| Error::Usage(format!("{option}: {error}")))
}

fn read(file: &Path) -> Result<MeasuredReport, Error> {
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(REPORT_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| Error::Usage(format!("cannot read {}: {error}", file.display())))?;
    Ok(MeasuredReport::from_json(&text)?)
}
