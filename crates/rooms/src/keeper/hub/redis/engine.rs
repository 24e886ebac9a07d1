//! `Engine`: two threads of the keeper that wait for Redis, so that its loop does not.
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
use tenfold_client::redis::{Client, Command as Call, Script, Subscription};

use super::super::Epochs;
use super::draft_text;
use super::script::{PUBLISH, SNAPSHOT};
use crate::position::Position;
use crate::rule::Rule;
use crate::wire::{Draft, Kind, Snapshot, Stored};

/// How long a call to the engine may take.
const CALL_MAX: Duration = Duration::from_secs(2);
/// Rest before an engine that is gone is tried again.
const REST: Duration = Duration::from_millis(100);
/// How often `in` looks for rooms to subscribe to.
const LOOK: Duration = Duration::from_millis(5);
/// How long a keeper that has died still counts as alive.
const ALIVE_FOR_MS: u64 = 3_000;
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
    Failed {
        token: u64,
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
    /// The subscriptions were lost, and are there again.
    Lost,
}

pub(super) struct Engine {
    commands: Sender<Command>,
    events: Receiver<Event>,
    bell: Arc<OwnedFd>,
}

/// What both threads have.
struct Shared {
    client: Client,
    events: Mutex<Sender<Event>>,
    bell: Arc<OwnedFd>,
    /// What `in` is to hear.
    wanted: Mutex<BTreeSet<String>>,
    changed: AtomicBool,
    /// This keeper among all.
    instance: String,
}

impl Engine {
    pub(super) fn start(url: &str) -> Result<Engine, String> {
        let client = Client::builder(url).map_err(|error| format!("rooms: {error}"))?;
        let client = client.connect_timeout(CALL_MAX).reply_timeout(CALL_MAX).build();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = Arc::new(bell.map_err(|error| format!("cannot create an eventfd: {error}"))?);
        let (event_sender, events) = channel();
        let (commands, command_receiver) = channel();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Arc::new(Shared {
            client,
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
        spawn("rooms-out", Box::new(move || Outgoing::new(for_out).run(&command_receiver)))?;
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

fn channel_of(room: &str) -> String {
    format!("{{rooms:{room}}}")
}

fn room_of(channel: &str) -> Option<&str> {
    channel.strip_prefix("{rooms:")?.strip_suffix('}')
}

/// The thread `rooms-out`.
struct Outgoing {
    shared: Arc<Shared>,
    publish: Script,
    snapshot: Script,
    epochs: Epochs,
}

type Outcome<T> = Result<T, tenfold_client::Error>;

impl Outgoing {
    fn new(shared: Arc<Shared>) -> Outgoing {
        Outgoing {
            shared,
            publish: Script::new(PUBLISH),
            snapshot: Script::new(SNAPSHOT),
            epochs: Epochs::new(),
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Publish { token, room, draft, rule } => {
                let event = match self.publish(&room, &draft_text(&draft), &rule) {
                    Ok(position) => Event::Published { token, position },
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
                let _ = self.shared.client.publish(channel_of(&room), mark);
            }
            Command::Close { room } => self.change(|wanted| wanted.remove(&room)),
            Command::InForce { room } => match self.snapshot(&room) {
                Ok(snapshot) => self.shared.tell(Event::Opened { room, snapshot }),
                Err(error) => {
                    tracing::warn!(target: "rooms", %error, room, "the engine does not give a history")
                }
            },
            Command::Enter { room, who, info, announces } => {
                let _ = self.enter(&room, who, &info, announces.as_deref());
            }
            Command::Exit { room, who, announces } => {
                let field = self.field(who);
                let _ = self.exit(&room, &field, announces.as_deref());
            }
            Command::Presence { token, room, announces } => {
                let event = match self.presence(&room, announces.as_deref()) {
                    Ok(json) => Event::Answer { token, json },
                    Err(_) => Event::Failed { token },
                };
                self.shared.tell(event);
            }
            Command::Alive { rooms } => {
                let _ = self.alive();
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

    fn publish(&mut self, room: &str, message: &str, rule: &Rule) -> Outcome<Position> {
        let channel = channel_of(room);
        let arguments = [
            channel.clone(),
            self.epochs.next().to_string(),
            message.to_owned(),
            rule.history_max.to_string(),
            rule.history_bytes_max.to_string(),
            rule.history_age.as_millis().max(1).to_string(),
        ];
        let keys = [format!("{channel}:meta"), format!("{channel}:history")];
        let place: Vec<String> = self.publish.run(&self.shared.client, keys, arguments)?;
        let number = |index: usize| place.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Position { epoch: number(0), offset: number(1) })
    }

    fn snapshot(&mut self, room: &str) -> Outcome<Snapshot> {
        let channel = channel_of(room);
        let keys = [format!("{channel}:meta"), format!("{channel}:history")];
        let epoch = self.epochs.next().to_string();
        let all: Vec<String> = self.snapshot.run(&self.shared.client, keys, [epoch])?;
        let number = |index: usize| all.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (epoch, head) = (number(0), number(1));
        let messages = all.iter().skip(2).filter_map(|entry| parse(entry));
        // What an earlier epoch has left does not belong to this one.
        let messages = messages.filter(|(of, _)| *of == epoch).map(|(_, message)| message).collect();
        Ok(Snapshot { epoch, head, messages })
    }

    fn field(&self, (worker, member): (u64, u64)) -> String {
        format!("{} {worker} {member}", self.shared.instance)
    }

    fn enter(&mut self, room: &str, who: (u64, u64), info: &str, announces: Option<&Rule>) -> Outcome<()> {
        self.alive()?;
        let set =
            Call::new("HSET").arg(format!("{}:present", channel_of(room))).arg(self.field(who)).arg(info);
        let is_new: i64 = self.shared.client.query(&set)?;
        self.announce(room, Kind::Join, info, announces.filter(|_| is_new > 0))
    }

    fn exit(&mut self, room: &str, field: &str, announces: Option<&Rule>) -> Outcome<()> {
        let key = format!("{}:present", channel_of(room));
        let info: Option<String> = self.shared.client.query(&Call::new("HGET").arg(&key).arg(field))?;
        // Of several keepers that see that another one has died, one says it.
        let was_there: i64 = self.shared.client.query(&Call::new("HDEL").arg(&key).arg(field))?;
        self.announce(room, Kind::Leave, &info.unwrap_or_default(), announces.filter(|_| was_there > 0))
    }

    fn announce(&mut self, room: &str, kind: Kind, info: &str, rule: Option<&Rule>) -> Outcome<()> {
        let Some(rule) = rule else { return Ok(()) };
        let draft = Draft { kind, key: None, data: info.to_owned() };
        self.publish(room, &draft_text(&draft), rule).map(drop)
    }

    fn alive(&self) -> Outcome<()> {
        let key = format!("rooms:alive:{}", self.shared.instance);
        self.shared.client.query(&Call::new("SET").arg(key).arg(1).arg("PX").arg(ALIVE_FOR_MS))
    }

    /// Who is present, by keepers that live; those of others leave.
    fn presence(&mut self, room: &str, announces: Option<&Rule>) -> Outcome<String> {
        let all: Vec<String> =
            self.shared.client.query(&Call::new("HGETALL").arg(format!("{}:present", channel_of(room))))?;
        let (mut lives, mut infos) = (std::collections::HashMap::new(), Vec::new());
        for pair in all.chunks_exact(2) {
            let instance = pair[0].split(' ').next().unwrap_or_default().to_owned();
            let is_alive = match lives.get(&instance) {
                Some(known) => *known,
                None => {
                    let is_ours = instance == self.shared.instance;
                    let exists = Call::new("EXISTS").arg(format!("rooms:alive:{instance}"));
                    let is_alive = is_ours || self.shared.client.query::<i64>(&exists)? > 0;
                    lives.insert(instance, is_alive);
                    is_alive
                }
            };
            if is_alive {
                infos.push(pair[1].clone());
            } else {
                self.exit(room, &pair[0], announces)?;
            }
        }
        Ok(format!("[{}]", infos.join(",")))
    }
}

/// "EPOCH OFFSET MESSAGE"
fn parse(entry: &str) -> Option<(u64, Stored)> {
    let (epoch, rest) = entry.split_once(' ')?;
    let (offset, message) = rest.split_once(' ')?;
    let stored: Stored = serde_json::from_str(message).ok()?;
    Some((epoch.parse().ok()?, Stored { offset: offset.parse().ok()?, ..stored }))
}

/// The thread `rooms-in`.
fn hear_always(shared: &Shared, out: &Sender<Command>) {
    let mut was_lost = false;
    loop {
        match hear(shared, out, &mut was_lost) {
            Ok(()) => return,
            Err(error) => {
                if !was_lost {
                    tracing::warn!(target: "rooms", %error, "the engine is gone: what is published does not come");
                }
                was_lost = true;
                std::thread::sleep(REST);
            }
        }
    }
}

fn hear(shared: &Shared, out: &Sender<Command>, was_lost: &mut bool) -> Outcome<()> {
    // A channel of its own, so that there is a subscription from the beginning.
    let mut subscription = shared.client.subscribe([format!("rooms:instance:{}", shared.instance)])?;
    shared.changed.store(true, Ordering::Release);
    if std::mem::take(was_lost) {
        tracing::info!(target: "rooms", "the engine is there again");
        shared.tell(Event::Lost);
    }
    let mut heard = BTreeSet::new();
    let mut next_mark = Instant::now();
    let mut unconfirmed: BTreeSet<String> = BTreeSet::new();
    loop {
        if shared.changed.swap(false, Ordering::AcqRel) {
            let wanted = shared.wanted();
            follow(&mut subscription, &heard, &wanted)?;
            unconfirmed.extend(wanted.difference(&heard).cloned());
            unconfirmed.retain(|room| wanted.contains(room));
            heard = wanted;
            next_mark = Instant::now();
        }
        // A mark that was published before its subscription was in force has not come.
        if !unconfirmed.is_empty() && Instant::now() >= next_mark {
            for room in &unconfirmed {
                shared.client.publish(channel_of(room), format!("{MARK}{}", shared.instance))?;
            }
            next_mark = Instant::now() + REST;
        }
        let Some(message) = subscription.receive_before(Instant::now() + LOOK)? else { continue };
        let (Some(room), Ok(text)) = (room_of(&message.channel), std::str::from_utf8(&message.payload))
        else {
            continue;
        };
        if let Some(instance) = text.strip_prefix(MARK) {
            if instance == shared.instance {
                unconfirmed.remove(room);
                let _ = out.send(Command::InForce { room: room.to_owned() });
            }
        } else if let Some((epoch, message)) = parse(text) {
            shared.tell(Event::Message { room: room.to_owned(), epoch, message });
        }
    }
}

fn follow(
    subscription: &mut Subscription,
    heard: &BTreeSet<String>,
    wanted: &BTreeSet<String>,
) -> Outcome<()> {
    let new: Vec<String> = wanted.difference(heard).map(|room| channel_of(room)).collect();
    if !new.is_empty() {
        subscription.subscribe(new)?;
    }
    let old: Vec<String> = heard.difference(wanted).map(|room| channel_of(room)).collect();
    if !old.is_empty() {
        subscription.unsubscribe(old)?;
    }
    Ok(())
}
