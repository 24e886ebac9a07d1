//! Rooms in NATS with JetStream.
//!
//! ```text
//!   stream TENFOLD_ROOMS_<P>           tenfold.rooms.<P>.in.ROOM                              "EPOCH OFFSET MESSAGE"
//!     republished as                   tenfold.rooms.<P>.out.ROOM                             what keepers hear
//!   stream TENFOLD_ROOMS_<P>_PRESENT   tenfold.rooms.<P>.present.ROOM.INSTANCE.WORKER.MEMBER  what they say about themselves
//!   stream TENFOLD_ROOMS_<P>_ALIVE     tenfold.rooms.<P>.alive.INSTANCE                       goes with its time
//! ```
//!
//! JetStream counts a stream's messages, not a room's. So the offset is in the message: a keeper appends the next one where the
//! room's last message has the number that it knows (`Nats-Expected-Last-Subject-Sequence`), and reads it again where somebody was
//! faster; one of those who try always gets on. Keepers hear the copies that the server makes of what it has kept (`republish`), not
//! what was sent: that may have been refused.
//!
//! One setting holds for all rooms of a stream: it keeps as many of a room's messages as the most generous rule asks for, a day
//! longer than the longest, so that who comes back late is told of a loss rather than of another epoch. What a room's own rule asks
//! for is applied where the history is read.

mod options;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tenfold_client::Error;
use tenfold_client::nats::{Connection, Expected};

use self::options::Options;
use super::super::Epochs;
use super::CALL_MAX;
use super::broker::{ALIVE_FOR_MS, Broker, Ear, Outcome, Present, Source, entry_text, parse, place};
use crate::position::Position;
use crate::rule::{Rule, Rules};
use crate::wire::Snapshot;

/// An epoch lives so much longer than what it counts.
const EPOCH_EXTRA: Duration = Duration::from_secs(86_400);
/// Rooms whose last message is remembered; all are forgotten when there is one more, and read again.
const ENDS_MAX: usize = 100_000;
/// What a message carries beside its bytes, at most.
const ENVELOPE: usize = 4 << 10;
/// JetStream: the stream is there with another configuration.
const OTHER_CONFIG: &str = "10058";
/// First server that has `republish` and tells the next message of a subject.
const VERSION_MIN: (u32, u32) = (2, 9);

/// A NATS server.
pub(in crate::keeper) struct Nats(Options);

impl Nats {
    pub(in crate::keeper) fn new(url: &str) -> Result<Nats, String> {
        Options::parse(url).map(Nats)
    }
}

impl Source for Nats {
    fn kind(&self) -> &'static str {
        "nats"
    }

    fn broker(&self, instance: &str, rules: &Rules) -> Box<dyn Broker> {
        let default = Rule::new("*");
        let all = || rules.0.iter().map(|rule| &**rule).chain([&default]);
        Box::new(NatsBroker {
            options: self.0.clone(),
            instance: instance.to_owned(),
            history_max: all().map(|rule| rule.history_max).max().unwrap_or(0),
            history_age: all().map(|rule| rule.history_age).max().unwrap_or_default(),
            epochs: Epochs::new(),
            connection: None,
            ends: HashMap::new(),
            lived: None,
        })
    }

    fn ear(&self, _instance: &str) -> Outcome<Box<dyn Ear>> {
        let connection = Connection::open(&self.0.login, CALL_MAX)?;
        Ok(Box::new(NatsEar {
            options: self.0.clone(),
            connection,
            rooms: HashMap::new(),
            sids: HashMap::new(),
        }))
    }
}

struct NatsBroker {
    options: Options,
    instance: String,
    history_max: usize,
    history_age: Duration,
    epochs: Epochs,
    connection: Option<Connection>,
    /// By room: its last message's number in the stream, and its place.
    ends: HashMap<String, (u64, Position)>,
    /// The instances that lived when they were last looked at.
    lived: Option<BTreeSet<String>>,
}

impl NatsBroker {
    /// The connection, with all streams there. One that has failed is not used again: nobody knows what it answers next, and the
    /// streams may be gone.
    fn with<T>(&mut self, call: impl FnOnce(&mut NatsBroker, &mut Connection) -> Outcome<T>) -> Outcome<T> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        let outcome = call(self, &mut connection);
        if matches!(outcome, Ok(_) | Err(Error::InvalidRequest(_))) {
            self.connection = Some(connection);
        } else {
            self.ends.clear();
        }
        outcome
    }

    /// As `with`, for what may be done twice: tries again where the server has closed the connection since it was last used.
    fn with_again<T>(
        &mut self,
        mut call: impl FnMut(&mut NatsBroker, &mut Connection) -> Outcome<T>,
    ) -> Outcome<T> {
        let was_open = self.connection.is_some();
        match self.with(&mut call) {
            Err(Error::Closed | Error::Io { .. } | Error::Rejected { .. }) if was_open => self.with(call),
            outcome => outcome,
        }
    }

    fn open(&mut self) -> Outcome<Connection> {
        let mut connection = Connection::open(&self.options.login, CALL_MAX)?;
        let info = connection.info();
        let mut numbers = info.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < VERSION_MIN || !info.jetstream {
            return Err(Error::Unexpected(
                "rooms need NATS 2.9 or later with JetStream: start it with `-js`",
            ));
        }
        let options = &self.options;
        let age = (self.history_age + EPOCH_EXTRA).as_nanos() as u64;
        // One more than the rule's: the message that only says that a room has begun.
        make_stream(
            &mut connection,
            &options.history(),
            json!({
                "subjects": [options.subject("in.>")], "storage": "file", "max_bytes": u64::from(options.stream_mib) << 20,
                "max_msgs_per_subject": self.history_max + 1, "max_age": age, "num_replicas": options.replicas,
                "republish": { "src": options.subject("in.>"), "dest": options.subject("out.>") },
            }),
        )?;
        // Whoever is present says so again after a restart: there is nothing to keep on disk.
        make_stream(
            &mut connection,
            &options.present(),
            json!({
                "subjects": [options.subject("present.>")], "storage": "memory", "max_bytes": -1,
                "max_msgs_per_subject": 1, "max_age": 0, "num_replicas": options.replicas,
            }),
        )?;
        make_stream(
            &mut connection,
            &options.alive(),
            json!({
                "subjects": [options.subject("alive.*")], "storage": "memory", "max_bytes": -1, "max_msgs_per_subject": 1,
                "max_age": ALIVE_FOR_MS * 1_000_000, "duplicate_window": ALIVE_FOR_MS * 1_000_000, "num_replicas": options.replicas,
            }),
        )?;
        (self.lived, self.ends) = (None, HashMap::new());
        Ok(connection)
    }

    /// The room's last message; where there is none, one that only says that the room has begun.
    fn end(&mut self, connection: &mut Connection, room: &str) -> Outcome<(u64, Position)> {
        if let Some(end) = self.ends.get(room) {
            return Ok(*end);
        }
        let subject = self.options.room("in", room);
        let end = loop {
            let last = json!({ "last_by_subj": subject });
            if let Some(kept) = connection.kept(&self.options.history(), &last)? {
                let (position, _) = std::str::from_utf8(&kept.payload)
                    .ok()
                    .and_then(place)
                    .ok_or(Error::Unexpected("a message of a room is none of ours"))?;
                break (kept.number, position);
            }
            let position = Position { epoch: self.epochs.next(), offset: 0 };
            let begun = connection.append(
                &subject,
                Expected::LastOfSubject(0),
                entry_text(position, "").as_bytes(),
            )?;
            if let Some(number) = begun {
                break (number, position);
            }
        };
        if self.ends.len() >= ENDS_MAX {
            self.ends.clear();
        }
        self.ends.insert(room.to_owned(), end);
        Ok(end)
    }

    fn living(&self, connection: &mut Connection) -> Outcome<BTreeSet<String>> {
        let filter = json!({ "subjects_filter": self.options.subject("alive.*") });
        let info = connection.api(&format!("STREAM.INFO.{}", self.options.alive()), &filter)?;
        let beginning = self.options.subject("alive.");
        let subjects = info["state"]["subjects"].as_object().into_iter().flat_map(|all| all.keys());
        Ok(subjects.filter_map(|subject| subject.strip_prefix(&beginning)).map(str::to_owned).collect())
    }

    fn member(&self, room: &str, member: &str) -> String {
        format!("{}.{}", self.options.room("present", room), member.replace(' ', "."))
    }
}

impl Broker for NatsBroker {
    fn publish(&mut self, room: &str, message: &str, _rule: &Rule) -> Outcome<Position> {
        let subject = self.options.room("in", room);
        let until = Instant::now() + CALL_MAX;
        self.with(|broker, connection| {
            // It comes back in base64, in a message of the server's.
            let bytes_max = (connection.info().max_payload / 2).saturating_sub(ENVELOPE);
            if message.len() > bytes_max {
                return Err(Error::InvalidRequest(format!(
                    "a message of at most {bytes_max} bytes goes over this NATS"
                )));
            }
            while Instant::now() < until {
                let (number, last) = broker.end(connection, room)?;
                let position = Position { epoch: last.epoch, offset: last.offset + 1 };
                let entry = entry_text(position, message);
                match connection.append(&subject, Expected::LastOfSubject(number), entry.as_bytes())? {
                    Some(number) => {
                        broker.ends.insert(room.to_owned(), (number, position));
                        return Ok(position);
                    }
                    // Somebody was faster.
                    None => drop(broker.ends.remove(room)),
                }
            }
            Err(Error::Unexpected("others were faster for too long"))
        })
    }

    fn snapshot(&mut self, room: &str, rule: &Rule) -> Outcome<Snapshot> {
        let subject = self.options.room("in", room);
        self.with_again(|broker, connection| {
            let (_, begun) = broker.end(connection, room)?;
            let all = connection.all_kept(&broker.options.history(), &subject)?;
            let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
            let last = all.last().and_then(|kept| place(&text(&kept.payload)).map(|(position, _)| position));
            let head = last.unwrap_or(begun);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let oldest = now.saturating_sub(rule.history_age).as_nanos() as u64;
            let recent = all.iter().filter(|kept| kept.time >= oldest);
            let messages = recent.filter_map(|kept| parse(&text(&kept.payload)));
            let messages =
                messages.filter(|(epoch, _)| *epoch == head.epoch).map(|(_, message)| message).collect();
            Ok(Snapshot { epoch: head.epoch, head: head.offset, messages })
        })
    }

    fn mark(&mut self, room: &str, text: &str) -> Outcome<()> {
        let subject = self.options.room("out", room);
        self.with_again(|_, connection| connection.publish(&subject, text.as_bytes()))
    }

    fn enter(&mut self, room: &str, member: &str, info: &str) -> Outcome<bool> {
        let subject = self.member(room, member);
        self.alive()?;
        self.with_again(|_, connection| {
            let is_new = connection.append(&subject, Expected::LastOfSubject(0), info.as_bytes())?.is_some();
            if !is_new {
                connection.append(&subject, Expected::Anything, info.as_bytes())?;
            }
            Ok(is_new)
        })
    }

    fn exit(&mut self, room: &str, member: &str) -> Outcome<Option<String>> {
        let subject = self.member(room, member);
        self.with_again(|broker, connection| {
            let stream = broker.options.present();
            let Some(kept) = connection.kept(&stream, &json!({ "last_by_subj": subject }))? else {
                return Ok(None);
            };
            let purged = connection.api(&format!("STREAM.PURGE.{stream}"), &json!({ "filter": subject }))?;
            let was_there = purged["purged"].as_u64().unwrap_or(0) > 0;
            Ok(was_there.then(|| String::from_utf8_lossy(&kept.payload).into_owned()))
        })
    }

    fn present(&mut self, room: &str) -> Outcome<Vec<Present>> {
        let subjects = self.options.room("present", room);
        self.with_again(|broker, connection| {
            let living = broker.living(connection)?;
            let all = connection.all_kept(&broker.options.present(), &format!("{subjects}.>"))?;
            let present = all.into_iter().filter_map(|kept| {
                let member = kept.subject.strip_prefix(&subjects)?.strip_prefix('.')?.replace('.', " ");
                let instance = member.split(' ').next().unwrap_or_default();
                let is_alive = instance == broker.instance || living.contains(instance);
                Some(Present { is_alive, member, info: String::from_utf8_lossy(&kept.payload).into_owned() })
            });
            Ok(present.collect())
        })
    }

    fn alive(&mut self) -> Outcome<bool> {
        let subject = self.options.subject(&format!("alive.{}", self.instance));
        self.with_again(|broker, connection| {
            connection.append(&subject, Expected::Anything, b"")?;
            let living = broker.living(connection)?;
            // Of a death before the connection nobody knows here.
            let somebody_died = broker.lived.as_ref().is_none_or(|lived| !lived.is_subset(&living));
            broker.lived = Some(living);
            Ok(somebody_died)
        })
    }
}

/// Makes a stream, or widens one that another instance has made with narrower bounds.
fn make_stream(connection: &mut Connection, name: &str, mut config: Value) -> Outcome<()> {
    config["name"] = json!(name);
    (config["retention"], config["discard"]) = (json!("limits"), json!("old"));
    match connection.api(&format!("STREAM.CREATE.{name}"), &config) {
        Ok(_) => return Ok(()),
        Err(Error::Rejected { code, .. }) if code == OTHER_CONFIG => {}
        Err(error) => return Err(error),
    }
    let mut there = connection.api(&format!("STREAM.INFO.{name}"), &json!({}))?["config"].take();
    if there["republish"]["dest"] != config["republish"]["dest"] || there["subjects"] != config["subjects"] {
        return Err(Error::Unexpected(
            "a stream of rooms is not as they need it: delete it, or choose another prefix",
        ));
    }
    let mut is_narrow = false;
    for bound in ["max_msgs_per_subject", "max_age", "max_bytes"] {
        if there[bound].as_i64() < config[bound].as_i64() {
            there[bound] = config[bound].take();
            is_narrow = true;
        }
    }
    if is_narrow {
        connection.api(&format!("STREAM.UPDATE.{name}"), &there)?;
    }
    Ok(())
}

struct NatsEar {
    options: Options,
    connection: Connection,
    /// By the subscription's number.
    rooms: HashMap<u64, String>,
    sids: HashMap<String, u64>,
}

impl Ear for NatsEar {
    fn hear(&mut self, rooms: Vec<String>) -> Outcome<()> {
        for room in rooms {
            let sid = self.connection.subscribe(&self.options.room("out", &room))?;
            self.rooms.insert(sid, room.clone());
            self.sids.insert(room, sid);
        }
        Ok(())
    }

    fn leave(&mut self, rooms: Vec<String>) -> Outcome<()> {
        for room in rooms {
            if let Some(sid) = self.sids.remove(&room) {
                self.rooms.remove(&sid);
                self.connection.unsubscribe(sid)?;
            }
        }
        Ok(())
    }

    fn mark(&mut self, room: &str, text: &str) -> Outcome<()> {
        self.connection.publish(&self.options.room("out", room), text.as_bytes())
    }

    fn next(&mut self, until: Instant) -> Outcome<Option<(String, Vec<u8>)>> {
        let Some(message) = self.connection.next(until)? else { return Ok(None) };
        Ok(self.rooms.get(&message.sid).map(|room| (room.clone(), message.payload)))
    }
}
