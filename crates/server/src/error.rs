//! From errors to statuses: the only place that decides what a client is told.
//!
//! ```text
//! error                                            status  the client reads         the log reads
//! Rejection of a client's mistake                  4xx     what is wrong            debug
//! Rejection of ours (state missing, body taken)    500     "internal server error"  error, the reason
//! BodyReadError, http::BodyError                   4xx     what is wrong            debug
//! io::ErrorKind::TimedOut, anywhere in the chain   504     "the deadline passed"    error, the chain
//! ECANCELED, anywhere in the chain                 499     nobody is there to read  info
//! every other error                                500     "internal server error"  error, the chain
//! Busy, anywhere in the chain                      503     its message or page       error
//! Error::new(status, message)                      status  the message              by status
//! ```
//!
//! `TimedOut` is 504 and not 408 or 503: in a handler it means that the request's deadline or somebody upstream ran out of
//! time (RFC 9110 section 15.6.5). A client that sends its body too slowly is [`BodyReadError::Stalled`], which is 408.
//! 499 is nginx's number for a client that has gone; it is never sent, but it is logged and counted.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use tenfold_http::BodyError;
use tenfold_http::h1::HeadView;
use tenfold_runtime::park;

use crate::body::{Body, BodyReadError, HTML};
use crate::respond::{IntoResponse, Response};

/// What most handlers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the application, as an answer: a status and a message for the client, a source for the log.
///
/// `?` makes one of any error. It does not implement [`std::error::Error`] itself: that is what makes the conversion
/// from every other error possible.
///
/// ```
/// use tenfold_server::{Error, Result, StatusCode};
///
/// fn read(name: &str) -> Result<String> {
///     if name.contains('/') {
///         return Err(Error::new(StatusCode::BAD_REQUEST, "a name has no slash"));
///     }
///     Ok(std::fs::read_to_string(name)?)
/// }
///
/// assert_eq!(read("a/b").unwrap_err().status(), 400);
/// assert_eq!(read("no such file").unwrap_err().status(), 500);
/// ```
pub struct Error(Box<Failure>);

/// What a response that tells of an error was made from. It is among the response's extensions until the response is
/// sent, and is what `App::on_error` gets to see.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The answer's status.
    pub status: StatusCode,
    /// What the client is told.
    pub message: Cow<'static, str>,
    /// What the log is told.
    pub source: Option<Arc<dyn StdError + Send + Sync>>,
    /// When the client may come again, and a page for it.
    pub busy: Option<Busy>,
    /// Whether the log has been told already, as it has of a panic.
    pub(crate) logged: bool,
}

/// There is no room for what was asked, at the moment: 503, or 429, with `Retry-After`. As the source of an error, or by
/// itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Busy {
    /// 503, unless said otherwise.
    pub status: StatusCode,
    /// What the client is told.
    pub message: Cow<'static, str>,
    /// When to come again; whole seconds are sent, at least one.
    pub retry_after: Duration,
    /// A page for the client, instead of the message.
    pub page: Option<Arc<str>>,
}

/// Why a request was not what a handler's arguments ask for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A path parameter is not of the type that the handler wants; 400.
    #[error("invalid path: {0}")]
    InvalidPath(String),
    /// The handler wants another number or kind of parameters than its route has; 500.
    #[error("the handler's path type does not fit its route: {0}")]
    PathMismatch(String),
    /// The query is not what the handler wants; 400.
    #[error("invalid query: {0}")]
    InvalidQuery(String),
    /// The body is of another type than the handler reads; 415.
    #[error("expected a request with Content-Type: {expected}")]
    UnsupportedContentType {
        /// The type that it reads.
        expected: &'static str,
    },
    /// The body is not JSON; 400.
    #[error("invalid JSON: {0}")]
    InvalidJson(#[source] serde_json::Error),
    /// The body is JSON, but not of the wanted shape; 422.
    #[error("the JSON does not fit: {0}")]
    JsonMismatch(#[source] serde_json::Error),
    /// The body's fields are not of the wanted shape; 422.
    #[error("invalid form: {0}")]
    InvalidForm(String),
    /// The body is not UTF-8; 400.
    #[error("the body is not UTF-8")]
    InvalidUtf8,
    /// The target is not a URI; 400.
    #[error("invalid request target")]
    InvalidUri,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyReadError),
    /// Two arguments of one handler read the body; 500.
    #[error("the body was taken by an earlier extractor")]
    BodyTaken,
    /// The app has no state of this type; 500. Apps that say so by [`crate::FromRequest::needs`] do not even start.
    #[error("there is no state of type {type_name}")]
    MissingState {
        /// The type's name.
        type_name: &'static str,
    },
    /// The client came over a Unix socket; 500.
    #[error("the client has no address: it came over a Unix socket")]
    NoAddress,
}

impl Error {
    /// An answer with this status and text. A message of a 5xx is sent too: it is the application's own words.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Failure { status, message: message.into(), source: None, busy: None, logged: false }))
    }

    /// A 500 whose reason only the log gets.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL).with_source(source)
    }

    /// A 404 with this text.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(StatusCode::NOT_FOUND, message)
    }

    /// A 400 with this text.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(StatusCode::BAD_REQUEST, message)
    }

    /// The same answer with a reason for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// The same error with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Error {
        self.0.status = status;
        self
    }

    /// The same error, kept out of the log: whoever made it has logged it.
    pub fn logged(mut self) -> Error {
        self.0.logged = true;
        self
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What went wrong, for the log.
    pub fn source(&self) -> Option<&(dyn StdError + Send + Sync)> {
        self.0.source.as_deref()
    }
}

pub(crate) const INTERNAL: &str = "internal server error";

/// The status for a client that has gone, as nginx counts it.
pub(crate) fn client_gone() -> StatusCode {
    StatusCode::from_u16(499).expect("499 is in the range of statuses")
}

/// See the table at the top of the file.
impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        let mut link: Option<&(dyn StdError + 'static)> = Some(&error);
        let (mut known, mut busy) = (None, None);
        while let (None, Some(one)) = (&known, link) {
            known = decide(one);
            busy = one.downcast_ref::<Busy>().cloned();
            link = one.source();
        }
        let (status, message) = known.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, INTERNAL.into()));
        let mut answer = Error::new(status, message).with_source(error);
        answer.0.busy = busy;
        answer
    }
}

/// The status of one link of a chain of errors, if it is one that we know something about.
fn decide(error: &(dyn StdError + 'static)) -> Option<(StatusCode, Cow<'static, str>)> {
    if let Some(rejection) = error.downcast_ref::<Rejection>() {
        return Some(decide_rejection(rejection));
    }
    if let Some(busy) = error.downcast_ref::<Busy>() {
        return Some((busy.status, busy.message.clone()));
    }
    if let Some(error) = error.downcast_ref::<BodyReadError>() {
        return Some(decide_body(error));
    }
    if let Some(error) = error.downcast_ref::<BodyError>() {
        return Some((error.status(), error.reason().into()));
    }
    decide_io(error.downcast_ref::<io::Error>()?)
}

fn decide_rejection(rejection: &Rejection) -> (StatusCode, Cow<'static, str>) {
    let status = match rejection {
        Rejection::Body(error) => return decide_body(error),
        Rejection::PathMismatch(_)
        | Rejection::BodyTaken
        | Rejection::MissingState { .. }
        | Rejection::NoAddress => return (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL.into()),
        Rejection::UnsupportedContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Rejection::JsonMismatch(_) | Rejection::InvalidForm(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Rejection::InvalidPath(_)
        | Rejection::InvalidQuery(_)
        | Rejection::InvalidJson(_)
        | Rejection::InvalidUtf8
        | Rejection::InvalidUri => StatusCode::BAD_REQUEST,
    };
    (status, rejection.to_string().into())
}

fn decide_body(error: &BodyReadError) -> (StatusCode, Cow<'static, str>) {
    let status = match error {
        BodyReadError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyReadError::Malformed(error) => error.status(),
        BodyReadError::Stalled => StatusCode::REQUEST_TIMEOUT,
        BodyReadError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        BodyReadError::ClientGone => client_gone(),
        BodyReadError::Busy | BodyReadError::Finished => {
            return (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL.into());
        }
        BodyReadError::Io(error) => {
            return decide_io(error).unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, INTERNAL.into()));
        }
    };
    (status, error.to_string().into())
}

fn decide_io(error: &io::Error) -> Option<(StatusCode, Cow<'static, str>)> {
    // `io::Error::source` skips the error that it wraps, so that one is looked at here.
    if let Some(known) = error.get_ref().and_then(|inner| decide(inner)) {
        return Some(known);
    }
    if park::is_cancellation(error) {
        return Some((client_gone(), "the request was cancelled".into()));
    }
    (error.kind() == io::ErrorKind::TimedOut)
        .then(|| (StatusCode::GATEWAY_TIMEOUT, "the deadline passed".into()))
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The source with its chain if there is one, else the message.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(source) = &self.source else {
            return f.write_str(&self.message);
        };
        write!(f, "{source}")?;
        let mut link = source.source();
        while let Some(cause) = link {
            write!(f, ": {cause}")?;
            link = cause.source();
        }
        Ok(())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error(Box::new(failure))
    }
}

impl Busy {
    /// A 503.
    pub fn new(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Busy {
        Busy { status: StatusCode::SERVICE_UNAVAILABLE, message: message.into(), retry_after, page: None }
    }

    /// The same with a page, as HTML.
    #[must_use]
    pub fn with_page(mut self, page: impl Into<Arc<str>>) -> Busy {
        self.page = Some(page.into());
        self
    }

    fn dress(&self, response: &mut Response) {
        let seconds = self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        if let Some(page) = &self.page {
            *response.body_mut() = Body::from(page.to_string()).with_content_type(HTML);
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0.message.clone()));
        *response.status_mut() = self.0.status;
        if let Some(busy) = &self.0.busy {
            busy.dress(&mut response);
        }
        response.extensions_mut().insert(*self.0);
        response
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

impl IntoResponse for BodyReadError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}

impl Failure {
    /// Writes it to the log; called once per answer.
    pub(crate) fn log(&self, head: Option<HeadView<'_>>, route: &str) {
        if self.logged {
            return;
        }
        let (method, path) = head.map_or(("-", "-"), |head| (head.method_str(), head.path()));
        let status = self.status.as_u16();
        match status {
            // It is the answer that was chosen for this case, and there may be a hundred thousand of them.
            _ if self.busy.is_some() => tracing::debug!(status, method, path, route, "{self}"),
            499 => tracing::info!(status, method, path, route, "the client is gone: {self}"),
            400..=498 => tracing::debug!(status, method, path, route, "{self}"),
            _ => tracing::error!(status, method, path, route, "{self}"),
        }
    }

    /// Whether the client asks for JSON: its Accept names `application/json` or `application/problem+json`.
    pub fn wants_json(head: HeadView<'_>) -> bool {
        let accept = head.header(ACCEPT.as_str()).and_then(|value| std::str::from_utf8(value).ok());
        accept.is_some_and(|accept| {
            let types = accept.split(',').map(|one| one.split(';').next().unwrap_or_default().trim());
            types.into_iter().any(|one| {
                one.eq_ignore_ascii_case("application/json")
                    || one.eq_ignore_ascii_case("application/problem+json")
            })
        })
    }

    /// Turns the body of `response` into problem details (RFC 9457 section 3).
    pub(crate) fn write_problem(&self, response: &mut Response) {
        let problem = serde_json::json!({
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.message,
        });
        response.headers_mut().remove(CONTENT_TYPE);
        *response.body_mut() = Body::from(problem.to_string()).with_content_type("application/problem+json");
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
