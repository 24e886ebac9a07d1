//! `Local`: the rooms of one machine, in the memory of its keeper. Takes requests, gives replies; no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::json;

use super::history::History;
use super::{Epochs, Health, Hub, Out};
use crate::position::Position;
use crate::rule::{Rule, Rules};
use crate::wire::{Ask, Draft, Kind, Reply, Request, Snapshot, Stored};

/// Most rooms. One more takes the place of the one that nobody has looked at for the longest time, if there is such a one.
const ROOMS_MAX: usize = 100_000;
/// How often rooms are looked through for what is too old.
const TIDY_EVERY: Duration = Duration::from_secs(5);

pub(in crate::keeper) struct Local {
    rules: Rules,
    rooms: HashMap<String, Room>,
    epochs: Epochs,
    next_tidy: Instant,
}

struct Room {
    rule: std::sync::Arc<Rule>,
    history: History,
    workers: BTreeSet<u64>,
    /// By worker and its member.
    present: BTreeMap<(u64, u64), String>,
    used: Instant,
}

impl Local {
    pub(in crate::keeper) fn new(rules: Rules) -> Local {
        Local { rules, rooms: HashMap::new(), epochs: Epochs::new(), next_tidy: Instant::now() + TIDY_EVERY }
    }

    fn room(&mut self, name: &str) -> Result<&mut Room, String> {
        if !self.rooms.contains_key(name) {
            if self.rooms.len() >= ROOMS_MAX {
                self.make_room()?;
            }
            let room = Room {
                rule: self.rules.of(name),
                history: History::new(self.epochs.next()),
                workers: BTreeSet::new(),
                present: BTreeMap::new(),
                used: Instant::now(),
            };
            self.rooms.insert(name.to_owned(), room);
        }
        let room = self.rooms.get_mut(name).expect("it is there by now");
        room.used = Instant::now();
        Ok(room)
    }

    fn make_room(&mut self) -> Result<(), String> {
        let oldest = self.rooms.iter().filter(|(_, room)| room.is_idle()).min_by_key(|(_, room)| room.used);
        let name =
            oldest.map(|(name, _)| name.clone()).ok_or(format!("there are {ROOMS_MAX} rooms in use"))?;
        self.rooms.remove(&name);
        Ok(())
    }

    fn publish(&mut self, name: &str, draft: Draft, out: &mut Out) -> Result<Position, String> {
        let room = self.room(name)?;
        let since_ns = super::count_place(draft.called_ns);
        let message = room.push(draft);
        let position = Position { epoch: room.history.epoch, offset: message.offset };
        let message = Reply::Message { room: name.to_owned(), epoch: position.epoch, message, since_ns };
        out.extend(room.workers.iter().map(|worker| (*worker, message.clone())));
        Ok(position)
    }

    fn enter(&mut self, name: &str, who: (u64, u64), info: String, out: &mut Out) {
        let Ok(room) = self.room(name) else { return };
        let is_new = room.present.insert(who, info.clone()).is_none();
        if is_new && room.rule.presence {
            let _ = self.publish(name, Draft::of_keeper(Kind::Join, info), out);
        }
    }

    fn exit(&mut self, name: &str, who: (u64, u64), out: &mut Out) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let Some(info) = room.present.remove(&who) else { return };
        if room.rule.presence {
            let _ = self.publish(name, Draft::of_keeper(Kind::Leave, info), out);
        }
    }

    fn answer(&self, ask: &Ask) -> String {
        match ask {
            Ask::Presence { room } => {
                let infos = self.rooms.get(room).into_iter().flat_map(|room| room.present.values());
                format!("[{}]", infos.map(String::as_str).collect::<Vec<_>>().join(","))
            }
            Ask::Rooms => {
                let rooms = self.rooms.iter().map(|(name, room)| {
                    json!({
                        "room": name,
                        "pos": Position { epoch: room.history.epoch, offset: room.history.head }.to_string(),
                        "kept": room.history.len(),
                        "kept_bytes": room.history.bytes(),
                        "workers": room.workers.len(),
                        "present": room.present.len(),
                    })
                });
                serde_json::Value::Array(rooms.collect()).to_string()
            }
        }
    }
}

impl Hub for Local {
    fn take(&mut self, worker: u64, request: Request, out: &mut Out) {
        match request {
            Request::Publish { call, room, draft } => match self.publish(&room, draft, out) {
                Ok(position) => out.push((worker, Reply::Published { call, position })),
                Err(reason) => out.push((worker, Reply::Refused { call, reason })),
            },
            Request::Subscribe { call, room: name } => match self.room(&name) {
                Ok(room) => {
                    room.workers.insert(worker);
                    let snapshot = room.history.snapshot();
                    out.push((worker, Reply::Subscribed { call, room: name, snapshot }));
                }
                Err(reason) => out.push((worker, Reply::Refused { call, reason })),
            },
            Request::Unsubscribe { room } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.workers.remove(&worker);
                }
            }
            Request::Enter { room, member, info } => self.enter(&room, (worker, member), info, out),
            Request::Exit { room, member } => self.exit(&room, (worker, member), out),
            Request::Ask { call, ask } => out.push((worker, Reply::Answer { call, json: self.answer(&ask) })),
            Request::Yield { .. } => {}
        }
    }

    fn lose(&mut self, worker: u64, out: &mut Out) {
        let names: Vec<String> = self.rooms.keys().cloned().collect();
        for name in names {
            let Some(room) = self.rooms.get_mut(&name) else { continue };
            room.workers.remove(&worker);
            let gone: Vec<_> =
                room.present.range((worker, 0)..=(worker, u64::MAX)).map(|(who, _)| *who).collect();
            for who in gone {
                self.exit(&name, who, out);
            }
        }
    }

    fn tidy(&mut self, _out: &mut Out) {
        let now = Instant::now();
        if now < self.next_tidy {
            return;
        }
        self.next_tidy = now + TIDY_EVERY;
        for room in self.rooms.values_mut() {
            room.history.evict(now, &room.rule, 0);
        }
        // A room that is forgotten begins again in another epoch; while somebody may come back, its count goes on.
        self.rooms.retain(|_, room| {
            !room.is_idle() || room.history.len() > 0 || room.used.elapsed() < room.rule.history_age
        });
    }

    fn health(&self) -> Health {
        Health { kind: "local", is_up: true, lag: Duration::ZERO, rooms: self.rooms.len() }
    }

    /// The other keeper has gone on with the same epochs: what it said there is not known here, and nobody may take it for known.
    fn renew(&mut self) {
        let Self { rooms, epochs, .. } = self;
        rooms.values_mut().for_each(|room| room.history = History::new(epochs.next()));
    }

    fn snapshots(&self) -> Vec<(String, Snapshot)> {
        self.rooms.iter().map(|(name, room)| (name.clone(), room.history.snapshot())).collect()
    }

    fn restore(&mut self, name: &str, snapshot: Snapshot) {
        let Ok(room) = self.room(name) else { return };
        room.history.replace(snapshot, &room.rule);
    }
}

impl Room {
    fn is_idle(&self) -> bool {
        self.workers.is_empty() && self.present.is_empty()
    }

    fn push(&mut self, draft: Draft) -> Stored {
        let stored = Stored::new(self.history.head + 1, draft.kind, draft.key, draft.data);
        self.history.push(stored.clone(), &self.rule);
        stored
    }
}
