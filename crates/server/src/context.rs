//! A request as extractors see it: its head, its route, its client, the state, and the way to its body.
//!
//! It borrows everything from the driver and is made for one call of a handler; making one costs no allocation.

#[cfg(test)]
pub(crate) mod testing;

use std::fmt;

use tenfold_http::h1::HeadView;
use tenfold_runtime::account;

use crate::body::Body;
use crate::error::Rejection;
use crate::peer::Peer;
use crate::request_id::RequestId;
use crate::route::Route;
use crate::router::{Found, Params};
use crate::state::StateMap;

/// The way to a request's body; the driver implements it.
pub trait BodyGate {
    /// Moves the connection's input into a body; an empty one, cheaply, if the request has none. `None` if it was opened
    /// before.
    fn open(&mut self) -> Option<Body>;
}

/// The gate of a request without a body.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBody;

impl BodyGate for NoBody {
    fn open(&mut self) -> Option<Body> {
        Some(Body::empty())
    }
}

/// A request on its way into a handler's arguments.
pub struct Context<'a> {
    head: HeadView<'a>,
    found: &'a Found<'a>,
    peer: &'a Peer,
    state: &'a StateMap,
    gate: &'a mut dyn BodyGate,
    /// The id that the client has sent.
    sent_id: Option<&'a str>,
    /// Made at the first question.
    request_id: Option<RequestId>,
}

impl<'a> Context<'a> {
    /// A request whose route has been found. `sent_id` is what [`RequestId::sent_in`] finds in its head.
    #[inline]
    pub fn new(
        head: HeadView<'a>,
        found: &'a Found<'a>,
        peer: &'a Peer,
        state: &'a StateMap,
        gate: &'a mut dyn BodyGate,
        sent_id: Option<&'a str>,
    ) -> Context<'a> {
        Context { head, found, peer, state, gate, sent_id, request_id: None }
    }

    /// The request's head.
    #[inline]
    pub fn head(&self) -> HeadView<'a> {
        self.head
    }

    /// The route that answers.
    #[inline]
    pub fn route(&self) -> &'a Route {
        self.found.route
    }

    /// The path's parameters, still percent-encoded.
    #[inline]
    pub fn params(&self) -> &'a Params<'a> {
        &self.found.params
    }

    /// The client.
    #[inline]
    pub fn peer(&self) -> &'a Peer {
        self.peer
    }

    /// The worker's state values.
    #[inline]
    pub fn state(&self) -> &'a StateMap {
        self.state
    }

    /// Takes the request's body.
    ///
    /// # Errors
    /// [`Rejection::BodyTaken`] at the second call.
    pub fn take_body(&mut self) -> Result<Body, Rejection> {
        self.gate.open().ok_or(Rejection::BodyTaken)
    }

    /// Takes the request's body and reads all of it, up to the route's bound.
    ///
    /// # Errors
    /// [`Rejection::BodyTaken`], [`Rejection::Body`].
    pub fn collect_body(&mut self) -> Result<bytes::Bytes, Rejection> {
        Ok(self.take_body()?.collect(self.route().collect_bytes_max())?)
    }

    /// The request's id, the client's or a new one; from then on it is sent with the response.
    pub fn request_id(&mut self) -> &RequestId {
        let sent = self.sent_id;
        self.request_id.get_or_insert_with(|| {
            sent.map(RequestId::from_sent).unwrap_or_else(|| {
                let id = RequestId::generate();
                // That of the client is in sight since the head was parsed.
                if let Some(account) = account::current() {
                    account.set_id(id.as_str());
                }
                id
            })
        })
    }

    /// The id to send with the response: when the client has sent one, or when somebody has asked for it.
    #[inline]
    pub(crate) fn request_id_to_send(&mut self) -> Option<&RequestId> {
        if self.request_id.is_none() {
            self.request_id = self.sent_id.map(RequestId::from_sent);
        }
        self.request_id.as_ref()
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("method", &self.head.method_str())
            .field("path", &self.head.path())
            .field("route", &self.route().pattern())
            .field("peer", self.peer)
            .finish_non_exhaustive()
    }
}
