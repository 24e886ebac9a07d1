//! JSON, as an argument; as an answer it is in `respond/json.rs`.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::context::Context;
use crate::error::Rejection;
use crate::extract::FromRequest;

/// A value as JSON: of the request's body, or as an answer.
///
/// As an argument: 415 unless Content-Type is `application/json` or `application/*+json`, 413 beyond the bound of the route,
/// 400 for what is no JSON, 422 for JSON of another shape.
///
/// ```
/// use tenfold_server::Json;
/// #[derive(serde::Deserialize)]
/// struct Sum { numbers: Vec<i64> }
///
/// fn sum(Json(sum): Json<Sum>) -> Json<i64> {
///     Json(sum.numbers.iter().sum())
/// }
/// tenfold_server::App::new().post("/sum", sum).build().unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Rejection = Rejection;
    const COLLECTS_BODY: bool = true;

    fn from_request(cx: &mut Context<'_>) -> Result<Json<T>, Rejection> {
        if !content_type(cx).is_some_and(is_json) {
            return Err(Rejection::UnsupportedContentType { expected: "application/json" });
        }
        let text = cx.collect_body()?;
        serde_json::from_slice(&text).map(Json).map_err(|error| match error.classify() {
            Category::Data => Rejection::JsonMismatch(error),
            Category::Io | Category::Syntax | Category::Eof => Rejection::InvalidJson(error),
        })
    }
}

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Json<T> {
        Json(value)
    }
}

/// The media type of the body without its parameters.
pub(super) fn content_type<'a>(cx: &Context<'a>) -> Option<&'a str> {
    let value = std::str::from_utf8(cx.head().header("content-type")?).ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

/// RFC 8259 section 11, and the suffix of RFC 6839 section 3.1.
fn is_json(media_type: &str) -> bool {
    let Some((kind, subtype)) = media_type.split_once('/') else { return false };
    let suffix = subtype.len().checked_sub(5).and_then(|at| subtype.get(at..));
    kind.eq_ignore_ascii_case("application")
        && (subtype.eq_ignore_ascii_case("json")
            || suffix.is_some_and(|end| end.eq_ignore_ascii_case("+json")))
}
