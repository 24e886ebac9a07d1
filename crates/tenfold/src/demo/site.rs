//! The routes of the demo, and what its pages share.

use serde::Serialize;
use tenfold::Result;
use tenfold::prelude::*;

use super::ads::{self, Market};
use super::database::Database;
use super::store::Data;
use super::{articles, live, orders, pages, probes, sale, transfer};

/// How this server runs, for the pages; known before the fork.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    pub model: String,
    pub workers: usize,
    /// Only if it was asked for.
    pub threads: Option<usize>,
    /// `None` for a model without loops.
    pub backend: Option<&'static str>,
}

/// The demo as an app.
///
/// # Errors
/// A template that is broken.
pub fn app(facts: Facts, data: Data, suppliers: String) -> Result<App> {
    let templates = pages::templates()?;
    let errors = templates.clone();
    let (database, jobs) = (data.database(), data.jobs());
    let app = App::new()
        .templates(templates)
        .state(facts)
        .state(data)
        // Both hold what must not be carried across a fork: each worker makes its own.
        .state_with(move || Database::open(&database))
        .state_with(move || Ok(Market::new(suppliers.clone())))
        .get("/", pages::front)
        .get("/articles", articles::list)
        .get("/articles/{id}", articles::show)
        .post("/articles/{id}", articles::comment.body_bytes_max(articles::FORM_BYTES_MAX))
        .get("/api/ads", ads::ads)
        .lane("reports", Lane::pool(4).queue(64).wait(secs(2)), |r| r.get("/reports/{ms}", probes::report))
        .post("/upload", transfer::upload.body_bytes_max(transfer::UPLOAD_BYTES_MAX))
        .get("/download", transfer::download)
        .get("/status", pages::status)
        .health("/health", || "ok\n")
        .get("/style.css", pages::style)
        .get("/site.js", pages::script)
        .get("/favicon.ico", pages::icon)
        .on_error(move |failure, head| pages::error(&errors, failure, head));
    Ok(live::add(orders::add(sale::add(with_probes(app)))).jobs_in(jobs))
}

/// Routes that load tools and test suites use.
fn with_probes(app: App) -> App {
    app.get("/hello", probes::hello)
        .get("/sleep/{ms}", probes::wait)
        .get("/async/sleep/{ms}", probes::wait_async)
        .get("/cpu/{ms}", probes::burn)
        .post("/echo", probes::echo.body_bytes_max(transfer::UPLOAD_BYTES_MAX))
        .get("/stream/{n}", probes::stream)
        .get("/panic", probes::panic)
        .get("/upgrade", probes::upgrade)
}

#[cfg(test)]
mod tests {
    use tenfold::BuildError;

    use super::super::store::Store;
    use super::*;

    #[test]
    fn the_app_builds() -> Result<(), BuildError> {
        let store = Store::create().unwrap();
        let facts = Facts { model: "fiber".into(), workers: 1, threads: None, backend: None };
        let blueprint = app(facts, store.data(), "http://127.0.0.1:1".into()).unwrap().build()?;
        assert_eq!(blueprint.lanes().len(), 2);
        blueprint.open().map(drop)
    }
}
