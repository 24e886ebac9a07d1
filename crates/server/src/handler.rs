//! What can answer a route: plain functions and `async` ones, of up to eight arguments that a request can be turned into.
//!
//! A handler does not know its model: the same one is called on a thread, in a process or on a fiber. Plain ones wait by
//! waiting, `async` ones are driven by [`block_on`] wherever a plain one would run.

use std::marker::PhantomData;
use std::time::Duration;

pub use tenfold_runtime::block_on;

use crate::context::Context;
use crate::error::Error;
use crate::extract::FromRequest;
use crate::lane::Priority;
use crate::respond::{IntoResponse, Response};
use crate::route::COLLECT_BYTES_MAX;
use crate::state::Need;

/// A function that answers requests.
///
/// Implemented for `Fn(E1, …, E8) -> R` and `async fn`s of the same shape, where each argument is [`FromRequest`] and the
/// answer is [`IntoResponse`]. Futures need not be `Send`: a request never leaves the thread that it started on. `M` only
/// keeps the implementations apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle requests",
    note = "a handler takes at most eight arguments, each of which implements `FromRequest`",
    note = "it returns a value, or a future of one, that implements `IntoResponse`"
)]
pub trait Handler<M>: Send + Sync + 'static {
    /// Answers a request: extracts the arguments in their order, then calls the function.
    fn call(&self, cx: &mut Context<'_>) -> Response;

    /// What is known about it before the first request.
    fn facts(&self) -> HandlerFacts;

    /// The same handler, for bodies of up to `bytes_max` bytes: it replaces the connection's limit (413 beyond) and the
    /// bound of extractors that read the whole body, which is 2 MiB.
    ///
    /// ```
    /// use tenfold_server::{App, Body, Handler};
    /// fn upload(_body: Body) {}
    /// App::new().post("/upload", upload.body_bytes_max(1 << 30)).build().unwrap();
    /// ```
    fn body_bytes_max(self, bytes_max: u64) -> Limited<Self>
    where
        Self: Sized,
    {
        Limited { body_bytes_max: Some(bytes_max), ..Limited::none(self) }
    }

    /// The same handler, with another number of bytes of a body that are read before the request takes a place in its
    /// lane; at most 2 MiB. By default that is `limits.body_ahead_bytes_max` where an argument takes the whole body, and 0
    /// where it is a stream: then the handler may answer while the body still comes.
    ///
    /// ```
    /// use tenfold_server::{App, Body, Handler};
    /// fn import(_body: Body) {} // Only reads it to its end, so a slow client need not hold it.
    /// App::new().post("/import", import.body_ahead_bytes_max(64 << 10)).build().unwrap();
    /// ```
    fn body_ahead_bytes_max(self, bytes_max: usize) -> Limited<Self>
    where
        Self: Sized,
    {
        Limited { body_ahead_bytes_max: Some(bytes_max.min(COLLECT_BYTES_MAX)), ..Limited::none(self) }
    }

    /// The same handler, whose requests go before or behind others of their lane when it is full.
    ///
    /// ```
    /// use tenfold_server::{App, Handler, Lane, Priority};
    /// App::new()
    ///     .default_lane(Lane::default().at_once(64))
    ///     .post("/pay", (|| "paid").priority(Priority::Critical))
    ///     .get("/export", (|| "…").priority(Priority::Background))
    ///     .build()
    ///     .unwrap();
    /// ```
    fn priority(self, priority: Priority) -> Limited<Self>
    where
        Self: Sized,
    {
        Limited { priority: Some(priority), ..Limited::none(self) }
    }

    /// The same handler with another time-out, counted from the request's arrival: after it all waits fail with
    /// `TimedOut`. [`Duration::MAX`] is never.
    fn timeout(self, timeout: Duration) -> Limited<Self>
    where
        Self: Sized,
    {
        Limited { timeout: Some(timeout), ..Limited::none(self) }
    }

    /// The same handler with another time that it may run on after its time-out, before its process is replaced.
    /// [`Duration::MAX`] is never.
    fn overrun(self, overrun: Duration) -> Limited<Self>
    where
        Self: Sized,
    {
        Limited { overrun: Some(overrun), ..Limited::none(self) }
    }
}

/// What is known about a handler before the first request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerFacts {
    /// Whether it is an `async fn`: such a one does not hold a loop while it waits.
    pub is_async: bool,
    /// What its arguments need from the app.
    pub needs: Vec<Need>,
    /// The most bytes of a request body, instead of the connection's limit.
    pub body_bytes_max: Option<u64>,
    /// Whether an argument of it takes the whole body; see [`FromRequest::COLLECTS_BODY`].
    pub collects_body: bool,
    /// The most bytes of a body that are read before the request takes a place in its lane, instead of the limits' for
    /// handlers that collect it and none for others.
    pub body_ahead_bytes_max: Option<usize>,
    /// How important it is beside the others of its lane.
    pub priority: Priority,
    /// How long it may take, instead of the lane's.
    pub timeout: Option<Duration>,
    /// How long it may run on after that, instead of the lane's.
    pub overrun: Option<Duration>,
    /// It answers by giving the connection to somebody who keeps it: it runs where the connections are, whatever its lane
    /// says of handler processes.
    pub keeps_connection: bool,
}

impl HandlerFacts {
    /// How much of a body is read before the request takes a place; `None` for as much as the limits say.
    pub(crate) fn ahead_bytes_max(&self) -> Option<usize> {
        self.body_ahead_bytes_max.or((!self.collects_body).then_some(0))
    }

    /// The facts of a handler that gives its connections away; see [`crate::take_over`].
    pub fn keeping_connections(needs: Vec<Need>) -> HandlerFacts {
        HandlerFacts { needs, keeps_connection: true, ..HandlerFacts::default() }
    }
}

/// A handler with limits of its own; see [`Handler::body_bytes_max`], [`Handler::body_ahead_bytes_max`],
/// [`Handler::priority`], [`Handler::timeout`] and [`Handler::overrun`].
#[derive(Clone, Copy, Debug)]
pub struct Limited<H> {
    handler: H,
    body_bytes_max: Option<u64>,
    body_ahead_bytes_max: Option<usize>,
    priority: Option<Priority>,
    timeout: Option<Duration>,
    overrun: Option<Duration>,
}

impl<H> Limited<H> {
    fn none(handler: H) -> Limited<H> {
        Limited {
            handler,
            body_bytes_max: None,
            body_ahead_bytes_max: None,
            priority: None,
            timeout: None,
            overrun: None,
        }
    }
}

impl<M, H: Handler<M>> Handler<M> for Limited<H> {
    #[inline]
    fn call(&self, cx: &mut Context<'_>) -> Response {
        self.handler.call(cx)
    }

    fn facts(&self) -> HandlerFacts {
        let facts = self.handler.facts();
        HandlerFacts {
            body_bytes_max: self.body_bytes_max.or(facts.body_bytes_max),
            body_ahead_bytes_max: self.body_ahead_bytes_max.or(facts.body_ahead_bytes_max),
            priority: self.priority.unwrap_or(facts.priority),
            timeout: self.timeout.or(facts.timeout),
            overrun: self.overrun.or(facts.overrun),
            ..facts
        }
    }
}

/// Marks plain functions.
#[derive(Debug)]
pub enum Blocking {}

/// Marks `async` functions.
#[derive(Debug)]
pub enum Async {}

macro_rules! handlers {
    ($($extractor:ident)*) => {
        impl<F, R, $($extractor,)*> Handler<(Blocking, $($extractor,)*)> for F
        where
            F: Fn($($extractor),*) -> R + Send + Sync + 'static,
            R: IntoResponse,
            $($extractor: FromRequest,)*
        {
            #[inline]
            #[allow(non_snake_case, unused_variables, reason = "one macro makes the functions of all lengths")]
            fn call(&self, cx: &mut Context<'_>) -> Response {
                $(let $extractor = match $extractor::from_request(cx) {
                    Ok(value) => value,
                    Err(rejection) => return rejection.into_response(),
                };)*
                self($($extractor),*).into_response()
            }

            fn facts(&self) -> HandlerFacts {
                let needs = needs_of(&[$($extractor::needs),*]);
                let collects_body = false $(|| $extractor::COLLECTS_BODY)*;
                HandlerFacts { needs, collects_body, ..HandlerFacts::default() }
            }
        }

        impl<F, R, $($extractor,)*> Handler<(Async, $($extractor,)*)> for F
        where
            F: Fn($($extractor),*) -> R + Send + Sync + 'static,
            R: Future<Output: IntoResponse>,
            $($extractor: FromRequest,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "one macro makes the functions of all lengths")]
            fn call(&self, cx: &mut Context<'_>) -> Response {
                $(let $extractor = match $extractor::from_request(cx) {
                    Ok(value) => value,
                    Err(rejection) => return rejection.into_response(),
                };)*
                answer_of(self($($extractor),*))
            }

            fn facts(&self) -> HandlerFacts {
                let needs = needs_of(&[$($extractor::needs),*]);
                let collects_body = false $(|| $extractor::COLLECTS_BODY)*;
                HandlerFacts { is_async: true, needs, collects_body, ..HandlerFacts::default() }
            }
        }
    };
}

handlers!();
handlers!(E1);
handlers!(E1 E2);
handlers!(E1 E2 E3);
handlers!(E1 E2 E3 E4);
handlers!(E1 E2 E3 E4 E5);
handlers!(E1 E2 E3 E4 E5 E6);
handlers!(E1 E2 E3 E4 E5 E6 E7);
handlers!(E1 E2 E3 E4 E5 E6 E7 E8);

fn needs_of(extractors: &[fn() -> Vec<Need>]) -> Vec<Need> {
    extractors.iter().flat_map(|needs| needs()).collect()
}

/// A deadline or a cancellation drops the future, and is answered as it would be in a plain handler.
fn answer_of(future: impl Future<Output: IntoResponse>) -> Response {
    match block_on(future) {
        Ok(answer) => answer.into_response(),
        Err(ended) => Error::from(std::io::Error::from(ended)).into_response(),
    }
}

/// A handler whose type is forgotten, as a route keeps it.
pub trait ErasedHandler: Send + Sync {
    /// Answers a request.
    fn call(&self, cx: &mut Context<'_>) -> Response;

    /// As [`ErasedHandler::call`], with the answer where the caller wants it: it is made there, and not made elsewhere and
    /// copied.
    fn call_into(&self, cx: &mut Context<'_>, answer: &mut Option<Response>) {
        *answer = Some(self.call(cx));
    }

    /// Whether it is an `async fn`.
    fn is_async(&self) -> bool;
}

/// Forgets the type of a handler.
pub(crate) fn erase<M: 'static, H: Handler<M>>(handler: H) -> Box<dyn ErasedHandler> {
    let is_async = handler.facts().is_async;
    Box::new(Erased { handler, is_async, marker: PhantomData })
}

struct Erased<H, M> {
    handler: H,
    is_async: bool,
    marker: PhantomData<fn() -> M>,
}

impl<M, H: Handler<M>> ErasedHandler for Erased<H, M> {
    #[inline]
    fn call(&self, cx: &mut Context<'_>) -> Response {
        self.handler.call(cx)
    }

    fn is_async(&self) -> bool {
        self.is_async
    }
}

#[cfg(test)]
#[path = "handler/tests.rs"]
mod tests;
