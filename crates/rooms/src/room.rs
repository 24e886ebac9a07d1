//! `Room`: what one worker knows of a room that has members here: the newest messages, each encoded once for all, and for each
//! member the place that it has come to.
//!
//! ```text
//!   ring     │ 14 │ 15 │ 16 │ 17 │          evicted by count, bytes and age
//!   members    next=18 (up to date)   next=16 (slow: its socket takes nothing)   next=9 (has lost 9…13: reset)
//! ```
//!
//! A slow member costs a number. Nobody waits for it, and what becomes of it is the rule's to say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tenfold_server::runtime::sync::Sender;
use tenfold_server::scoreboard;

use crate::batch::Batches;
use crate::envelope::{self, Encoding};
use crate::error::{Error, Result};
use crate::outlet::Offer;
use crate::position::Position;
use crate::ring::Ring;
use crate::rule::{Rule, Slow};
use crate::socket::Shared;
use crate::wire::{Snapshot, Stored};

/// Members that are served without letting anybody else at the room: a join waits for no more than that.
const STRIDE: usize = 32;
/// How many members ahead of the one that is served the memory of another is asked for: a send takes longer than a miss, and
/// twice that for what is found only by way of the first.
const AHEAD: usize = 1;
/// What a slow client is told.
const TOO_SLOW: &str = "too slow for this room";

pub(crate) struct Room {
    pub(crate) name: Arc<str>,
    /// The name as JSON.
    pub(crate) quoted: String,
    pub(crate) rule: Arc<Rule>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The keeper has told the history, and tells what comes.
    live: bool,
    /// The hall has let go of it.
    closed: bool,
    ring: Ring,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    count: usize,
    /// The last batches that were made: members that are up to date all get the same.
    batches: Batches,
    /// Who waits for the next message by long-poll.
    waiters: Vec<Sender<()>>,
    /// Since when nobody is here.
    empty_since: Option<Instant>,
}

struct Member {
    socket: Arc<Shared>,
    /// The offset of the first message that it has not got.
    next: u64,
}

/// How far a long-poll has come.
pub(crate) struct Polled {
    pub(crate) position: Position,
    pub(crate) reset: bool,
    pub(crate) texts: Vec<Arc<str>>,
}

impl Room {
    pub(crate) fn new(name: &str, rule: Arc<Rule>) -> Room {
        let quoted = serde_json::to_string(name).unwrap_or_default();
        Room { name: name.into(), quoted, rule, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.inner().live
    }

    /// The link is lost: what comes is not told here until the keeper has told the history again.
    pub(crate) fn detach(&self) {
        self.inner().live = false;
    }

    /// Closes it if nobody has been a member for so long: who has it still must not join it, and looks for its successor.
    pub(crate) fn close_if_empty(&self, idle: Duration) -> bool {
        let mut inner = self.inner();
        let is_idle = inner.empty_since.is_none_or(|since| since.elapsed() >= idle);
        inner.closed |= inner.count == 0 && inner.waiters.is_empty() && is_idle;
        inner.closed
    }

    pub(crate) fn position(&self) -> Position {
        self.inner().ring.position()
    }

    /// Takes the keeper's history. Where a part between it and what is known here is missing, all members are reset.
    pub(crate) fn take_snapshot(&self, snapshot: Snapshot) {
        let mut inner = self.inner();
        let first = snapshot.messages.first().map_or(snapshot.head + 1, |message| message.offset);
        // One that is older than what is known here has nothing to say.
        let joins_on = inner.ring.epoch == snapshot.epoch && first <= inner.ring.head + 1;
        let was_known = inner.ring.epoch != 0;
        if !joins_on {
            inner.ring.restart(snapshot.epoch, first - 1);
            inner.batches = Batches::default();
        }
        let known = inner.ring.head;
        for message in snapshot.messages.iter().filter(|message| message.offset > known) {
            inner.ring.push(&self.quoted, &self.rule, message);
        }
        inner.ring.head = inner.ring.head.max(snapshot.head);
        inner.live = true;
        if was_known && !joins_on {
            let position = inner.ring.position();
            let text = envelope::reset(&self.quoted, position);
            for member in inner.members.iter_mut().flatten() {
                member.next = position.offset + 1;
                member.socket.send_text(&text, Some(position));
                scoreboard::current().rooms.resets.add(1);
            }
        }
    }

    /// Takes a message that the keeper has told. False when one before it is missing: then the history has to be asked for.
    pub(crate) fn take_message(&self, epoch: u64, message: &Stored) -> bool {
        let mut inner = self.inner();
        if !inner.live || epoch != inner.ring.epoch || message.offset > inner.ring.head + 1 {
            return false;
        }
        if message.offset == inner.ring.head + 1 {
            inner.ring.push(&self.quoted, &self.rule, message);
        }
        true
    }

    /// Sends all members what they have not got, as far as their sockets take it.
    pub(crate) fn deliver(&self) {
        let mut begin = 0;
        loop {
            let mut inner = self.inner();
            if begin == 0 {
                for waiter in std::mem::take(&mut inner.waiters) {
                    let _ = waiter.try_send(());
                }
            }
            let end = inner.members.len().min(begin + STRIDE);
            for key in begin..end {
                inner.look_ahead(key);
                inner.advance(self, key);
            }
            if end == inner.members.len() {
                return;
            }
            begin = end;
        }
    }

    /// A member's socket has room again.
    pub(crate) fn catch_up(&self, key: usize) {
        self.inner().advance(self, key);
    }

    /// Makes a socket a member: after this, it gets everything from `since` on, or from now on. `history` messages of before
    /// are sent to one that names no position.
    ///
    /// `None` when the room was closed meanwhile.
    ///
    /// # Errors
    /// The room is full.
    pub(crate) fn join(
        &self,
        socket: &Arc<Shared>,
        since: Option<Position>,
        history: usize,
    ) -> Result<Option<(usize, Position)>> {
        let mut inner = self.inner();
        if inner.closed {
            return Ok(None);
        }
        inner.ring.evict(&self.rule, 0);
        if inner.count >= self.rule.members_max {
            return Err(Error::TooMuch(format!("the room has {} members, and takes no more", inner.count)));
        }
        let (next, recovered) = match since {
            Some(since) => match inner.ring.behind(since) {
                Some(next) => (next, Some(true)),
                None => {
                    scoreboard::current().rooms.resets.add(1);
                    (inner.ring.head + 1, Some(false))
                }
            },
            None => (inner.ring.newest(history), None),
        };
        // Where it is: what follows comes as messages.
        let position = Position { offset: next - 1, ..inner.ring.position() };
        // The word comes before the first message.
        socket.send_text(&envelope::joined(&self.quoted, position, recovered), Some(position));
        let member = Member { socket: socket.clone(), next };
        let key = match inner.free.pop() {
            Some(key) => {
                inner.members[key] = Some(member);
                key
            }
            None => {
                inner.members.push(Some(member));
                inner.members.len() - 1
            }
        };
        inner.count += 1;
        scoreboard::current().rooms.members.add(1);
        inner.empty_since = None;
        inner.advance(self, key);
        Ok(Some((key, position)))
    }

    pub(crate) fn leave(&self, key: usize) {
        let mut inner = self.inner();
        let left = inner.members.get_mut(key).and_then(Option::take);
        if left.is_some() {
            inner.free.push(key);
            inner.count -= 1;
            scoreboard::current().rooms.members.sub(1);
            if inner.count == 0 {
                inner.empty_since = Some(Instant::now());
                inner.members = Vec::new();
                inner.free = Vec::new();
                inner.batches = Batches::default();
            }
        }
        // The socket's last owner may be this one: it ends outside of the lock.
        drop(inner);
        drop(left);
    }

    /// What there is after `since`. Where there is nothing, `waiter` is told when there is. `None` when the room was closed meanwhile.
    pub(crate) fn poll(&self, since: Option<Position>, waiter: Sender<()>) -> Option<Polled> {
        let mut inner = self.inner();
        if inner.closed {
            return None;
        }
        inner.empty_since = (inner.count == 0).then(Instant::now);
        inner.ring.evict(&self.rule, 0);
        let (next, reset) = match since {
            None => (inner.ring.head + 1, false),
            Some(since) => match inner.ring.behind(since) {
                Some(next) => (next, false),
                None => (inner.ring.head + 1, true),
            },
        };
        let position = Position { offset: inner.ring.head.max(next - 1), ..inner.ring.position() };
        let texts = inner.ring.texts(next);
        if texts.is_empty() && !reset && since.is_some() {
            inner.waiters.push(waiter);
        }
        Some(Polled { position, reset, texts })
    }
}

impl Inner {
    /// Sends a member what it has not got.
    fn advance(&mut self, room: &Room, key: usize) {
        loop {
            let (head, tail, position) = (self.ring.head, self.ring.tail(), self.ring.position());
            let Some(Some(member)) = self.members.get_mut(key) else { return };
            if member.next > head {
                return;
            }
            let encoding = member.socket.encoding;
            if member.next < tail {
                let socket = &member.socket;
                if room.rule.slow == Slow::Disconnect {
                    socket.end_slow(TOO_SLOW);
                    return;
                }
                // It is told when there is room for it to be told.
                let next = Position { offset: tail - 1, ..position };
                let text = envelope::reset(&room.quoted, next);
                if socket.outlet.offer(&envelope::encode(&text, Some(next), encoding)) != Offer::Taken {
                    return;
                }
                member.next = tail;
                scoreboard::current().rooms.resets.add(1);
                continue;
            }
            let from = member.next;
            self.prepare(encoding, from, room.rule.slow == Slow::Coalesce);
            let Some(batch) = self.batches.find(encoding, from, head) else { return };
            let Some(Some(member)) = self.members.get_mut(key) else { return };
            if member.socket.outlet.offer(&batch.bytes) != Offer::Taken {
                return;
            }
            member.next = batch.to + 1;
            let counters = &scoreboard::current().rooms;
            counters.delivered.add(batch.to + 1 - from - batch.coalesced);
            if batch.coalesced > 0 {
                counters.coalesced.add(batch.coalesced);
            }
        }
    }

    /// Asks for the memory of members that come soon: that of 15,000 connections is in no cache, and a member would begin with
    /// three misses one after the other.
    fn look_ahead(&self, key: usize) {
        if let Some(Some(member)) = self.members.get(key + 2 * AHEAD) {
            member.socket.prefetch();
        }
        if let Some(Some(member)) = self.members.get(key + AHEAD) {
            member.socket.outlet.prefetch();
        }
    }

    /// Has the messages from `from` on encoded, as many as fit.
    fn prepare(&mut self, encoding: Encoding, from: u64, coalesces: bool) {
        if self.batches.find(encoding, from, self.ring.head).is_none() {
            let batch = self.ring.batch(encoding, from, coalesces);
            self.batches.put(batch);
        }
    }
}
