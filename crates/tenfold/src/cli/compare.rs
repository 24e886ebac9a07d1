//! `compare`: what each model costs, measured; and the processes that it starts.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tenfold_compare::compare::{self, Options};
use tenfold_compare::part::{Part, Role, announce};
use tenfold_compare::report::Report;
use tenfold_server::{Serving, Settings};

use super::{AtEnd, Error, Make, Program, print};

#[derive(Args)]
pub(crate) struct CompareOptions {
    /// What to measure; may be a list: hello,cpu,io,cycle,ads,idle,slow,mixed,copy,push. All unless given.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "route")]
    workload: Vec<String>,
    /// Under which models; may be a list. All unless given.
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,
    /// Measure one route of this app instead: GET:/path.
    #[arg(long, value_name = "METHOD:/PATH")]
    route: Option<String>,
    /// Worker processes of each server, each with a processor of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Threads of a worker, where its model has a number of them; handler processes are a quarter of it.
    #[arg(long, value_name = "N", default_value_t = 64)]
    threads: usize,
    /// Seconds of a round.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Requests a second of the workloads that have a rate.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Connections; requests of the workloads that come at once.
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Rounds, each of which measures every model once.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// What cycle asks: sim:1ms, redis://host:port/0 or sqlite.
    #[arg(long, value_name = "STORE", default_value = "sim:1ms")]
    store: String,
    /// Everything in less than two minutes.
    #[arg(long)]
    quick: bool,
    /// Measure nothing: show a report that --json has written, or make a page of it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "model", "route", "quick", "json"])]
    from: Option<PathBuf>,
    /// Write the report to a file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report to a file as a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The hidden word: what `compare` starts.
#[derive(Args)]
pub(crate) struct PartOptions {
    /// What it is, as JSON.
    part: String,
}

/// Does what `compare` says.
pub(crate) fn run(line: &CompareOptions) -> Result<ExitCode, Error> {
    let options = line.options()?;
    let report = match &line.from {
        Some(file) => read(file)?,
        None => compare::run(&options)?,
    };
    for (path, text) in [(&options.json, report.to_json()), (&options.html, report.to_html())] {
        if let Some(path) = path {
            std::fs::write(path, text)
                .map_err(|error| Error::System(format!("cannot write {}: {error}", path.display())))?;
        }
    }
    print(&report.to_text(std::io::stdout().is_terminal()))
}

fn read(file: &Path) -> Result<Report, Error> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::Usage(format!("cannot read {name}: {error}")))?;
    Report::from_json(&text).map_err(|error| Error::Usage(format!("{name}: {error}")))
}

/// Is one of the processes of a comparison. `make` makes this executable's own app, for a part that serves that.
pub(crate) fn part(line: &PartOptions, mut make: Make) -> Result<ExitCode, Error> {
    let part = Part::from_json(&line.part)?;
    part.settle()?;
    if let Role::Application { server } = &part.role {
        let settings = server.settings();
        let program =
            make(&settings)?.ok_or_else(|| Error::System("the application was made already".into()))?;
        return serve(&settings, program);
    }
    match part.app() {
        Some(app) => {
            let (app, settings) = app.map_err(Error::Usage)?;
            serve(&settings, Program::new(app))
        }
        None => {
            part.simulate()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn serve(settings: &Settings, program: Program) -> Result<ExitCode, Error> {
    let Program { app, extra, at_end } = program;
    let _at_end = AtEnd(at_end);
    let on_ready = |serving: &Serving| {
        announce(&serving.addresses.first().map_or_else(String::new, |address| format!("http://{address}")));
    };
    Ok(tenfold_server::serve(app, settings, extra, on_ready)?)
}

impl CompareOptions {
    fn options(&self) -> Result<Options, Error> {
        let all = Options::default();
        let or_all = |given: &[String], all| if given.is_empty() { all } else { given.to_vec() };
        Ok(Options {
            models: or_all(&self.model, all.models),
            workloads: or_all(&self.workload, all.workloads),
            route: self.route.as_deref().map(str::parse).transpose().map_err(Error::Usage)?,
            workers: self.workers,
            threads: self.threads,
            seconds: self.seconds,
            rate: self.rate,
            connections: self.connections,
            rounds: self.rounds,
            quick: self.quick,
            store: self.store.parse().map_err(Error::Usage)?,
            json: self.json.clone(),
            html: self.html.clone(),
        })
    }
}
