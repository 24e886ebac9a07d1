//! Jobs as text for a terminal: what `tenfold jobs` prints.

use std::fmt::Write;

use chrono::DateTime;
use serde_json::Value;
use tenfold_server::sight::{age, aligned, plain};

use crate::keeper::now_ms;

/// Characters of an error in a list.
const ERROR_SHOWN: usize = 60;

/// What [`Ask::List`](crate::Ask::List) answers, as a table; the age is that of the job, or of its end.
///
/// ```
/// let list = serde_json::json!([{ "id": "a", "queue": "mail", "name": "welcome", "phase": "delayed", "attempt": 1,
///     "crashes": 0, "created_at_ms": 0, "ended_at_ms": null, "error": "no route\nto host" }]);
/// let text = tenfold_jobs::report::jobs(&list);
/// let lines: Vec<&str> = text.lines().collect();
/// assert!(lines[0].starts_with("id  queue  name     state    failed  crashed"));
/// assert!(lines[1].ends_with("no route"));
/// ```
pub fn jobs(list: &Value) -> String {
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return "no jobs\n".into();
    }
    let now = now_ms();
    let heads = ["id", "queue", "name", "state", "failed", "crashed", "age", "last error"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|job| {
        let at = job["ended_at_ms"].as_i64().or(job["created_at_ms"].as_i64()).unwrap_or(now);
        let error = job["error"].as_str().unwrap_or_default().lines().next().unwrap_or_default();
        vec![
            plain(&job["id"]),
            plain(&job["queue"]),
            plain(&job["name"]),
            state(job),
            plain(&job["attempt"]),
            plain(&job["crashes"]),
            age(now.abs_diff(at)),
            error.chars().take(ERROR_SHOWN).collect(),
        ]
    }));
    aligned(&rows, 0)
}

/// What [`Ask::Job`](crate::Ask::Job) answers: what the job is, its history, its payload.
///
/// ```
/// let job = serde_json::json!({ "id": "a", "queue": "mail", "name": "welcome", "state": "dead", "attempt": 1, "crashes": 0,
///     "created_at_ms": 1_700_000_000_000_i64, "ended_at_ms": 1_700_000_002_000_i64, "payload": "{\"to\":\"Ada\"}",
///     "history": [{ "at_ms": 1_700_000_001_000_i64, "what": "no route to host" }] });
/// let text = tenfold_jobs::report::job(&job);
/// assert!(text.starts_with("welcome a in mail: dead, failed 1, crashed 0\n"));
/// assert!(text.contains("2023-11-14 22:13:21 UTC") && text.contains("no route to host"));
/// assert!(text.ends_with("{\n  \"to\": \"Ada\"\n}\n"));
/// ```
pub fn job(job: &Value) -> String {
    let now = now_ms();
    let mut text = format!(
        "{} {} in {}: {}, failed {}, crashed {}",
        plain(&job["name"]),
        plain(&job["id"]),
        plain(&job["queue"]),
        state(job),
        plain(&job["attempt"]),
        plain(&job["crashes"]),
    );
    if let Some(key) = job["key"].as_str() {
        let _ = write!(text, ", key {key}");
    }
    if job["priority"].as_i64().is_some_and(|priority| priority != 0) {
        let _ = write!(text, ", priority {}", job["priority"]);
    }
    text.push('\n');
    if job["phase"] == "delayed" {
        let _ = writeln!(text, "starts at {}", moment(job["run_at_ms"].as_i64().unwrap_or(now), now));
    }
    text.push('\n');
    for (at, what) in history(job) {
        let _ = writeln!(text, "{:<40}  {}", moment(at, now), what.replace('\n', "\n    "));
    }
    if let Some(payload) = payload(job) {
        let _ = writeln!(text, "\n{payload}");
    }
    text
}

/// Its payload, on several lines if it is JSON; `None` if it is empty.
pub(crate) fn payload(job: &Value) -> Option<String> {
    let payload = job["payload"].as_str().filter(|payload| !payload.is_empty())?;
    let pretty = serde_json::from_str::<Value>(payload).map(|value| format!("{value:#}"));
    Some(pretty.unwrap_or_else(|_| payload.to_owned()))
}

/// From when it was taken in to its end, as times and words.
pub(crate) fn history(job: &Value) -> Vec<(i64, String)> {
    let mut all = vec![(job["created_at_ms"].as_i64().unwrap_or(0), "taken in".to_owned())];
    let entries = job["history"].as_array().into_iter().flatten();
    all.extend(entries.map(|entry| (entry["at_ms"].as_i64().unwrap_or(0), plain(&entry["what"]))));
    all.extend(job["ended_at_ms"].as_i64().map(|at| (at, state(job))));
    all
}

/// Its phase, if it lives, with how far it is.
pub(crate) fn state(job: &Value) -> String {
    let state = job["phase"].as_str().or(job["state"].as_str()).unwrap_or("?");
    match job["progress"].as_u64() {
        Some(percent @ 1..) if state == "running" => format!("{state} {percent} %"),
        _ => state.into(),
    }
}

/// A time in milliseconds since 1970, and how far it is from `now`.
pub(crate) fn moment(at_ms: i64, now: i64) -> String {
    let Some(time) = DateTime::from_timestamp_millis(at_ms) else { return at_ms.to_string() };
    let apart = age(now.abs_diff(at_ms));
    let apart = if at_ms > now { format!("in {apart}") } else { format!("{apart} ago") };
    format!("{} UTC ({apart})", time.format("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_with_how_far_it_is() {
        assert_eq!(moment(1_700_000_000_000, 1_700_000_180_000), "2023-11-14 22:13:20 UTC (3 min ago)");
        assert!(moment(1_700_000_060_000, 1_700_000_000_000).ends_with("(in 60.0 s)"));
    }
}
