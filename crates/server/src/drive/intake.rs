//! The body of the request at hand, before anybody has asked for it: most requests have none, and then nothing is made.

use tenfold_http::BodyError;
use tenfold_http::h1::{BodyDecoder, Exchange, Framing, HeadView, RequestEnd};

use crate::body::{Body, BodyKind, Incoming, Reclaim};
use crate::context::BodyGate;
use crate::drive::connection::Connection;
use crate::drive::inlet::BodyInlet;
use crate::drive::workspace::ReadBuffer;

/// Lends the connection's input to a handler that asks for it, and takes it back.
pub(crate) struct Intake<'a> {
    conn: &'a Connection,
    /// What came behind the head.
    rest: &'a [u8],
    owes_continue: bool,
    opened: bool,
    state: State,
}

enum State {
    /// The request has no body.
    Nothing,
    /// Nobody has asked for it.
    Unread(Box<BodyDecoder>),
    /// The handler has it, or the answer that is about to be streamed.
    Lent(Reclaim),
    /// It came back.
    Returned(Box<Leftover>),
    /// Somebody is still reading it: the connection cannot go on.
    Lost,
}

/// What is left of a body when its request has been answered.
pub(crate) struct Leftover {
    pub(crate) decoder: BodyDecoder,
    /// Received and not used, if somebody has read from the connection; else it is still in the input.
    pub(crate) received: Option<ReadBuffer>,
    /// The framing is lost: there is no next request.
    pub(crate) broken: bool,
}

impl<'a> Intake<'a> {
    /// # Errors
    /// When the head announces a longer body than the route takes.
    #[inline]
    pub(crate) fn new(
        conn: &'a Connection,
        view: &HeadView<'_>,
        rest: &'a [u8],
        body_bytes_max: Option<u64>,
        owes_continue: bool,
    ) -> Result<Intake<'a>, BodyError> {
        let state = match view.framing() {
            Framing::None | Framing::Length(0) => State::Nothing,
            framing => {
                let limits = conn.service.bounds.body_of(body_bytes_max);
                State::Unread(Box::new(BodyDecoder::new(framing, limits)?))
            }
        };
        Ok(Intake { conn, rest, owes_continue, opened: false, state })
    }

    /// Of a body that will never be whole, whose reader nobody is: the connection cannot go on.
    pub(crate) fn given_up(conn: &'a Connection) -> Intake<'a> {
        Intake { conn, rest: &[], owes_continue: false, opened: true, state: State::Lost }
    }

    /// Takes the input back from a handler that is over. Readers that it has left behind get an error.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if matches!(self.state, State::Lent(_)) {
            self.take_back();
        }
    }

    fn take_back(&mut self) {
        let State::Lent(reclaim) = std::mem::replace(&mut self.state, State::Lost) else { return };
        let inlet = reclaim.reclaim().and_then(|inlet| inlet.into_any().downcast::<BodyInlet>().ok());
        if let Some(inlet) = inlet {
            self.owes_continue = inlet.owes_continue;
            self.state = State::Returned(Box::new(inlet.into_leftover()));
        }
    }

    /// How far the body was read. While it is lent for a streamed answer it counts as read: the answer will read it.
    #[inline]
    pub(crate) fn request_end(&self) -> RequestEnd {
        match &self.state {
            State::Nothing | State::Lent(_) | State::Lost => RequestEnd::Read,
            State::Unread(decoder) => RequestEnd::of(decoder),
            State::Returned(leftover) => RequestEnd::of(&leftover.decoder),
        }
    }

    /// Whether the framing is lost.
    #[inline]
    pub(crate) fn is_broken(&self) -> bool {
        match &self.state {
            State::Nothing | State::Unread(_) | State::Lent(_) => false,
            State::Returned(leftover) => leftover.broken,
            State::Lost => true,
        }
    }

    #[inline]
    pub(crate) fn note_continue(&self, exchange: &mut Exchange) {
        if !self.owes_continue {
            exchange.continued();
        }
    }

    /// What is left; `None` when the request had no body.
    #[inline]
    pub(crate) fn leftover(self) -> Option<Box<Leftover>> {
        match self.state {
            State::Nothing | State::Lost | State::Lent(_) => None,
            State::Unread(decoder) => {
                Some(Box::new(Leftover { decoder: *decoder, received: None, broken: false }))
            }
            State::Returned(leftover) => Some(leftover),
        }
    }
}

impl BodyGate for Intake<'_> {
    fn open(&mut self) -> Option<Body> {
        if std::mem::replace(&mut self.opened, true) {
            return None;
        }
        let decoder = match std::mem::replace(&mut self.state, State::Nothing) {
            State::Unread(decoder) => decoder,
            other => {
                self.state = other;
                return Some(Body::empty());
            }
        };
        let conn = self.conn;
        let inlet = BodyInlet::new(
            conn.stream.clone(),
            conn.feed,
            *decoder,
            self.rest,
            self.owes_continue,
            &conn.service.bounds,
        );
        let (incoming, reclaim) = Incoming::new(Box::new(inlet));
        self.state = State::Lent(reclaim);
        Some(Body::from(BodyKind::Incoming(incoming)))
    }
}
