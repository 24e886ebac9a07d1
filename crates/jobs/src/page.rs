//! A page to look at queues and jobs, and to step in: `App::jobs_page`.
//!
//! It is HTML without script or a file beside it, so that it works under any policy of the site; one that forbids inline style takes
//! its looks and nothing else. It asks nobody who they are: whoever mounts it puts it where only the right people come. What
//! changes something is a POST, and one that a browser sends for another site is refused (Fetch Metadata, `Sec-Fetch-Site`).

mod html;
mod views;

use serde::Deserialize;
use tenfold_server::{App, Error, HeaderMap, Path, Query, Redirect, Result, StatusCode};

use crate::jobs::Jobs;
use crate::wire::Ask;

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
    app.get(&path, move |jobs: Jobs| views::queues(&jobs, &front))
        .get(&format!("{path}/list"), move |jobs: Jobs, Query(chosen): Query<Chosen>| {
            views::list(&jobs, &list, &chosen.queue, &chosen.state)
        })
        .get(&format!("{path}/job/{{id}}"), move |jobs: Jobs, Path(id): Path<String>| {
            views::job(&jobs, &one, &id)
        })
        .post(&format!("{path}/step"), move |jobs: Jobs, headers: HeaderMap, Query(asked): Query<Step>| {
            take_step(&jobs, &step, &headers, &asked)
        })
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
