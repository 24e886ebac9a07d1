//! A page to look at queues and jobs, and to step in: `App::jobs_page`.
//!
//! It is HTML without script, style or a file beside it, so that it works under any policy of the site. It asks nobody who they
//! are: whoever mounts it puts it where only the right people come. What changes something is a POST, and one that a browser
//! sends for another site is refused (Fetch Metadata, `Sec-Fetch-Site`).

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;
use tenfold_server::{App, Error, HeaderMap, Html, Path, Query, Redirect, Result, StatusCode};

use crate::jobs::Jobs;
use crate::shown::STATES;
use crate::wire::Ask;

/// Jobs of a list.
const SHOWN: u32 = 100;

#[derive(Deserialize)]
#[serde(default)]
struct Chosen {
    queue: String,
    state: String,
}

/// A button.
#[derive(Deserialize)]
struct Step {
    what: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    queue: String,
}

impl Default for Chosen {
    fn default() -> Chosen {
        Chosen { queue: String::new(), state: "live".into() }
    }
}

/// Adds the page's routes under `path`.
pub(crate) fn add(app: App, path: &str) -> App {
    let path = path.trim_end_matches('/').to_owned();
    let (front, list, one, step) = (path.clone(), path.clone(), path.clone(), path.clone());
    app.get(&path, move |jobs: Jobs| queues(&jobs, &front))
        .get(&format!("{path}/list"), move |jobs: Jobs, Query(chosen): Query<Chosen>| {
            show_list(&jobs, &list, &chosen)
        })
        .get(&format!("{path}/job/{{id}}"), move |jobs: Jobs, Path(id): Path<String>| {
            show_job(&jobs, &one, &id)
        })
        .post(&format!("{path}/step"), move |jobs: Jobs, headers: HeaderMap, Query(asked): Query<Step>| {
            take_step(&jobs, &step, &headers, &asked)
        })
}

fn queues(jobs: &Jobs, path: &str) -> Result<Html<String>> {
    let all = jobs.ask(&Ask::Queues)?;
    let columns = [
        "ready", "delayed", "blocked", "running", "live", "capacity", "done", "retried", "died", "refused",
        "dead",
    ];
    let mut html = String::from("<h1>Jobs</h1><table><tr><th>queue</th>");
    for column in columns {
        let _ = write!(html, "<th>{column}</th>");
    }
    html.push_str("<th>oldest, s</th><th></th></tr>");
    for queue in all["queues"].as_array().into_iter().flatten() {
        let name = text(&queue["name"]);
        let _ =
            write!(html, "<tr><td><a href=\"{path}/list?queue={}\">{name}</a></td>", encode(&queue["name"]));
        for column in columns {
            let value = text(&queue[column]);
            match column {
                "dead" => drop(write!(
                    html,
                    "<td><a href=\"{path}/list?state=dead&amp;queue={}\">{value}</a></td>",
                    encode(&queue["name"])
                )),
                _ => drop(write!(html, "<td>{value}</td>")),
            }
        }
        let _ = write!(html, "<td>{:.1}</td><td>", queue["oldest_ms"].as_f64().unwrap_or(0.0) / 1000.0);
        let halted = queue["paused"] == true || queue["draining"] == true;
        let steps: &[&str] = if halted { &["resume"] } else { &["pause", "drain"] };
        steps.iter().for_each(|what| html.push_str(&button(path, what, "queue", &queue["name"])));
        if queue["dead"].as_u64() > Some(0) {
            html.push_str(&button(path, "retry", "queue", &queue["name"]));
        }
        html.push_str("</td></tr>");
    }
    Ok(whole(&(html + "</table>")))
}

fn show_list(jobs: &Jobs, path: &str, chosen: &Chosen) -> Result<Html<String>> {
    let ask = Ask::List { queue: chosen.queue.clone(), state: chosen.state.clone(), limit: SHOWN };
    let list = jobs.ask(&ask)?;
    let mut html = format!(
        "<p><a href=\"{path}\">All queues</a></p><h1>{} jobs, the latest first</h1>",
        escape(&chosen.state)
    );
    for state in STATES {
        let queue = encode(&Value::String(chosen.queue.clone()));
        let _ = write!(html, "<a href=\"{path}/list?state={state}&amp;queue={queue}\">{state}</a> ");
    }
    html.push_str(
        "<table><tr><th>id</th><th>queue</th><th>name</th><th>state</th><th>failed</th><th>error</th></tr>",
    );
    for job in list.as_array().into_iter().flatten() {
        let state = job["phase"].as_str().or(job["state"].as_str()).unwrap_or("?");
        let _ = write!(
            html,
            "<tr><td><a href=\"{path}/job/{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            encode(&job["id"]),
            text(&job["id"]),
            text(&job["queue"]),
            text(&job["name"]),
            escape(state),
            text(&job["attempt"]),
            text(&job["error"]),
        );
    }
    Ok(whole(&(html + "</table>")))
}

fn show_job(jobs: &Jobs, path: &str, id: &str) -> Result<Html<String>> {
    let job = jobs.look_up(id).map_err(|error| Error::not_found(error.to_string()))?;
    let mut html = format!("<p><a href=\"{path}\">All queues</a></p><h1>Job {}</h1><table>", escape(id));
    for (name, value) in job.as_object().into_iter().flatten() {
        let _ = write!(html, "<tr><th>{}</th><td>{}</td></tr>", escape(name), text(value));
    }
    html.push_str("</table>");
    let steps: &[&str] = match job["state"].as_str() {
        Some("live") => &["cancel"],
        Some("dead") => &["retry", "delete"],
        _ => &["delete"],
    };
    steps.iter().for_each(|what| html.push_str(&button(path, what, "id", &job["id"])));
    Ok(whole(&html))
}

fn take_step(jobs: &Jobs, path: &str, headers: &HeaderMap, step: &Step) -> Result<Redirect> {
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(Error::new(StatusCode::FORBIDDEN, "this comes from another site"));
    }
    let (id, queue) = (step.id.clone(), step.queue.clone());
    if id.is_empty() && queue.is_empty() {
        return Err(Error::bad_request("neither a job nor a queue is named"));
    }
    let asks = match step.what.as_str() {
        "retry" => vec![Ask::Retry { id, queue }],
        "cancel" => vec![Ask::Cancel(id)],
        "delete" => vec![Ask::Delete(id)],
        "pause" => vec![Ask::Pause { queue, on: true }],
        "drain" => vec![Ask::Drain { queue, on: true }],
        "resume" => vec![Ask::Pause { queue: queue.clone(), on: false }, Ask::Drain { queue, on: false }],
        _ => return Err(Error::bad_request("there is no such step")),
    };
    for ask in asks {
        jobs.ask(&ask).map_err(|error| Error::new(StatusCode::CONFLICT, error.to_string()))?;
    }
    Ok(Redirect::to(path))
}

fn button(path: &str, what: &str, field: &str, value: &Value) -> String {
    format!(
        "<form method=\"post\" action=\"{path}/step?what={what}&amp;{field}={}\"><button>{what}</button></form> ",
        encode(value)
    )
}

fn whole(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Jobs</title><body>{body}</body></html>"
    ))
}

/// A value as text of a page.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape(text),
        other => escape(&other.to_string()),
    }
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A text as part of an address: everything but letters, digits, `-` and `_` as `%XX`.
fn encode(value: &Value) -> String {
    let mut safe = String::new();
    for byte in value.as_str().unwrap_or_default().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
            other => drop(write!(safe, "%{other:02X}")),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_job_is_markup() {
        assert_eq!(text(&"<b a='1'>&\"".into()), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
        assert_eq!(encode(&"a b/ä&".into()), "a%20b%2F%C3%A4%26");
    }
}
