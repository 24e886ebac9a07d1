//! What the page shows: all queues, the jobs of a list, one job with its history.

use std::fmt::Write;

use serde_json::Value;
use tenfold_server::sight::age;
use tenfold_server::{Error, Html, Result};

use super::html::{buttons, encode, escape, number, table, text, whole};
use crate::jobs::Jobs;
use crate::keeper::now_ms;
use crate::report::{self, moment};
use crate::shown::STATES;
use crate::wire::Ask;

/// Jobs of a list.
const SHOWN: u32 = 100;

/// All queues, anew every five seconds.
pub(super) fn queues(jobs: &Jobs, path: &str) -> Result<Html<String>> {
    let all = jobs.ask(&Ask::Queues)?;
    let columns = [
        "queue", "", "#ready", "#oldest", "#delayed", "#blocked", "#running", "#live", "of", "#done",
        "#retried", "#crashed", "#died", "#refused", "#dead", "",
    ];
    let rows = all["queues"].as_array().into_iter().flatten().map(|queue| row_of(path, queue));
    let body = format!("<h1>Jobs</h1>{}", table(&columns, rows));
    Ok(whole("Jobs", "<meta http-equiv=\"refresh\" content=\"5\">", &body))
}

fn row_of(path: &str, queue: &Value) -> Vec<String> {
    let name = &queue["name"];
    let state = match (queue["paused"] == true, queue["draining"] == true) {
        (true, _) => "<span class=\"bad\">paused</span>",
        (_, true) => "<span class=\"bad\">draining</span>",
        _ => "",
    };
    let oldest = match queue["oldest_ms"].as_u64() {
        Some(ms @ 1..) => age(ms),
        _ => "<span class=\"zero\">–</span>".into(),
    };
    let link = |state: &str, shown: &str| {
        format!("<a href=\"{path}/list?state={state}&amp;queue={}\">{shown}</a>", encode(name))
    };
    let mut steps: Vec<&str> = if state.is_empty() { vec!["pause", "drain"] } else { vec!["resume"] };
    let has_dead = queue["dead"].as_u64() > Some(0);
    if has_dead {
        steps.push("retry");
    }
    let (live, capacity) = (queue["live"].as_u64().unwrap_or(0), queue["capacity"].as_u64().unwrap_or(0));
    let full = format!(
        "<span class=\"full\"><meter value=\"{live}\" max=\"{capacity}\" high=\"{}\" title=\"{live} of {capacity}\"></meter> \
         <span class=\"soft\">{capacity}</span></span>",
        capacity - capacity / 5
    );
    let plain = |field: &str| number(&queue[field], "");
    let alarming = |field: &str| number(&queue[field], "bad");
    vec![
        link("live", &text(name)),
        state.into(),
        plain("ready"),
        oldest,
        plain("delayed"),
        plain("blocked"),
        plain("running"),
        plain("live"),
        full,
        plain("done"),
        plain("retried"),
        alarming("crashed"),
        alarming("died"),
        alarming("refused"),
        if has_dead { link("dead", &alarming("dead")) } else { plain("dead") },
        format!("<span class=\"full\">{}</span>", buttons(path, &steps, "queue", name)),
    ]
}

/// The latest jobs of a queue, or of all (`""`), in this state.
pub(super) fn list(jobs: &Jobs, path: &str, queue: &str, state: &str) -> Result<Html<String>> {
    let ask = Ask::List { queue: queue.into(), state: state.into(), limit: SHOWN };
    let list = jobs.ask(&ask).map_err(|error| Error::bad_request(error.to_string()))?;
    let now = now_ms();
    let of = if queue.is_empty() { "all queues".into() } else { format!("the queue {}", escape(queue)) };
    let mut body = format!("<nav><a href=\"{path}\">All queues</a></nav><h1>Jobs of {of}</h1><nav>");
    for one in STATES {
        let _ = match one == state {
            true => write!(body, "<b>{one}</b>"),
            false => write!(
                body,
                "<a href=\"{path}/list?state={one}&amp;queue={}\">{one}</a>",
                encode(&queue.into())
            ),
        };
    }
    body.push_str("</nav><br>");
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = all.iter().map(|job| {
        let at = job["ended_at_ms"].as_i64().or(job["created_at_ms"].as_i64()).unwrap_or(0);
        vec![
            format!("<a href=\"{path}/job/{}\">{}</a>", encode(&job["id"]), text(&job["id"])),
            text(&job["queue"]),
            text(&job["name"]),
            state_of(job),
            number(&job["attempt"], "bad"),
            number(&job["crashes"], "bad"),
            moment(at, now),
            format!("<div class=\"error\">{}</div>", text(&job["error"])),
        ]
    });
    let time = if state == STATES[0] { "taken in" } else { "ended" };
    match all.len() {
        0 => body.push_str("<p class=\"soft\">There are none.</p>"),
        _ => body.push_str(&table(
            &["id", "queue", "name", "state", "#failed", "#crashed", time, "last error"],
            rows,
        )),
    }
    if all.len() == SHOWN as usize {
        let _ = write!(body, "<p class=\"soft\">The latest {SHOWN}; there may be more.</p>");
    }
    Ok(whole(&format!("{state} jobs"), "", &body))
}

fn state_of(job: &Value) -> String {
    let class = match job["phase"].as_str().or(job["state"].as_str()) {
        Some("dead" | "cancelled") => "bad",
        Some("done" | "running") => "good",
        _ => "soft",
    };
    format!("<span class=\"{class}\">{}</span>", escape(&report::state(job)))
}

/// One job.
pub(super) fn job(jobs: &Jobs, path: &str, id: &str) -> Result<Html<String>> {
    let job = jobs.look_up(id).map_err(|error| Error::not_found(error.to_string()))?;
    let now = now_ms();
    let time = |name: &str| job[name].as_i64().map(|at| moment(at, now)).unwrap_or_default();
    let queue = format!(
        "<a href=\"{path}/list?state=live&amp;queue={}\">{}</a>",
        encode(&job["queue"]),
        text(&job["queue"])
    );
    let starts = if job["phase"] == "delayed" { time("run_at_ms") } else { String::new() };
    let facts = [
        ("state", state_of(&job)),
        ("queue", queue),
        ("name", text(&job["name"])),
        ("key", text(&job["key"])),
        ("priority", number(&job["priority"], "")),
        ("starts at", starts),
        ("failed", number(&job["attempt"], "bad")),
        ("workers died", number(&job["crashes"], "bad")),
    ];
    let rows = facts.into_iter().filter(|(_, value)| !value.is_empty());
    let rows = rows.map(|(name, value)| format!("<tr><th>{name}</th><td>{value}</td></tr>"));
    let mut body = format!(
        "<nav><a href=\"{path}\">All queues</a></nav><h1>Job {}</h1><div class=\"table facts\"><table>{}</table></div><br>",
        escape(id),
        rows.collect::<String>()
    );
    let steps: &[&str] = match job["state"].as_str() {
        Some("live") => &["cancel"],
        Some("dead") => &["retry", "delete"],
        _ => &["delete"],
    };
    body.push_str(&buttons(path, steps, "id", &job["id"]));
    let history = report::history(&job).into_iter();
    let history = history
        .map(|(at, what)| vec![moment(at, now), format!("<div class=\"error\">{}</div>", escape(&what))]);
    body.push_str("<h2>History</h2>");
    body.push_str(&table(&["when", "what"], history));
    if let Some(payload) = report::payload(&job) {
        let _ = write!(body, "<h2>Payload</h2><pre>{}</pre>", escape(&payload));
    }
    Ok(whole(&format!("Job {id}"), "", &body))
}
