//! The fields of an HTML form.

use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::Rejection;
use crate::extract::json::content_type;
use crate::extract::{FromRequest, Query};

/// The fields of a form as a struct or a map.
///
/// With GET and HEAD they are in the query (400 if they do not fit), else in the body: 415 unless Content-Type is
/// `application/x-www-form-urlencoded`, 413 beyond the bound of the route, 422 if they do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form<T>(pub T);

const TYPE: &str = "application/x-www-form-urlencoded";

impl<T: DeserializeOwned> FromRequest for Form<T> {
    type Rejection = Rejection;
    const COLLECTS_BODY: bool = true;

    fn from_request(cx: &mut Context<'_>) -> Result<Form<T>, Rejection> {
        if matches!(cx.head().method_str(), "GET" | "HEAD") {
            return Query::from_request(cx).map(|Query(fields)| Form(fields));
        }
        if !content_type(cx).is_some_and(|media_type| media_type.eq_ignore_ascii_case(TYPE)) {
            return Err(Rejection::UnsupportedContentType { expected: TYPE });
        }
        let fields = cx.collect_body()?;
        serde_urlencoded::from_bytes(&fields)
            .map(Form)
            .map_err(|error| Rejection::InvalidForm(error.to_string()))
    }
}
