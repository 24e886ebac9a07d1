//! Templates.

use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

use crate::error::Error;
use crate::http::Response;
use crate::money::euros;

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.add_filter("euros", euros);
    for (name, source) in [
        ("frame.html", include_str!("pages/frame.html")),
        ("list.html", include_str!("pages/list.html")),
        ("product.html", include_str!("pages/product.html")),
        ("cart.html", include_str!("pages/cart.html")),
        ("order.html", include_str!("pages/order.html")),
    ] {
        environment.add_template(name, source).expect("the templates are tested");
    }
    environment
});

pub fn render(name: &str, values: Value) -> Result<Response, Error> {
    Ok(Response::html(200, TEMPLATES.get_template(name)?.render(values)?))
}

/// A value for a template.
pub fn value(value: impl Serialize) -> Value {
    Serde(value).into()
}
