//! `Deadline`: the times by which one request has to be done, counted from its arrival.
//!
//! A request has arrived when its first byte was seen: at accept if that came with it. Waiting for a lane counts, and so
//! does reading head and body. Writing the answer does not: that has its own bound, the client's stall.

use std::time::{Duration, Instant};

use tenfold_runtime::park::{Terms, on_terms};

use crate::drive::connection::Connection;
use crate::guard::desk::{self, InFlight};
use crate::guard::slow_log;
use crate::lane::OpenLane;
use crate::route::Route;
use crate::service::Service;

/// Soft and hard deadline of one request; without either it costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) arrived: Instant,
    pub(crate) timeout: Duration,
    /// `timeout` after the arrival.
    pub(crate) soft: Instant,
    /// How long after that the hard one is.
    pub(crate) overrun: Option<Duration>,
}

impl Deadline {
    /// The nearest word counts: the route's, else its lane's, else the limits'.
    pub(crate) fn of(
        arrived: Instant,
        route: &Route,
        lane: Option<&OpenLane>,
        service: &Service,
    ) -> Option<Deadline> {
        let bounds = &service.bounds;
        let timeout = route.timeout().or(lane.and_then(|lane| lane.timeout)).or(bounds.request_timeout)?;
        let overrun = route.overrun().or(lane.and_then(|lane| lane.overrun)).or(bounds.request_overrun);
        // A time beyond the clock's end means never.
        let soft = arrived.checked_add(timeout)?;
        Some(Deadline { arrived, timeout, soft, overrun })
    }

    /// `None` for never.
    pub(crate) fn hard(&self) -> Option<Instant> {
        self.soft.checked_add(self.overrun?)
    }

    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.hard().is_some_and(|hard| hard <= now)
    }
}

/// Runs `f` with its waits bounded by the soft deadline.
pub(crate) fn within<R>(deadline: Option<Deadline>, f: impl FnOnce() -> R) -> R {
    match deadline {
        Some(deadline) => tenfold_runtime::deadline_at(deadline.soft, f),
        None => f(),
    }
}

/// How long after its hard deadline a handler process that does not end itself is given up. It names its stack first, and
/// on a busy machine that may take a second.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Runs `f`, which waits for another process that keeps the deadlines itself.
pub(crate) fn within_hard<R>(deadline: Option<Deadline>, f: impl FnOnce() -> R) -> R {
    match deadline.and_then(|deadline| deadline.hard()?.checked_add(GIVE_UP)) {
        Some(at) => tenfold_runtime::deadline_at(at, f),
        None => f(),
    }
}

/// Runs a handler for its client and within its deadline, where the sentry sees it, and has the slow log told if it took too
/// long.
///
/// `request` is its method and path; `inline`: its waits hold the loop.
#[inline]
pub(crate) fn watched<R>(
    conn: &Connection,
    deadline: Option<Deadline>,
    route: &'static str,
    request: (&str, &str),
    inline: bool,
    f: impl FnOnce() -> R,
) -> R {
    let terms = Terms { peer: conn.watched_peer(), deadline: deadline.map(|deadline| deadline.soft), inline };
    let Some(deadline) = deadline else { return on_terms(terms, f).0 };
    let place = desk::enter(route, request, &deadline);
    let (result, expiry) = on_terms(terms, f);
    let was_named = place.leave();
    if was_named || expiry.is_some() {
        slow_log::tell(InFlight::new(route, request, deadline), expiry);
    }
    result
}
