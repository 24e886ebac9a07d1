//! The screen of `top`.
//!
//! ```text
//!   how it is · counters beside their bounds
//!   ┌ where the time goes ────┐┌ requests a second ─────┐
//!   └─────────────────────────┘└────────────────────────┘
//!   advice
//!   ┌ workers ──────────────────────────────────────────┐
//!   ┌ lanes ────────────────────────────────────────────┐   where there are any, and room
//!   ┌ queues of jobs ───────────────────────────────────┐   where there are any
//!   ┌ rooms ────────────────────────────────────────────┐   where there are any
//!   ┌ requests in flight ───────────────────────────────┐
//! ```

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Cell, Paragraph, Row, Sparkline, Table, Wrap};
use serde_json::Value;
use tenfold_server::sight::{age, milliseconds, plain};

use super::fitting::{fitting, height};
use super::sample::History;

/// Most rows of the table of workers; the rest is told as a number.
const WORKERS_MAX: usize = 16;
/// What the requests in flight get before the tables of lanes, jobs and rooms get anything: five of them, between headings and frame.
const REQUESTS_MIN: u16 = 8;
/// Widths of a bar.
const BAR: usize = 24;

pub(super) fn draw(frame: &mut Frame<'_>, history: &History, skip: usize, paused: bool) {
    let status = &history.status;
    let times = time_rows(status);
    let workers = list(status, "workers").len().min(WORKERS_MAX);
    let above = [2, (times.len() as u16 + 3).max(7), 2, workers as u16 + 3].map(Constraint::Length);
    let [head, middle, advice, table, rest, keys] =
        Layout::vertical(above.into_iter().chain([Constraint::Min(4), Constraint::Length(1)]))
            .areas(frame.area());
    let [lanes, queues, rooms] = fitting(status, rest.height.saturating_sub(REQUESTS_MIN));
    let [lanes_area, jobs_area, rooms_area, requests] = Layout::vertical([
        Constraint::Length(height(&lanes)),
        Constraint::Length(height(&queues)),
        Constraint::Length(height(&rooms)),
        Constraint::Min(4),
    ])
    .areas(rest);
    let [left, right] = Layout::horizontal([Constraint::Min(68), Constraint::Fill(1)]).areas(middle);
    frame.render_widget(Paragraph::new(head_lines(history)), head);
    draw_times(frame, left, times, status);
    draw_rates(frame, right, history);
    let advice_text = status["advice"].as_str().unwrap_or("no advice yet: too few requests are finished");
    frame.render_widget(Paragraph::new(advice_text).italic().wrap(Wrap { trim: true }), advice);
    draw_workers(frame, table, history);
    let more = list(&status["jobs"], "queues").len().saturating_sub(queues.len().saturating_sub(1));
    let title =
        if more > 0 { format!(" queues of jobs, and {more} more ") } else { " queues of jobs ".into() };
    draw_lines(frame, lanes_area, " lanes ".into(), lanes);
    draw_lines(frame, jobs_area, title, queues);
    draw_lines(frame, rooms_area, " rooms ".into(), rooms);
    draw_requests(frame, requests, status, skip);
    let paused = if paused { "paused · " } else { "" };
    let keys_text = format!(" {paused}q quit · p pause · ↑ ↓ scroll");
    frame.render_widget(Paragraph::new(keys_text).dim(), keys);
}

fn head_lines(history: &History) -> Vec<Line<'static>> {
    let status = &history.status;
    let state = plain(&status["state"]);
    let colour = match state.as_str() {
        "serving" => Color::Green,
        "degraded" => Color::Red,
        _ => Color::Yellow,
    };
    let (state, colour) = match &history.lost {
        Some(reason) => (format!("no answer: {reason}"), Color::Red),
        None => (state, colour),
    };
    let uptime = status["uptime_secs"].as_u64().map_or("-".into(), |seconds| age(seconds * 1_000));
    let listeners: Vec<String> = list(status, "listeners").iter().map(plain).collect();
    let first = Line::from(vec![
        Span::styled(format!(" {state} "), Style::new().fg(Color::Black).bg(colour).bold()),
        Span::raw(format!(
            "  {} · generation {} · master {} · up {uptime} · {}",
            plain(&status["model"]),
            plain(&status["generation"]),
            plain(&status["pid"]),
            listeners.join(" "),
        )),
    ]);
    let (counters, limits) = (&status["counters"], &status["limits"]);
    let of = |value: &Value| value.as_u64().map_or(String::new(), |most| format!("/{most}"));
    let restarts: u64 =
        status["restarts"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    let mut second = vec![Span::raw(format!(
        " {}{} in flight · {}{} connections · {} requests",
        plain(&status["in_flight"]),
        of(&limits["in_flight_max"]),
        plain(&counters["connections_open"]),
        of(&limits["connections_max"]),
        plain(&counters["requests"]),
    ))];
    for (name, count) in [
        ("shed", counters["rejections"].as_u64()),
        ("timed out", counters["timeouts"].as_u64()),
        ("panics", counters["panics"].as_u64()),
        ("5xx", counters["responses_5xx"].as_u64()),
        ("restarts", Some(restarts)),
    ] {
        let count = count.unwrap_or(0);
        let style = if count > 0 { Style::new().fg(Color::Yellow) } else { Style::new().dim() };
        second.push(Span::styled(format!(" · {count} {name}"), style));
    }
    vec![first, Line::from(second)]
}

struct TimeRow {
    name: String,
    mean_ms: f64,
    p99_ms: Option<f64>,
    share: f64,
    colour: Color,
}

fn time_rows(status: &Value) -> Vec<TimeRow> {
    let times = &status["times"];
    let row = |value: &Value, name: String, colour| TimeRow {
        name,
        mean_ms: value["mean_ms"].as_f64().unwrap_or(0.0),
        p99_ms: value["p99_ms"].as_f64(),
        share: value["share"].as_f64().unwrap_or(0.0),
        colour,
    };
    let mut rows = Vec::new();
    for stage in list(times, "stages") {
        match stage["name"].as_str().unwrap_or("?") {
            "wait" => {
                let waits = list(times, "waits").iter();
                rows.extend(waits.map(|it| row(it, format!("wait: {}", plain(&it["name"])), Color::Blue)));
            }
            _ if stage["share"].as_f64().unwrap_or(0.0) < 5e-4 => {}
            "queue" => rows.push(row(stage, "queue".into(), Color::Red)),
            name => rows.push(row(stage, name.into(), Color::Green)),
        }
    }
    rows
}

fn draw_times(frame: &mut Frame<'_>, area: Rect, rows: Vec<TimeRow>, status: &Value) {
    let total = &status["times"]["total"];
    let title = match total["mean_ms"].as_f64().filter(|mean| *mean > 0.0) {
        Some(mean) => format!(" where the time goes: {} ms a request ", milliseconds(mean)),
        None => " where the time goes ".into(),
    };
    let rows = rows.into_iter().map(|row| {
        let filled = ((row.share * BAR as f64).round() as usize).min(BAR);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
        Row::new([
            Cell::from(row.name),
            Cell::from(Line::from(milliseconds(row.mean_ms)).right_aligned()),
            Cell::from(Line::from(row.p99_ms.map_or("-".into(), milliseconds)).right_aligned()),
            Cell::from(Line::from(format!("{:.1} %", row.share * 100.0)).right_aligned()),
            Cell::from(bar).fg(row.colour),
        ])
    });
    let widths = [14, 9, 10, 8, BAR as u16].map(Constraint::Length);
    let table = Table::new(rows, widths)
        .header(header(&["", "mean ms", "p99 below", "share"], &[]))
        .block(block(title));
    frame.render_widget(table, area);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, history: &History) {
    let title = match history.rates.back() {
        Some(rate) => format!(" {rate} requests/s "),
        None => " requests/s ".into(),
    };
    let room = area.width.saturating_sub(2) as usize;
    let shown: Vec<u64> = history.rates.iter().rev().take(room).rev().copied().collect();
    frame.render_widget(Sparkline::default().data(shown).fg(Color::Cyan).block(block(title)), area);
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, history: &History) {
    let workers = list(&history.status, "workers");
    let rows = workers.iter().take(WORKERS_MAX).map(|worker| {
        let number = |name: &str| plain(&worker[name]);
        let rates = history.worker(worker);
        let is_busy = worker["in_flight"].as_u64() > Some(0);
        let (state, colour) = match worker["state"].as_str() {
            Some("ready") if is_busy => ("busy".to_owned(), Color::Green),
            Some("ready") => ("ready".to_owned(), Color::Reset),
            Some(state @ ("down" | "killed" | "gone")) => (state.to_owned(), Color::Red),
            _ => (number("state"), Color::Yellow),
        };
        let lag = worker["lag_ms"].as_u64().unwrap_or(0);
        let style = if lag >= 100 { Style::new().fg(Color::Red) } else { Style::new() };
        let right = |text: String| Cell::from(Line::from(text).right_aligned());
        Row::new([
            right(number("slot")),
            Cell::from(number("group")),
            right(number("pid")),
            right(number("generation")),
            Cell::from(state).fg(colour),
            right(number("in_flight")),
            right(number("connections_open")),
            right(number("requests")),
            right(rates.map_or("-".into(), |(rate, _)| format!("{rate:.0}"))),
            right(rates.map_or("-".into(), |(_, cpu)| format!("{:.0} %", cpu * 100.0))),
            right(worker["memory_bytes"].as_f64().map_or("-".into(), |b| format!("{:.1}", b / 1_048_576.0))),
            right(lag.to_string()).style(style),
        ])
    });
    let titles = [
        "slot",
        "group",
        "pid",
        "gen",
        "state",
        "in flight",
        "conns",
        "requests",
        "req/s",
        "cpu",
        "MiB",
        "lag ms",
    ];
    let widths = [4, 16, 8, 4, 9, 9, 7, 11, 8, 6, 8, 7].map(Constraint::Length);
    let more = workers.len().saturating_sub(WORKERS_MAX);
    let title = if more > 0 { format!(" workers, and {more} more ") } else { " workers ".into() };
    frame.render_widget(
        Table::new(rows, widths).header(header(&titles, &["group", "state"])).block(block(title)),
        area,
    );
}

fn draw_requests(frame: &mut Frame<'_>, area: Rect, status: &Value, skip: usize) {
    let requests = list(status, "requests");
    let rows = requests.iter().skip(skip).map(|request| {
        let ms = |name: &str| request[name].as_u64().unwrap_or(0);
        let name = request["what"].as_str().map_or(String::new(), |what| format!(" {what}"));
        let (doing, colour) = match (request["state"].as_str(), request["waits_for"].as_str()) {
            (_, Some(cause)) => (format!("waits for {cause}{name}"), Color::Blue),
            (Some("queue"), _) => ("queues".into(), Color::Red),
            (Some("run"), _) => ("runs".into(), Color::Green),
            (state, _) => (state.unwrap_or("?").to_owned(), Color::Reset),
        };
        let id = request["id"].as_str().map_or(String::new(), |id| format!(" · id {id}"));
        let right = |text: String| Cell::from(Line::from(text).right_aligned());
        Row::new([
            right(age(ms("age_ms"))),
            right(plain(&request["slot"])),
            Cell::from(plain(&request["method"])),
            Cell::from(Line::from(vec![Span::raw(plain(&request["path"])), Span::raw(id).dim()])),
            right(age(ms("since_ms"))),
            Cell::from(doing).fg(colour),
        ])
    });
    let widths = [
        Constraint::Length(9),
        Constraint::Length(4),
        Constraint::Length(7),
        Constraint::Fill(2),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let title = format!(" {} requests in flight, the oldest first ", plain(&status["in_flight"]));
    let titles = ["age", "slot", "method", "path", "since", "does"];
    frame.render_widget(
        Table::new(rows, widths).header(header(&titles, &["method", "path", "does"])).block(block(title)),
        area,
    );
}

/// A table that is text already; its first line has the headings.
fn draw_lines(frame: &mut Frame<'_>, area: Rect, title: String, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    let lines = lines.into_iter().enumerate().map(|(at, line)| {
        let line = Line::from(line);
        if at == 0 { line.dim() } else { line }
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block(title)), area);
}

/// `words`: the columns that are no numbers.
fn header(titles: &[&'static str], words: &[&str]) -> Row<'static> {
    let cell = |title: &&'static str| match words.contains(title) {
        true => Line::from(*title),
        false => Line::from(*title).right_aligned(),
    };
    Row::new(titles.iter().map(cell).map(Cell::from)).style(Style::new().add_modifier(Modifier::DIM))
}

fn block(title: String) -> Block<'static> {
    Block::bordered().border_type(BorderType::Rounded).border_style(Style::new().dim()).title(title.bold())
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn shown(history: &History, skip: usize) -> String {
        let mut terminal = Terminal::new(TestBackend::new(140, 40)).unwrap();
        terminal.draw(|frame| draw(frame, history, skip, false)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn requests_in_flight_have_room_before_tables_of_what_is_idle() {
        let workers: Vec<Value> = (0..10).map(|slot| json!({ "slot": slot, "group": "worker" })).collect();
        let requests: Vec<Value> =
            (0..4).map(|at| json!({ "slot": 1, "method": "GET", "path": format!("/stuck/{at}") })).collect();
        let mut history = History::default();
        history.add(
            json!({
                "workers": workers, "requests": requests, "in_flight": 4,
                "lanes": [{ "lane": "reports", "door": "places" }],
                "jobs": { "queues": [{ "name": "mails" }, { "name": "orders" }, { "name": "sale" }] },
                "rooms": { "hub": "local", "state": "up", "members": 0 },
            }),
            Instant::now(),
        );
        let screen = shown(&history, 0);
        for words in ["/stuck/0", "/stuck/3", "mails", "sale"] {
            assert!(screen.contains(words), "no {words:?} in {screen}");
        }
        assert!(!screen.contains("local") && !screen.contains("reports"), "{screen}");
    }

    #[test]
    fn the_screen_shows_workers_times_and_what_requests_wait_for() {
        let mut history = History::default();
        let status = json!({
            "state": "serving", "model": "fiber", "pid": 1, "generation": 2, "in_flight": 2,
            "advice": "wait less", "counters": { "requests": 900 },
            "times": { "stages": [{ "name": "run", "mean_ms": 0.5, "share": 0.1 }, { "name": "wait", "share": 0.9 }],
                       "waits": [{ "name": "database", "mean_ms": 4.5, "p99_ms": 8.4, "share": 0.9 }],
                       "total": { "mean_ms": 5.0 } },
            "workers": [{ "slot": 3, "group": "worker", "pid": 77, "state": "ready", "lag_ms": 250 }],
            "lanes": [{ "lane": "reports", "door": "places", "in_use": 4, "queued": 2, "oldest_ms": 1_250 }],
            "jobs": { "queues": [{ "name": "mails", "ready": 41, "oldest_ms": 2_500, "died": 3 }] },
            "rooms": { "hub": "nats", "state": "up", "members": 77_000,
                       "stages": [{ "name": "carry", "count": 12, "p50_ms": 0.5 }] },
            "requests": [
                { "slot": 3, "method": "GET", "path": "/stuck", "age_ms": 61_000, "since_ms": 60_000,
                  "state": "wait", "waits_for": "http", "what": "suppliers:80", "id": "abc-1" },
                { "slot": 3, "method": "GET", "path": "/late", "age_ms": 5, "since_ms": 5, "state": "queue" },
            ],
        });
        history.add(status, Instant::now());
        let screen = shown(&history, 0);
        for part in [
            "serving",
            "wait: database",
            "90.0 %",
            "wait less",
            "/stuck",
            "/stuck · id abc-1",
            "waits for http suppliers:80",
            "reports",
            "1.250 s",
            "queues",
            "250",
            "queues of jobs",
            "mails",
            "2.500 s",
            "77000",
            "carry",
        ] {
            assert!(screen.contains(part), "{part:?} in\n{screen}");
        }
        assert!(!shown(&history, 1).contains("/stuck"), "it was scrolled away");
        history.lost("gone".into());
        assert!(shown(&history, 0).contains("no answer: gone"));
    }

    #[test]
    fn a_small_terminal_and_an_empty_status_are_drawn_too() {
        let mut terminal = Terminal::new(TestBackend::new(20, 5)).unwrap();
        terminal.draw(|frame| draw(frame, &History::default(), 9, true)).unwrap();
    }
}
