//! How a request gets to its handler: past the limits of its address and of the worker's memory, with its body if that is
//! short, through the doors of its lane, to where the lane's handlers run.

use std::io;
use std::time::Duration;

use http::StatusCode;
use tenfold_http::h1::Framing;
use tenfold_runtime::park;
use tenfold_scoreboard::{Shed, Stage};

use super::{Outcome, Turn, has_no_body};
use crate::drive::ahead::{Ahead, Standing};
use crate::drive::{deadline, sight};
use crate::error::Error;
use crate::guard::addresses::TooMany;
use crate::guard::memory::{self, Charge};
use crate::lane::gate::{Gate, Place, Refusal};
use crate::lane::{OpenLane, Placement};
use crate::router::Found;

/// When a client may come again that was refused for a reason that has no time.
const SOON: Duration = Duration::from_secs(1);

impl Turn<'_> {
    /// Has the request answered by its handler, in its lane, or refused.
    pub(super) fn in_lane(&mut self, found: &Found<'_>) -> io::Result<Outcome> {
        if found.route.is_exempt() {
            if self.conn.service.is_unready() && found.route.is_health() {
                return self
                    .refuse(Error::new(StatusCode::SERVICE_UNAVAILABLE, "the server is about to stop"));
            }
            return self.run(found, false);
        }
        let lane = &self.conn.service.lanes[found.route.lane()];
        if let Some(addresses) = &self.conn.service.addresses
            && let Err(TooMany(wait)) = addresses.request(&self.conn.peer)
        {
            return self.shed(Shed::Address, "too many requests from this address", wait);
        }
        let buffers_bytes_max = found.route.priority().memory(self.conn.service.bounds.buffers_bytes_max);
        let Some(_charge) = Charge::request(self.body_bytes(), buffers_bytes_max) else {
            tracing::debug!("a request finds no room in the buffers' budget");
            return self.shed(Shed::Memory, "no memory for another request", SOON);
        };
        match &lane.gate {
            None => self.dispatch(lane, found),
            Some(gate) if has_no_body(&self.view) => self.in_place(lane, gate, found),
            Some(gate) => self.after_body(lane, gate, found),
        }
    }

    /// Enters the lane with the body, where that is worth waiting for, and else through the door for uploads.
    fn after_body(&mut self, lane: &OpenLane, gate: &Gate, found: &Found<'_>) -> io::Result<Outcome> {
        let mut ahead = match self.look_ahead(gate, found) {
            Ok(ahead) => ahead,
            Err(standing) => return self.upload(lane, gate, found, standing),
        };
        self.conn.write_all(self.output)?;
        self.output.clear();
        let standing = ahead.read(self.conn, self.deadline.map(|deadline| deadline.soft))?;
        let mut turn = Turn {
            rest: ahead.received(),
            output: &mut *self.output,
            exchange: &mut *self.exchange,
            tally: &mut *self.tally,
            ..*self
        };
        let outcome = turn.upload(lane, gate, found, standing)?;
        Ok(match outcome {
            // The input has only what came with the head.
            Outcome::WithBody(after, mut leftover) if leftover.received.is_none() => {
                leftover.received = Some(ahead.into_received());
                Outcome::WithBody(after, leftover)
            }
            outcome => outcome,
        })
    }

    /// Whether the body is to be read before the request enters.
    fn look_ahead(&self, gate: &Gate, found: &Found<'_>) -> Result<Ahead, Standing> {
        let bounds = &self.conn.service.bounds;
        let limits = bounds.body_of(found.route.body_bytes_max());
        let asks_first = self.exchange.owes_continue() && self.rest.is_empty();
        // Who is going to be refused is refused before the body is read.
        let reads_none =
            asks_first || found.route.keeps_connection() || gate.is_refusing(found.route.priority());
        let bytes_max = found.route.body_ahead_bytes_max().unwrap_or(bounds.body_ahead_bytes_max);
        let bytes_max = if reads_none { 0 } else { bytes_max };
        Ahead::look(self.view.framing(), limits, self.rest, bytes_max)
    }

    /// Enters the lane with a body that stands like this.
    fn upload(
        &mut self,
        lane: &OpenLane,
        gate: &Gate,
        found: &Found<'_>,
        standing: Standing,
    ) -> io::Result<Outcome> {
        let uploads = match (standing, &lane.uploads) {
            (Standing::Stalled, _) => return self.stalled(),
            (Standing::NoRoom, _) => return self.no_room(),
            (Standing::Coming, Some(uploads)) => uploads,
            _ => return self.in_place(lane, gate, found),
        };
        match self.enter(uploads, found)? {
            Ok(_place) => self.in_place(lane, gate, found),
            Err(refusal) => self.overflow(lane, uploads, refusal),
        }
    }

    /// Runs the request in a place of its lane.
    fn in_place(&mut self, lane: &OpenLane, gate: &Gate, found: &Found<'_>) -> io::Result<Outcome> {
        match self.enter(gate, found)? {
            Ok(_place) => self.dispatch(lane, found),
            Err(refusal) => self.overflow(lane, gate, refusal),
        }
    }

    /// Waits for a place behind a gate.
    fn enter<'g>(
        &mut self,
        gate: &'g Gate,
        found: &Found<'_>,
    ) -> io::Result<std::result::Result<Place<'g>, Refusal>> {
        let Turn { conn, output, account, deadline, .. } = self;
        let mut flushed = Ok(());
        let before_waiting = || {
            flushed = conn.write_all(output);
            output.clear();
            sight::enter(*account, Stage::Queue);
        };
        let soft = deadline.map(|deadline| deadline.soft);
        let entering = || gate.enter(found.route.priority(), soft, before_waiting);
        let entered = conn.for_client(|| deadline::within(*deadline, entering));
        flushed?;
        match entered {
            Ok(place) => Ok(Ok(place)),
            Err(Refusal::Cancelled) => Err(park::cancelled()),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Has the handler run where its lane says.
    fn dispatch(&mut self, lane: &OpenLane, found: &Found<'_>) -> io::Result<Outcome> {
        match (&lane.pool, &lane.crew) {
            (Some(pool), _) => {
                let account = self.account;
                sight::elsewhere(account, || pool.run(|| sight::there(account, || self.run(found, false))))
            }
            (_, Some(crew)) if !found.route.keeps_connection() => self.pass_on(lane, crew),
            _ => self.run(found, lane.placement == Placement::Inline),
        }
    }

    /// How long the body may become, as far as is known.
    fn body_bytes(&self) -> u64 {
        match self.view.framing() {
            Framing::None => 0,
            Framing::Length(length) => length,
            Framing::Chunked | Framing::UntilClose => memory::AHEAD_BYTES,
        }
    }
}
