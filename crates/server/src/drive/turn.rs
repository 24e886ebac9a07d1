//! One request: its route, its lane, its handler, its answer.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, StatusCode, header};
use tenfold_http::h1::{After, Exchange, Framing, HeadView, RequestEnd, Sent};
use tenfold_runtime::park;
use tenfold_scoreboard as scoreboard;

use crate::access_log::Entry;
use crate::body::BodyKind;
use crate::context::Context;
use crate::drive::answer::{Asked, answer};
use crate::drive::connection::Connection;
use crate::drive::intake::{Intake, Leftover};
use crate::error::Error;
use crate::lane::crew::Crew;
use crate::lane::gate::{Gate, Place, Refusal};
use crate::lane::{OpenLane, Placement};
use crate::respond::Response;
use crate::router::Found;
use crate::upgrade::{self, Upgrade};

/// What a turn leaves behind.
pub(crate) enum Outcome {
    /// The answer was made here.
    Here(Served),
    /// A handler process has answered and says what follows; `received` is what it has read too far.
    Elsewhere { after: After, received: Vec<u8> },
}

/// What a turn that was served here leaves behind.
pub(crate) struct Served {
    pub(crate) sent: Sent,
    pub(crate) request_end: RequestEnd,
    pub(crate) leftover: Leftover,
    /// The handler has switched protocols.
    pub(crate) upgrade: Option<Upgrade>,
    /// What came while the connection was taken off its loop: behind the input if that was not used.
    pub(crate) detached: Vec<u8>,
}

/// Serves one request; its answer, or the beginning of it, goes to `output`.
///
/// # Errors
/// The connection's, or the answer's body's.
pub(crate) fn take(
    conn: &mut Connection,
    view: HeadView<'_>,
    (head, rest): (&[u8], &[u8]),
    output: &mut Vec<u8>,
) -> io::Result<Outcome> {
    conn.exchange.begin(&view);
    let service = conn.service.clone();
    let found = service.router.find(view.method_str(), view.path());
    let mut exchange = conn.exchange;
    let lane = (!found.route.is_exempt()).then(|| &service.lanes[found.route.lane()]);
    let mut detached = Vec::new();
    let came;
    let rest = match lane {
        // The handler's thread or process will read the socket itself, so the loop must not.
        Some(lane) if lane.leaves_the_loop() && !has_no_body(&view) => {
            detached = conn.detach()?;
            came = [rest, &detached].concat();
            &came[..]
        }
        _ => rest,
    };
    let turn = Turn { conn, view, head, rest, output, exchange: &mut exchange };
    let mut outcome = turn.in_lane(lane, &found);
    conn.exchange = exchange;
    if let Ok(Outcome::Here(served)) = &mut outcome {
        served.detached = detached;
    }
    outcome
}

fn has_no_body(view: &HeadView<'_>) -> bool {
    matches!(view.framing(), Framing::None | Framing::Length(0)) && view.upgrade().is_none()
}

struct Turn<'a> {
    conn: &'a Connection,
    view: HeadView<'a>,
    /// The bytes of the head.
    head: &'a [u8],
    /// What came behind it.
    rest: &'a [u8],
    output: &'a mut Vec<u8>,
    exchange: &'a mut Exchange,
}

impl<'a> Turn<'a> {
    fn in_lane(self, lane: Option<&OpenLane>, found: &Found<'_>) -> io::Result<Outcome> {
        let Some(lane) = lane else { return self.run(found, false) };
        let place = match enter(lane, self.conn, self.output)? {
            Ok(place) => place,
            Err(overflow) => return self.overflow(lane, overflow),
        };
        let outcome = match (&lane.pool, &lane.crew) {
            (Some(pool), _) => pool.run(|| self.run(found, false)),
            (_, Some(crew)) => self.pass_on(lane, crew),
            _ => self.run(found, lane.placement == Placement::Inline),
        };
        drop(place);
        outcome
    }

    /// Answers a request that found no place, before its body is read.
    fn overflow(self, lane: &OpenLane, refusal: Refusal) -> io::Result<Outcome> {
        scoreboard::current().rejections.add(1);
        let reason = match refusal {
            Refusal::QueueFull => "too many requests are waiting",
            _ => "no place became free in time",
        };
        tracing::debug!(lane = lane.name, ?refusal, "overflow");
        let error = Error::new(StatusCode::SERVICE_UNAVAILABLE, reason);
        let mut response = self.conn.service.router.refuse(error, Some(self.view));
        let seconds = lane.gate.as_ref().map_or(1, |gate| gate.wait_max().as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        self.finish_unread(response)
    }

    /// Has a handler process answer.
    fn pass_on(self, lane: &OpenLane, crew: &Crew) -> io::Result<Outcome> {
        let Turn { conn, head, rest, output, .. } = &self;
        conn.write_all(output)?;
        let wait_max = lane.gate.as_ref().map_or(Duration::ZERO, Gate::wait_max);
        let Some(channel) = crew.take(Instant::now() + wait_max) else {
            return self.refuse(Error::new(StatusCode::SERVICE_UNAVAILABLE, "no handler process is there"));
        };
        let last = conn.service.stop.was_said()
            || self.exchange.requests() >= conn.service.bounds.exchange.requests_max;
        let socket = conn.stream.socket();
        match channel.pass(socket, last, &conn.peer.to_string(), [head, rest]) {
            Ok(reply) => {
                crew.join(channel);
                self.output.clear();
                Ok(Outcome::Elsewhere { after: reply.after, received: reply.bytes })
            }
            Err(error) if conn.service.has_answer_started(channel.slot) => Err(error),
            Err(error) => {
                tracing::warn!(lane = lane.name, %error, "a handler process has died over a request");
                self.output.clear();
                self.refuse(Error::new(StatusCode::BAD_GATEWAY, "the handler has died over this request"))
            }
        }
    }

    /// Calls the handler, on this thread, and writes its answer.
    ///
    /// `inline`: the handler's waits hold the loop.
    fn run(self, found: &Found<'_>, inline: bool) -> io::Result<Outcome> {
        let route = found.route;
        tenfold_runtime::set_name(route.pattern());
        let service = &self.conn.service;
        // An earlier answer of this pipeline must not wait for a handler that is known to wait, nor for a body: its client
        // may send that when it has the answer, and a 100 must not overtake it (RFC 9110 section 15.2).
        if !self.output.is_empty() && (route.waits() || self.awaits_body()) {
            self.conn.write_all(self.output)?;
            self.output.clear();
        }
        let owes = self.exchange.owes_continue();
        let intake = Intake::new(self.conn, &self.view, self.rest, route.body_bytes_max(), owes);
        let mut intake = match intake {
            Ok(intake) => intake,
            Err(error) => {
                tracing::info!(peer = %self.conn.peer, route = route.pattern(), reason = error.reason(), "body refused");
                let refusal = Error::new(error.status(), error.reason());
                return self.answer_unread(refusal);
            }
        };
        let waits_before = park::waits();
        let started = service.access_log.is_on().then(Instant::now);
        let response = {
            let mut cx = Context::new(self.view, found, &self.conn.peer, &service.state, &mut intake);
            // A future's waits are its own business: it parks in every evented model, which is what async is for.
            let inline = inline && !route.handler().is_async();
            let mut call = || service.router.answer(&mut cx);
            let call = || match route.timeout().or(service.bounds.request_timeout) {
                Some(limit) => tenfold_runtime::deadline(limit, call),
                None => call(),
            };
            if inline { park::inline(call) } else { call() }
        };
        if park::waits() != waits_before {
            route.note_wait();
        }
        self.finish(intake, response, inline, (started, route.pattern()))
    }

    fn finish(
        self,
        mut intake: Intake<'_>,
        mut response: Response,
        inline: bool,
        (started, route): (Option<Instant>, &str),
    ) -> io::Result<Outcome> {
        let Turn { conn, view, output, exchange, .. } = self;
        let upgrade = upgrade::take_from(&mut response, &view);
        if !is_streamed(&response) {
            intake.settle();
        }
        intake.note_continue(exchange);
        let service = &conn.service;
        let promise = intake.request_end();
        let keep_alive = exchange.may_persist(promise, &service.bounds.exchange)
            && !intake.is_broken()
            && !conn.last
            && !service.stop.was_said();
        let asked = Asked { version: view.version(), to_head: view.is_head(), keep_alive };
        let status = response.status();
        scoreboard::current().count_response(status.as_u16());
        let body_bytes = response.body().length().unwrap_or(0);
        let sent = answer(conn, output, asked, response, inline)?;
        if let Some(started) = started {
            log_access(conn, &view, started, route, (status, body_bytes));
        }
        intake.settle();
        let request_end = intake.request_end();
        Ok(Outcome::Here(Served {
            sent,
            request_end,
            leftover: intake.leftover(),
            upgrade,
            detached: Vec::new(),
        }))
    }

    /// Whether some of the body may still be on its way.
    fn awaits_body(&self) -> bool {
        match self.view.framing() {
            Framing::None => false,
            Framing::Length(length) => length > self.rest.len() as u64,
            Framing::Chunked | Framing::UntilClose => true,
        }
    }

    /// An answer of the server's own; the body is not read.
    fn refuse(self, error: Error) -> io::Result<Outcome> {
        let response = self.conn.service.router.refuse(error, Some(self.view));
        let owes = self.exchange.owes_continue();
        let started = (self.conn.service.access_log.is_on().then(Instant::now), "(refused)");
        match Intake::new(self.conn, &self.view, self.rest, None, owes) {
            Ok(intake) => self.finish(intake, response, false, started),
            Err(_) => self.finish_unread(response),
        }
    }

    /// The answer to a request whose body is longer than will ever be read.
    fn answer_unread(self, error: Error) -> io::Result<Outcome> {
        let response = self.conn.service.router.refuse(error, Some(self.view));
        self.finish_unread(response)
    }

    fn finish_unread(self, response: Response) -> io::Result<Outcome> {
        let intake =
            Intake::new(self.conn, &self.view, self.rest, Some(u64::MAX), self.exchange.owes_continue())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let started = self.conn.service.access_log.is_on().then(Instant::now);
        self.finish(intake, response, false, (started, "(refused)"))
    }
}

/// Whether writing the answer may still read the request's body.
fn is_streamed(response: &Response) -> bool {
    !matches!(
        response.body().kind(),
        BodyKind::Empty | BodyKind::Static(_) | BodyKind::Bytes(_) | BodyKind::File { .. }
    )
}

/// Waits for a place in the lane.
fn enter<'l>(
    lane: &'l OpenLane,
    conn: &Connection,
    output: &mut Vec<u8>,
) -> io::Result<std::result::Result<Option<Place<'l>>, Refusal>> {
    let Some(gate) = &lane.gate else { return Ok(Ok(None)) };
    let mut flushed = Ok(());
    let entered = gate.enter(|| {
        flushed = conn.write_all(output);
        output.clear();
    });
    flushed?;
    match entered {
        Ok(place) => Ok(Ok(Some(place))),
        Err(Refusal::Cancelled) => Err(park::cancelled()),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn log_access(
    conn: &Connection,
    view: &HeadView<'_>,
    started: Instant,
    route: &str,
    (status, body_bytes): (StatusCode, u64),
) {
    let took = started.elapsed();
    conn.service.access_log.record(&Entry {
        peer: &conn.peer,
        at: SystemTime::now() - took,
        method: view.method_str(),
        target: view.target(),
        version: view.version(),
        status,
        body_bytes,
        took,
        route,
        request_id: view.header("x-request-id").and_then(|id| std::str::from_utf8(id).ok()),
        referer: view.header("referer"),
        user_agent: view.header("user-agent"),
    });
}
