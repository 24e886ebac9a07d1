//! `load`: the load generator by itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use tenfold_compare::load::{self, Arrivals, Expect, LoadOutcome, LoadSpec, Shape, TargetSpec};
use tenfold_compare::units;

use super::{Error, print};

/// Connections unless given.
const CONNECTIONS: usize = 64;

#[derive(Args)]
pub(crate) struct LoadOptions {
    /// Where to: http://host:port/path, or unix:/path/of/socket:/path.
    #[arg(value_name = "URL", required_unless_present = "spec", conflicts_with = "spec")]
    url: Option<String>,
    /// Connections [default: 64]; with --rate the most that are opened [default: 10000].
    #[arg(short, long, value_name = "N")]
    connections: Option<usize>,
    /// Requests a second, whatever the server does (open loop). Without it each connection waits for its answer.
    #[arg(short, long, value_name = "N")]
    rate: Option<f64>,
    /// Random times between requests, as of many independent users, instead of even ones.
    #[arg(long, requires = "rate")]
    poisson: bool,
    /// How long to measure.
    #[arg(short, long, value_name = "S", default_value = "10")]
    seconds: String,
    /// How long to drive load before that.
    #[arg(short, long, value_name = "S", default_value = "1")]
    warm_up: String,
    /// The longest that an answer may take.
    #[arg(short, long, value_name = "S", default_value = "10")]
    timeout: String,
    /// The method; POST when there is a body.
    #[arg(short, long, value_name = "METHOD")]
    method: Option<String>,
    /// A header field: 'Name: value'. May be repeated.
    #[arg(short = 'H', long, value_name = "FIELD")]
    header: Vec<String>,
    /// The content of each request.
    #[arg(short, long, value_name = "TEXT")]
    body: Option<String>,
    /// Requests under way on a connection at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["rate", "close"])]
    pipeline: usize,
    /// A new connection for each request.
    #[arg(long, conflicts_with = "rate")]
    close: bool,
    /// The status that is a success; any of 2xx unless given.
    #[arg(long, value_name = "CODE")]
    expect_status: Option<u16>,
    /// The content that is a success, to the byte.
    #[arg(long, value_name = "TEXT")]
    expect_body: Option<String>,
    /// The processor to run on; may be repeated, one for each thread.
    #[arg(long, value_name = "N")]
    cpu: Vec<usize>,
    /// Threads of the generator.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// What to wait with: auto, io_uring or epoll.
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    backend: String,
    /// Write the outcome to a file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Do what a file (- for standard input) says as JSON, and print the outcome as JSON.
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
}

/// Does what `load` says. Exit code 1 when no request has succeeded.
pub(crate) fn run(options: &LoadOptions) -> Result<ExitCode, Error> {
    let spec = match &options.spec {
        Some(file) => read(file)?,
        None => options.spec()?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    end_on_signal(&stop)?;
    let outcome = load::run(&spec, &stop)?;
    if let Some(file) = &options.json {
        std::fs::write(file, to_json(&outcome)?)
            .map_err(|error| Error::System(format!("cannot write {}: {error}", file.display())))?;
    }
    match options.spec {
        Some(_) => print(&to_json(&outcome)?)?,
        None => print(&outcome.text())?,
    };
    Ok(if outcome.successes() > 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl LoadOptions {
    fn spec(&self) -> Result<LoadSpec, Error> {
        let shape = match self.rate {
            Some(rate) => Shape::Open {
                rate,
                connections_max: self.connections.unwrap_or(Shape::CONNECTIONS_MAX_DEFAULT),
                arrivals: if self.poisson { Arrivals::Poisson } else { Arrivals::Uniform },
            },
            None => Shape::Closed {
                connections: self.connections.unwrap_or(CONNECTIONS),
                pipeline: self.pipeline,
                close: self.close,
            },
        };
        let body = self.body.clone().unwrap_or_default();
        let method = if body.is_empty() { "GET" } else { "POST" };
        let target = TargetSpec {
            method: self.method.clone().unwrap_or_else(|| method.into()),
            headers: self.header.iter().map(|field| header(field)).collect::<Result<_, _>>()?,
            body,
            expect: Expect {
                status: self.expect_status,
                body: self.expect_body.clone(),
                ..Expect::default()
            },
            ..TargetSpec::get(self.url.clone().unwrap_or_default(), shape)
        };
        Ok(LoadSpec {
            warm_up_ms: millis("--warm-up", &self.warm_up)?,
            duration_ms: millis("--seconds", &self.seconds)?,
            timeout_ms: millis("--timeout", &self.timeout)?,
            threads: self.threads,
            cpus: self.cpu.clone(),
            backend: self.backend.clone(),
            ..LoadSpec::new(vec![target])
        })
    }
}

/// `Name: value` as a pair.
fn header(field: &str) -> Result<(String, String), Error> {
    let (name, value) = field
        .split_once(':')
        .ok_or_else(|| Error::Usage(format!("--header {field:?} is not of the form 'Name: value'")))?;
    Ok((name.trim().into(), value.trim().into()))
}

fn millis(option: &str, text: &str) -> Result<u64, Error> {
    let duration = units::parse_duration(text).map_err(|error| Error::Usage(format!("{option}: {error}")))?;
    Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(u64::from(duration > Duration::ZERO)))
}

/// Reads a specification.
fn read(file: &Path) -> Result<LoadSpec, Error> {
    let mut text = String::new();
    let name = if file.as_os_str() == "-" { "standard input".into() } else { file.display().to_string() };
    let limit = LoadSpec::JSON_BYTES_MAX + 1;
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(limit).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_string(&mut text)),
    };
    read.map_err(|error| Error::Usage(format!("cannot read {name}: {error}")))?;
    if text.len() as u64 > LoadSpec::JSON_BYTES_MAX {
        let most = LoadSpec::JSON_BYTES_MAX;
        return Err(Error::Usage(format!("{name}: a specification has at most {most} bytes")));
    }
    Ok(LoadSpec::from_json(&text)?)
}

fn to_json(outcome: &LoadOutcome) -> Result<String, Error> {
    let mut text = serde_json::to_string(outcome).map_err(|error| Error::System(error.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// The first Ctrl-C or TERM ends the run with what was measured; the second one ends the process.
fn end_on_signal(stop: &Arc<AtomicBool>) -> Result<(), Error> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .map_err(|error| Error::System(format!("cannot catch signals: {error}")))?;
    }
    Ok(())
}

impl From<tenfold_compare::Error> for Error {
    fn from(error: tenfold_compare::Error) -> Error {
        match error.is_usage() {
            true => Error::Usage(error.to_string()),
            false => Error::System(error.to_string()),
        }
    }
}
