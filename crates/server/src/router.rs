//! From a method and a path to a route, and from a request to its answer.
//!
//! There is always a route: what the app did not write is answered by built-in ones (404, 405, OPTIONS), so the driver has
//! one way for all requests. The router is made once in the master and shared by the workers after the fork.

mod literal;
mod methods;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderValue, StatusCode};
use tenfold_http::h1::HeadView;

use crate::context::Context;
use crate::error::{Error, Failure};
use crate::panic::call_handler_into;
use crate::request_id::X_REQUEST_ID;
use crate::respond::{IntoResponse, Response};
use crate::route::{NewRoute, Route};
use crate::router::literal::Literal;
use crate::router::methods::Methods;

/// Most routes of an app. Their patterns live as long as the process, so there has to be a bound.
pub const ROUTES_MAX: usize = 16_384;

/// Answers instead of the default rendering of an error; see `App::on_error`.
pub(crate) type OnError = Box<dyn Fn(&Failure, Option<HeadView<'_>>) -> Option<Response> + Send + Sync>;

/// An app's routes.
pub struct Router {
    /// All patterns. Those without parameters are in `literal`, where they are found sooner; here they are for the conflicts
    /// that are found when the router is made.
    paths: matchit::Router<Arc<Methods>>,
    literal: Literal<Arc<Methods>>,
    /// What answers when no pattern matches.
    fallback: Route,
    /// What answers `OPTIONS *` (RFC 9110 section 9.3.7).
    server_options: Route,
    on_error: Option<OnError>,
    request_ids: bool,
}

/// A route and the parameters of its path.
#[derive(Debug)]
pub struct Found<'a> {
    /// The route.
    pub route: &'a Route,
    pub(crate) params: Params<'a>,
}

/// The parameters of a path in their order, still percent-encoded. Up to three need no allocation.
#[derive(Debug, Default)]
pub struct Params<'a>(matchit::Params<'a, 'a>);

/// Why a list of routes is no router.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The pattern is malformed.
    #[error("route \"{pattern}\": {reason}")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two patterns match the same paths.
    #[error("route \"{pattern}\" matches the same paths as \"{other}\"")]
    Conflict {
        /// The later pattern.
        pattern: String,
        /// The earlier one.
        other: String,
    },
    /// A method and a pattern were given twice.
    #[error("route \"{pattern}\" has two handlers for {method}")]
    Duplicate {
        /// The pattern.
        pattern: String,
        /// The method, or "any method".
        method: String,
    },
    /// There are more than [`ROUTES_MAX`] routes.
    #[error("there are more than {ROUTES_MAX} routes")]
    TooMany,
}

impl Router {
    /// Checks and arranges routes.
    pub(crate) fn new(
        routes: Vec<NewRoute>,
        fallback: Option<Route>,
        on_error: Option<OnError>,
        request_ids: bool,
    ) -> Result<Router, RouteError> {
        let (paths, literal) = arrange(routes)?;
        Ok(Router {
            paths,
            literal,
            fallback: fallback.unwrap_or_else(|| Route::built_in("(not found)", not_found)),
            server_options: Route::built_in("(options)", server_options),
            on_error,
            request_ids,
        })
    }

    /// The route of a request. Does not allocate for paths of up to three parameters.
    #[inline]
    pub fn find<'a>(&'a self, method: &str, path: &'a str) -> Found<'a> {
        match self.literal.get(path) {
            Some(methods) => Found { route: methods.route(method), params: Params::default() },
            None => self.find_by_pattern(method, path),
        }
    }

    fn find_by_pattern<'a>(&'a self, method: &str, path: &'a str) -> Found<'a> {
        match self.paths.at(path) {
            Ok(matched) => Found { route: matched.value.route(method), params: Params(matched.params) },
            Err(matchit::MatchError::NotFound) => self.unmatched(method, path),
        }
    }

    #[cold]
    fn unmatched<'a>(&'a self, method: &str, path: &str) -> Found<'a> {
        let route = match (method, path) {
            ("OPTIONS", "*") => &self.server_options,
            _ => &self.fallback,
        };
        Found { route, params: Params::default() }
    }

    /// Runs the route's handler. Whatever it does, this returns an answer: a panic is 500, an error is rendered as the app
    /// or the client likes it, and the request id is put in.
    #[inline]
    pub fn answer(&self, cx: &mut Context<'_>) -> Response {
        let mut response = None;
        self.answer_into(cx, &mut response);
        response.expect("the call above has put it there")
    }

    /// As [`Router::answer`], with the answer where the caller wants it; afterwards there is one.
    #[inline]
    pub(crate) fn answer_into(&self, cx: &mut Context<'_>, slot: &mut Option<Response>) {
        let route = cx.route();
        if self.request_ids {
            // So that it is in sight, and in the logs of the handler, from the beginning.
            cx.request_id();
        }
        if let Err(panicked) = call_handler_into(route.handler(), cx, slot) {
            *slot = Some(panicked.into_response());
        }
        let Some(response) = slot else { return };
        if response.extensions().get::<Failure>().is_some() {
            *response = self.render(std::mem::take(response), Some(cx.head()), route.pattern());
        }
        if let Some(id) = cx.request_id_to_send() {
            let value = id.header_value();
            response.headers_mut().insert(X_REQUEST_ID, value);
        }
    }

    /// The answer to a request that does not get as far as a handler: a full lane, a malformed head, a limit. It is rendered
    /// and logged as a handler's errors are. `head` is there if it could be parsed.
    pub fn refuse(&self, error: Error, head: Option<HeadView<'_>>) -> Response {
        self.render(error.into_response(), head, "(refused)")
    }

    /// Logs an error and gives the response its final form.
    #[cold]
    fn render(&self, mut response: Response, head: Option<HeadView<'_>>, route: &str) -> Response {
        let Some(failure) = response.extensions_mut().remove::<Failure>() else {
            return response;
        };
        failure.log(head, route);
        let wants_json = head.is_some_and(Failure::wants_json);
        if !wants_json && failure.busy.as_ref().is_some_and(|busy| busy.page.is_some()) {
            return response;
        }
        if let Some(mut mapped) = self.on_error.as_ref().and_then(|map| map_error(map, &failure, head)) {
            // What the status obliges us to send is kept: Allow, Retry-After, WWW-Authenticate.
            for (name, value) in response.headers() {
                if !mapped.headers().contains_key(name) {
                    mapped.headers_mut().append(name, value.clone());
                }
            }
            return mapped;
        }
        if wants_json {
            failure.write_problem(&mut response);
        }
        response
    }
}

/// The app's hook must not take the connection down if it panics.
fn map_error(map: &OnError, failure: &Failure, head: Option<HeadView<'_>>) -> Option<Response> {
    catch_unwind(AssertUnwindSafe(|| map(failure, head))).unwrap_or_default()
}

impl<'a> Params<'a> {
    /// Their number.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parameter of this name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name)
    }

    /// Names and values in the order of the pattern.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter()
    }
}

fn not_found() -> Error {
    Error::not_found("not found")
}

fn server_options() -> impl IntoResponse {
    let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS");
    (StatusCode::NO_CONTENT, [(ALLOW, allow)], ())
}

/// All patterns, and those without parameters a second time.
type Arranged = (matchit::Router<Arc<Methods>>, Literal<Arc<Methods>>);

fn arrange(routes: Vec<NewRoute>) -> Result<Arranged, RouteError> {
    if routes.len() > ROUTES_MAX {
        return Err(RouteError::TooMany);
    }
    // Grouped by pattern in the order of their first use; the index keeps it linear.
    let mut patterns: Vec<Methods> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for new in routes {
        let at = *index.entry(new.path.clone()).or_insert_with(|| {
            patterns.push(Methods::new(Box::leak(new.path.clone().into_boxed_str())));
            patterns.len() - 1
        });
        patterns[at].add(new)?;
    }
    let mut paths = matchit::Router::new();
    let mut literal = Vec::new();
    for mut methods in patterns {
        methods.finish();
        let pattern = methods.pattern();
        check_pattern(pattern)?;
        let methods = Arc::new(methods);
        paths.insert(pattern, methods.clone()).map_err(|error| refused_pattern(pattern, error))?;
        // Doubled braces are rare enough to be left to the patterns.
        if !pattern.contains(['{', '}']) {
            literal.push((pattern, methods));
        }
    }
    Ok((paths, Literal::new(literal)))
}

fn check_pattern(pattern: &str) -> Result<(), RouteError> {
    let reason = if !pattern.starts_with('/') {
        "a pattern begins with \"/\""
    } else if pattern.contains(['?', '#']) {
        "a pattern is a path, without a query"
    } else if pattern.bytes().any(|byte| byte <= b' ' || byte >= 0x7F) {
        // Paths are matched as they are sent, and there these characters are percent-encoded.
        "a pattern has no spaces and is ASCII; write it percent-encoded"
    } else {
        return Ok(());
    };
    Err(RouteError::InvalidPattern { pattern: pattern.into(), reason: reason.into() })
}

fn refused_pattern(pattern: &str, error: matchit::InsertError) -> RouteError {
    match error {
        matchit::InsertError::Conflict { with } => {
            RouteError::Conflict { pattern: pattern.into(), other: with }
        }
        error => RouteError::InvalidPattern { pattern: pattern.into(), reason: error.to_string() },
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("request_ids", &self.request_ids).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Router {
    /// A router of nothing but these routes.
    pub(crate) fn of(routes: crate::route::Routes) -> Router {
        Router::new(routes.list, None, None, false).expect("a test's routes are valid")
    }
}

#[cfg(test)]
#[path = "router/tests.rs"]
mod tests;
