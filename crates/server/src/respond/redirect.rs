//! An answer that sends the client elsewhere.

use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

use crate::body::Body;
use crate::error::Error;
use crate::respond::{IntoResponse, Response};

/// A redirect (RFC 9110 section 15.4).
///
/// The target is sent as it is given. One that holds a control character is answered with 500: it would otherwise be a
/// way to smuggle a header in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Redirect {
    status: StatusCode,
    location: String,
}

impl Redirect {
    /// 303: "see other", the answer to a form. The client fetches `location` with GET.
    pub fn to(location: impl Into<String>) -> Redirect {
        Redirect { status: StatusCode::SEE_OTHER, location: location.into() }
    }

    /// 307: the client repeats the same request there.
    pub fn temporary(location: impl Into<String>) -> Redirect {
        Redirect { status: StatusCode::TEMPORARY_REDIRECT, location: location.into() }
    }

    /// 308: the client repeats the same request there, and remembers.
    pub fn permanent(location: impl Into<String>) -> Redirect {
        Redirect { status: StatusCode::PERMANENT_REDIRECT, location: location.into() }
    }
}

impl IntoResponse for Redirect {
    fn into_response(self) -> Response {
        let location = match HeaderValue::try_from(self.location) {
            Ok(location) => location,
            Err(error) => return Error::internal(error).into_response(),
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, location);
        response
    }
}
