//! The pictures of a workload on the page, each only where there is something to see.

use tenfold_server::MODELS;

use super::escape;
use crate::report::WorkloadReport;
use crate::report::chart::{Axis, Bar, Chart, Series, gantt};
use crate::report::row::{Measured, Point, Row};

/// All pictures of a workload.
pub(super) fn of(workload: &WorkloadReport) -> String {
    if workload.is_at_once() {
        return gantts(workload);
    }
    let listens = workload
        .rows
        .iter()
        .any(|row| row.measured.as_ref().is_some_and(|row| row.events_per_second.is_some()));
    let mut charts = Vec::new();
    charts.extend(throughput(workload).filter(|_| !listens));
    charts.extend(over_time(workload).filter(|_| !listens));
    charts.extend(memory(workload));
    if charts.is_empty() {
        return String::new();
    }
    let legend: String = workload
        .rows
        .iter()
        .filter(|row| row.measured.is_some() && row.variant.is_none())
        .map(|row| format!("<span>{}{}</span>", swatch(&row.model), escape(&row.model)))
        .collect();
    format!("<div class=\"legend\">{legend}</div><div class=\"charts\">{}</div>", charts.concat())
}

/// The place of a model among all: its colour.
pub(super) fn color(model: &str) -> usize {
    MODELS.iter().position(|known| known.name() == model).unwrap_or(0)
}

pub(super) fn swatch(model: &str) -> String {
    format!("<i class=\"swatch m{}\"></i>", color(model))
}

fn figure(caption: &str, detail: &str, svg: &str) -> String {
    format!("<figure><figcaption>{caption} <span>{detail}</span></figcaption>{svg}</figure>")
}

fn series(workload: &WorkloadReport, points: impl Fn(&Row, &Measured) -> Vec<(f64, f64)>) -> Vec<Series> {
    let rows = workload.rows.iter().filter(|row| row.variant.is_none());
    rows.filter_map(|row| {
        let points = points(row, row.measured.as_ref()?);
        Some(Series { name: row.model.clone(), color: color(&row.model), points })
    })
    .collect()
}

/// Throughput against latency: a curve where one was measured, the rounds' median elsewhere.
fn throughput(workload: &WorkloadReport) -> Option<String> {
    let has_curve = workload.rows.iter().any(|row| row.curve.len() > 1);
    // Where the rate is given there is one throughput, and the table has the latency.
    if !has_curve && !workload.load.contains("closed loop") {
        return None;
    }
    let point = |point: &Point| (point.requests_per_second, point.p99_ms);
    let chart = Chart {
        title: "throughput against latency",
        x: Axis { name: "requests/s", logarithmic: true },
        y: Axis { name: "p99 in ms", logarithmic: true },
        series: series(workload, |row, measured| match has_curve {
            true => row.curve.iter().map(point).collect(),
            false => {
                let p99 = measured.p99_ms.map_or(f64::NAN, |p99| p99.median);
                vec![(measured.requests_per_second.median, p99)]
            }
        }),
    };
    let detail = match has_curve {
        true => format!("at {}", steps(workload)),
        false => "further right and lower is better".into(),
    };
    Some(figure("Throughput against latency", &detail, &chart.svg()?))
}

fn steps(workload: &WorkloadReport) -> String {
    let longest = workload.rows.iter().map(|row| &row.curve).max_by_key(|curve| curve.len());
    let steps: Vec<String> = longest.into_iter().flatten().map(|point| format!("{}", point.at)).collect();
    let of = if workload.load.starts_with("open") { "requests/s" } else { "connections" };
    format!("{} {of}", steps.join(", "))
}

fn over_time(workload: &WorkloadReport) -> Option<String> {
    let chart = Chart {
        title: "latency over time",
        x: Axis { name: "seconds", logarithmic: false },
        y: Axis { name: "p99 in ms", logarithmic: true },
        series: series(workload, |_, measured| {
            measured.over_time.iter().map(|moment| (moment.seconds, moment.p99_ms)).collect()
        }),
    };
    Some(figure("Latency over time", "99th percentile in the last round", &chart.svg()?))
}

fn memory(workload: &WorkloadReport) -> Option<String> {
    if !matches!(workload.name.as_str(), "idle" | "push") {
        return None;
    }
    let chart = Chart {
        title: "memory against connections",
        x: Axis { name: "connections", logarithmic: false },
        y: Axis { name: "memory in MiB", logarithmic: true },
        series: series(workload, |_, measured| {
            let pairs = measured.memory_by_connections.iter();
            pairs.map(|(connections, kib)| (*connections as f64, *kib as f64 / 1_024.0)).collect()
        }),
    };
    Some(figure("Memory against connections", "all processes of the server", &chart.svg()?))
}

/// The requests that came at once, each a bar from its sending to its end.
fn gantts(workload: &WorkloadReport) -> String {
    let rows = || workload.rows.iter().filter_map(|row| Some((row, row.measured.as_ref()?)));
    let end = rows()
        .flat_map(|(_, measured)| &measured.timeline)
        .map(|span| span.end_us / 1_000.0)
        .fold(0.0, f64::max);
    if end <= 0.0 {
        return String::new();
    }
    let pictures: String = rows()
        .map(|(row, measured)| {
            let bars: Vec<Bar> = measured
                .timeline
                .iter()
                .map(|span| Bar {
                    from: span.sent_us / 1_000.0,
                    to: span.end_us / 1_000.0,
                    success: span.success,
                })
                .collect();
            let last = measured.last_end_ms.map_or(0.0, |end| end.median);
            let caption = format!("{}{}", swatch(&row.model), escape(&row.title()));
            figure(&caption, &format!("{last:.0} ms"), &gantt(&row.title(), color(&row.model), &bars, end))
        })
        .collect();
    format!(
        "<h3>Each request, from its sending to its answer, in ms</h3><div class=\"gantts\">{pictures}</div>"
    )
}
