//! A page.

use crate::body::{Body, HTML};
use crate::respond::{IntoResponse, Response};

/// An HTML page: the body with `Content-Type: text/html; charset=utf-8`. It escapes nothing; templates do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Html<T>(pub T);

impl<T: Into<Body>> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        Response::new(self.0.into().with_content_type(HTML))
    }
}

impl<T> From<T> for Html<T> {
    fn from(page: T) -> Html<T> {
        Html(page)
    }
}
