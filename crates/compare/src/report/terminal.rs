//! The report as tables for a terminal.

use super::column::{self, count, three};
use super::row::{Measured, Row};
use super::table::{Cell, Table};
use super::{Report, WorkloadReport};
use crate::load::GeneratorOutcome;
use crate::measure::Stages;

/// All of it.
pub(super) fn text(report: &Report, colors: bool) -> String {
    let mut text = head(report);
    for workload in &report.workloads {
        text += &format!("\n{}: {}\n", workload.name, workload.teaches);
        text += &format!("  {}\n\n", workload.load);
        text += &table(workload, colors);
        text += &remarks(workload);
        if let Some(stages) = stages(workload, report.machine.server_cpus.len()) {
            text += &format!("\n{stages}");
        }
    }
    text += &summary(report);
    if let Some(recommendation) = &report.recommendation {
        text += &format!("\nRecommended for {}: {}\n", recommendation.workload, recommendation.model);
        for reason in &recommendation.reasons {
            text += &format!("  - {reason}\n");
        }
    }
    text += "\n* the best of its column, or as good within 2 %; rows with more than 1 % errors are left out of that.\n";
    text
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let cpus = |cpus: &[usize]| cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut text = format!(
        "tenfold {} compare · {} · {} processors · Linux {}\n",
        report.tenfold,
        machine.processor,
        machine.processors.len(),
        machine.kernel
    );
    text += &format!(
        "{} worker{} on processor {}, load from processor {}; {} threads where a model has a number of them; took {:.0} s\n",
        report.workers,
        if report.workers == 1 { "" } else { "s" },
        cpus(&machine.server_cpus),
        cpus(&machine.load_cpus),
        report.threads,
        report.took_seconds,
    );
    if machine.is_shared() {
        text += "The load shares a processor with the server: throughput is of both together.\n";
    }
    if report.quick {
        text += "Quick: short rounds. Differences of less than 10 % say nothing.\n";
    }
    text
}

fn table(workload: &WorkloadReport, colors: bool) -> String {
    let columns = column::columns(workload);
    let best: Vec<_> = columns.iter().map(|column| column.best(workload)).collect();
    let titles: Vec<&str> =
        std::iter::once("model").chain(columns.iter().map(|column| column.title)).chain(["spread"]).collect();
    let mut table = Table::new(&titles);
    for row in &workload.rows {
        let Some(measured) = &row.measured else { continue };
        let mut cells = vec![Cell::of(row.title())];
        cells.extend(columns.iter().zip(&best).map(|(column, best)| Cell {
            text: column.text(measured),
            is_best: column.is_best(measured, *best),
            ..Cell::default()
        }));
        cells.push(Cell::of(spread(measured)));
        table.row(cells);
    }
    table.text(colors)
}

/// How far the rounds lie apart in what the row is about.
pub(super) fn spread(measured: &Measured) -> String {
    if measured.rounds < 2 {
        return "1 round".into();
    }
    let figure = measured.last_end_ms.or(measured.events_per_second).unwrap_or(measured.requests_per_second);
    format!("±{:.0} %", figure.spread() * 100.0)
}

/// What the table cannot say.
fn remarks(workload: &WorkloadReport) -> String {
    let mut text = String::new();
    for row in &workload.rows {
        for remark in remarks_on(row) {
            text += &format!("  {}: {remark}\n", row.title());
        }
    }
    text
}

/// What has to be said about a row; the same in the terminal and on the page.
pub(super) fn remarks_on(row: &Row) -> Vec<String> {
    let mut remarks = Vec::new();
    remarks.extend(row.refused.clone());
    remarks.extend(row.note.clone());
    let Some(measured) = &row.measured else { return remarks };
    for other in &measured.others {
        if other.errors == 0 && other.requests_per_second.median == 0.0 {
            // Clients that are meant to get nowhere, and did.
            continue;
        }
        let p99 = other.p99_ms.map_or_else(String::new, |p99| format!(", p99 {} ms", three(p99.median)));
        let errors =
            if other.errors > 0 { format!(", {} errors", count(other.errors as f64)) } else { String::new() };
        remarks.push(format!(
            "{}: {} requests/s{p99}{errors}",
            other.name,
            three(other.requests_per_second.median)
        ));
    }
    if measured.errors > 0 {
        let kinds: Vec<String> = measured
            .errors_by_kind
            .by_kind()
            .iter()
            .filter(|(_, number)| *number > 0)
            .map(|(kind, number)| format!("{} {kind}", count(*number as f64)))
            .collect();
        let example = measured.error_example.as_ref().map_or_else(String::new, |text| format!(" ({text})"));
        remarks.push(format!("errors: {}{example}", kinds.join(", ")));
    }
    if measured.client_saturated {
        remarks.push(saturation(measured));
    }
    remarks
}

fn saturation(measured: &Measured) -> String {
    match measured.client_share.high > GeneratorOutcome::SHARE_MAX {
        true => format!(
            "client saturated: the load generator used {:.0} % of its processor, the server could do more; compare processor time",
            measured.client_share.high * 100.0
        ),
        false => format!(
            "client saturated: one request in a hundred was sent {} ms late or later, which its latency contains",
            three(measured.client_late_ms)
        ),
    }
}

/// Where a request's time went, for each model.
fn stages(workload: &WorkloadReport, processors: usize) -> Option<String> {
    let rows: Vec<(&Row, &Measured, &Stages)> = workload
        .rows
        .iter()
        .filter_map(|row| {
            let measured = row.measured.as_ref()?;
            Some((row, measured, measured.stages.as_ref()?))
        })
        .collect();
    let names = stage_names(rows.iter().map(|(_, _, stages)| *stages));
    if names.is_empty() {
        return None;
    }
    let mut head = vec!["µs of a request in"];
    head.extend(names.iter().map(String::as_str));
    head.extend(["waits", "in sequence/s", "ceiling/s", "reached"]);
    let mut table = Table::new(&head);
    for (row, measured, stages) in rows {
        let mut cells = vec![Cell::of(row.title())];
        cells.extend(names.iter().map(|name| {
            let found = stages.stages.iter().find(|stage| stage.name == *name);
            Cell::of(found.map_or(column::NOTHING.into(), |stage| three(stage.us)))
        }));
        cells.push(Cell::of(format!("{:.0} %", stages.share_of_waiting() * 100.0)));
        match stages.ceiling(processors) {
            Some(ceiling) => {
                let reached = measured.requests_per_second.median / ceiling.overlapped;
                cells.push(Cell::of(count(ceiling.in_sequence)));
                cells.push(Cell::of(count(ceiling.overlapped)));
                cells.push(Cell::of(format!("{:.0} %", reached * 100.0)));
            }
            None => cells.extend([Cell::of("–"), Cell::of("–"), Cell::of("–")]),
        }
        table.row(cells);
    }
    Some(table.text(false))
}

/// All stages that any of the rows was in, in their order.
pub(super) fn stage_names<'a>(all: impl Iterator<Item = &'a Stages>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for stages in all {
        // A stage that others have not been in comes behind the one that it follows here.
        let mut at = 0;
        for stage in &stages.stages {
            match names.iter().position(|name| *name == stage.name) {
                Some(found) => at = found + 1,
                None => {
                    names.insert(at, stage.name.clone());
                    at += 1;
                }
            }
        }
    }
    names
}

fn summary(report: &Report) -> String {
    if report.summary.is_empty() {
        return String::new();
    }
    let words =
        |index: usize, text: String| Cell { is_words: index >= super::summary::WORDS_FROM, ..Cell::of(text) };
    let row = |cells: Vec<String>| {
        cells.into_iter().enumerate().map(|(index, text)| words(index, text)).collect::<Vec<_>>()
    };
    let mut table = Table::default();
    table.row(row(super::summary::TITLES.map(str::to_owned).to_vec()));
    report.summary.iter().for_each(|summary| table.row(row(summary.cells())));
    format!("\nAll models\n\n{}", table.text(false))
}
