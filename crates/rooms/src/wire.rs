//! What workers and the keeper of the rooms say to each other over its Unix socket, in the frames of every keeper
//! (`server/keeper.rs`).

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
pub(crate) use tenfold_server::keeper::encode;
use tenfold_server::keeper::{self, BadFrame, Link};

use crate::position::Position;

/// Longest frame: a snapshot of a room's history is the longest that is sent.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Worker to keeper. `call` numbers what is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    Publish {
        call: u64,
        room: String,
        draft: Draft,
    },
    /// The history, and from then on everything.
    Subscribe {
        call: u64,
        room: String,
    },
    Unsubscribe {
        room: String,
    },
    /// A member of this worker is there.
    Enter {
        room: String,
        member: u64,
        info: String,
    },
    Exit {
        room: String,
        member: u64,
    },
    Ask {
        call: u64,
        ask: Ask,
    },
    /// A newer keeper takes over: give me everything.
    Yield {
        name: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Presence { room: String },
    Rooms,
}

/// A message before the keeper has given it its place. `data` is JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Draft {
    pub(crate) kind: Kind,
    pub(crate) key: Option<String>,
    pub(crate) data: String,
    /// When `publish` was called, by the clock of this machine's scoreboard; 0 from a worker that does not say it.
    #[serde(default)]
    pub(crate) called_ns: u64,
}

impl Draft {
    /// What a keeper says by itself: nobody waits for it.
    pub(crate) fn of_keeper(kind: Kind, data: String) -> Draft {
        Draft { kind, key: None, data, called_ns: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Data,
    Join,
    Leave,
}

/// A message in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    pub(crate) kind: Kind,
    pub(crate) key: Option<String>,
    pub(crate) data: String,
    /// When it got its place, in milliseconds since 1970: its age has to survive its way between machines. 0 from a keeper that
    /// does not say it.
    #[serde(default)]
    pub(crate) at_ms: u64,
}

impl Stored {
    /// A message that gets its place now.
    pub(crate) fn new(offset: u64, kind: Kind, key: Option<String>, data: String) -> Stored {
        Stored { offset, kind, key, data, at_ms: unix_ms() }
    }

    /// When it got its place, by this process's own clock, which nobody sets. One whose time is not known, or in the future,
    /// counts as new.
    pub(crate) fn placed_at(&self) -> Instant {
        let now = Instant::now();
        if self.at_ms == 0 {
            return now;
        }
        now.checked_sub(Duration::from_millis(unix_ms().saturating_sub(self.at_ms))).unwrap_or(now)
    }
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The history of a room.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) epoch: u64,
    /// The offset of the newest message that there ever was.
    pub(crate) head: u64,
    pub(crate) messages: Vec<Stored>,
}

/// Keeper to worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Published {
        call: u64,
        position: Position,
    },
    Subscribed {
        call: u64,
        room: String,
        snapshot: Snapshot,
    },
    Message {
        room: String,
        epoch: u64,
        message: Stored,
        /// When the keeper had it, by the clock of this machine's scoreboard; 0 from a keeper that does not say it.
        #[serde(default)]
        since_ns: u64,
    },
    /// JSON.
    Answer {
        call: u64,
        json: String,
    },
    Refused {
        call: u64,
        reason: String,
    },
    /// Nobody knows whether it was done.
    Unavailable {
        call: u64,
        reason: String,
    },
    /// The newer keeper listens there: come over.
    Moved {
        name: String,
    },
    /// To a newer keeper: one room; the end of all is a `Yielded`.
    Handed {
        room: String,
        snapshot: Snapshot,
    },
    Yielded,
}

/// The first message of `bytes` and how many bytes it takes; `None` when it is not there as a whole.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<Option<(T, usize)>, BadFrame> {
    keeper::decode(bytes, FRAME_BYTES_MAX)
}

/// One end of the socket.
pub(crate) fn link<In: for<'de> Deserialize<'de>>(stream: UnixStream) -> io::Result<Link<In>> {
    Link::new(stream, FRAME_BYTES_MAX)
}
