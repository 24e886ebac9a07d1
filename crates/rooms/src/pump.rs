//! The pump: the thread of each worker that has the link to the keeper, and delivers.
//!
//! ```text
//!   epoll ─► link: answers, messages ─► rooms ─► every member's outlet
//!         ─► a socket has room again ─► its rest, then what its rooms have for it
//!         ─► bell: calls to send, a drain to begin
//! ```
//!
//! It is the same in every model: a thread, because a loop may be held by a handler and a blocking worker has no loop. It
//! never waits but in its one epoll_wait.

use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tenfold_http::websocket::CloseCode;
use tenfold_server::keeper::Link;
use tenfold_server::scoreboard::{self, MessageStage};

use crate::hall::Hall;
use crate::socket::Shared;
use crate::watch::Happened;
use crate::wire::{self, Reply, Request};

/// Longest wait of the loop.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Rest before a keeper that is gone is tried again.
const REST: Duration = Duration::from_millis(20);
/// How long a room without members is kept up to date: most clients that go come back.
const LINGER: Duration = Duration::from_secs(10);
/// How often rooms are looked through for that.
const TIDY_EVERY: Duration = Duration::from_secs(2);
/// What a client is told that has to go.
const RESTART: &str = "the server restarts: come again";

struct Pump {
    hall: Arc<Hall>,
    link: Option<Link<Reply>>,
    had_unsent: bool,
    /// Where the keeper listens now.
    name: String,
    next_try: Instant,
    next_tidy: Instant,
    /// Rooms that have got something new, and when the first of its messages came; a history is no message.
    dirty: BTreeMap<Arc<str>, Option<u64>>,
    drain: Option<Drain>,
}

/// Sockets that are being told to go.
struct Drain {
    rest: Vec<Arc<Shared>>,
    pace: Duration,
    next: Instant,
}

/// Starts the thread.
pub(crate) fn start(hall: Arc<Hall>) -> io::Result<()> {
    std::thread::Builder::new().name("rooms".into()).spawn(move || Pump::new(hall).run()).map(drop)
}

impl Pump {
    fn new(hall: Arc<Hall>) -> Pump {
        let now = Instant::now();
        let name = hall.name.clone();
        Pump {
            hall,
            link: None,
            had_unsent: false,
            name,
            next_try: now,
            next_tidy: now + TIDY_EVERY,
            dirty: BTreeMap::new(),
            drain: None,
        }
    }

    fn run(mut self) {
        let mut happened = Vec::new();
        while !self.hall.closed.load(Ordering::Acquire) {
            self.connect();
            self.send();
            let wait = self.next_time().saturating_duration_since(Instant::now()).min(WAIT_MAX);
            if let Err(error) = self.hall.watch.wait(wait, &mut happened) {
                tracing::error!(target: "rooms", %error, "cannot wait");
                std::thread::sleep(REST);
            }
            if happened.contains(&Happened::Link) {
                self.read();
            }
            for event in &happened {
                if let Happened::Room(number) = event {
                    self.go_on(*number);
                }
            }
            for (name, came_ns) in std::mem::take(&mut self.dirty) {
                if let Some(room) = self.hall.room(&name) {
                    room.deliver();
                    if let Some(came_ns) = came_ns {
                        let took = scoreboard::now_ns().saturating_sub(came_ns);
                        scoreboard::current().rooms.record(MessageStage::Deliver, took);
                    }
                }
            }
            self.tidy();
            self.drain();
        }
    }

    fn next_time(&self) -> Instant {
        let mut next = self.next_tidy;
        if self.link.is_none() {
            next = next.min(self.next_try);
        }
        if let Some(drain) = self.drain.as_ref().filter(|drain| !drain.rest.is_empty()) {
            next = next.min(drain.next);
        }
        next
    }

    /// Connects, and tells everything that the keeper has to know of this worker.
    fn connect(&mut self) {
        if self.link.is_some() || Instant::now() < self.next_try {
            return;
        }
        self.next_try = Instant::now() + REST;
        let link =
            address(&self.name).and_then(|address| UnixStream::connect_addr(&address)).and_then(wire::link);
        let mut link = match link {
            Ok(link) => link,
            Err(_) => {
                // A newer keeper that is gone: the one that this worker was born with may be there again.
                self.name.clone_from(&self.hall.name);
                return;
            }
        };
        for room in self.hall.all_rooms() {
            link.say(&Request::Subscribe { call: 0, room: room.name.to_string() });
        }
        for enter in self.hall.present() {
            link.say(&enter);
        }
        if let Err(error) = self.hall.watch.watch_link(&link, false, true) {
            tracing::error!(target: "rooms", %error, "cannot watch the keeper");
            return;
        }
        self.had_unsent = false;
        self.link = Some(link);
        self.hall.connected();
    }

    fn send(&mut self) {
        let Some(link) = &mut self.link else { return };
        let out = self.hall.take_out();
        if !out.is_empty() {
            link.say_frames(&out);
        }
        link.flush();
        if (link.unsent() > 0) != self.had_unsent {
            self.had_unsent = link.unsent() > 0;
            let _ = self.hall.watch.watch_link(&*link, self.had_unsent, false);
        }
        if link.is_gone() {
            self.lose(false);
        }
    }

    /// `sent_on`: the keeper has told where to go, after its last answer.
    fn lose(&mut self, sent_on: bool) {
        if let Some(fault) = self.link.take().as_ref().and_then(Link::fault) {
            tracing::error!(target: "rooms", %fault, "the link to the keeper is cut");
        }
        self.next_try = Instant::now();
        self.hall.disconnected(sent_on);
    }

    fn read(&mut self) {
        let Some(link) = &mut self.link else { return };
        let mut replies = Vec::new();
        link.read(|reply| replies.push(reply));
        let gone = link.is_gone();
        replies.into_iter().for_each(|reply| self.take(reply));
        // One that has sent us on may be gone as well by now: that is said already.
        if gone && self.link.is_some() {
            self.lose(false);
        }
    }

    fn take(&mut self, reply: Reply) {
        match reply {
            Reply::Message { room: name, epoch, message, since_ns } => {
                let Some(room) = self.hall.room(&name) else { return };
                if room.take_message(epoch, &message) {
                    let now = scoreboard::now_ns();
                    if since_ns > 0 {
                        let took = now.saturating_sub(since_ns);
                        scoreboard::current().rooms.record(MessageStage::Carry, took);
                    }
                    self.dirty.entry(room.name.clone()).or_default().get_or_insert(now);
                } else if room.is_live() {
                    // Something is missing: the history tells whether it is lost.
                    room.detach();
                    self.hall.tell(&Request::Subscribe { call: 0, room: name });
                }
            }
            Reply::Subscribed { call, room: name, snapshot } => {
                if let Some(room) = self.hall.room(&name) {
                    room.take_snapshot(snapshot);
                    self.dirty.entry(room.name.clone()).or_default();
                }
                self.hall.answer(call, Reply::Subscribed { call, room: name, snapshot: Default::default() });
            }
            Reply::Published { call, .. }
            | Reply::Answer { call, .. }
            | Reply::Refused { call, .. }
            | Reply::Unavailable { call, .. } => {
                self.hall.answer(call, reply);
            }
            Reply::Moved { name } => {
                self.name = name;
                self.lose(true);
            }
            Reply::Handed { .. } | Reply::Yielded => {}
        }
    }

    /// A socket has room again.
    fn go_on(&self, number: usize) {
        let Some(socket) = self.hall.socket(number) else { return };
        if socket.outlet.flush() {
            for (room, key) in socket.rooms() {
                room.catch_up(key);
            }
        }
    }

    /// Lets go of rooms that nobody is in, and of clients that do not read why they have to go.
    fn tidy(&mut self) {
        let now = Instant::now();
        let next_cut = self.hall.cut_due(now);
        if now >= self.next_tidy {
            self.next_tidy = now + TIDY_EVERY;
            for room in self.hall.all_rooms() {
                self.hall.drop_if_empty(&room.name, LINGER);
            }
        }
        if let Some(next) = next_cut {
            self.next_tidy = self.next_tidy.min(next);
        }
    }

    /// Tells sockets to go, one after another in no order that a client could know, so that they do not all come at once where
    /// they come again.
    fn drain(&mut self) {
        let Some(window) = self.hall.drains() else { return };
        let drain = self.drain.get_or_insert_with(|| {
            let mut rest = self.hall.all_sockets();
            shuffle(&mut rest);
            let pace = window / u32::try_from(rest.len().max(1)).unwrap_or(u32::MAX);
            for room in self.hall.all_rooms() {
                room.deliver();
            }
            Drain { rest, pace, next: Instant::now() }
        });
        let now = Instant::now();
        while drain.next <= now {
            let Some(socket) = drain.rest.pop() else {
                // Who has come since.
                drain.rest = self.hall.all_sockets();
                drain.rest.retain(|socket| !socket.outlet.is_over());
                drain.next = now + REST;
                return;
            };
            drain.next += drain.pace;
            if !socket.outlet.is_over() {
                socket.end(CloseCode::RESTART, RESTART);
                self.hall.cut_later(socket.number);
            }
        }
    }
}

/// The address of a keeper: in the abstract namespace of unix(7), where no file is left behind.
pub(crate) fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// Fisher and Yates. The seed is the process: nobody gains by guessing it.
fn shuffle<T>(all: &mut [T]) {
    let mut state = u64::from(std::process::id()) << 32 | 0x9e37_79b9;
    for index in (1..all.len()).rev() {
        // Vigna's splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
        all.swap(index, (mixed % (index as u64 + 1)) as usize);
    }
}
