//! Capacity from what a comparison has measured, instead of from what somebody believes.

use std::fmt::Write;

use serde::Deserialize;

use super::{BUSY_MAX, DAY, whole};
use crate::error::Error;
use crate::units;

/// Workloads whose load is a closed loop: only there the rate is the server's and not the client's.
const CLOSED: &[&str] = &["hello", "cycle", "copy", "route"];

/// The part of a comparison's JSON that a plan needs; everything else in it is skipped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MeasuredReport {
    /// Worker processes of each server.
    pub workers: u64,
    /// Each workload.
    pub workloads: Vec<MeasuredWorkload>,
}

/// One workload of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MeasuredWorkload {
    /// As `cycle`.
    pub name: String,
    /// Each model.
    pub rows: Vec<MeasuredRow>,
}

/// One model under a workload.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MeasuredRow {
    /// As `fiber`.
    pub model: String,
    /// A variant of the model, as `lanes`.
    pub variant: Option<String>,
    /// The figures; none where the model has refused.
    pub measured: Option<MeasuredFigures>,
}

/// The figures of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MeasuredFigures {
    /// Successes a second of all workers.
    pub requests_per_second: Median,
    /// The median latency in milliseconds.
    pub p50_ms: Option<Median>,
    /// CPU of a request in user mode, in microseconds.
    pub user_us: Option<Median>,
    /// The same in the kernel.
    pub system_us: Option<Median>,
    /// Memory of all server processes in KiB.
    pub memory_kib: Median,
    /// Whether the load generator was the bottleneck.
    pub client_saturated: bool,
}

/// A figure of several rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Median {
    /// Their median.
    pub median: f64,
}

impl MeasuredReport {
    /// Reads a comparison's JSON.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`] when it is not one, or has no workload to plan from.
    pub fn from_json(text: &str) -> Result<MeasuredReport, Error> {
        let invalid = |reason: String| Error::invalid("from", reason);
        let mut report: MeasuredReport = serde_json::from_str(text)
            .map_err(|error| invalid(format!("this is no report of compare: {error}")))?;
        report.workloads.retain(|workload| CLOSED.contains(&workload.name.as_str()));
        match report.workloads.is_empty() {
            true => Err(invalid(format!(
                "the report has none of the workloads that show what a server can do: {}",
                CLOSED.join(", ")
            ))),
            false => Ok(report),
        }
    }

    /// What each model can do and, for a wanted rate, what it takes; as text, for people.
    pub fn text(&self, rate: Option<f64>) -> String {
        let mut text = String::new();
        for workload in &self.workloads {
            let _ = writeln!(text, "{}, for each worker process", workload.name);
            workload.write(&mut text, self.workers.max(1) as f64, rate);
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "\"under way\" is rate × median latency (Little's law); \"CPU limit\" is one processor / CPU of a request."
        );
        if rate.is_some() {
            let _ = writeln!(
                text,
                "\"workers\" serve the wanted rate at {:.0} % of what one has reached.",
                BUSY_MAX * 100.0
            );
        }
        text
    }
}

impl MeasuredWorkload {
    fn write(&self, text: &mut String, workers: f64, rate: Option<f64>) {
        let _ = write!(
            text,
            "  {:<22} {:>11} {:>14} {:>10} {:>10} {:>10} {:>10}",
            "model", "requests/s", "a day", "under way", "CPU", "CPU limit", "memory"
        );
        if let Some(rate) = rate {
            let _ = write!(text, " {:>20}", format!("for {}/s", units::count(rate)));
        }
        text.push('\n');
        for row in &self.rows {
            let Some(figures) = row.measured else { continue };
            row.write(text, &figures, workers, rate);
        }
    }
}

impl MeasuredRow {
    fn write(&self, text: &mut String, figures: &MeasuredFigures, workers: f64, rate: Option<f64>) {
        let variant = self.variant.as_ref().map_or(String::new(), |variant| format!(" ({variant})"));
        let reached = figures.requests_per_second.median / workers;
        let memory = figures.memory_kib.median * 1024.0 / workers;
        let under_way = figures.p50_ms.map(|p50| reached * p50.median / 1e3);
        let cpu = figures.cpu_us();
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".into());
        let _ = write!(
            text,
            "  {:<22} {:>11} {:>14} {:>10} {:>10} {:>10} {:>10}",
            format!("{}{variant}", self.model),
            units::count(reached.round()),
            units::count(reached * DAY),
            or_dash(under_way.map(units::count)),
            or_dash(cpu.map(|us| units::duration(std::time::Duration::from_secs_f64(us / 1e6)))),
            or_dash(cpu.map(|us| units::count((1e6 / us).round()))),
            units::bytes(memory as u64),
        );
        if let (Some(rate), true) = (rate, reached > 0.0) {
            let needed = whole(rate / (reached * BUSY_MAX));
            let plural = if needed == 1 { "" } else { "s" };
            let whole = format!("{needed} worker{plural}, {}", units::bytes((memory * needed as f64) as u64));
            let _ = write!(text, " {whole:>20}");
        }
        text.push_str(if figures.client_saturated { "  (client saturated: at least)\n" } else { "\n" });
    }
}

impl MeasuredFigures {
    /// CPU of a request, in microseconds.
    fn cpu_us(&self) -> Option<f64> {
        let cpu = self.user_us?.median + self.system_us?.median;
        (cpu > 0.0 && cpu.is_finite()).then_some(cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{ "version": 1, "workers": 2, "unknown": {}, "workloads": [
        { "name": "ads", "rows": [] },
        { "name": "cycle", "rows": [
            { "model": "serial", "measured": {
                "requests_per_second": { "median": 1000, "low": 1, "high": 2 }, "p50_ms": { "median": 2 },
                "user_us": { "median": 30 }, "system_us": { "median": 20 }, "memory_kib": { "median": 4096 } } },
            { "model": "event", "refused": "it cannot" }
        ] }
    ] }"#;

    #[test]
    fn a_report_is_planned_from_for_each_worker() {
        let report = MeasuredReport::from_json(REPORT).unwrap();
        assert_eq!(report.workloads.len(), 1);
        let text = report.text(Some(3_000.0));
        let row = text.lines().find(|line| line.trim().starts_with("serial")).unwrap();
        // 500 for each of two workers; 1 under way; 50 µs; 20,000; 2 MiB; 3,000 / 350 = 8.57.
        for part in ["500", "43,200,000", "50.0 µs", "20,000", "2.00 MiB", "9 workers, 18.0 MiB"] {
            assert!(row.contains(part), "{part} in {row}");
        }
        assert!(!text.contains("event"), "{text}");
    }

    #[test]
    fn what_is_no_report_is_one_line() {
        for wrong in ["", "[]", "{}", r#"{"workloads":[{"name":"ads"}]}"#] {
            let error = MeasuredReport::from_json(wrong).unwrap_err();
            assert!(error.is_usage() && !error.to_string().contains('\n'), "{error}");
        }
    }
}
