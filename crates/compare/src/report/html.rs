//! The report as one page that loads nothing: style and pictures are in it, light and dark.

mod pictures;

use super::column::{self, count, three};
use super::terminal::{remarks_on, spread, stage_names};
use super::{Report, WorkloadReport};
use crate::measure::Stages;

use self::pictures::swatch;

const STYLE: &str = include_str!("html/style.css");

/// The page.
pub(super) fn page(report: &Report) -> String {
    let sections: String =
        report.workloads.iter().map(|workload| section(workload, report.machine.server_cpus.len())).collect();
    let links: String = report
        .workloads
        .iter()
        .map(|workload| format!("<a href=\"#{0}\">{0}</a>", escape(&workload.name)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>tenfold compare</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}<nav>{links}</nav>\n{}{}{sections}{}</main>\n</body>\n</html>\n",
        head(report),
        recommendation(report),
        summary(report),
        foot(),
    )
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let cpus = |cpus: &[usize]| cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let shared = match machine.is_shared() {
        true => " The load shares a processor with the server: throughput is of both together.",
        false => "",
    };
    let quick = match report.quick {
        true => " A quick run: short rounds, differences of less than 10 % say nothing.",
        false => "",
    };
    format!(
        "<h1>One handler, every model</h1>\n<p class=\"soft\">tenfold {} compare on {}, {} processors, {} GiB, Linux {}. \
         {} worker{} on processor {}, load from processor {}; {} threads where a model has a number of them. Took {:.0} s.\
         {shared}{quick}</p>\n",
        escape(&report.tenfold),
        escape(&machine.processor),
        machine.processors.len(),
        (machine.memory_mib as f64 / 1_024.0).round(),
        escape(&machine.kernel),
        report.workers,
        if report.workers == 1 { "" } else { "s" },
        cpus(&machine.server_cpus),
        cpus(&machine.load_cpus),
        report.threads,
        report.took_seconds,
    )
}

fn recommendation(report: &Report) -> String {
    let Some(recommendation) = &report.recommendation else { return String::new() };
    let reasons: String =
        recommendation.reasons.iter().map(|reason| format!("<li>{}</li>", escape(reason))).collect();
    format!(
        "<section class=\"answer\"><h2>Recommended for {}: <b>{}</b></h2><ul>{reasons}</ul></section>\n",
        escape(&recommendation.workload),
        escape(&recommendation.model),
    )
}

fn summary(report: &Report) -> String {
    if report.summary.is_empty() {
        return String::new();
    }
    let class = |index: usize| if index >= super::summary::WORDS_FROM { " class=\"words\"" } else { "" };
    let head: String = super::summary::TITLES
        .iter()
        .enumerate()
        .map(|(index, title)| format!("<th{}>{title}</th>", class(index)))
        .collect();
    let rows: String = report
        .summary
        .iter()
        .map(|row| {
            let cells = row.cells();
            let rest = cells.iter().enumerate().skip(1);
            let rest: String =
                rest.map(|(index, cell)| format!("<td{}>{}</td>", class(index), escape(cell))).collect();
            format!("<tr><td>{}{}</td>{rest}</tr>\n", swatch(&row.model), escape(&row.model))
        })
        .collect();
    format!(
        "<section><h2>All models</h2><p class=\"load\">Processor time of a request that does nothing; memory of an idle \
         server and of each idle connection; how many of ten waiting and of ten computing requests went on at a time.</p>\
         <div class=\"wide\"><table><tr>{head}</tr>\n{rows}</table></div></section>\n"
    )
}

fn section(workload: &WorkloadReport, processors: usize) -> String {
    let name = escape(&workload.name);
    format!(
        "<section id=\"{name}\"><h2>{name}</h2><p>{}</p><p class=\"load\">{}</p>\n{}{}{}{}</section>\n",
        escape(&sentence(&workload.teaches)),
        escape(&workload.load),
        table(workload),
        remarks(workload),
        stages(workload, processors),
        pictures::of(workload),
    )
}

fn table(workload: &WorkloadReport) -> String {
    let columns = column::columns(workload);
    let best: Vec<_> = columns.iter().map(|column| column.best(workload)).collect();
    let head: String = columns.iter().map(|column| format!("<th>{}</th>", column.title)).collect();
    let mut rows = String::new();
    for row in &workload.rows {
        let Some(measured) = &row.measured else { continue };
        let cells: String = columns
            .iter()
            .zip(&best)
            .map(|(column, best)| {
                let class = if column.is_best(measured, *best) {
                    " class=\"best\""
                } else if column.title == "errors" && measured.errors > 0 {
                    " class=\"bad\""
                } else {
                    ""
                };
                format!("<td{class}>{}</td>", column.text(measured))
            })
            .collect();
        rows += &format!(
            "<tr><td>{}{}</td>{cells}<td class=\"soft\">{}</td></tr>\n",
            swatch(&row.model),
            escape(&row.title()),
            spread(measured)
        );
    }
    format!("<div class=\"wide\"><table><tr><th>model</th>{head}<th>spread</th></tr>\n{rows}</table></div>\n")
}

fn remarks(workload: &WorkloadReport) -> String {
    let items: String = workload
        .rows
        .iter()
        .flat_map(|row| remarks_on(row).into_iter().map(|remark| (row.title(), remark)))
        .map(|(title, remark)| format!("<li><b>{}</b>: {}</li>", escape(&title), escape(&remark)))
        .collect();
    if items.is_empty() { items } else { format!("<ul class=\"remarks\">{items}</ul>\n") }
}

/// Where the time of a request went: a bar for each model, and the figures.
fn stages(workload: &WorkloadReport, processors: usize) -> String {
    let rows: Vec<_> = workload
        .rows
        .iter()
        .filter_map(|row| {
            let measured = row.measured.as_ref()?;
            Some((row, measured, measured.stages.as_ref()?))
        })
        .collect();
    let names = stage_names(rows.iter().map(|(_, _, stages)| *stages));
    if names.is_empty() {
        return String::new();
    }
    let key = |(index, name): (usize, &String)| {
        format!("<th><i class=\"swatch m{}\"></i>{}</th>", index % 8, escape(name))
    };
    let head: String = names.iter().enumerate().map(key).collect();
    let mut body = String::new();
    for (row, measured, stages) in rows {
        let cells: String = names
            .iter()
            .map(|name| {
                let found = stages.stages.iter().find(|stage| stage.name == *name);
                format!("<td>{}</td>", found.map_or(column::NOTHING.into(), |stage| three(stage.us)))
            })
            .collect();
        let (ceiling, reached) = match stages.ceiling(processors) {
            Some(ceiling) => (
                count(ceiling.overlapped),
                format!("{:.0} %", measured.requests_per_second.median / ceiling.overlapped * 100.0),
            ),
            None => (column::NOTHING.into(), column::NOTHING.into()),
        };
        body += &format!(
            "<tr><td>{}{}</td><td>{}</td>{cells}<td>{:.0} %</td><td>{ceiling}</td><td>{reached}</td></tr>\n",
            swatch(&row.model),
            escape(&row.title()),
            stack(stages, &names),
            stages.share_of_waiting() * 100.0
        );
    }
    format!(
        "<h3>Where the time of a request went, in µs</h3><div class=\"wide\"><table><tr><th>model</th><th></th>{head}\
         <th>waits</th><th>ceiling/s</th><th>reached</th></tr>\n{body}</table></div>\n"
    )
}

/// A stage has the colour of its place in `names`, so the same one in each row and at the head of its column.
fn stack(stages: &Stages, names: &[String]) -> String {
    let total = stages.stages.iter().map(|stage| stage.us).sum::<f64>().max(f64::MIN_POSITIVE);
    let parts: String = stages
        .stages
        .iter()
        .map(|stage| {
            let index = names.iter().position(|name| *name == stage.name).unwrap_or_default();
            format!(
                "<i class=\"{}\" style=\"width:{:.2}%;background:var(--m{})\" title=\"{}: {} µs\"></i>",
                if stage.waits { "waits" } else { "" },
                stage.us / total * 100.0,
                index % 8,
                escape(&stage.name),
                three(stage.us)
            )
        })
        .collect();
    format!("<div class=\"stack\">{parts}</div>")
}

fn foot() -> String {
    "<footer><p>Medians of rounds that were interleaved over the models, warm-up discarded; spread is half of the range of \
     the rounds. Processor time, context switches and memory are of all processes of the server; memory counts what they \
     share once. Latency of open loops counts from when a request was due. Green is the best of a column, or as good within \
     2 %; rows with more than 1 % errors are left out of that.</p></footer>\n"
        .into()
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_has_said_is_escaped() {
        let row = crate::report::Row {
            model: "fiber".into(),
            refused: Some("<script>alert(1)</script>".into()),
            ..Default::default()
        };
        let workload = WorkloadReport { name: "cycle".into(), rows: vec![row], ..WorkloadReport::default() };
        let page = page(&Report { workloads: vec![workload], ..Report::default() });
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = page(&Report::default());
        for loading in ["src=", "@import", "url(", "<link"] {
            assert!(!page.contains(loading), "{loading}");
        }
    }
}
