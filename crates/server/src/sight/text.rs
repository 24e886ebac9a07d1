//! What goes on, as text: `/status.txt`, `tenfold status` and `tenfold top --once`.

use std::fmt::Write;

use serde_json::Value;

use super::lanes::lanes;
use super::rooms::rooms;

/// A status as a page of text. `requests_max`: how many of the requests in flight are listed, the oldest first.
///
/// It takes the JSON of `status` as any version gives it: what is missing is left out.
pub fn text(status: &Value, requests_max: usize) -> String {
    let mut text = head(status);
    let times = &status["times"];
    if times["requests"].as_u64() > Some(0) {
        text += &times_table(times);
    }
    if let Some(advice) = status["advice"].as_str() {
        let _ = writeln!(text, "\nadvice: {advice}");
    }
    text.push('\n');
    text += &workers(status);
    if status["lanes"].as_array().is_some_and(|lanes| !lanes.is_empty()) {
        let _ = write!(text, "\n{}", lanes(&status["lanes"]));
    }
    if status["jobs"]["queues"].as_array().is_some_and(|queues| !queues.is_empty()) {
        let _ = write!(text, "\n{}", queues(&status["jobs"]));
    }
    if status["rooms"].is_object() {
        let _ = write!(text, "\n{}", rooms(&status["rooms"]));
    }
    let requests = status["requests"].as_array();
    let in_flight = status["in_flight"].as_u64().unwrap_or(0);
    let _ = writeln!(text, "\n{in_flight} requests in flight, the oldest first");
    for value in requests.into_iter().flatten().take(requests_max) {
        text += &request(value);
        text.push('\n');
    }
    text
}

/// One request in flight: age, slot, what was asked for, what it is doing.
pub(crate) fn request(value: &Value) -> String {
    let milliseconds = |name: &str| age(value[name].as_u64().unwrap_or(0));
    let what = format!("{} {}", plain(&value["method"]), plain(&value["path"]));
    let name = value["what"].as_str().map_or(String::new(), |what| format!(" {what}"));
    let since = milliseconds("since_ms");
    let doing = match (value["state"].as_str(), value["waits_for"].as_str()) {
        (_, Some(cause)) => format!("waits {since} for {cause}{name}"),
        (Some("queue"), _) => format!("queues {since}"),
        (Some("run"), _) => format!("runs {since}"),
        (state, _) => format!("{} {since}", state.unwrap_or("?")),
    };
    let id = value["id"].as_str().map_or(String::new(), |id| format!(" · id {id}"));
    format!("{:>9}  slot {:<3} {:<44} {doing}{id}", milliseconds("age_ms"), plain(&value["slot"]), what)
}

/// Milliseconds in the largest fitting unit.
pub fn age(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.3} s", ms as f64 / 1e3),
        10_000..120_000 => format!("{:.1} s", ms as f64 / 1e3),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

fn head(status: &Value) -> String {
    let listeners: Vec<String> = status["listeners"].as_array().into_iter().flatten().map(plain).collect();
    let uptime = status["uptime_secs"].as_u64().map_or("-".into(), |seconds| age(seconds * 1_000));
    let mut text = format!(
        "{} · tenfold {} · model {} · master {} · generation {} · up {} · {}\n",
        plain(&status["state"]),
        plain(&status["version"]),
        plain(&status["model"]),
        plain(&status["pid"]),
        plain(&status["generation"]),
        uptime,
        listeners.join(" "),
    );
    for (name, change) in [("reload", &status["last_reload"]), ("upgrade", &status["last_upgrade"])] {
        match change["ok"].as_bool() {
            Some(true) => drop(writeln!(text, "last {name}: ok")),
            Some(false) => drop(writeln!(text, "last {name}: failed: {}", plain(&change["reason"]))),
            None => {}
        }
    }
    let counters = &status["counters"];
    if counters.is_object() {
        let limits = &status["limits"];
        let of = |value: &Value| value.as_u64().map_or(String::new(), |most| format!(" of {most}"));
        let restarts = status["restarts"].as_object().into_iter().flatten();
        let restarts: Vec<String> = restarts.map(|(reason, count)| format!("{reason} {count}")).collect();
        let _ = writeln!(
            text,
            "{} requests · {}{} in flight · {}{} connections · shed {}{} · timed out {}{} · panics {} · 5xx {} · restarts: {}",
            plain(&counters["requests"]),
            plain(&status["in_flight"]),
            of(&limits["in_flight_max"]),
            plain(&counters["connections_open"]),
            of(&limits["connections_max"]),
            plain(&counters["rejections"]),
            by_reason(&counters["rejections_by"]),
            plain(&counters["timeouts"]),
            by_reason(&counters["timeouts_by"]),
            plain(&counters["panics"]),
            plain(&counters["responses_5xx"]),
            if restarts.is_empty() { "none".into() } else { restarts.join(", ") },
        );
    }
    text
}

/// What a number consists of, in brackets; nothing where it is zero.
fn by_reason(counts: &Value) -> String {
    let counts = counts.as_object().into_iter().flatten();
    let some = counts.filter(|(_, count)| count.as_u64() > Some(0));
    let parts: Vec<String> = some.map(|(reason, count)| format!("{reason} {count}")).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn times_table(times: &Value) -> String {
    let number = |value: &Value| value.as_f64().map_or("-".to_owned(), milliseconds);
    let row = |name: String, row: &Value| {
        let share = row["share"].as_f64().unwrap_or(0.0);
        vec![
            name,
            number(&row["mean_ms"]),
            number(&row["p50_ms"]),
            number(&row["p99_ms"]),
            format!("{:.1} %", share * 100.0),
        ]
    };
    let mut rows =
        vec![["ms of a request", "mean", "p50 below", "p99 below", "share"].map(str::to_owned).to_vec()];
    for stage in times["stages"].as_array().into_iter().flatten() {
        let name = stage["name"].as_str().unwrap_or("?");
        if name == "wait" {
            let waits = times["waits"].as_array().into_iter().flatten();
            rows.extend(waits.map(|wait| row(format!("wait: {}", plain(&wait["name"])), wait)));
        } else if stage["share"].as_f64() > Some(0.0) {
            rows.push(row(name.into(), stage));
        }
    }
    rows.push(row("total".into(), &times["total"]));
    format!("\n{}", aligned(&rows, 1))
}

/// A number of milliseconds with the digits that matter.
///
/// ```
/// use tenfold_server::sight::milliseconds;
/// assert_eq!([milliseconds(0.5), milliseconds(12.34), milliseconds(123.4)], ["0.500", "12.3", "123"]);
/// ```
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 1.0 => format!("{ms:.1}"),
        ms => format!("{ms:.3}"),
    }
}

fn workers(status: &Value) -> String {
    let columns = [
        ("slot", "slot"),
        ("group", "group"),
        ("index", "index"),
        ("pid", "pid"),
        ("generation", "gen"),
        ("state", "state"),
        ("age_secs", "age s"),
        ("in_flight", "in flight"),
        ("connections_open", "conns"),
        ("requests", "requests"),
        ("memory_bytes", "MiB"),
        ("cpu_ms", "cpu s"),
        ("lag_ms", "lag ms"),
    ];
    let mut rows = vec![columns.map(|(_, title)| title.to_owned()).to_vec()];
    for worker in status["workers"].as_array().into_iter().flatten() {
        let cell = |(name, _): (&str, &str)| match (name, worker[name].as_f64()) {
            ("memory_bytes", Some(bytes)) => format!("{:.1}", bytes / f64::from(1 << 20)),
            ("cpu_ms", Some(ms)) => format!("{:.2}", ms / 1e3),
            _ => plain(&worker[name]),
        };
        rows.push(columns.map(cell).to_vec());
    }
    aligned(&rows, 0)
}

/// The queues of jobs as a table, from what their keeper says.
pub fn queues(jobs: &Value) -> String {
    let columns = [
        ("name", "queue"),
        ("ready", "ready"),
        ("delayed", "delayed"),
        ("blocked", "blocked"),
        ("running", "running"),
        ("live", "live"),
        ("capacity", "of"),
        ("oldest_ms", "oldest"),
        ("per_second", "done/s"),
        ("done", "done"),
        ("retried", "retried"),
        ("died", "died"),
        ("crashed", "crashed"),
        ("refused", "refused"),
        ("dead", "dead"),
        ("state", ""),
    ];
    let mut rows = vec![columns.map(|(_, title)| title.to_owned()).to_vec()];
    for queue in jobs["queues"].as_array().into_iter().flatten() {
        let cell = |(name, _): (&str, &str)| match name {
            "oldest_ms" => age(queue[name].as_u64().unwrap_or(0)),
            "state" if queue["paused"] == true => "paused".into(),
            "state" if queue["draining"] == true => "draining".into(),
            "state" => String::new(),
            _ => plain(&queue[name]),
        };
        rows.push(columns.map(cell).to_vec());
    }
    aligned(&rows, 1)
}

/// Rows as lines whose columns are below each other. Columns from number `right` on are numbers; 0: none is.
///
/// ```
/// let rows = [["queue", "live"], ["mail", "12"]].map(|row| row.map(String::from).to_vec());
/// assert_eq!(tenfold_server::sight::aligned(&rows, 1), "queue  live\nmail     12\n");
/// ```
pub fn aligned(rows: &[Vec<String>], right: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if right > 0 && at >= right { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// A value as a cell of a table has it: text without quotes, `-` for nothing.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_says_how_it_is_where_time_goes_and_what_requests_wait_for() {
        let status = json!({
            "state": "serving", "pid": 7, "model": "pool", "listeners": ["127.0.0.1:80"], "in_flight": 2,
            "last_reload": { "ok": false, "reason": "no luck" }, "restarts": { "signal": 2 },
            "counters": { "requests": 500, "connections_open": 3 }, "limits": { "in_flight_max": 64 },
            "advice": "wait less",
            "times": { "requests": 500,
                "stages": [{ "name": "run", "mean_ms": 1.25, "p50_ms": 1.5, "p99_ms": 3.0, "share": 0.25 },
                           { "name": "read", "mean_ms": 0.0, "share": 0.0 }, { "name": "wait", "share": 0.75 }],
                "waits": [{ "name": "database", "mean_ms": 3.75, "share": 0.75 }],
                "total": { "mean_ms": 5.0, "share": 1.0 } },
            "workers": [{ "slot": 0, "group": "worker", "pid": 8, "state": "busy", "memory_bytes": 3 << 20 }],
            "lanes": [{ "lane": "reports", "door": "places", "in_use": 4, "oldest_ms": 1_500 }],
            "requests": [
                { "slot": 0, "method": "GET", "path": "/a", "age_ms": 12_300, "since_ms": 12_000, "state": "wait",
                  "waits_for": "http", "what": "suppliers:80", "id": "abc-123" },
                { "slot": 0, "method": "GET", "path": "/b", "age_ms": 5, "since_ms": 5, "state": "queue" },
            ],
        });
        let page = text(&status, 10);
        let has = |part: &str| assert!(page.contains(part), "{part:?} in:\n{page}");
        has("last reload: failed: no luck\n");
        has("500 requests · 2 of 64 in flight · 3 connections");
        has("restarts: signal 2");
        has("wait: database");
        has("advice: wait less\n");
        has("waits 12.0 s for http suppliers:80 · id abc-123\n");
        has("reports  places       4");
        has("1.500 s");
        has("queues 0.005 s\n");
        assert!(!page.contains("read"), "nothing was read:\n{page}");
        assert!(!text(&status, 1).contains("queues"), "only the oldest is listed");
    }

    #[test]
    fn a_status_without_anything_is_a_page_too() {
        assert!(text(&json!({}), 10).contains("0 requests in flight"));
    }
}
