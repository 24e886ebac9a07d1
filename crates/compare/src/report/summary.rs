//! The table of the models with figures where books have "high" and "low".

use serde::{Deserialize, Serialize};
use tenfold_server::{Facts, find_model};

use super::Report;
use super::column::{count, three};
use super::row::Measured;
use crate::part::ServerSpec;

/// A model, in a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SummaryRow {
    /// The model.
    pub model: String,
    /// Processor time of a request that does nothing, in microseconds (`hello`).
    pub cpu_us: Option<f64>,
    /// Memory of the server before the first request, in MiB.
    pub memory_mib: Option<f64>,
    /// What an idle connection adds, in bytes (`idle`).
    pub bytes_per_connection: Option<f64>,
    /// How many waits go on at a time (`cycle`): requests in flight that the server really had under way, by Little's law.
    pub io_at_once: Option<f64>,
    /// How many seconds of computing it does in a second (`cpu`).
    pub parallelism: Option<f64>,
    /// How handlers are written.
    pub style: String,
    /// What a crash takes with it.
    pub isolation: String,
    /// What it suits, by these measurements.
    pub suits: Vec<String>,
}

/// The table's head.
pub(super) const TITLES: [&str; 9] = [
    "model",
    "CPU µs/req",
    "memory MiB",
    "per conn",
    "waits at once",
    "parallel",
    "plain code on",
    "a crash takes",
    "suits",
];

/// From this column on they are words.
pub(super) const WORDS_FROM: usize = 6;

/// What each request of `cpu` and `io` takes alone, in milliseconds.
const ALONE_MS: f64 = 100.0;

/// A row for each model that was compared.
pub(super) fn rows(report: &Report) -> Vec<SummaryRow> {
    let mut models: Vec<&str> = Vec::new();
    for row in report.workloads.iter().flat_map(|workload| &workload.rows) {
        if !models.contains(&row.model.as_str()) {
            models.push(&row.model);
        }
    }
    models.into_iter().filter_map(|model| row(report, model)).collect()
}

fn row(report: &Report, model: &str) -> Option<SummaryRow> {
    let server =
        ServerSpec { model: model.into(), workers: report.workers, threads: report.threads, board: None };
    let facts = server.facts().ok()?;
    let of = |workload: &str| report.workload(workload).and_then(|workload| workload.measured(model));
    let any = || report.workloads.iter().find_map(|workload| workload.measured(model));
    Some(SummaryRow {
        model: model.into(),
        cpu_us: of("hello").or_else(|| of("route")).and_then(Measured::cpu_us),
        memory_mib: any().map(|measured| measured.memory_idle_kib / 1_024.0),
        bytes_per_connection: of("idle").and_then(|measured| Some(measured.bytes_per_connection?.median)),
        io_at_once: of("io").and_then(overlap),
        parallelism: of("cpu").and_then(overlap),
        style: style(model),
        isolation: isolation(&facts),
        suits: suits(report, model),
    })
}

/// How many of the requests that came at once were worked on at a time, on the mean: their times alone by that of all.
fn overlap(measured: &Measured) -> Option<f64> {
    let end = measured.last_end_ms?.median;
    Some(measured.timeline.len() as f64 * ALONE_MS / end)
}

/// Handlers are the same plain blocking code everywhere; what differs is where it runs.
fn style(model: &str) -> String {
    let on = find_model(model).map_or("", |model| model.layers().1);
    // The model's own words, without what they explain.
    let on = on.split(';').next().unwrap_or(on);
    on.split(", and").next().unwrap_or(on).to_owned()
}

fn isolation(facts: &Facts) -> String {
    if facts.processes > 0 || facts.at_once == Some(1) {
        "one request".into()
    } else {
        "a worker's requests".into()
    }
}

/// What a model suits, by what it has shown: the bars are relative to the best model of the same run.
fn suits(report: &Report, model: &str) -> Vec<String> {
    let of = |workload: &str| report.workload(workload).and_then(|workload| workload.measured(model));
    let rate = |measured: &Measured| measured.requests_per_second.median;
    let best = |workload: &str, value: &dyn Fn(&Measured) -> f64| {
        let rows = report.workload(workload).map(|workload| workload.rows.iter()).into_iter().flatten();
        rows.filter_map(|row| row.measured.as_ref()).map(value).fold(f64::NAN, f64::max)
    };
    let near = |workload: &str, share: f64, value: &dyn Fn(&Measured) -> f64| {
        of(workload).is_some_and(|measured| value(measured) >= share * best(workload, value))
    };
    let sound = |workload: &str| of(workload).is_some_and(|measured| measured.error_share() <= 0.01);
    let mut suits = Vec::new();
    // A page is some queries and a template, and its visitors have slow lines.
    if near("cycle", 0.5, &rate) && sound("slow") {
        suits.push("website".into());
    }
    // A service calls others: the calls of `ads` in their time.
    if sound("ads") && of("ads").is_some_and(|measured| measured.p99_ms.is_some_and(|p99| p99.median < 250.0))
    {
        suits.push("web service".into());
    }
    // Clients that stay: all of them are served.
    let events = |measured: &Measured| measured.events_per_second.map_or(0.0, |events| events.median);
    if near("push", 0.95, &events) && sound("idle") {
        suits.push("real time".into());
    }
    suits
}

impl SummaryRow {
    /// The cells, in the order of the head.
    pub(super) fn cells(&self) -> Vec<String> {
        let number = |value: Option<f64>| value.map_or_else(|| "–".into(), three);
        let per_connection = match self.bytes_per_connection {
            Some(bytes) if bytes < 10_240.0 => format!("{} B", count(bytes)),
            Some(bytes) => format!("{} KiB", three(bytes / 1_024.0)),
            None => "–".into(),
        };
        vec![
            self.model.clone(),
            number(self.cpu_us),
            number(self.memory_mib),
            per_connection,
            number(self.io_at_once),
            number(self.parallelism),
            self.style.clone(),
            self.isolation.clone(),
            if self.suits.is_empty() { "–".into() } else { self.suits.join(", ") },
        ]
    }
}
