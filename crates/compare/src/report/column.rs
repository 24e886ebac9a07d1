//! The columns of a workload's table: what they show of a row, and which end of them is the best.

use super::WorkloadReport;
use super::row::Measured;
use crate::measure::Figure;

/// A column; the same in the terminal and on the page.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) value: fn(&Measured) -> Option<f64>,
    best: Best,
    digits: Digits,
}

#[derive(Clone, Copy, PartialEq)]
enum Best {
    Least,
    Most,
    None,
}

#[derive(Clone, Copy)]
enum Digits {
    /// As a count: 12,345.
    Count,
    /// Three significant digits.
    Three,
}

/// What does not apply: the row has no such figure.
pub(super) const NOTHING: &str = "–";

/// Two values that differ by less are equally good.
const TIE: f64 = 0.02;

/// A row with more errors than this is not the best of anything.
const ERRORS_MAX: f64 = 0.01;

fn median(figure: Option<Figure>) -> Option<f64> {
    figure.map(|figure| figure.median)
}

/// The columns that a workload has something in.
pub(super) fn columns(workload: &WorkloadReport) -> Vec<Column> {
    use Best::{Least, Most};
    let column = |title, value, best, digits| Column { title, value, best, digits };
    let all = [
        column("last end ms", |row| median(row.last_end_ms), Least, Digits::Count),
        column("requests/s", |row| Some(row.requests_per_second.median), Most, Digits::Count),
        column("events/s", |row| median(row.events_per_second), Most, Digits::Count),
        column("p50 ms", |row| median(row.p50_ms), Least, Digits::Three),
        column("p99 ms", |row| median(row.p99_ms), Least, Digits::Three),
        column("max ms", |row| median(row.max_ms), Least, Digits::Three),
        column("user µs", |row| median(row.user_us), Least, Digits::Three),
        column("sys µs", |row| median(row.system_us), Least, Digits::Three),
        column("switches", |row| median(row.switches), Least, Digits::Three),
        column("memory MiB", |row| Some(row.memory_kib.median / 1_024.0), Least, Digits::Three),
        column(
            "KiB/conn",
            |row| median(row.bytes_per_connection).map(|bytes| bytes / 1_024.0),
            Least,
            Digits::Three,
        ),
        column("threads", |row| Some(row.threads.median), Best::None, Digits::Count),
        column("in flight", |row| Some(row.in_flight.median), Best::None, Digits::Count),
        column("errors", |row| Some(row.errors as f64), Best::None, Digits::Count),
    ];
    let rows = || workload.rows.iter().filter_map(|row| row.measured.as_ref());
    let is_at_once = workload.is_at_once();
    let has_events = rows().any(|row| row.events_per_second.is_some());
    all.into_iter()
        // Ten requests have no rate that says anything, and listeners make one request each.
        .filter(|column| column.title != "requests/s" || !(is_at_once || has_events))
        .filter(|column| rows().any(|row| (column.value)(row).is_some()))
        .collect()
}

impl Column {
    /// The best value of the column among rows that did their work.
    pub(super) fn best(&self, workload: &WorkloadReport) -> Option<f64> {
        let rows = workload.rows.iter().filter_map(|row| row.measured.as_ref());
        let values = rows.filter(|row| row.error_share() <= ERRORS_MAX).filter_map(self.value);
        match self.best {
            Best::Least => values.min_by(f64::total_cmp),
            Best::Most => values.max_by(f64::total_cmp),
            Best::None => None,
        }
    }

    pub(super) fn is_best(&self, row: &Measured, best: Option<f64>) -> bool {
        let (Some(value), Some(best)) = ((self.value)(row), best) else { return false };
        row.error_share() <= ERRORS_MAX && (value - best).abs() <= best.abs() * TIE
    }

    pub(super) fn text(&self, row: &Measured) -> String {
        match ((self.value)(row), self.digits) {
            (None, _) => NOTHING.into(),
            (Some(value), Digits::Count) => count(value),
            (Some(value), Digits::Three) => three(value),
        }
    }
}

/// A whole number with its thousands marked.
pub(super) fn count(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.into();
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && text != "0" { format!("-{text}") } else { text }
}

/// Three significant digits.
pub(super) fn three(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => NOTHING.into(),
        size if size >= 99.95 => count(value),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.0005 => format!("{value:.2}"),
        _ => "0".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        let shown = [12_345.6, 123.4, 12.34, 1.234, 0.0456, 0.0].map(three);
        assert_eq!(shown, ["12,346", "123", "12.3", "1.23", "0.05", "0"]);
        assert_eq!((count(1_234_567.0), count(999.0)), ("1,234,567".into(), "999".into()));
    }

    #[test]
    fn a_row_with_errors_is_not_the_best() {
        let row = |rps: f64, errors| {
            let requests_per_second = Figure { median: rps, low: rps, high: rps };
            let measured = Measured { requests_per_second, errors, tried: 100, ..Measured::default() };
            Row { measured: Some(measured), ..Row::default() }
        };
        let workload = WorkloadReport {
            rows: vec![row(50.0, 0), row(900.0, 90), row(49.5, 0)],
            ..WorkloadReport::default()
        };
        let column = columns(&workload).into_iter().find(|column| column.title == "requests/s").unwrap();
        let best = column.best(&workload);
        let marks = workload.rows.iter().map(|row| column.is_best(row.measured.as_ref().unwrap(), best));
        assert_eq!(marks.collect::<Vec<_>>(), [true, false, true]);
    }
}
