//! `Rooms`: the way from any handler, job or timer to the rooms.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tenfold_server::{Context, FromRequest, Need, Rejection};

use crate::error::Result;
use crate::hall::Hall;
use crate::position::Position;
use crate::rule::Visitor;
use crate::socket::{self, Join};
use crate::sse;
use crate::wire::Ask;

/// The rooms of the service, the same for all its workers. An argument of a handler, and cheap to clone.
///
/// ```no_run
/// use tenfold_rooms::{AppRooms, Rooms, Rule};
/// use tenfold_server::{App, Path, Result};
///
/// fn sell(Path(item): Path<u64>, rooms: Rooms) -> Result<&'static str> {
///     rooms.publish("orders", &item)?; // every page that looks at the orders has it now
///     Ok("sold\n")
/// }
///
/// App::new().post("/sell/{item}", sell).room(Rule::new("orders")).rooms("/rooms");
/// ```
#[derive(Clone)]
pub struct Rooms {
    pub(crate) hall: Arc<Hall>,
}

/// What a room has said after a position.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Where to go on.
    pub position: Position,
    /// Something in between is lost: load the state anew.
    pub reset: bool,
    /// The messages in their order, as clients get them.
    pub messages: Vec<Value>,
}

impl Rooms {
    /// Publishes: gives the message its place in the room's history, and has it sent to all members on all workers. Waits
    /// until it has its place, not for anybody to get it.
    ///
    /// # Errors
    /// [`crate::Error::TooMuch`] for a message that is too long, or one room too many; [`crate::Error::Unavailable`] when the
    /// keeper does not answer for five seconds: then nobody knows whether the message has its place.
    pub fn publish(&self, room: &str, data: &impl Serialize) -> Result<Position> {
        self.hall.publish(room, serde_json::to_string(data)?, None)
    }

    /// As [`Rooms::publish`], of a value that replaces those before it with the same key: where the rule says
    /// [`crate::Slow::Coalesce`], a slow client gets only the newest.
    ///
    /// # Errors
    /// Those of [`Rooms::publish`].
    pub fn publish_latest(&self, room: &str, key: &str, data: &impl Serialize) -> Result<Position> {
        self.hall.publish(room, serde_json::to_string(data)?, Some(key.to_owned()))
    }

    /// Who is present in a room, on all workers: what they said about themselves when they joined.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub fn presence(&self, room: &str) -> Result<Vec<Value>> {
        let json = self.hall.ask(Ask::Presence { room: room.to_owned() })?;
        Ok(serde_json::from_str(&json)?)
    }

    /// The rooms that there are, as JSON: name, position, kept messages, workers with members, presence.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub fn list(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.hall.ask(Ask::Rooms)?)?)
    }

    /// What a room has said after `since`, waiting for up to `wait` until it says something. Without `since`, where it is now,
    /// at once.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]; [`crate::Error::TooMuch`].
    pub fn poll(&self, room: &str, since: Option<Position>, wait: Duration) -> Result<News> {
        let polled = self.hall.poll(room, since, Instant::now() + wait)?;
        let messages =
            polled.texts.iter().map(|text| serde_json::from_str(text)).collect::<serde_json::Result<_>>()?;
        Ok(News { position: polled.position, reset: polled.reset, messages })
    }

    /// Answers with a stream of server-sent events: the room's messages from `since` on, or from now on. The client comes back
    /// with `Last-Event-ID`, which is a position. The connection rests between messages as a WebSocket does.
    ///
    /// # Errors
    /// Those of [`crate::Socket::join`], before the answer begins.
    pub fn events(&self, room: &str, join: Join) -> Result<tenfold_server::Response> {
        // What can fail is tried before the answer says 200.
        self.hall.live_room(room)?;
        Ok(sse::answer(&self.hall, room.to_owned(), join))
    }

    /// Whether the rule of a room lets this visitor in; false for rooms that no rule names.
    pub fn may_join(&self, visitor: &Visitor, room: &str) -> bool {
        socket::may_join(&self.hall, visitor, room).is_ok()
    }

    /// Connections of this worker: WebSockets and event streams.
    pub fn connections(&self) -> usize {
        self.hall.all_sockets().len()
    }
}

impl FromRequest for Rooms {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> std::result::Result<Rooms, Rejection> {
        tenfold_server::State::<Rooms>::from_request(cx).map(|tenfold_server::State(rooms)| rooms)
    }

    fn needs() -> Vec<Need> {
        tenfold_server::State::<Rooms>::needs()
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rooms")
    }
}
