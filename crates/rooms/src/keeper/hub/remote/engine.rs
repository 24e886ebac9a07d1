//! `Engine`: two threads of the keeper that wait for the server elsewhere, so that its loop does not.
//!
//! `out` does what it is told, one after the other; `in` hears what is published. A room is open when its subscription is known to
//! be in force: a mark that `out` publishes has come back to `in`. Then the history is read, and nothing can be between the two.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{EventfdFlags, eventfd};

use super::broker::{Broker, Ear, Outcome, Source, draft_text, parse};
use crate::position::Position;
use crate::rule::{Rule, Rules};
use crate::wire::{Draft, Kind, Snapshot, Stored};

/// Rest before an engine that is gone is tried again.
const REST: Duration = Duration::from_millis(100);
/// How often `in` looks for rooms to subscribe to.
const LOOK: Duration = Duration::from_millis(5);
/// Begins a message that only says that the subscription is in force.
const MARK: &str = "mark ";

/// Keeper to engine.
pub(super) enum Command {
    Publish {
        token: u64,
        room: String,
        draft: Draft,
        rule: Arc<Rule>,
    },
    Open {
        room: String,
    },
    Close {
        room: String,
    },
    /// `announces`: the room tells its members who comes.
    Enter {
        room: String,
        who: (u64, u64),
        info: String,
        announces: Option<Arc<Rule>>,
    },
    Exit {
        room: String,
        who: (u64, u64),
        announces: Option<Arc<Rule>>,
    },
    Presence {
        token: u64,
        room: String,
        announces: Option<Arc<Rule>>,
    },
    /// This keeper lives; those who do not, leave these rooms.
    Alive {
        rooms: Vec<(String, Arc<Rule>)>,
    },
    /// `in` has heard a mark: the room's subscription is in force.
    InForce {
        room: String,
    },
}

/// Engine to keeper.
pub(super) enum Event {
    Published {
        token: u64,
        position: Position,
    },
    Answer {
        token: u64,
        json: String,
    },
    /// Nobody knows whether it was done.
    Failed {
        token: u64,
    },
    /// It was not, and never will be.
    Refused {
        token: u64,
        reason: String,
    },
    Opened {
        room: String,
        snapshot: Snapshot,
    },
    Message {
        room: String,
        epoch: u64,
        message: Stored,
    },
    /// The engine is gone, or was not there yet: nothing is heard.
    Gone,
    /// The engine is there. After a loss its subscriptions are new ones, and what was said meanwhile was not heard.
    There {
        was_lost: bool,
    },
}

pub(super) struct Engine {
    commands: Sender<Command>,
    events: Receiver<Event>,
    bell: Arc<OwnedFd>,
}

/// What both threads have.
struct Shared {
    source: Box<dyn Source>,
    events: Mutex<Sender<Event>>,
    bell: Arc<OwnedFd>,
    /// What `in` is to hear.
    wanted: Mutex<BTreeSet<String>>,
    changed: AtomicBool,
    /// This keeper among all.
    instance: String,
}

impl Engine {
    pub(super) fn start(source: Box<dyn Source>, rules: Rules) -> Result<Engine, String> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = Arc::new(bell.map_err(|error| format!("cannot create an eventfd: {error}"))?);
        let (event_sender, events) = channel();
        let (commands, command_receiver) = channel();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Arc::new(Shared {
            source,
            events: Mutex::new(event_sender),
            bell: bell.clone(),
            wanted: Mutex::default(),
            changed: AtomicBool::new(false),
            instance: format!("{:x}-{:x}", now.as_micros(), std::process::id()),
        });
        let (for_out, for_in) = (shared.clone(), shared);
        let to_out = commands.clone();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.into())
                .spawn(run)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        spawn("rooms-out", Box::new(move || Outgoing::new(for_out, rules).run(&command_receiver)))?;
        spawn("rooms-in", Box::new(move || hear_always(&for_in, &to_out)))?;
        Ok(Engine { commands, events, bell })
    }

    pub(super) fn post(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// What has happened since the last call.
    pub(super) fn events(&self) -> Vec<Event> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        self.events.try_iter().collect()
    }
}

impl AsFd for Engine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Shared {
    fn tell(&self, event: Event) {
        let _ = self.events.lock().unwrap_or_else(PoisonError::into_inner).send(event);
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn wanted(&self) -> BTreeSet<String> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The thread `rooms-out`.
struct Outgoing {
    shared: Arc<Shared>,
    broker: Box<dyn Broker>,
    rules: Rules,
}

impl Outgoing {
    fn new(shared: Arc<Shared>, rules: Rules) -> Outgoing {
        let broker = shared.source.broker(&shared.instance, &rules);
        Outgoing { shared, broker, rules }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Publish { token, room, draft, rule } => {
                let event = match self.broker.publish(&room, &draft_text(&draft), &rule) {
                    Ok(position) => Event::Published { token, position },
                    Err(tenfold_client::Error::InvalidRequest(reason)) => Event::Refused { token, reason },
                    Err(error) => {
                        tracing::warn!(target: "rooms", %error, "the engine has not published");
                        Event::Failed { token }
                    }
                };
                self.shared.tell(event);
            }
            Command::Open { room } => {
                self.change(|wanted| wanted.insert(room.clone()));
                // Comes back when the subscription is in force. While the engine is gone, `in` sends it again.
                let mark = format!("{MARK}{}", self.shared.instance);
                let _ = self.broker.mark(&room, &mark);
            }
            Command::Close { room } => self.change(|wanted| wanted.remove(&room)),
            Command::InForce { room } => match self.broker.snapshot(&room, &self.rules.of(&room)) {
                Ok(snapshot) => self.shared.tell(Event::Opened { room, snapshot }),
                Err(error) => {
                    tracing::warn!(target: "rooms", %error, room, "the engine does not give a history")
                }
            },
            Command::Enter { room, who, info, announces } => {
                let is_new = self.broker.enter(&room, &self.member(who), &info);
                let announces = announces.as_deref().filter(|_| matches!(is_new, Ok(true)));
                let _ = self.announce(&room, Kind::Join, &info, announces);
            }
            Command::Exit { room, who, announces } => {
                let _ = self.exit(&room, &self.member(who), announces.as_deref());
            }
            Command::Presence { token, room, announces } => {
                let event = match self.presence(&room, announces.as_deref()) {
                    Ok(json) => Event::Answer { token, json },
                    Err(_) => Event::Failed { token },
                };
                self.shared.tell(event);
            }
            Command::Alive { rooms } => {
                if !matches!(self.broker.alive(), Ok(true)) {
                    return;
                }
                for (room, rule) in rooms {
                    let _ = self.presence(&room, Some(&rule));
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        change(&mut self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.changed.store(true, Ordering::Release);
    }

    fn member(&self, (worker, member): (u64, u64)) -> String {
        format!("{} {worker} {member}", self.shared.instance)
    }

    /// Of several keepers that see that another one has died, one says it.
    fn exit(&mut self, room: &str, member: &str, announces: Option<&Rule>) -> Outcome<()> {
        let Some(info) = self.broker.exit(room, member)? else { return Ok(()) };
        self.announce(room, Kind::Leave, &info, announces)
    }

    fn announce(&mut self, room: &str, kind: Kind, info: &str, rule: Option<&Rule>) -> Outcome<()> {
        let Some(rule) = rule else { return Ok(()) };
        let draft = Draft::of_keeper(kind, info.to_owned());
        self.broker.publish(room, &draft_text(&draft), rule).map(drop)
    }

    /// Who is present, by keepers that live; those of others leave.
    fn presence(&mut self, room: &str, announces: Option<&Rule>) -> Outcome<String> {
        let mut infos = Vec::new();
        for one in self.broker.present(room)? {
            if one.is_alive {
                infos.push(one.info);
            } else {
                self.exit(room, &one.member, announces)?;
            }
        }
        Ok(format!("[{}]", infos.join(",")))
    }
}

/// The thread `rooms-in`.
fn hear_always(shared: &Shared, out: &Sender<Command>) {
    let mut was_lost = false;
    loop {
        match hear(shared, out, &mut was_lost) {
            Ok(()) => return,
            Err(error) => {
                if !was_lost {
                    shared.tell(Event::Gone);
                    tracing::warn!(target: "rooms", %error, "the engine is gone: what is published does not come");
                }
                was_lost = true;
                std::thread::sleep(REST);
            }
        }
    }
}

fn hear(shared: &Shared, out: &Sender<Command>, was_lost: &mut bool) -> Outcome<()> {
    let mut ear = shared.source.ear(&shared.instance)?;
    shared.changed.store(true, Ordering::Release);
    let was_lost = std::mem::take(was_lost);
    if was_lost {
        tracing::info!(target: "rooms", "the engine is there again");
    }
    shared.tell(Event::There { was_lost });
    let mut heard = BTreeSet::new();
    let mut next_mark = Instant::now();
    let mut unconfirmed: BTreeSet<String> = BTreeSet::new();
    loop {
        if shared.changed.swap(false, Ordering::AcqRel) {
            let wanted = shared.wanted();
            follow(&mut *ear, &heard, &wanted)?;
            unconfirmed.extend(wanted.difference(&heard).cloned());
            unconfirmed.retain(|room| wanted.contains(room));
            heard = wanted;
            next_mark = Instant::now();
        }
        // A mark that was published before its subscription was in force has not come.
        if !unconfirmed.is_empty() && Instant::now() >= next_mark {
            for room in &unconfirmed {
                ear.mark(room, &format!("{MARK}{}", shared.instance))?;
            }
            next_mark = Instant::now() + REST;
        }
        let Some((room, payload)) = ear.next(Instant::now() + LOOK)? else { continue };
        let Ok(text) = std::str::from_utf8(&payload) else { continue };
        if let Some(instance) = text.strip_prefix(MARK) {
            if instance == shared.instance {
                unconfirmed.remove(&room);
                let _ = out.send(Command::InForce { room });
            }
        } else if let Some((epoch, message)) = parse(text) {
            shared.tell(Event::Message { room, epoch, message });
        }
    }
}

fn follow(ear: &mut dyn Ear, heard: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Outcome<()> {
    let new: Vec<String> = wanted.difference(heard).cloned().collect();
    if !new.is_empty() {
        ear.hear(new)?;
    }
    let old: Vec<String> = heard.difference(wanted).cloned().collect();
    if !old.is_empty() {
        ear.leave(old)?;
    }
    Ok(())
}
