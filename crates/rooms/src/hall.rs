//! `Hall`: everything that one worker has of the rooms: those with members here, its clients' sockets, the calls to the keeper.
//!
//! The pump, a thread of its own, owns the link to the keeper and delivers; all others call from wherever they run.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tenfold_server::Peer;
use tenfold_server::runtime::cause::{Cause, waiting_for};
use tenfold_server::runtime::net::TcpStream;
use tenfold_server::runtime::sync::{Receiver, Sender, channel};
use tenfold_server::runtime::try_sleep;
use tenfold_server::scoreboard;

use crate::envelope::Encoding;
use crate::error::{Error, PATIENCE, Result};
use crate::outlet::Outlet;
use crate::position::Position;
use crate::pump;
use crate::room::{Polled, Room};
use crate::rule::Rules;
use crate::socket::Shared;
use crate::watch::Watch;
use crate::wire::{self, Ask, Draft, Kind, Reply, Request};

/// Longest name of a room in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Rest before a keeper that is not there is tried again.
const REST: Duration = Duration::from_millis(10);
/// How long a slow client has to read why it is let go.
const CUT_AFTER: Duration = Duration::from_secs(10);

pub(crate) struct Hall {
    pub(crate) rules: Rules,
    /// Where the keeper listens first; it may send its workers on.
    pub(crate) name: String,
    pub(crate) watch: Arc<Watch>,
    rooms: Mutex<HashMap<Arc<str>, Arc<Room>>>,
    sockets: Mutex<Sockets>,
    calls: Mutex<Calls>,
    next_call: AtomicU64,
    /// Over how long the sockets are to be told to go, once they are.
    drain: OnceLock<Duration>,
    pub(crate) closed: AtomicBool,
    pump: Mutex<bool>,
}

/// All sockets by their numbers.
#[derive(Default)]
struct Sockets {
    all: Vec<Option<Weak<Shared>>>,
    free: Vec<usize>,
    /// When sockets that were told to end are cut off.
    cuts: Vec<(Instant, usize)>,
    /// What the keeper knows of those who are present: a new keeper is told again.
    present: HashMap<(Arc<str>, u64), String>,
}

#[derive(Default)]
struct Calls {
    /// Frames for the pump to send.
    out: Vec<u8>,
    connected: bool,
    waiting: HashMap<u64, Waiting>,
}

/// Somebody who waits for an answer.
struct Waiting {
    answer: Sender<Reply>,
    /// The question, for the keeper that follows one which has handed everything over.
    frame: Vec<u8>,
}

impl Hall {
    pub(crate) fn new(rules: Rules, name: String) -> io::Result<Arc<Hall>> {
        Ok(Arc::new(Hall {
            rules,
            name,
            watch: Arc::new(Watch::new()?),
            rooms: Mutex::default(),
            sockets: Mutex::default(),
            calls: Mutex::default(),
            next_call: AtomicU64::new(1),
            drain: OnceLock::new(),
            closed: AtomicBool::new(false),
            pump: Mutex::new(false),
        }))
    }

    /// Starts the pump, once, in the process that first needs it: threads do not survive a fork.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut runs = self.pump.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *runs, true)
            && let Err(error) = pump::start(self.clone())
        {
            tracing::error!(target: "rooms", %error, "cannot start the thread that delivers");
            *runs = false;
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- Rooms ---

    pub(crate) fn room(&self, name: &str) -> Option<Arc<Room>> {
        self.rooms().get(name).cloned()
    }

    pub(crate) fn all_rooms(&self) -> Vec<Arc<Room>> {
        self.rooms().values().cloned().collect()
    }

    /// A room whose history is known here. Asks the keeper for it unless somebody is in it already.
    pub(crate) fn live_room(self: &Arc<Self>, name: &str) -> Result<Arc<Room>> {
        check_name(name)?;
        self.start();
        let until = Instant::now() + PATIENCE;
        loop {
            let room = {
                let mut rooms = self.rooms();
                let make = || Arc::new(Room::new(name, self.rules.of(name)));
                rooms.entry(name.into()).or_insert_with(make).clone()
            };
            if room.is_live() {
                return Ok(room);
            }
            // The pump gives the room its history before it gives us the answer.
            match self.call(until, |call| Request::Subscribe { call, room: name.to_owned() })? {
                Reply::Subscribed { .. } if room.is_live() => return Ok(room),
                Reply::Refused { reason, .. } => {
                    self.drop_if_empty(name, Duration::ZERO);
                    return Err(Error::TooMuch(reason));
                }
                _ if Instant::now() > until => return Err(Error::unavailable()),
                _ => {}
            }
        }
    }

    /// Forgets a room that nobody has been in for so long, and tells the keeper.
    pub(crate) fn drop_if_empty(&self, name: &str, idle: Duration) -> bool {
        let mut rooms = self.rooms();
        let is_closed = rooms.get(name).is_some_and(|room| room.close_if_empty(idle));
        if is_closed {
            rooms.remove(name);
            // While nobody can ask for it anew: the keeper has to hear the two in this order.
            self.tell(&Request::Unsubscribe { room: name.to_owned() });
        }
        is_closed
    }

    pub(crate) fn publish(
        self: &Arc<Self>,
        room: &str,
        data: String,
        key: Option<String>,
    ) -> Result<Position> {
        check_name(room)?;
        let rule = self.rules.of(room);
        if data.len() > rule.message_bytes_max {
            return Err(Error::TooMuch(format!(
                "a message has {} bytes, {} are allowed",
                data.len(),
                rule.message_bytes_max
            )));
        }
        let draft = Draft { kind: Kind::Data, key, data, called_ns: scoreboard::now_ns() };
        let until = Instant::now() + PATIENCE;
        let request = |call| Request::Publish { call, room: room.to_owned(), draft };
        match waiting_for(Cause::Other, "rooms", || self.call(until, request))? {
            Reply::Published { position, .. } => Ok(position),
            Reply::Refused { reason, .. } => Err(Error::TooMuch(reason)),
            _ => Err(Error::unavailable()),
        }
    }

    pub(crate) fn ask(self: &Arc<Self>, ask: Ask) -> Result<String> {
        match self.call(Instant::now() + PATIENCE, |call| Request::Ask { call, ask })? {
            Reply::Answer { json, .. } => Ok(json),
            _ => Err(Error::unavailable()),
        }
    }

    /// What a room has said after `since`; waits for something until then.
    pub(crate) fn poll(
        self: &Arc<Self>,
        name: &str,
        since: Option<Position>,
        until: Instant,
    ) -> Result<Polled> {
        loop {
            let room = self.live_room(name)?;
            let (sender, news) = channel(1);
            let Some(polled) = room.poll(since, sender) else { continue };
            if !polled.texts.is_empty() || polled.reset || since.is_none() || self.drain.get().is_some() {
                return Ok(polled);
            }
            if news.recv_until(Some(until)).is_err() {
                return Ok(Polled { texts: Vec::new(), ..polled });
            }
        }
    }

    // --- Calls ---

    /// Asks the keeper and waits for its answer. Tries again while the keeper is not there; once asked, a keeper that goes away
    /// is an error, since nobody knows what it has done. One that sends its workers to a newer keeper has answered what it has
    /// done: the newer one is asked the rest.
    fn call(self: &Arc<Self>, until: Instant, request: impl FnOnce(u64) -> Request) -> Result<Reply> {
        self.start();
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let mut frame = Vec::new();
        wire::encode(&request(call), &mut frame);
        let answer = loop {
            if let Some(answer) = self.post_call(call, &frame) {
                break answer;
            }
            if Instant::now() > until {
                return Err(Error::unavailable());
            }
            try_sleep(REST)?;
        };
        let reply = answer.recv_until(Some(until));
        if reply.is_err() {
            self.calls().waiting.remove(&call);
        }
        reply.map_err(|_| Error::unavailable())
    }

    fn post_call(&self, call: u64, frame: &[u8]) -> Option<Receiver<Reply>> {
        let mut calls = self.calls();
        if !calls.connected {
            return None;
        }
        let (sender, answer) = channel(1);
        calls.waiting.insert(call, Waiting { answer: sender, frame: frame.to_vec() });
        calls.out.extend_from_slice(frame);
        drop(calls);
        self.watch.ring();
        Some(answer)
    }

    /// Tells the keeper something that has no answer. While it is not there this is not needed: it is told everything anew.
    pub(crate) fn tell(&self, request: &Request) {
        let mut calls = self.calls();
        if calls.connected {
            wire::encode(request, &mut calls.out);
            drop(calls);
            self.watch.ring();
        }
    }

    /// For the pump: what is to be sent.
    pub(crate) fn take_out(&self) -> Vec<u8> {
        std::mem::take(&mut self.calls().out)
    }

    pub(crate) fn answer(&self, call: u64, reply: Reply) {
        let waiting = self.calls().waiting.remove(&call);
        if let Some(waiting) = waiting {
            let _ = waiting.answer.try_send(reply);
        }
    }

    /// The link is there: what an older keeper has left without an answer is asked again, in its order.
    pub(crate) fn connected(&self) {
        let mut calls = self.calls();
        calls.connected = true;
        let mut rest: Vec<_> =
            calls.waiting.iter().map(|(call, waiting)| (*call, waiting.frame.clone())).collect();
        rest.sort_unstable_by_key(|(call, _)| *call);
        calls.out = rest.into_iter().flat_map(|(_, frame)| frame).collect();
    }

    /// The link is lost: rooms wait for their history. Unless the keeper has sent us on, who waits for an answer gets an error.
    pub(crate) fn disconnected(&self, sent_on: bool) {
        let mut calls = self.calls();
        calls.connected = false;
        calls.out.clear();
        if !sent_on {
            calls.waiting.clear();
        }
        drop(calls);
        self.all_rooms().iter().for_each(|room| room.detach());
    }

    // --- Presence ---

    pub(crate) fn enter(&self, room: &str, member: u64, info: String) {
        self.sockets().present.insert((room.into(), member), info.clone());
        self.tell(&Request::Enter { room: room.to_owned(), member, info });
    }

    pub(crate) fn exit(&self, room: &str, member: u64) {
        self.sockets().present.remove(&(Arc::from(room), member));
        self.tell(&Request::Exit { room: room.to_owned(), member });
    }

    pub(crate) fn present(&self) -> Vec<Request> {
        let sockets = self.sockets();
        let enter = |((room, member), info): (&(Arc<str>, u64), &String)| Request::Enter {
            room: room.to_string(),
            member: *member,
            info: info.clone(),
        };
        sockets.present.iter().map(enter).collect()
    }

    // --- Sockets ---

    /// Registers a connection.
    pub(crate) fn admit(self: &Arc<Self>, stream: &TcpStream, encoding: Encoding, peer: Peer) -> Arc<Shared> {
        self.start();
        let mut sockets = self.sockets();
        let number = sockets.free.pop().unwrap_or_else(|| {
            sockets.all.push(None);
            sockets.all.len() - 1
        });
        let outlet = Outlet::new(stream.clone(), number, self.watch.clone());
        let shared = Arc::new(Shared::new(number, outlet, encoding, self.clone(), peer));
        sockets.all[number] = Some(Arc::downgrade(&shared));
        scoreboard::current().rooms.connections.add(1);
        shared
    }

    pub(crate) fn forget(&self, number: usize) {
        let mut sockets = self.sockets();
        if sockets.all[number].take().is_some() {
            sockets.free.push(number);
            scoreboard::current().rooms.connections.sub(1);
        }
    }

    pub(crate) fn socket(&self, number: usize) -> Option<Arc<Shared>> {
        self.sockets().all.get(number)?.as_ref()?.upgrade()
    }

    pub(crate) fn all_sockets(&self) -> Vec<Arc<Shared>> {
        self.sockets().all.iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Cuts a socket off in a while, if it is still there.
    pub(crate) fn cut_later(&self, number: usize) {
        self.sockets().cuts.push((Instant::now() + CUT_AFTER, number));
        self.watch.ring();
    }

    /// Cuts off who is due. Gives when the next one is.
    pub(crate) fn cut_due(&self, now: Instant) -> Option<Instant> {
        let mut due = Vec::new();
        let next = {
            let mut sockets = self.sockets();
            sockets.cuts.retain(|(at, number)| {
                if *at <= now {
                    due.push(*number);
                }
                *at > now
            });
            sockets.cuts.iter().map(|(at, _)| *at).min()
        };
        // A number may have a new owner by now: that one has not been told to end.
        due.into_iter()
            .filter_map(|number| self.socket(number))
            .filter(|one| one.outlet.is_over())
            .for_each(|one| one.outlet.cut());
        next
    }

    /// Has all sockets told to come again, spread over `window`.
    pub(crate) fn drain(&self, window: Duration) {
        let _ = self.drain.set(window);
        self.watch.ring();
    }

    pub(crate) fn drains(&self) -> Option<Duration> {
        self.drain.get().copied()
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::TooMuch(format!(
            "a room's name has 1 to {NAME_BYTES_MAX} bytes and no control characters"
        )));
    }
    Ok(())
}
