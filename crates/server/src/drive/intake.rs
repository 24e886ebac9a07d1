//! The body of the request at hand, before anybody has asked for it: most requests have none, and then nothing is made.

use tenfold_http::BodyError;
use tenfold_http::h1::{BodyDecoder, Exchange, HeadView, RequestEnd};
use tenfold_http::limits::BodyLimits;

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
    decoder: Option<BodyDecoder>,
    owes_continue: bool,
    reclaim: Option<Reclaim>,
    returned: Option<Leftover>,
    opened: bool,
}

/// What is left when a request has been answered.
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
    pub(crate) fn new(
        conn: &'a Connection,
        view: &HeadView<'_>,
        rest: &'a [u8],
        body_bytes_max: Option<u64>,
        owes_continue: bool,
    ) -> Result<Intake<'a>, BodyError> {
        let mut limits: BodyLimits = conn.service.bounds.body;
        if let Some(most) = body_bytes_max {
            limits.body_bytes_max = most;
        }
        let decoder = BodyDecoder::new(view.framing(), limits)?;
        Ok(Intake {
            conn,
            rest,
            decoder: Some(decoder),
            owes_continue,
            reclaim: None,
            returned: None,
            opened: false,
        })
    }

    /// Takes the input back from a handler that is over. Readers that it has left behind get an error.
    pub(crate) fn settle(&mut self) {
        let Some(reclaim) = self.reclaim.take() else { return };
        let inlet = reclaim.reclaim().and_then(|inlet| inlet.into_any().downcast::<BodyInlet>().ok());
        self.returned = inlet.map(|inlet| {
            self.owes_continue = inlet.owes_continue;
            inlet.into_leftover()
        });
    }

    /// How far the body was read. While it is lent for a streamed answer it counts as read: the answer will read it.
    pub(crate) fn request_end(&self) -> RequestEnd {
        match (&self.decoder, &self.returned) {
            (Some(decoder), _) => RequestEnd::of(decoder),
            (None, Some(leftover)) => RequestEnd::of(&leftover.decoder),
            (None, None) => RequestEnd::Read,
        }
    }

    /// Whether the framing is lost: the body broke, or somebody is still reading it.
    pub(crate) fn is_broken(&self) -> bool {
        match &self.returned {
            Some(leftover) => leftover.broken,
            None => self.opened && self.reclaim.is_none() && self.decoder.is_none(),
        }
    }

    pub(crate) fn note_continue(&self, exchange: &mut Exchange) {
        if !self.owes_continue {
            exchange.continued();
        }
    }

    pub(crate) fn leftover(mut self) -> Leftover {
        self.settle();
        let broken = self.is_broken();
        match (self.returned, self.decoder) {
            (Some(leftover), _) => leftover,
            (None, Some(decoder)) => Leftover { decoder, received: None, broken },
            (None, None) => Leftover {
                decoder: BodyDecoder::new(tenfold_http::h1::Framing::None, BodyLimits::default())
                    .expect("no body is not too long"),
                received: None,
                broken: true,
            },
        }
    }
}

impl BodyGate for Intake<'_> {
    fn open(&mut self) -> Option<Body> {
        if std::mem::replace(&mut self.opened, true) {
            return None;
        }
        if self.decoder.as_ref().is_some_and(BodyDecoder::is_end) {
            return Some(Body::empty());
        }
        let decoder = self.decoder.take()?;
        let conn = self.conn;
        let inlet = BodyInlet::new(
            conn.stream.clone(),
            conn.feed,
            decoder,
            self.rest,
            self.owes_continue,
            &conn.service.bounds,
        );
        let (incoming, reclaim) = Incoming::new(Box::new(inlet));
        self.reclaim = Some(reclaim);
        Some(Body::from(BodyKind::Incoming(incoming)))
    }
}
