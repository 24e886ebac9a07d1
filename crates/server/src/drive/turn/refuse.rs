//! What a request gets that its handler does not answer.

use std::io;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode, header};
use tenfold_scoreboard::{self as scoreboard, Phase, Shed};

use super::{Outcome, Turn};
use crate::body::BodyReadError;
use crate::drive::intake::Intake;
use crate::error::Error;
use crate::lane::OpenLane;
use crate::lane::gate::{Gate, Refusal};
use crate::respond::Response;

impl Turn<'_> {
    /// Answers a request that found no place, before its body is read.
    pub(super) fn overflow(&mut self, lane: &OpenLane, gate: &Gate, refusal: Refusal) -> io::Result<Outcome> {
        let (why, reason) = match refusal {
            Refusal::QueueFull => (Shed::QueueFull, "too many requests are waiting"),
            Refusal::Overloaded => (Shed::Overload, "too many requests for the time that they take"),
            _ => (Shed::Wait, "no place became free in time"),
        };
        tracing::debug!(lane = lane.name, ?refusal, "overflow");
        gate.count_refusal();
        self.shed(why, reason, gate.retry_after())
    }

    /// Refuses a request before its body is read; `wait` is when it may come again.
    pub(super) fn shed(&mut self, why: Shed, reason: &'static str, wait: Duration) -> io::Result<Outcome> {
        scoreboard::current().rejections.add(why);
        // RFC 6585 section 4: it is this client who has sent too many.
        let status = match why {
            Shed::Address => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        // An error of the server's own making, of which there may be thousands a second: the counter tells.
        let error = Error::new(status, reason).logged();
        let mut response = self.conn.service.router.refuse(error, Some(self.view));
        // Up to the next second: sooner would be refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        self.finish_unread(response)
    }

    /// Answers a request whose body found no room in the worker's budget. What is still on its way is no request.
    pub(super) fn no_room(&mut self) -> io::Result<Outcome> {
        scoreboard::current().rejections.add(Shed::Memory);
        tracing::debug!(peer = %self.conn.peer, "a body finds no room in the buffers' budget");
        self.give_up_body(BodyReadError::NoRoom.into())
    }

    /// Answers a request whose body came too slowly to be waited for. What is still on its way is no request.
    pub(super) fn stalled(&mut self) -> io::Result<Outcome> {
        scoreboard::current().timeouts.add(Phase::Body);
        tracing::debug!(peer = %self.conn.peer, "a body came too slowly");
        self.give_up_body(Error::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"))
    }

    fn give_up_body(&mut self, error: Error) -> io::Result<Outcome> {
        let error = error.logged();
        let mut response = self.conn.service.router.refuse(error, Some(self.view));
        let started = self.conn.service.access_log.is_on().then(Instant::now);
        self.finish(Intake::given_up(self.conn), &mut response, false, (started, "(refused)"))
    }

    /// Answers a request whose time was over when it came.
    pub(super) fn late(&mut self) -> io::Result<Outcome> {
        scoreboard::current().timeouts.add(Phase::Request);
        self.refuse(Error::new(StatusCode::GATEWAY_TIMEOUT, "the deadline passed on the way here").logged())
    }

    /// An answer of the server's own; the body is not read.
    pub(super) fn refuse(&mut self, error: Error) -> io::Result<Outcome> {
        let mut response = self.conn.service.router.refuse(error, Some(self.view));
        let owes = self.exchange.owes_continue();
        let started = (self.conn.service.access_log.is_on().then(Instant::now), "(refused)");
        match Intake::new(self.conn, &self.view, self.rest, None, owes) {
            Ok(intake) => self.finish(intake, &mut response, false, started),
            Err(_) => self.finish_unread(response),
        }
    }

    /// The answer to a request whose body is longer than will ever be read.
    pub(super) fn answer_unread(&mut self, error: Error) -> io::Result<Outcome> {
        let response = self.conn.service.router.refuse(error, Some(self.view));
        self.finish_unread(response)
    }

    fn finish_unread(&mut self, mut response: Response) -> io::Result<Outcome> {
        let intake =
            Intake::new(self.conn, &self.view, self.rest, Some(u64::MAX), self.exchange.owes_continue())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let started = self.conn.service.access_log.is_on().then(Instant::now);
        self.finish(intake, &mut response, false, (started, "(refused)"))
    }
}
