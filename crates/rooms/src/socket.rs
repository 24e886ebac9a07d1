//! `Socket`: a client's connection as the app's code sees it, from any thread: send to it, have it join rooms, end it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tenfold_http::websocket::{self, CloseCode, CloseFrame, Opcode};
use tenfold_server::Peer;
use tenfold_server::runtime::prefetch;
use tenfold_server::runtime::sync::channel;
use tenfold_server::scoreboard;

use crate::envelope::{self, Encoding};
use crate::error::{Error, Result};
use crate::hall::Hall;
use crate::outlet::Outlet;
use crate::position::Position;
use crate::room::Room;
use crate::rule::Visitor;

/// Most rooms of one connection.
const ROOMS_MAX: usize = 1_000;
/// How long a send waits for a client that takes nothing.
const STALL_MAX: Duration = Duration::from_secs(30);

/// A client's connection: cheap to clone, and usable from any thread or fiber for as long as it lives.
#[derive(Clone)]
pub struct Socket(pub(crate) Arc<Shared>);

/// What is shared by the handler, the rooms and the pump. An idle socket costs little more than this.
pub(crate) struct Shared {
    pub(crate) number: usize,
    pub(crate) outlet: Outlet,
    pub(crate) encoding: Encoding,
    hall: Arc<Hall>,
    peer: Peer,
    memberships: Mutex<Vec<Membership>>,
}

struct Membership {
    room: Arc<Room>,
    /// Its place among the room's members.
    key: usize,
    /// The keeper knows of it.
    is_present: bool,
}

/// How to join a room; see [`Socket::join_with`].
#[derive(Clone, Debug, Default)]
pub struct Join {
    since: Option<Position>,
    history: usize,
    presence: Option<String>,
}

impl Join {
    /// From now on, without presence.
    pub fn new() -> Join {
        Join::default()
    }

    /// Goes on behind this position: what the room has said since comes first, or a `reset` if nobody has all of it any more.
    #[must_use]
    pub fn since(mut self, since: Option<Position>) -> Join {
        self.since = since;
        self
    }

    /// Begins with so many of the newest messages.
    #[must_use]
    pub fn history(mut self, messages: usize) -> Join {
        self.history = messages;
        self
    }

    /// Is listed among those who are present, with this about them.
    ///
    /// # Errors
    /// `about` cannot be written as JSON.
    pub fn present(mut self, about: &impl serde::Serialize) -> Result<Join> {
        self.presence = Some(serde_json::to_string(about)?);
        Ok(self)
    }
}

impl Socket {
    /// Sends a text. Waits, for up to 30 seconds, while more than 256 KiB of this connection's own wait already.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::Stalled`] after that time.
    pub fn send(&self, text: &str) -> Result<()> {
        self.0.send_patiently(envelope::encode(text, None, self.0.encoding))
    }

    /// Sends bytes, as [`Socket::send`] does. An event stream cannot: it has only texts.
    ///
    /// # Errors
    /// Those of [`Socket::send`].
    pub fn send_binary(&self, bytes: &[u8]) -> Result<()> {
        let mut frame = Vec::new();
        websocket::encode(&mut frame, Opcode::Binary, bytes);
        self.0.send_patiently(frame.into())
    }

    /// Sends a text, or gives it up if so much waits already: never waits.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::Stalled`] at once.
    pub fn try_send(&self, text: &str) -> Result<()> {
        match self.0.outlet.send(envelope::encode(text, None, self.0.encoding)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Stalled),
            Err(_) => Err(Error::Closed),
        }
    }

    /// Joins a room: from now on its messages are sent to this client, whatever the handler does. Once more is no error.
    ///
    /// # Errors
    /// Those of [`Socket::join_with`].
    pub fn join(&self, room: &str) -> Result<Position> {
        self.join_with(room, Join::new())
    }

    /// Joins a room. Gives the room's position.
    ///
    /// # Errors
    /// [`Error::TooMuch`] where the room, the client's rooms or the service's rooms are full; [`Error::Unavailable`];
    /// [`Error::Closed`].
    pub fn join_with(&self, room: &str, how: Join) -> Result<Position> {
        self.0.join(room, how)
    }

    /// Leaves a room. Whether it was in it.
    pub fn leave(&self, room: &str) -> bool {
        let left = {
            let mut memberships = self.0.memberships();
            let found = memberships.iter().position(|one| &*one.room.name == room);
            found.map(|index| memberships.swap_remove(index))
        };
        match left {
            Some(membership) => {
                self.0.depart(membership);
                true
            }
            None => false,
        }
    }

    /// Publishes to a room; see [`crate::Rooms::publish`].
    ///
    /// # Errors
    /// Those of [`crate::Rooms::publish`].
    pub fn publish(&self, room: &str, data: &impl serde::Serialize) -> Result<Position> {
        self.0.hall.publish(room, serde_json::to_string(data)?, None)
    }

    /// Ends the connection, with what is sent already and a reason.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.end(code, reason);
    }

    /// Whether it is still there, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.0.outlet.is_over()
    }

    /// The client.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }
}

impl Shared {
    pub(crate) fn new(
        number: usize,
        outlet: Outlet,
        encoding: Encoding,
        hall: Arc<Hall>,
        peer: Peer,
    ) -> Shared {
        Shared { number, outlet, encoding, hall, peer, memberships: Mutex::default() }
    }

    /// Asks for the memory that a delivery needs: a hint, which waits for nothing.
    pub(crate) fn prefetch(&self) {
        prefetch(std::ptr::from_ref(self).addr(), size_of::<Shared>().div_ceil(64));
    }

    fn memberships(&self) -> MutexGuard<'_, Vec<Membership>> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rooms that may have something for it.
    pub(crate) fn rooms(&self) -> Vec<(Arc<Room>, usize)> {
        self.memberships().iter().map(|one| (one.room.clone(), one.key)).collect()
    }

    /// What has to be said and is short. A client that takes nothing does not get it.
    pub(crate) fn send_text(&self, text: &str, position: Option<Position>) {
        let _ = self.outlet.send(envelope::encode(text, position, self.encoding));
    }

    pub(crate) fn send_patiently(&self, bytes: Bytes) -> Result<()> {
        let until = Instant::now() + STALL_MAX;
        loop {
            match self.outlet.send(bytes.clone()) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) => return Err(Error::Closed),
            }
            let (sender, room) = channel(1);
            if self.outlet.await_room(sender) {
                room.recv_until(Some(until)).map_err(|_| Error::Stalled)?;
            }
            if Instant::now() > until {
                return Err(Error::Stalled);
            }
        }
    }

    fn join(self: &Arc<Self>, name: &str, how: Join) -> Result<Position> {
        if self.outlet.is_over() {
            return Err(Error::Closed);
        }
        {
            let memberships = self.memberships();
            if let Some(member) = memberships.iter().find(|one| &*one.room.name == name) {
                return Ok(member.room.position());
            }
            if memberships.len() >= ROOMS_MAX {
                return Err(Error::TooMuch(format!("a connection can be in {ROOMS_MAX} rooms")));
            }
        }
        let (room, key, position) = loop {
            let room = self.hall.live_room(name)?;
            if let Some((key, position)) = room.join(self, how.since, how.history)? {
                break (room, key, position);
            }
        };
        let is_present = how.presence.is_some();
        let mut memberships = self.memberships();
        if memberships.is_empty() {
            // Most connections are in one room.
            memberships.reserve_exact(1);
        }
        memberships.push(Membership { room: room.clone(), key, is_present });
        drop(memberships);
        if let Some(about) = how.presence {
            self.hall.enter(name, self.number as u64, about);
        }
        Ok(position)
    }

    fn depart(&self, membership: Membership) {
        membership.room.leave(membership.key);
        if membership.is_present {
            self.hall.exit(&membership.room.name, self.number as u64);
        }
    }

    /// The connection is over: it leaves all rooms.
    pub(crate) fn depart_all(&self) {
        let all = std::mem::take(&mut *self.memberships());
        all.into_iter().for_each(|membership| self.depart(membership));
        self.hall.forget(self.number);
    }

    pub(crate) fn end(&self, code: CloseCode, reason: &str) {
        let mut last = Vec::new();
        if self.encoding != Encoding::Event {
            let frame = CloseFrame { code, reason: reason.to_owned() };
            websocket::encode_close(&mut last, Some(&frame), None);
        }
        self.outlet.end(last.into());
    }

    /// Ends a connection that takes nothing: it has a while to read why.
    pub(crate) fn end_slow(&self, reason: &str) {
        if !self.outlet.is_over() {
            tracing::info!(target: "rooms", peer = %self.peer, reason, "a client is let go");
            self.end(CloseCode::TRY_LATER, reason);
            scoreboard::current().rooms.disconnected.add(1);
            self.hall.cut_later(self.number);
        }
    }
}

/// Whether this visitor may be in this room, by the rule that names it.
pub(crate) fn may_join(hall: &Hall, visitor: &Visitor, room: &str) -> Result<()> {
    match hall.rules.named(room) {
        None => Err(Error::Forbidden(format!("there is no room {room:?}"))),
        Some(rule) if !rule.allows(visitor, room) => {
            Err(Error::Forbidden(format!("the room {room:?} is not open to you")))
        }
        Some(_) => Ok(()),
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}
