//! Statuses and headers in front of an answer: `(StatusCode::CREATED, [("x-a", "b")], Json(value))`.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::error::{Error, Result};
use crate::respond::{IntoResponse, Response};

/// What may stand in front of an answer, in a tuple of two, three or four.
pub trait ResponseParts {
    /// Changes the response.
    ///
    /// # Errors
    /// When a header's name or value is invalid; the client then gets 500.
    fn apply(self, response: &mut Response) -> Result<()>;
}

impl ResponseParts for StatusCode {
    #[inline]
    fn apply(self, response: &mut Response) -> Result<()> {
        *response.status_mut() = self;
        Ok(())
    }
}

/// Replaces headers of the same name.
impl ResponseParts for HeaderMap {
    fn apply(self, response: &mut Response) -> Result<()> {
        let headers = response.headers_mut();
        if headers.is_empty() {
            *headers = self;
        } else {
            headers.extend(self);
        }
        Ok(())
    }
}

/// Replaces headers of the same name that the response had before; names that are repeated here are all sent.
impl<K, V, const N: usize> ResponseParts for [(K, V); N]
where
    K: TryInto<HeaderName, Error: std::error::Error + Send + Sync + 'static>,
    V: TryInto<HeaderValue, Error: std::error::Error + Send + Sync + 'static>,
{
    fn apply(self, response: &mut Response) -> Result<()> {
        let mut map = HeaderMap::with_capacity(N);
        for (name, value) in self {
            let name = name.try_into().map_err(Error::internal)?;
            map.append(name, value.try_into().map_err(Error::internal)?);
        }
        map.apply(response)
    }
}

impl<P: ResponseParts, R: IntoResponse> IntoResponse for (P, R) {
    #[inline]
    fn into_response(self) -> Response {
        with_parts(self.1, |response| self.0.apply(response))
    }
}

impl<P1: ResponseParts, P2: ResponseParts, R: IntoResponse> IntoResponse for (P1, P2, R) {
    fn into_response(self) -> Response {
        // From the right to the left, so that the first part has the last word, as the status should.
        with_parts(self.2, |response| self.1.apply(response).and_then(|()| self.0.apply(response)))
    }
}

impl<P1, P2, P3, R> IntoResponse for (P1, P2, P3, R)
where
    P1: ResponseParts,
    P2: ResponseParts,
    P3: ResponseParts,
    R: IntoResponse,
{
    fn into_response(self) -> Response {
        let (first, second, third, answer) = self;
        with_parts(answer, |response| {
            third.apply(response)?;
            second.apply(response)?;
            first.apply(response)
        })
    }
}

#[inline]
fn with_parts(answer: impl IntoResponse, apply: impl FnOnce(&mut Response) -> Result<()>) -> Response {
    let mut response = answer.into_response();
    match apply(&mut response) {
        Ok(()) => response,
        Err(error) => error.into_response(),
    }
}
