//! From what a handler returns to a response.

mod html;
mod json;
mod parts;
mod redirect;

use std::borrow::Cow;
use std::convert::Infallible;

use bytes::Bytes;
use http::StatusCode;

use crate::body::Body;

pub use html::Html;
pub use parts::ResponseParts;
pub use redirect::Redirect;

/// A response; its body is sent after the handler has returned.
pub type Response = http::Response<Body>;

/// What a handler may return.
///
/// ```
/// use tenfold_server::{IntoResponse, StatusCode};
/// assert_eq!("text".into_response().status(), 200);
/// let response = (StatusCode::CREATED, [("location", "/articles/7")], "made").into_response();
/// assert_eq!(response.headers()["location"], "/articles/7");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the answer to a request",
    note = "text, bytes, `StatusCode`, `Json`, `Html`, `Redirect`, `Response`, `Result<_, Error>` and tuples of a status, headers and one of these can"
)]
pub trait IntoResponse {
    /// Makes the response. Waits for nothing.
    fn into_response(self) -> Response;
}

/// 200 without a body.
impl IntoResponse for () {
    #[inline]
    fn into_response(self) -> Response {
        Response::new(Body::empty())
    }
}

impl IntoResponse for Body {
    #[inline]
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

macro_rules! into_response_by_body {
    ($($type:ty),*) => {$(
        impl IntoResponse for $type {
            #[inline]
            fn into_response(self) -> Response {
                Response::new(Body::from(self))
            }
        }
    )*};
}

into_response_by_body!(&'static str, String, Cow<'static, str>, &'static [u8], Vec<u8>, Bytes);

/// The status without a body.
impl IntoResponse for StatusCode {
    #[inline]
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self;
        response
    }
}

impl<B: Into<Body>> IntoResponse for http::Response<B> {
    #[inline]
    fn into_response(self) -> Response {
        self.map(Into::into)
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    #[inline]
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}

#[cfg(test)]
#[path = "respond/tests.rs"]
mod tests;
