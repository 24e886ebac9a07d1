//! `Broker`: what a server elsewhere has to do for rooms. One file for each kind of server; the threads that wait for it, and what
//! the keeper knows of its rooms, are the same for all.

use crate::position::Position;
use crate::rule::{Rule, Rules};
use crate::wire::{Draft, Snapshot, Stored};

pub(super) type Outcome<T> = Result<T, tenfold_client::Error>;

/// A kind of server, before anybody has connected.
pub(in crate::keeper) trait Source: Send + Sync {
    /// Its name, as its addresses begin.
    fn kind(&self) -> &'static str;

    /// `instance` is this keeper among all.
    fn broker(&self, instance: &str, rules: &Rules) -> Box<dyn Broker>;

    /// Connects, and hears no room yet.
    fn ear(&self, instance: &str) -> Outcome<Box<dyn Ear>>;
}

/// Used by the thread `rooms-out`, which waits for each call.
pub(in crate::keeper) trait Broker {
    /// Gives a message its place, keeps it, and lets everybody hear it. After an error nobody knows whether it has one, but for
    /// `InvalidRequest`: then it has none, and never will.
    fn publish(&mut self, room: &str, message: &str, rule: &Rule) -> Outcome<Position>;

    /// What is kept of a room; one that nobody knows begins with it.
    fn snapshot(&mut self, room: &str, rule: &Rule) -> Outcome<Snapshot>;

    /// Lets everybody hear a text that has no place.
    fn mark(&mut self, room: &str, text: &str) -> Outcome<()>;

    /// Somebody is present; whether that is new. `member` begins with the instance.
    fn enter(&mut self, room: &str, member: &str, info: &str) -> Outcome<bool>;

    /// Somebody is not present any more. What they said about themselves, to one alone of those who ask for the same.
    fn exit(&mut self, room: &str, member: &str) -> Outcome<Option<String>>;

    /// Everybody who is present, with what they say about themselves, and whether their keeper lives.
    fn present(&mut self, room: &str) -> Outcome<Vec<Present>>;

    /// This keeper lives, for [`ALIVE_FOR_MS`]. Whether another one may have died since: then the rooms are looked through.
    fn alive(&mut self) -> Outcome<bool>;
}

/// Used by the thread `rooms-in`.
pub(in crate::keeper) trait Ear {
    fn hear(&mut self, rooms: Vec<String>) -> Outcome<()>;

    fn leave(&mut self, rooms: Vec<String>) -> Outcome<()>;

    /// As [`Broker::mark`].
    fn mark(&mut self, room: &str, text: &str) -> Outcome<()>;

    /// What comes next, and of which room; `None` when nothing does until then.
    fn next(&mut self, until: std::time::Instant) -> Outcome<Option<(String, Vec<u8>)>>;
}

/// How long a keeper that has died still counts as alive.
pub(super) const ALIVE_FOR_MS: u64 = 3_000;

/// Somebody who is present.
pub(in crate::keeper) struct Present {
    pub(super) member: String,
    pub(super) info: String,
    pub(super) is_alive: bool,
}

/// "EPOCH OFFSET MESSAGE": what is kept, and heard.
pub(super) fn entry_text(position: Position, message: &str) -> String {
    format!("{} {} {message}", position.epoch, position.offset)
}

/// The place of an entry, and its message's text.
pub(super) fn place(entry: &str) -> Option<(Position, &str)> {
    let (epoch, rest) = entry.split_once(' ')?;
    let (offset, message) = rest.split_once(' ')?;
    Some((Position { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? }, message))
}

/// The epoch and the message of an entry.
pub(super) fn parse(entry: &str) -> Option<(u64, Stored)> {
    let (position, message) = place(entry)?;
    let stored: Stored = serde_json::from_str(message).ok()?;
    Some((position.epoch, Stored { offset: position.offset, ..stored }))
}

/// What a draft becomes on its way: its kind, its key and its data, without a place.
pub(super) fn draft_text(draft: &Draft) -> String {
    let stored = Stored::new(0, draft.kind, draft.key.clone(), draft.data.clone());
    serde_json::to_string(&stored).expect("a message can be JSON")
}
