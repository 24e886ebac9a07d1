//! `cycle`: what most web services do. Read a request, ask a store once, render a page, write it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenfold_server::{App, Error, Facts, Html, Path, Result, State, Templates};

use super::{Dial, Helper, Setup, Workload};
use crate::load::{LoadSpec, Shape, TargetSpec};
use crate::store::{self, Store};

pub(super) struct Cycle;

/// The template: escaped values, a loop, a condition.
const PAGE: &str = "<!doctype html>\n<title>{{ title }}</title>\n<h1>{{ title }}</h1>\n\
    <p class=\"price\">{{ cents }} cents{% if cents < 500 %} <em>reduced</em>{% endif %}</p>\n<ul>\n\
    {% for note in notes %}<li>{{ note }}</li>\n{% endfor %}</ul>\n";

/// What the store has of an item, as JSON.
#[derive(Deserialize, Serialize)]
struct Item {
    title: String,
    cents: u64,
    notes: Vec<String>,
}

fn page(
    Path(id): Path<u64>,
    State(store): State<Arc<Store>>,
    State(templates): State<Templates>,
) -> Result<Html<String>> {
    let found = store.get(id % store::ITEMS)?.ok_or_else(|| Error::not_found("there is no such item"))?;
    let item: Item = serde_json::from_slice(&found)?;
    templates.render("page", item)
}

impl Workload for Cycle {
    fn name(&self) -> &'static str {
        "cycle"
    }

    fn teaches(&self) -> &'static str {
        "a request, one query to a store, a template: what each stage costs, and that our code runs a tenth of the time"
    }

    fn dial(&self, quick: bool) -> Dial {
        Dial::closed(quick, 64)
    }

    fn app(&self, setup: &Setup) -> std::result::Result<App, String> {
        let templates = Templates::new([("page", PAGE)]).map_err(|error| error.to_string())?;
        let address = setup.store.clone();
        // Opened after the fork: each worker has connections of its own.
        let open = move || Store::open(&address).map(Arc::new).map_err(Error::internal);
        Ok(App::new().templates(templates).state_with(open).get("/items/{id}", page))
    }

    fn fit(&self, dial: &mut Dial, facts: &Facts, workers: usize) -> Option<String> {
        dial.say_who_waits(facts, workers)
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape = Shape::Closed { connections: dial.connections, pipeline: 1, close: false };
        dial.spec(vec![TargetSpec::get(format!("{url}/items/17"), shape)])
    }

    fn helper(&self) -> Helper {
        Helper::Store
    }

    fn sweep(&self) -> &'static [usize] {
        &[1, 4, 16, 64, 256]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_has_is_an_item_and_makes_a_page() {
        let item: Item = serde_json::from_slice(&store::item(17)).unwrap();
        let templates = Templates::new([("page", PAGE)]).unwrap();
        let page = templates.render("page", item).unwrap().0;
        assert!(page.contains("<h1>Item 17</h1>") && page.matches("<li>").count() == 8, "{page}");
    }
}
