//! One request: its route, its lane, its handler, its answer.

mod admit;
mod refuse;

use std::io;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use tenfold_http::h1::{After, Exchange, Framing, HeadView};
use tenfold_runtime::park;
use tenfold_scoreboard::{Account, Stage, now_ns};

use crate::access_log::Entry;
use crate::body::BodyKind;
use crate::context::Context;
use crate::drive::answer::{Asked, answer};
use crate::drive::connection::Connection;
use crate::drive::deadline::{self, Deadline};
use crate::drive::intake::{Intake, Leftover};
use crate::drive::sight;
use crate::drive::tally::Tally;
use crate::error::Error;
use crate::lane::OpenLane;
use crate::lane::crew::{Crew, Passed};
use crate::lane::gate::Gate;
use crate::request_id::RequestId;
use crate::respond::Response;
use crate::router::Found;
use crate::upgrade::{self, TakeOver};

/// What a turn leaves behind.
pub(crate) enum Outcome {
    /// The request is answered and had no body: the input goes on behind its head.
    Answered(After),
    /// The request is answered and this is left of its body.
    WithBody(After, Box<Leftover>),
    /// The connection belongs to somebody else now; the lane is that of its route.
    TakenOver(TakeOver, usize),
    /// A handler process has answered; this is what it has read too far.
    Elsewhere(After, Vec<u8>),
    /// Nothing was done: these further bytes have come, and belong to the input first.
    Again(Vec<u8>),
}

/// Serves one request, whose method and path come with its head; its answer, or the beginning of it, goes to `output`.
///
/// # Errors
/// The connection's, or the answer's body's.
pub(crate) fn take(
    conn: &mut Connection,
    (view, request): (HeadView<'_>, (&str, &str)),
    (head, rest): (&[u8], &[u8]),
    output: &mut Vec<u8>,
    (tally, account): (&mut Tally, Option<&'static Account>),
) -> io::Result<Outcome> {
    if conn.feed.is_some() && !has_no_body(&view) && leaves_the_loop(conn, request) {
        // The handler's thread or process will read the socket itself, so the loop must not. A moment's wait for the loop to let
        // go is part of reading from the client.
        let came = sight::within(Stage::Read, || conn.detach())?;
        return Ok(Outcome::Again(came));
    }
    let mut exchange = conn.exchange;
    exchange.begin(&view);
    let found = conn.service.router.find(request.0, request.1);
    // A front has counted it already.
    let before = match conn.behind_front {
        true => Duration::ZERO,
        false => conn.service.request_start.age(&conn.peer, &view),
    };
    if !before.is_zero()
        && let Some(account) = account
    {
        account.add_before(Stage::Queue, before.as_nanos() as u64);
    }
    let sent_id = RequestId::sent_in(view);
    if let Some((account, id)) = account.zip(sent_id) {
        account.set_id(id);
    }
    let deadline = deadline_of(conn, &found, before);
    let mut turn = Turn {
        conn,
        view,
        sent_id,
        request,
        head,
        rest,
        output,
        exchange: &mut exchange,
        tally,
        deadline,
        account,
        lane: found.route.lane(),
    };
    // Time elsewhere may have used up all that it had: then nobody starts, since its process would pay for that.
    let is_late = !before.is_zero() && deadline.is_some_and(|deadline| deadline.soft <= Instant::now());
    let outcome = if is_late { turn.late() } else { turn.in_lane(&found) };
    conn.exchange = exchange;
    outcome
}

fn leaves_the_loop(conn: &Connection, (method, path): (&str, &str)) -> bool {
    let route = conn.service.router.find(method, path).route;
    !route.is_exempt() && conn.service.lanes[route.lane()].leaves_the_loop()
}

/// `before` is how long the request was under way when it arrived here.
fn deadline_of(conn: &Connection, found: &Found<'_>, before: Duration) -> Option<Deadline> {
    let route = found.route;
    let lane = (!route.is_exempt()).then(|| &conn.service.lanes[route.lane()]);
    let arrived = conn.arrived.unwrap_or_else(Instant::now);
    let arrived = if before.is_zero() { arrived } else { arrived.checked_sub(before).unwrap_or(arrived) };
    Deadline::of(arrived, route, lane, &conn.service)
}

fn has_no_body(view: &HeadView<'_>) -> bool {
    matches!(view.framing(), Framing::None | Framing::Length(0)) && view.upgrade().is_none()
}

struct Turn<'a> {
    conn: &'a Connection,
    view: HeadView<'a>,
    /// The request id that the client has sent.
    sent_id: Option<&'a str>,
    /// Method and path.
    request: (&'a str, &'a str),
    /// The bytes of the head.
    head: &'a [u8],
    /// What came behind it.
    rest: &'a [u8],
    output: &'a mut Vec<u8>,
    exchange: &'a mut Exchange,
    tally: &'a mut Tally,
    deadline: Option<Deadline>,
    /// Where the request's times go, where sight is on.
    account: Option<&'static Account>,
    /// The index of its lane.
    lane: usize,
}

impl Turn<'_> {
    /// Has a handler process answer.
    fn pass_on(&mut self, lane: &OpenLane, crew: &Crew) -> io::Result<Outcome> {
        let Turn { conn, head, rest, output, account, .. } = &self;
        conn.write_all(output)?;
        sight::enter(*account, Stage::Queue);
        let wait_max = lane.gate.as_ref().map_or(Duration::ZERO, Gate::wait_max);
        let until = Instant::now() + wait_max;
        let until = self.deadline.map_or(until, |deadline| until.min(deadline.soft));
        let Some(channel) = crew.take(until) else {
            return self.refuse(Error::new(StatusCode::SERVICE_UNAVAILABLE, "no handler process is there"));
        };
        let last = conn.service.is_stopping()
            || conn.is_old(Instant::now)
            || self.exchange.requests() >= conn.service.bounds.exchange.requests_max;
        let socket = conn.stream.socket();
        let age = self.deadline.map_or(Duration::ZERO, |deadline| deadline.arrived.elapsed());
        let handed = account.map(|account| account.hand_over(now_ns())).unwrap_or_default();
        let peer = conn.peer.to_string();
        let passed = Passed { last, age, peer: &peer, handed: &handed };
        match deadline::within_hard(self.deadline, || channel.pass(socket, &passed, [head, rest])) {
            Ok(reply) => {
                crew.join(channel);
                self.output.clear();
                Ok(Outcome::Elsewhere(reply.after, reply.bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                // It should have ended itself, and may still come to life: nobody is to read what it writes then.
                tracing::error!(lane = lane.name, slot = channel.slot, "a handler process does not answer");
                let _ = conn.stream.shutdown(std::net::Shutdown::Both);
                Err(error)
            }
            Err(error) if conn.service.has_answer_started(channel.slot) => Err(error),
            Err(_) if self.deadline.is_some_and(|deadline| deadline.is_overdue(Instant::now())) => {
                self.output.clear();
                self.refuse(Error::new(StatusCode::GATEWAY_TIMEOUT, "the deadline passed").logged())
            }
            Err(error) => {
                if let Some(account) = account {
                    account.take_over(&handed);
                    account.label(self.request.0, self.request.1);
                    if let Some(id) = self.sent_id {
                        account.set_id(id);
                    }
                }
                tracing::warn!(lane = lane.name, %error, "a handler process has died over a request");
                self.output.clear();
                self.refuse(Error::new(StatusCode::BAD_GATEWAY, "the handler has died over this request"))
            }
        }
    }

    /// Calls the handler, on this thread, and writes its answer.
    ///
    /// `inline`: the handler's waits hold the loop.
    fn run(&mut self, found: &Found<'_>, inline: bool) -> io::Result<Outcome> {
        let route = found.route;
        self.tally.name(route.pattern());
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
        sight::enter(self.account, Stage::Run);
        let waits_before = park::waits();
        let started = service.access_log.is_on().then(Instant::now);
        let mut response = None;
        {
            let (peer, state) = (&self.conn.peer, &service.state);
            let mut cx = Context::new(self.view, found, peer, state, &mut intake, self.sent_id);
            // A future's waits are its own business: it parks in every evented model, which is what async is for.
            let inline = inline && !route.handler().is_async();
            let call = || service.router.answer_into(&mut cx, &mut response);
            deadline::watched(self.conn, self.deadline, route.pattern(), self.request, inline, call);
        }
        sight::enter(self.account, Stage::Render);
        if park::waits() != waits_before {
            route.note_wait();
        }
        let response = response.as_mut().expect("the router always answers");
        self.finish(intake, response, inline, (started, route.pattern()))
    }

    fn finish(
        &mut self,
        mut intake: Intake<'_>,
        response: &mut Response,
        inline: bool,
        (started, route): (Option<Instant>, &str),
    ) -> io::Result<Outcome> {
        let Turn { conn, view, output, exchange, tally, deadline, .. } = self;
        conn.pace.restart();
        let is_old = conn.is_old(|| deadline.map_or_else(Instant::now, |deadline| deadline.arrived));
        let take_over = upgrade::take_from(response, view);
        if !is_streamed(response) {
            intake.settle();
        }
        intake.note_continue(exchange);
        let service = &conn.service;
        let promise = intake.request_end();
        let keep_alive = exchange.may_persist(promise, &service.bounds.exchange)
            && !intake.is_broken()
            && !conn.last
            && !service.is_stopping()
            && !conn.courtesy.is_due(service)
            && !is_old;
        let asked = Asked { version: view.version(), to_head: view.is_head(), keep_alive };
        let status = response.status();
        tally.response(status);
        let body_bytes = response.body().length().unwrap_or(0);
        let sent = if is_streamed(response) {
            conn.for_client(|| answer(conn, output, asked, response, inline))?
        } else {
            answer(conn, output, asked, response, inline)?
        };
        if let Some(started) = started {
            log_access(conn, view, started, route, (status, body_bytes));
        }
        intake.settle();
        if let Some(take_over) = take_over {
            return Ok(Outcome::TakenOver(take_over, self.lane));
        }
        let after = if intake.is_broken() {
            After::Linger
        } else {
            exchange.after(intake.request_end(), &sent, &service.bounds.exchange)
        };
        Ok(match intake.leftover() {
            None => Outcome::Answered(after),
            Some(leftover) => Outcome::WithBody(after, leftover),
        })
    }

    /// Whether some of the body may still be on its way.
    fn awaits_body(&self) -> bool {
        match self.view.framing() {
            Framing::None => false,
            Framing::Length(length) => length > self.rest.len() as u64,
            Framing::Chunked | Framing::UntilClose => true,
        }
    }
}

/// Whether writing the answer may still read the request's body.
fn is_streamed(response: &Response) -> bool {
    !matches!(
        response.body().kind(),
        BodyKind::Empty
            | BodyKind::TakenOver
            | BodyKind::Static(_)
            | BodyKind::Bytes(_)
            | BodyKind::File { .. }
    )
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
