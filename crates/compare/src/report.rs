//! What a comparison has found: as data, as tables for a terminal, as a page.
//!
//! The data is the JSON of `--json`; its fields are documented here and in docs/compare.md. Within a version fields are added
//! and never change their meaning.

mod row;

mod recommendation;
mod summary;

mod column;
mod table;
mod terminal;

mod chart;
mod html;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::measure::Machine;

pub use recommendation::Recommendation;
pub use row::{Measured, Moment, Other, Point, Row};
pub use summary::SummaryRow;

/// The version of the JSON.
pub const VERSION: u32 = 1;

/// A whole comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Of this program.
    pub tenfold: String,
    /// When it was made, in seconds since 1970.
    pub made_at: u64,
    /// How long it took, in seconds.
    pub took_seconds: f64,
    /// Where it was made.
    pub machine: Machine,
    /// Worker processes of each server.
    pub workers: usize,
    /// Threads of a worker, where its model has a number of them.
    pub threads: usize,
    /// What `cycle` has asked.
    pub store: String,
    /// Whether it was `--quick`: short rounds, wide spread.
    pub quick: bool,
    /// What was measured, in the order of the table.
    pub workloads: Vec<WorkloadReport>,
    /// The table of the models, with figures.
    pub summary: Vec<SummaryRow>,
    /// What to choose, for the workload that says most about an app.
    pub recommendation: Option<Recommendation>,
}

/// One workload under all models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkloadReport {
    /// As `cycle`, or `route`.
    pub name: String,
    /// What it is, and what becomes visible.
    pub teaches: String,
    /// The load in words.
    pub load: String,
    /// Seconds of a round; not of those that end with the last answer.
    pub seconds: f64,
    /// A row for each model, or more where a model was measured with lanes as well.
    pub rows: Vec<Row>,
}

impl Report {
    /// A report of this moment, without anything measured yet.
    pub(crate) fn begin(machine: Machine) -> Report {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Report {
            version: VERSION,
            tenfold: env!("CARGO_PKG_VERSION").into(),
            made_at: now.as_secs(),
            machine,
            ..Report::default()
        }
    }

    /// Draws the conclusions from what was measured.
    pub(crate) fn conclude(&mut self) {
        self.summary = summary::rows(self);
        self.recommendation = recommendation::of(self);
    }

    /// Reads the JSON of a former comparison.
    ///
    /// # Errors
    /// What is wrong with the text, or that it is of another version.
    pub fn from_json(text: &str) -> Result<Report, String> {
        let report: Report = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match report.version == VERSION {
            true => Ok(report),
            false => Err(format!("a report of version {}; this program reads {VERSION}", report.version)),
        }
    }

    /// As JSON, for other programs.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// As tables.
    pub fn to_text(&self, colors: bool) -> String {
        terminal::text(self, colors)
    }

    /// As one self-contained page.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// The workload of this name.
    pub fn workload(&self, name: &str) -> Option<&WorkloadReport> {
        self.workloads.iter().find(|workload| workload.name == name)
    }
}

impl WorkloadReport {
    /// What was measured of a model without lanes of its own.
    pub fn measured(&self, model: &str) -> Option<&Measured> {
        let row = self.rows.iter().find(|row| row.model == model && row.variant.is_none())?;
        row.measured.as_ref()
    }

    /// Whether its requests come at the same instant, so that the end of the last one says most.
    pub fn is_at_once(&self) -> bool {
        self.rows
            .iter()
            .filter_map(|row| row.measured.as_ref())
            .any(|measured| measured.last_end_ms.is_some())
    }
}
