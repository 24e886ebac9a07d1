//! What to choose, with the reason.
//!
//! The rule, in words: of the models that served at least 99 % of the requests, those that reached 90 % of the highest
//! throughput are equally fast (within what short runs can tell apart, at least); of these the one with the least memory at
//! the measured concurrency; of equals the one that comes first in the table of models, which is the simpler one.

use serde::{Deserialize, Serialize};

use super::column::{count, three};
use super::row::Measured;
use super::{Report, WorkloadReport};

/// What to choose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The workload that it is for.
    pub workload: String,
    /// The model.
    pub model: String,
    /// Why, in sentences with figures.
    pub reasons: Vec<String>,
}

/// Requests that may fail.
const ERRORS_MAX: f64 = 0.01;

/// Throughput that counts as equal to the highest.
const EQUAL: f64 = 0.9;

/// Memory that counts as equal to the least.
const EQUAL_MEMORY: f64 = 1.1;

/// For the user's own route, or for the workload that is most like an app.
pub(super) fn of(report: &Report) -> Option<Recommendation> {
    let workload = ["route", "cycle", "hello"].iter().find_map(|name| report.workload(name))?;
    choose(workload, report.machine.server_cpus.len().max(1))
}

fn choose(workload: &WorkloadReport, processors: usize) -> Option<Recommendation> {
    let rows: Vec<(&str, &Measured)> = workload
        .rows
        .iter()
        .filter(|row| row.variant.is_none())
        .filter_map(|row| Some((row.model.as_str(), row.measured.as_ref()?)))
        .filter(|(_, measured)| measured.tried > 0 && measured.error_share() <= ERRORS_MAX)
        .collect();
    let rate = |measured: &Measured| measured.requests_per_second.median;
    let fastest = rows.iter().map(|(_, measured)| rate(measured)).fold(0.0, f64::max);
    let fast = || rows.iter().filter(|(_, measured)| rate(measured) >= EQUAL * fastest);
    let least = fast().map(|(_, measured)| measured.memory_kib.median).fold(f64::INFINITY, f64::min);
    let (model, chosen) = fast().find(|(_, measured)| measured.memory_kib.median <= EQUAL_MEMORY * least)?;
    let mut reasons = vec![format!(
        "{} requests/s at {} MiB with {} requests in flight, p99 {} ms.",
        count(rate(chosen)),
        three(chosen.memory_kib.median / 1_024.0),
        count(chosen.in_flight.median),
        chosen.p99_ms.map_or("–".into(), |p99| three(p99.median)),
    )];
    reasons.extend(waiting(chosen, processors).or_else(|| idle_processor(workload)));
    if let Some(cpu) = chosen.cpu_us() {
        let per_processor = 1e6 / cpu;
        reasons.push(format!(
            "A request costs {} µs of processor time: at most {} of them a second for each processor.",
            three(cpu),
            count(per_processor),
        ));
    }
    reasons.extend(against_slowest(&rows, model, chosen));
    reasons.extend(against_hungriest(&rows, model, chosen));
    Some(Recommendation { workload: workload.name.clone(), model: (*model).into(), reasons })
}

fn waiting(chosen: &Measured, processors: usize) -> Option<String> {
    let stages = chosen.stages.as_ref()?;
    let (share, ceiling) = (stages.share_of_waiting(), stages.ceiling(processors)?);
    Some(format!(
        "A request waits {:.0} % of its time. One after another there would be {} a second; with all waits overlapped at \
         most {}, of which it reached {:.0} %.",
        share * 100.0,
        count(ceiling.in_sequence),
        count(ceiling.overlapped),
        chosen.requests_per_second.median / ceiling.overlapped * 100.0,
    ))
}

/// Without the server's own account: how much of the time its processor had nothing to do while requests came one after another.
fn idle_processor(workload: &WorkloadReport) -> Option<String> {
    let serial = workload.measured("serial")?;
    let busy = serial.cpu_us()? * serial.requests_per_second.median / 1e6;
    (busy < 0.95).then(|| {
        format!(
            "Handled one after another (serial), a request takes {} ms, and for {:.0} % of that the processor waits.",
            three(1e3 / serial.requests_per_second.median),
            (1.0 - busy) * 100.0,
        )
    })
}

fn against_slowest(rows: &[(&str, &Measured)], model: &str, chosen: &Measured) -> Option<String> {
    let rate = |measured: &Measured| measured.requests_per_second.median;
    let (slowest, measured) = rows.iter().min_by(|a, b| rate(a.1).total_cmp(&rate(b.1)))?;
    let times = rate(chosen) / rate(measured);
    (*slowest != model && times >= 1.2 && times.is_finite()).then(|| {
        format!(
            "That is {} times what {slowest} serves, with {} times its memory.",
            three(times),
            three(chosen.memory_kib.median / measured.memory_kib.median),
        )
    })
}

fn against_hungriest(rows: &[(&str, &Measured)], model: &str, chosen: &Measured) -> Option<String> {
    let memory = |measured: &Measured| measured.memory_kib.median;
    let (hungriest, measured) = rows.iter().max_by(|a, b| memory(a.1).total_cmp(&memory(b.1)))?;
    (*hungriest != model && memory(measured) >= 1.5 * memory(chosen)).then(|| {
        format!("{hungriest} takes {} MiB for the same requests.", three(memory(measured) / 1_024.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Figure;
    use crate::report::Row;

    fn workload(rows: &[(&str, f64, f64, u64)]) -> WorkloadReport {
        let figure = |value: f64| Figure { median: value, low: value, high: value };
        let row = |&(model, rps, mib, errors): &(&str, f64, f64, u64)| Row {
            model: model.into(),
            measured: Some(Measured {
                requests_per_second: figure(rps),
                memory_kib: figure(mib * 1_024.0),
                user_us: Some(figure(10.0)),
                system_us: Some(figure(20.0)),
                errors,
                tried: 1_000,
                ..Measured::default()
            }),
            ..Row::default()
        };
        WorkloadReport {
            name: "cycle".into(),
            rows: rows.iter().map(row).collect(),
            ..WorkloadReport::default()
        }
    }

    fn chosen(rows: &[(&str, f64, f64, u64)]) -> String {
        choose(&workload(rows), 1).unwrap().model
    }

    #[test]
    fn of_the_fast_ones_the_one_with_the_least_memory_is_chosen() {
        let rows = [
            ("serial", 800.0, 6.0, 0),
            ("pool", 19_500.0, 12.0, 0),
            ("fiber", 20_000.0, 8.0, 0),
            ("steal", 20_500.0, 8.5, 0),
        ];
        assert_eq!(chosen(&rows), "fiber");
    }

    #[test]
    fn a_model_that_fails_requests_is_not_chosen_however_fast() {
        assert_eq!(chosen(&[("serial", 800.0, 6.0, 0), ("thread", 90_000.0, 6.0, 100)]), "serial");
        assert_eq!(choose(&workload(&[("serial", 1.0, 1.0, 500)]), 1), None);
    }

    #[test]
    fn of_equals_the_simpler_one_is_chosen_and_the_reason_has_figures() {
        let rows = [("serial", 1_000.0, 6.0, 0), ("fiber", 1_050.0, 6.0, 0)];
        let recommendation = choose(&workload(&rows), 1).unwrap();
        assert_eq!(recommendation.model, "serial");
        assert!(recommendation.reasons.iter().any(|reason| reason.contains("30.0 µs")), "{recommendation:?}");
    }
}
