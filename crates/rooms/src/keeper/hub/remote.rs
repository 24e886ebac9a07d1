//! `Remote`: the rooms of many machines, in a server elsewhere, which gives each message its place. Every keeper has copies of the
//! rooms that its workers have members in, and hears what comes.
//!
//! ```text
//!   worker ─► keeper ─► out (thread) ─► offset + 1, history, all may hear it ─┐
//!   workers ◄─ keeper ◄─ in (thread) ◄────────────────────────────────────────┘
//! ```
//!
//! What is heard may be lost, as while a connection is down. That is seen: a message whose offset is not the next one, and a
//! connection that was lost, have the history read again; what it does not have any more is a reset.

mod broker;
mod engine;
mod nats;
mod redis;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_server::scoreboard;

pub(in crate::keeper) use self::broker::Source;
use self::engine::{Command, Engine, Event};
pub(in crate::keeper) use self::nats::Nats;
pub(in crate::keeper) use self::redis::Redis;
use super::history::History;
use super::{Health, Hub, Out};
use crate::position::Position;
use crate::rule::{Rule, Rules};
use crate::wire::{Ask, Reply, Request, Snapshot, Stored};

/// How long a call to the server may take.
const CALL_MAX: Duration = Duration::from_secs(2);
/// Questions that wait for their answers; further ones are refused.
const CALLS_MAX: usize = 100_000;
/// How often this keeper says that it lives, and looks for others that do not.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How often copies are looked through for what is too old.
const TIDY_EVERY: Duration = Duration::from_secs(5);

pub(in crate::keeper) struct Remote {
    rules: Rules,
    engine: Engine,
    rooms: HashMap<String, Copy>,
    /// By their tokens, which count: the first is the oldest.
    calls: BTreeMap<u64, Call>,
    next_token: u64,
    next_alive: Instant,
    next_tidy: Instant,
    kind: &'static str,
    /// What is published is heard.
    is_up: bool,
}

/// What a worker waits for.
struct Call {
    worker: u64,
    call: u64,
    asked_ns: u64,
    /// Of a message: when `publish` was called.
    called_ns: u64,
}

/// What is known here of a room.
struct Copy {
    rule: Arc<Rule>,
    /// Its history is known up to the head, and what comes is heard.
    live: bool,
    history: History,
    workers: BTreeSet<u64>,
    /// Who waits for the history: worker and call.
    waiting: Vec<(u64, u64)>,
    /// Who is present by this keeper's workers.
    present: BTreeMap<(u64, u64), String>,
    /// What came before the history did.
    early: VecDeque<(u64, Stored)>,
}

impl Remote {
    /// Starts the threads that talk to the server; it need not be there yet.
    pub(in crate::keeper) fn start(source: Box<dyn Source>, rules: Rules) -> Result<Remote, String> {
        let now = Instant::now();
        Ok(Remote {
            kind: source.kind(),
            engine: Engine::start(source, rules.clone())?,
            rules,
            rooms: HashMap::new(),
            calls: BTreeMap::new(),
            next_token: 1,
            next_alive: now,
            next_tidy: now + TIDY_EVERY,
            is_up: false,
        })
    }

    /// Asks the engine something; the answer goes to this worker's call.
    fn ask(&mut self, call: Call, command: impl FnOnce(u64) -> Command, out: &mut Out) {
        let Call { worker, call: number, .. } = call;
        if self.calls.len() >= CALLS_MAX {
            return out.push((
                worker,
                Reply::Refused { call: number, reason: "too many calls wait for the rooms' engine".into() },
            ));
        }
        let token = self.next_token;
        self.next_token += 1;
        self.calls.insert(token, call);
        self.engine.post(command(token));
    }

    fn answer(&mut self, token: u64, reply: impl FnOnce(u64) -> Reply, out: &mut Out) {
        if let Some(Call { worker, call, .. }) = self.calls.remove(&token) {
            out.push((worker, reply(call)));
        }
    }

    fn copy(&mut self, name: &str) -> &mut Copy {
        let rules = &self.rules;
        self.rooms.entry(name.to_owned()).or_insert_with(|| Copy {
            rule: rules.of(name),
            live: false,
            history: History::default(),
            workers: BTreeSet::new(),
            waiting: Vec::new(),
            present: BTreeMap::new(),
            early: VecDeque::new(),
        })
    }

    fn subscribe(&mut self, worker: u64, call: u64, name: String, out: &mut Out) {
        let copy = self.copy(&name);
        copy.workers.insert(worker);
        if copy.live {
            let snapshot = copy.history.snapshot();
            return out.push((worker, Reply::Subscribed { call, room: name, snapshot }));
        }
        let is_first = copy.waiting.is_empty();
        copy.waiting.push((worker, call));
        if is_first {
            self.engine.post(Command::Open { room: name });
        }
    }

    fn unsubscribe(&mut self, worker: u64, name: &str) {
        let Some(copy) = self.rooms.get_mut(name) else { return };
        copy.workers.remove(&worker);
        if copy.workers.is_empty() && copy.present.is_empty() {
            self.rooms.remove(name);
            self.engine.post(Command::Close { room: name.to_owned() });
        }
    }

    fn enter(&mut self, name: &str, who: (u64, u64), info: String) {
        let copy = self.copy(name);
        copy.present.insert(who, info.clone());
        let announces = copy.rule.presence.then(|| copy.rule.clone());
        self.engine.post(Command::Enter { room: name.to_owned(), who, info, announces });
    }

    fn exit(&mut self, name: &str, who: (u64, u64)) {
        let Some(copy) = self.rooms.get_mut(name) else { return };
        if copy.present.remove(&who).is_some() {
            let announces = copy.rule.presence.then(|| copy.rule.clone());
            self.engine.post(Command::Exit { room: name.to_owned(), who, announces });
        }
    }

    fn happened(&mut self, event: Event, out: &mut Out) {
        match event {
            Event::Published { token, position } => {
                super::count_place(self.calls.get(&token).map_or(0, |call| call.called_ns));
                self.answer(token, |call| Reply::Published { call, position }, out);
            }
            Event::Answer { token, json } => self.answer(token, |call| Reply::Answer { call, json }, out),
            // No answer: the worker's wait ends, and nobody knows whether it was done.
            Event::Failed { token } => {
                let reason = "the rooms' engine does not answer".to_owned();
                self.answer(token, |call| Reply::Unavailable { call, reason }, out);
            }
            Event::Refused { token, reason } => {
                self.answer(token, |call| Reply::Refused { call, reason }, out);
            }
            Event::Opened { room, snapshot } => self.opened(&room, snapshot, out),
            Event::Message { room, epoch, message } => self.message(&room, epoch, message, out),
            Event::Gone => self.is_up = false,
            Event::There { was_lost } => {
                self.is_up = true;
                if was_lost {
                    self.lost();
                }
            }
        }
    }

    /// The history is there: whoever waits for it gets it, and all others compare it with what they have.
    fn opened(&mut self, name: &str, snapshot: Snapshot, out: &mut Out) {
        let Some(copy) = self.rooms.get_mut(name) else { return };
        // A history that was read before what has been heard since is older than the copy: the two threads do not wait for each
        // other.
        let is_older =
            copy.live && snapshot.epoch == copy.history.epoch && snapshot.head <= copy.history.head;
        if !is_older {
            copy.history.replace(snapshot, &copy.rule);
        }
        copy.live = true;
        for (epoch, message) in std::mem::take(&mut copy.early) {
            copy.push(epoch, message);
        }
        let waiting = std::mem::take(&mut copy.waiting);
        let told: BTreeSet<u64> = waiting.iter().map(|(worker, _)| *worker).collect();
        let others = copy.workers.iter().filter(|worker| !is_older && !told.contains(worker));
        let others: Vec<(u64, u64)> = others.map(|worker| (*worker, 0)).collect();
        for (worker, call) in waiting.into_iter().chain(others) {
            let snapshot = copy.history.snapshot();
            out.push((worker, Reply::Subscribed { call, room: name.to_owned(), snapshot }));
        }
    }

    fn message(&mut self, name: &str, epoch: u64, message: Stored, out: &mut Out) {
        let Some(copy) = self.rooms.get_mut(name) else { return };
        if !copy.live {
            copy.early.push_back((epoch, message));
            if copy.early.len() > copy.rule.history_max {
                copy.early.pop_front();
            }
            return;
        }
        match copy.push(epoch, message.clone()) {
            Joined::Next => {
                let since_ns = scoreboard::now_ns();
                let reply = Reply::Message { room: name.to_owned(), epoch, message, since_ns };
                out.extend(copy.workers.iter().map(|worker| (*worker, reply.clone())));
            }
            Joined::Known => {}
            Joined::Gap => {
                copy.live = false;
                copy.early.push_back((epoch, message));
                self.engine.post(Command::Open { room: name.to_owned() });
            }
        }
    }

    /// The connection to the engine was lost, and is there again: what was said meanwhile has to be read.
    fn lost(&mut self) {
        for (name, copy) in &mut self.rooms {
            copy.live = false;
            self.engine.post(Command::Open { room: name.clone() });
            for (who, info) in &copy.present {
                let enter =
                    Command::Enter { room: name.clone(), who: *who, info: info.clone(), announces: None };
                self.engine.post(enter);
            }
        }
    }
}

impl Hub for Remote {
    fn take(&mut self, worker: u64, request: Request, out: &mut Out) {
        match request {
            Request::Publish { call, room, draft } => {
                let rule = self.rules.of(&room);
                let call = Call::new(worker, call, draft.called_ns);
                self.ask(call, |token| Command::Publish { token, room, draft, rule }, out);
            }
            Request::Subscribe { call, room } => self.subscribe(worker, call, room, out),
            Request::Unsubscribe { room } => self.unsubscribe(worker, &room),
            Request::Enter { room, member, info } => self.enter(&room, (worker, member), info),
            Request::Exit { room, member } => self.exit(&room, (worker, member)),
            Request::Ask { call, ask: Ask::Presence { room } } => {
                let rule = self.rules.of(&room);
                self.ask(
                    Call::new(worker, call, 0),
                    |token| Command::Presence { token, room, announces: rule.presence.then_some(rule) },
                    out,
                );
            }
            Request::Ask { call, ask: Ask::Rooms } => {
                out.push((worker, Reply::Answer { call, json: self.list() }))
            }
            Request::Yield { .. } => {}
        }
    }

    fn lose(&mut self, worker: u64, _out: &mut Out) {
        self.calls.retain(|_, call| call.worker != worker);
        let names: Vec<String> = self.rooms.keys().cloned().collect();
        for name in names {
            let Some(copy) = self.rooms.get_mut(&name) else { continue };
            copy.waiting.retain(|(waiter, _)| *waiter != worker);
            let gone: Vec<_> =
                copy.present.range((worker, 0)..=(worker, u64::MAX)).map(|(who, _)| *who).collect();
            gone.into_iter().for_each(|who| self.exit(&name, who));
            self.unsubscribe(worker, &name);
        }
    }

    fn tidy(&mut self, out: &mut Out) {
        for event in self.engine.events() {
            self.happened(event, out);
        }
        let now = Instant::now();
        if now >= self.next_alive {
            self.next_alive = now + ALIVE_EVERY;
            let announcing = self.rooms.iter().filter(|(_, copy)| copy.rule.presence);
            let rooms = announcing.map(|(name, copy)| (name.clone(), copy.rule.clone())).collect();
            self.engine.post(Command::Alive { rooms });
        }
        if now >= self.next_tidy {
            self.next_tidy = now + TIDY_EVERY;
            self.rooms.values_mut().for_each(|copy| copy.history.evict(now, &copy.rule, 0));
        }
    }

    fn health(&self) -> Health {
        let oldest = self.calls.values().next();
        let waits = oldest.map_or(0, |call| scoreboard::now_ns().saturating_sub(call.asked_ns));
        let lag = Duration::from_nanos(waits);
        Health { kind: self.kind, is_up: self.is_up, lag, rooms: self.rooms.len() }
    }

    fn owes(&self, worker: u64) -> bool {
        self.calls.values().any(|call| call.worker == worker)
    }

    fn bell(&self) -> Option<BorrowedFd<'_>> {
        Some(self.engine.as_fd())
    }
}

impl Remote {
    /// The rooms that this keeper has copies of.
    fn list(&self) -> String {
        let rooms = self.rooms.iter().map(|(name, copy)| {
            let position = Position { epoch: copy.history.epoch, offset: copy.history.head };
            serde_json::json!({
                "room": name,
                "pos": position.to_string(),
                "kept": copy.history.len(),
                "workers": copy.workers.len(),
                "present_here": copy.present.len(),
            })
        });
        serde_json::Value::Array(rooms.collect()).to_string()
    }
}

/// How a message goes with what is known.
enum Joined {
    Next,
    Known,
    Gap,
}

impl Call {
    fn new(worker: u64, call: u64, called_ns: u64) -> Call {
        Call { worker, call, asked_ns: scoreboard::now_ns(), called_ns }
    }
}

impl Copy {
    fn push(&mut self, epoch: u64, message: Stored) -> Joined {
        let (known, head) = (self.history.epoch, self.history.head);
        if epoch == known && message.offset <= head {
            return Joined::Known;
        }
        if epoch != known || message.offset != head + 1 {
            return Joined::Gap;
        }
        self.history.push(message, &self.rule);
        Joined::Next
    }
}
