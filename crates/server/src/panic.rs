//! A panic in a handler is a 500 and one line in the log, and disturbs nothing else.
//!
//! Message, place and backtrace are known in the panic hook, the route where the unwinding ends. They meet by way of a
//! fiber-local: a destructor that waits may let other fibers run, and panic, in between, so a thread-local would mix them
//! up. A panic that ends elsewhere (in a fiber that a handler has spawned) is logged when its report is dropped.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use tenfold_runtime::{Local, park};

use crate::context::Context;
use crate::error::{Error, INTERNAL};
use crate::handler::ErasedHandler;
use crate::respond::{IntoResponse, Response};

/// A handler has panicked; that has been logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Panicked;

/// What the hook saw. The handler's end, or else the fiber's, logs it: it does so when it is dropped.
struct Report {
    route: &'static str,
    seen: Option<Seen>,
}

struct Seen {
    message: String,
    location: String,
    backtrace: Option<Backtrace>,
}

static REPORT: Local<RefCell<Option<Report>>> = Local::new(|| RefCell::new(None));

thread_local! {
    /// Handlers that have begun and not ended on this thread. Where there are none the hook leaves a panic to the hook that
    /// was there before.
    static HANDLERS: Cell<usize> = const { Cell::new(0) };
}

/// Reports that are being written by threads of their own; see [`Seen::write`].
static WRITERS: AtomicUsize = AtomicUsize::new(0);
const WRITERS_MAX: usize = 4;

/// Calls a handler and keeps its panic in.
///
/// # Errors
/// [`Panicked`]; the answer is its `into_response`.
#[inline]
pub fn call_handler(handler: &dyn ErasedHandler, cx: &mut Context<'_>) -> Result<Response, Panicked> {
    let mut response = None;
    call_handler_into(handler, cx, &mut response)?;
    Ok(response.expect("a handler that has not panicked has answered"))
}

/// As [`call_handler`], with the answer where the caller wants it: it is 168 bytes, and each hand that it goes through
/// copies them.
#[inline]
pub(crate) fn call_handler_into(
    handler: &dyn ErasedHandler,
    cx: &mut Context<'_>,
    response: &mut Option<Response>,
) -> Result<(), Panicked> {
    let route = cx.route().pattern();
    guard(route, || handler.call_into(cx, response))
}

/// Runs other code of the application, such as the source of an answer's body, and keeps its panic in: on a thread that
/// serves one connection after another nothing else would.
///
/// # Errors
/// [`Panicked`].
#[inline]
pub(crate) fn guard<R>(route: &'static str, f: impl FnOnce() -> R) -> Result<R, Panicked> {
    HANDLERS.set(HANDLERS.get() + 1);
    // A handler shares with others what is `Sync`, as it would with threads: a broken invariant shows by a poisoned lock.
    let outcome = catch_unwind(AssertUnwindSafe(f));
    HANDLERS.set(HANDLERS.get() - 1);
    outcome.map_err(|payload| panicked(&*payload, route))
}

#[cold]
fn panicked(payload: &(dyn Any + Send), route: &'static str) -> Panicked {
    tenfold_scoreboard::current().panics.add(1);
    // Without the hook there is still the message.
    let unseen = || Seen { message: message_of(payload), location: String::new(), backtrace: None };
    let mut report = REPORT.with(RefCell::take).unwrap_or_else(|| Report { route, seen: Some(unseen()) });
    report.route = route;
    drop(report);
    Panicked
}

/// Has the panics of handlers logged with their place and backtrace. Other panics go on to the hook that is installed now.
/// Called once per process; further calls do nothing.
pub fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A thread-local may be gone when a thread ends, and a panic in a panic hook aborts.
            if HANDLERS.try_with(Cell::get).unwrap_or(0) == 0 {
                return previous(info);
            }
            note(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let seen = Seen {
        message: message_of(info.payload()),
        location: info.location().map_or_else(String::new, ToString::to_string),
        backtrace: Some(Backtrace::force_capture()),
    };
    let report = Report { route: "(outside of a handler)", seen: Some(seen) };
    // A former report of this fiber was caught by the handler's own code: dropping it here logs it.
    REPORT.with(|slot| drop(slot.replace(Some(report))));
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(not a text)".to_owned())
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(seen) = self.seen.take() {
            seen.log(self.route);
        }
    }
}

impl Seen {
    /// Writes it to the log. On a fiber a thread of its own does that: to resolve a backtrace means to parse debug
    /// information, for which a fiber's stack is too small and a loop too busy. In a storm of panics, where
    /// `WRITERS_MAX` such threads are at work, the backtrace is left out.
    fn log(mut self, route: &'static str) {
        if !park::parks() {
            return self.write(route);
        }
        if WRITERS.fetch_add(1, Ordering::Relaxed) < WRITERS_MAX {
            let Seen { message, location, backtrace } = &mut self;
            let seen =
                Seen { message: message.clone(), location: location.clone(), backtrace: backtrace.take() };
            let write = move || {
                seen.write(route);
                WRITERS.fetch_sub(1, Ordering::Relaxed);
            };
            // It is logged into the subscriber of this thread, which need not be the global one.
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let write = move || tracing::dispatcher::with_default(&dispatch, write);
            if std::thread::Builder::new().name("panic-report".into()).spawn(write).is_ok() {
                return;
            }
        }
        WRITERS.fetch_sub(1, Ordering::Relaxed);
        self.backtrace = None;
        self.write(route);
    }

    fn write(&self, route: &'static str) {
        let Seen { message, location, backtrace } = self;
        match backtrace {
            Some(backtrace) => tracing::error!(route, location, "handler panicked: {message}\n{backtrace}"),
            None => tracing::error!(route, location, "handler panicked: {message}"),
        }
    }
}

impl IntoResponse for Panicked {
    fn into_response(self) -> Response {
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL).logged().into_response()
    }
}

#[cfg(test)]
#[path = "panic_tests.rs"]
mod tests;
