//! The front page, the page of an error, and the files around them.

use serde::Serialize;
use tenfold::compare::simulator::ANSWER;
use tenfold::prelude::*;
use tenfold::{Bytes, Failure, MODELS, Result};

use super::site::Facts;

/// How long browsers keep style, script and icon, in seconds.
const CACHE: &str = "public, max-age=300";

/// Everything that a page loads is this site's own, and it says so.
const POLICY: (&str, &str) =
    ("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'");

/// A row of the table of models.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    connection: &'static str,
    handler: &'static str,
    known_from: &'static str,
}

/// What has happened in the process that answers.
#[derive(Serialize)]
pub struct Status {
    model: String,
    workers: usize,
    backend: Option<&'static str>,
    pid: u32,
    generation: u32,
    uptime_secs: u64,
    connections_accepted: u64,
    connections_open: u64,
    requests: u64,
    responses_2xx: u64,
    responses_3xx: u64,
    responses_4xx: u64,
    responses_5xx: u64,
    bad_requests: u64,
    rejections: u64,
    panics: u64,
    timeouts: u64,
    loop_holds: u64,
    fibers_in_use: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// All templates of the site, checked.
///
/// # Errors
/// The first that is broken.
pub fn templates() -> Result<Templates> {
    Templates::new([
        ("base.html", include_str!("assets/base.html")),
        ("front.html", include_str!("assets/front.html")),
        ("articles.html", include_str!("assets/articles.html")),
        ("article.html", include_str!("assets/article.html")),
        ("orders.html", include_str!("assets/orders.html")),
        ("sale.html", include_str!("assets/sale.html")),
        ("ticket.html", include_str!("assets/ticket.html")),
        ("chat.html", include_str!("assets/chat.html")),
        ("counter.html", include_str!("assets/counter.html")),
        ("poll.html", include_str!("assets/poll.html")),
        ("error.html", include_str!("assets/error.html")),
    ])
}

/// Renders a page with what all of them show.
pub fn render(
    templates: &Templates,
    name: &str,
    facts: Option<&Facts>,
    page: impl Serialize,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Shown<'a, P> {
        version: &'static str,
        pid: u32,
        facts: Option<&'a Facts>,
        page: P,
    }
    let shown = Shown { version: env!("CARGO_PKG_VERSION"), pid: std::process::id(), facts, page };
    Ok(([POLICY, ("X-Content-Type-Options", "nosniff")], templates.render(name, shown)?).into_response())
}

/// `/`
pub fn front(State(templates): State<Templates>, State(facts): State<Facts>) -> Result<Response> {
    #[derive(Serialize)]
    struct Front {
        models: Vec<Row>,
        supplier_ms: u64,
        uptime: String,
    }
    let models = MODELS.iter().map(|model| {
        let (connection, handler) = model.layers();
        Row { name: model.name(), connection, handler, known_from: model.known_from() }
    });
    let page = Front {
        models: models.collect(),
        supplier_ms: ANSWER.as_millis() as u64,
        uptime: duration(uptime_secs()),
    };
    render(&templates, "front.html", Some(&facts), page)
}

/// `/status`: the counters of the worker that answers.
pub fn status(State(facts): State<Facts>) -> Json<Status> {
    let slot = tenfold::scoreboard::current();
    Json(Status {
        model: facts.model,
        workers: facts.workers,
        backend: facts.backend,
        pid: std::process::id(),
        generation: slot.generation(),
        uptime_secs: uptime_secs(),
        connections_accepted: slot.connections_accepted.get(),
        connections_open: slot.connections_open.get(),
        requests: slot.requests.get(),
        responses_2xx: slot.responses_2xx.get(),
        responses_3xx: slot.responses_3xx.get(),
        responses_4xx: slot.responses_4xx.get(),
        responses_5xx: slot.responses_5xx.get(),
        bad_requests: slot.bad_requests.get(),
        rejections: slot.rejections.get(),
        panics: slot.panics.get(),
        timeouts: slot.timeouts.get(),
        loop_holds: slot.loop_holds.get(),
        fibers_in_use: slot.fibers_in_use.get(),
        bytes_in: slot.bytes_in.get(),
        bytes_out: slot.bytes_out.get(),
    })
}

/// The page of an error, for clients that would show it to a person.
pub fn error(
    templates: &Templates,
    failure: &Failure,
    head: Option<tenfold::RequestHead<'_>>,
) -> Option<Response> {
    #[derive(Serialize)]
    struct Said<'a> {
        status: u16,
        reason: &'a str,
        message: &'a str,
        not_found: bool,
    }
    let accept = head?.header("accept").unwrap_or_default().to_ascii_lowercase();
    if !accept.windows(9).any(|window| window == b"text/html") {
        return None;
    }
    let reason = failure.status.canonical_reason().unwrap_or("Error");
    let not_found = failure.status == StatusCode::NOT_FOUND;
    let said = Said { status: failure.status.as_u16(), reason, message: &failure.message, not_found };
    let page = render(templates, "error.html", None, said).ok()?;
    Some((failure.status, page).into_response())
}

/// `/style.css`
pub fn style() -> impl IntoResponse {
    asset(include_bytes!("assets/style.css"), "text/css; charset=utf-8")
}

/// `/site.js`
pub fn script() -> impl IntoResponse {
    asset(include_bytes!("assets/site.js"), "text/javascript; charset=utf-8")
}

/// `/favicon.ico`
pub fn icon() -> impl IntoResponse {
    asset(include_bytes!("assets/icon.svg"), "image/svg+xml")
}

fn asset(bytes: &'static [u8], content_type: &'static str) -> impl IntoResponse {
    let headers = [("Cache-Control", CACHE), ("X-Content-Type-Options", "nosniff")];
    (headers, Body::from(Bytes::from_static(bytes)).with_content_type(content_type))
}

/// Seconds since this worker was started.
fn uptime_secs() -> u64 {
    let started = tenfold::scoreboard::current().started_at_unix_ms();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    match started {
        0 => 0,
        started => (now.as_millis() as u64).saturating_sub(started) / 1000,
    }
}

/// As a person says it.
fn duration(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3_600, secs / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_renders_with_what_it_is_given() {
        let facts = Facts { model: "fiber".into(), workers: 2, threads: None, backend: Some("epoll") };
        let response = front(State(templates().unwrap()), State(facts)).unwrap();
        let page = response.into_body().collect(1 << 20).unwrap();
        let page = String::from_utf8_lossy(&page);
        for expected in ["2 workers", "epoll", "event-worker", "/articles", "id=\"pid\""] {
            assert!(page.contains(expected), "{expected} is missing");
        }
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([59, 61, 3_725].map(duration), ["59 s", "1 min 1 s", "1 h 2 min"]);
    }
}
