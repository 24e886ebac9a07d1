//! One route, and the list in which an app collects them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;

use crate::handler::{ErasedHandler, Handler, HandlerFacts, erase};
use crate::lane::Priority;

/// Most bytes that extractors read of a body at once, unless the route says otherwise; axum's number, so that what worked
/// there works here.
pub const COLLECT_BYTES_MAX: usize = 2 << 20;

/// A handler and what the driver has to know about it.
pub struct Route {
    pattern: &'static str,
    lane: usize,
    handler: Box<dyn ErasedHandler>,
    exempt: bool,
    keeps_connection: bool,
    body_bytes_max: Option<u64>,
    /// `None` for the limits' number.
    body_ahead_bytes_max: Option<usize>,
    priority: Priority,
    timeout: Option<Duration>,
    overrun: Option<Duration>,
    /// Its handler was seen to wait.
    waits: AtomicBool,
}

impl Route {
    /// Whether its handler was seen to wait: then an earlier answer of the same pipeline is written first.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Its handler has waited.
    #[inline]
    pub(crate) fn note_wait(&self) {
        if !self.waits() {
            self.waits.store(true, Ordering::Relaxed);
        }
    }

    /// The pattern as the app wrote it, for instance `/users/{id}`; a name in parentheses for the built-in answers.
    #[inline]
    pub fn pattern(&self) -> &'static str {
        self.pattern
    }

    /// Its lane's index in [`crate::Opened::lanes`]; 0 is the lane "default".
    #[inline]
    pub fn lane(&self) -> usize {
        self.lane
    }

    /// Its handler.
    #[inline]
    pub fn handler(&self) -> &dyn ErasedHandler {
        &*self.handler
    }

    /// Whether it is a health check: one of the app's own routes that is answered past the lanes.
    pub(crate) fn is_health(&self) -> bool {
        self.exempt && self.pattern().starts_with('/')
    }

    /// Whether it is answered past the lanes: health checks, which have to work when everything is full, and the built-in
    /// answers, which take no time.
    #[inline]
    pub fn is_exempt(&self) -> bool {
        self.exempt
    }

    /// Whether it gives its connections to somebody who keeps them.
    pub(crate) fn keeps_connection(&self) -> bool {
        self.keeps_connection
    }

    /// The most bytes of a request body, if the route has a limit of its own.
    #[inline]
    pub fn body_bytes_max(&self) -> Option<u64> {
        self.body_bytes_max
    }

    /// The most bytes of a body that are read before the request takes a place, if the route has a limit of its own.
    pub(crate) fn body_ahead_bytes_max(&self) -> Option<usize> {
        self.body_ahead_bytes_max
    }

    /// The most bytes that extractors collect.
    pub(crate) fn collect_bytes_max(&self) -> usize {
        self.body_bytes_max.map_or(COLLECT_BYTES_MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// How important its requests are beside the others of their lane.
    #[inline]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// How long after its arrival a request's waits fail, if the route has a limit of its own.
    #[inline]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How long it may run on after that, if the route has a limit of its own.
    #[inline]
    pub fn overrun(&self) -> Option<Duration> {
        self.overrun
    }

    /// A route of the server itself.
    pub(crate) fn built_in<M: 'static>(pattern: &'static str, handler: impl Handler<M>) -> Route {
        Route { exempt: true, ..Route::new(pattern, 0, handler) }
    }

    pub(crate) fn new<M: 'static>(pattern: &'static str, lane: usize, handler: impl Handler<M>) -> Route {
        let facts = handler.facts();
        Route {
            pattern,
            lane,
            handler: erase(handler),
            exempt: false,
            keeps_connection: facts.keeps_connection,
            body_bytes_max: facts.body_bytes_max,
            body_ahead_bytes_max: facts.ahead_bytes_max(),
            priority: facts.priority,
            timeout: facts.timeout,
            overrun: facts.overrun,
            waits: AtomicBool::new(false),
        }
    }

    pub(crate) fn of(new: NewRoute, pattern: &'static str) -> Route {
        Route {
            pattern,
            lane: new.lane,
            handler: new.handler,
            exempt: new.exempt,
            keeps_connection: new.facts.keeps_connection,
            body_bytes_max: new.facts.body_bytes_max,
            body_ahead_bytes_max: new.facts.ahead_bytes_max(),
            priority: new.facts.priority,
            timeout: new.facts.timeout,
            overrun: new.facts.overrun,
            waits: AtomicBool::new(false),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("pattern", &self.pattern)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

/// A list of routes; what `App::lane` hands to its closure.
///
/// A pattern is a path in which `{name}` stands for one segment, or part of one, and `{*name}` at the end for the rest.
/// Literal braces are doubled. Trailing slashes count: `/a` and `/a/` are two paths. Of two patterns that match, the more
/// literal one answers, whatever their order.
#[derive(Debug, Default)]
#[must_use]
pub struct Routes {
    pub(crate) list: Vec<NewRoute>,
}

/// A route that has not been checked yet.
pub(crate) struct NewRoute {
    /// `None` for every method that has no route of its own.
    pub(crate) method: Option<Method>,
    pub(crate) path: String,
    pub(crate) handler: Box<dyn ErasedHandler>,
    pub(crate) facts: HandlerFacts,
    pub(crate) lane: usize,
    pub(crate) exempt: bool,
}

impl Routes {
    /// No routes.
    pub fn new() -> Routes {
        Routes::default()
    }

    /// Answers GET, and HEAD unless that has a route of its own.
    pub fn get<M: 'static>(self, path: &str, handler: impl Handler<M>) -> Routes {
        self.route(Method::GET, path, handler)
    }

    /// Answers POST.
    pub fn post<M: 'static>(self, path: &str, handler: impl Handler<M>) -> Routes {
        self.route(Method::POST, path, handler)
    }

    /// Answers PUT.
    pub fn put<M: 'static>(self, path: &str, handler: impl Handler<M>) -> Routes {
        self.route(Method::PUT, path, handler)
    }

    /// Answers DELETE.
    pub fn delete<M: 'static>(self, path: &str, handler: impl Handler<M>) -> Routes {
        self.route(Method::DELETE, path, handler)
    }

    /// Answers PATCH.
    pub fn patch<M: 'static>(self, path: &str, handler: impl Handler<M>) -> Routes {
        self.route(Method::PATCH, path, handler)
    }

    /// Answers every method that has no route of its own.
    pub fn any<M: 'static>(self, path: &str, handler: impl Handler<M>) -> Routes {
        self.push(None, path, false, handler)
    }

    /// Answers one method.
    pub fn route<M: 'static>(self, method: Method, path: &str, handler: impl Handler<M>) -> Routes {
        self.push(Some(method), path, false, handler)
    }

    pub(crate) fn push<M: 'static>(
        mut self,
        method: Option<Method>,
        path: &str,
        exempt: bool,
        handler: impl Handler<M>,
    ) -> Routes {
        let facts = handler.facts();
        self.list.push(NewRoute {
            method,
            path: path.into(),
            handler: erase(handler),
            facts,
            lane: 0,
            exempt,
        });
        self
    }
}

impl fmt::Debug for NewRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_ref().map_or("*", Method::as_str), self.path)
    }
}
