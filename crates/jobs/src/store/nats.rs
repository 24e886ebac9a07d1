//! A log on NATS JetStream, for [`LogEngine`](super::shared::LogEngine).
//!
//! ```text
//!   stream TENFOLD_<PREFIX>_LOG     subject tenfold.jobs.<PREFIX>.log             entries, each in one message or several
//!   stream TENFOLD_<PREFIX>_IMAGE   subjects tenfold.jobs.<PREFIX>.image.NAME.N   an image in pieces
//!                                           tenfold.jobs.<PREFIX>.image.done      which image counts
//!
//!   message of the log: kind (0 the entry ends here, 1 it goes on) │ writer: u64 │ bytes
//! ```
//!
//! JetStream appends a message only where the stream ends with the number that its header says (`Nats-Expected-Last-Sequence`,
//! docs.nats.io, JetStream headers): that is the whole of what machines need to agree. An entry that is too large for a message goes
//! in several; one that breaks off is followed by a message of another writer, and forgotten.
//!
//! What JetStream can do with messages beside that – work queues, acknowledgements, redelivery – is not used: it has no priorities,
//! no order by key, no batches, and no way to ask for a job by its id, and what is said about a queue has to mean the same
//! everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenfold_client::Error;
use tenfold_client::nats::{Connection, Expected, Login};

use super::engine::{EngineError, Notice};
use super::shared::{Log, Next};
use crate::backoff::random;
use crate::place::{Durability, EngineSettings};

/// Longest wait for an answer; then the engine is away.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How often the bell's thread looks whether its session is over.
const LOOK: Duration = Duration::from_secs(1);
/// What a message carries beside its bytes, at most.
const ENVELOPE: usize = 4 << 10;
/// Entries that an image has in it, and that are left all the same.
const ENTRIES_LEFT: u64 = 1_000;
/// First server that can be asked for the next message of a subject.
const VERSION_MIN: (u32, u32) = (2, 9);

/// The server, or the account, has no room for a stream (nats-server, server/errors.json).
const NO_STORAGE: [&str; 3] = ["10047", "10028", "10002"];

pub(crate) type Listener = Arc<dyn Fn(Notice) + Send + Sync>;

pub(crate) struct NatsLog {
    settings: EngineSettings,
    login: Login,
    listener: Listener,
    session: Option<Session>,
}

/// One connection's time.
struct Session {
    connection: Connection,
    writer: u64,
    has_news: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

impl NatsLog {
    /// # Errors
    /// One line: the address is none.
    pub(crate) fn new(settings: EngineSettings, listener: Listener) -> Result<NatsLog, String> {
        let login = Login::parse(&settings.url).map_err(|error| format!("jobs: {error}"))?;
        Ok(NatsLog { settings, login, listener, session: None })
    }

    fn log_name(&self) -> String {
        format!("TENFOLD_{}_LOG", self.settings.prefix)
    }

    fn image_name(&self) -> String {
        format!("TENFOLD_{}_IMAGE", self.settings.prefix)
    }

    fn subject(&self, rest: &str) -> String {
        format!("tenfold.jobs.{}.{rest}", self.settings.prefix)
    }

    /// What a server cannot promise is said before it is used.
    fn check(&self, connection: &Connection) -> Result<(), EngineError> {
        let shown = self.settings.shown();
        let unfit = |reason: String| Err(EngineError::Unfit(format!("{shown} {reason}")));
        let info = connection.info();
        let mut numbers = info.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < VERSION_MIN {
            return unfit(format!("is NATS {}; jobs need 2.9 or later", info.version));
        }
        if !info.jetstream || !info.headers {
            return unfit("has no JetStream: start it with `-js`".into());
        }
        if self.settings.durability == Durability::Disk {
            return unfit(
                "answers before fsync, unless its `jetstream` settings say `sync_interval: always` (2.10 or later), which cannot be \
                 read from a client, and durability=disk is asked for: say `durability=unchecked` in the jobs' address if they do, or \
                 ask for less with `durability=process`"
                    .into(),
            );
        }
        Ok(())
    }

    /// Makes the streams where there are none.
    fn make_streams(&self, connection: &mut Connection) -> Result<(), EngineError> {
        let storage = if self.settings.durability == Durability::Memory { "memory" } else { "file" };
        let config = |name: &str, subject: &str, bytes: u64, per_subject: i64| {
            json!({
                "name": name, "subjects": [subject], "retention": "limits", "storage": storage, "discard": "new",
                "max_consumers": -1, "max_msgs": -1, "max_bytes": bytes, "max_msg_size": -1, "max_age": 0,
                "max_msgs_per_subject": per_subject, "num_replicas": self.settings.replicas,
            })
        };
        let (log, image) = (self.log_name(), self.image_name());
        let bytes_max = u64::from(self.settings.stream_mib) << 20;
        for config in [
            config(&log, &self.subject("log"), bytes_max, -1),
            config(&image, &self.subject("image.>"), bytes_max, 1),
        ] {
            let name = config["name"].as_str().unwrap_or_default().to_owned();
            let there = match connection.api(&format!("STREAM.CREATE.{name}"), &config) {
                Err(Error::Rejected { code, message }) if NO_STORAGE.contains(&code.as_str()) => {
                    return Err(EngineError::Unfit(format!(
                        "{} has no room for two streams of {} MiB: {message} ({code}); `stream_mib` in the jobs' address asks for less",
                        self.settings.shown(),
                        self.settings.stream_mib,
                    )));
                }
                // One that is there may have been made with other words, by a person.
                Err(made @ Error::Rejected { .. }) => {
                    let there = connection.api(&format!("STREAM.INFO.{name}"), &json!({}));
                    there.map_err(|_| EngineError::Gone(format!("the stream {name}: {made}")))?
                }
                made => made.map_err(failed)?,
            };
            let said = &there["config"];
            let is_lazier = storage == "file" && said["storage"] != "file";
            if is_lazier || said["discard"] != "new" || said["retention"] != "limits" {
                return Err(EngineError::Unfit(format!(
                    "{}: the stream {name} is not as jobs need it (storage {storage}, retention limits, discard new): delete it, or \
                     choose another prefix",
                    self.settings.shown()
                )));
            }
        }
        Ok(())
    }

    /// Rings when others append, over a connection of its own.
    fn start_bell(
        &self,
        writer: u64,
        news: Arc<AtomicBool>,
        over: Arc<AtomicBool>,
    ) -> Result<(), EngineError> {
        let mut connection = Connection::open(&self.login, ANSWER_MAX).map_err(failed)?;
        connection.subscribe(&self.subject("log")).map_err(failed)?;
        let listener = self.listener.clone();
        let run = move || {
            while !over.load(Ordering::Acquire) {
                match connection.next(Instant::now() + LOOK) {
                    Ok(Some(message)) => {
                        if split(&message.payload).is_none_or(|(_, who, _)| who != writer) {
                            news.store(true, Ordering::Release);
                            listener(Notice::Bell);
                        }
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(target: "jobs", ?error, "the bell of the engine is gone");
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("jobs-bell".into()).spawn(run);
        thread.map(drop).map_err(|error| EngineError::Gone(format!("no thread for the bell: {error}")))
    }

    fn session(&mut self) -> Result<&mut Session, EngineError> {
        self.session.as_mut().ok_or_else(|| EngineError::Gone("there is no connection".into()))
    }

    /// Publishes, and returns the message's number in its stream; `None` where the stream ends elsewhere.
    fn publish(
        &mut self,
        subject: &str,
        expected: Expected,
        payload: &[u8],
    ) -> Result<Option<u64>, EngineError> {
        self.session()?.connection.append(subject, expected, payload).map_err(failed)
    }

    /// A stored message: its number and its bytes.
    fn stored(&mut self, stream: &str, which: &Value) -> Result<Option<(u64, Vec<u8>)>, EngineError> {
        let kept = self.session()?.connection.kept(stream, which).map_err(failed)?;
        Ok(kept.map(|kept| (kept.number, kept.payload)))
    }

    /// Removes the messages before this one. Where there are none, it must not be asked for: a server takes the number 1 for no
    /// bound, and removes all (seen with 2.9.10).
    fn purge_before(&mut self, stream: &str, before: u64) -> Result<(), EngineError> {
        if before <= 1 {
            return Ok(());
        }
        self.purge(stream, &json!({ "seq": before }))
    }

    fn purge(&mut self, stream: &str, which: &Value) -> Result<(), EngineError> {
        let connection = &mut self.session()?.connection;
        connection.api(&format!("STREAM.PURGE.{stream}"), which).map(drop).map_err(failed)
    }

    /// The number of the message that says which image counts, and what it says.
    fn image_mark(&mut self) -> Result<Option<(u64, Value)>, EngineError> {
        let (stream, subject) = (self.image_name(), self.subject("image.done"));
        match self.stored(&stream, &json!({ "last_by_subj": subject }))? {
            Some((number, bytes)) => Ok(Some((number, json_of(&bytes)?))),
            None => Ok(None),
        }
    }

    /// Publishes an image; the number of its first message, or `None` when another machine was faster.
    fn publish_image(&mut self, name: &str, tip: u64, image: &[u8]) -> Result<Option<u64>, EngineError> {
        let mark = self.image_mark()?;
        if mark.as_ref().is_some_and(|(_, mark)| mark["tip"].as_u64() >= Some(tip)) {
            return Ok(None);
        }
        let (piece, mut first, mut pieces) = (self.piece()?, None, 0);
        for bytes in image.chunks(piece) {
            let subject = self.subject(&format!("image.{name}.{pieces}"));
            let number = self.publish(&subject, Expected::Anything, bytes)?;
            first = first.or(number);
            pieces += 1;
        }
        let subject = self.subject("image.done");
        let expected = Expected::LastOfSubject(mark.map_or(0, |(number, _)| number));
        let body = json!({ "tip": tip, "name": name, "pieces": pieces }).to_string();
        Ok(self.publish(&subject, expected, body.as_bytes())?.and(first))
    }

    /// Most bytes of a message of ours: it comes back in base64, in a message of the server's.
    fn piece(&mut self) -> Result<usize, EngineError> {
        let most = self.session()?.connection.info().max_payload;
        Ok((most / 2).saturating_sub(ENVELOPE).clamp(1 << 10, 512 << 10))
    }
}

impl Log for NatsLog {
    fn connect(&mut self, writer: u64) -> Result<(), EngineError> {
        self.session = None;
        let mut connection = Connection::open(&self.login, ANSWER_MAX).map_err(failed)?;
        self.check(&connection)?;
        self.make_streams(&mut connection)?;
        let (has_news, is_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        self.start_bell(writer, has_news.clone(), is_over.clone())?;
        self.session = Some(Session { connection, writer, has_news, is_over });
        Ok(())
    }

    fn append(&mut self, mut tip: u64, entry: &[u8]) -> Result<Option<u64>, EngineError> {
        let (subject, piece) = (self.subject("log"), self.piece()?);
        let writer = self.session()?.writer;
        let count = entry.chunks(piece).count();
        for (index, bytes) in entry.chunks(piece).enumerate() {
            let mut message = vec![u8::from(index + 1 < count)];
            message.extend_from_slice(&writer.to_le_bytes());
            message.extend_from_slice(bytes);
            // A stream that has never had a message is one without a last message of the subject.
            let expected = match tip {
                0 => Expected::LastOfSubject(0),
                tip => Expected::Last(tip),
            };
            match self.publish(&subject, expected, &message)? {
                Some(number) => tip = number,
                None => return Ok(None),
            }
        }
        Ok(Some(tip))
    }

    fn next(&mut self, tip: u64) -> Result<Next, EngineError> {
        let (stream, subject) = (self.log_name(), self.subject("log"));
        let (mut at, mut begun): (u64, Option<(u64, Vec<u8>)>) = (tip, None);
        loop {
            let which = json!({ "seq": at + 1, "next_by_subj": subject });
            let Some((number, message)) = self.stored(&stream, &which)? else { return Ok(Next::End) };
            if number != at + 1 {
                return Ok(Next::Gone);
            }
            at = number;
            let Some((goes_on, writer, bytes)) = split(&message) else {
                return Err(EngineError::Gone("a message of the log is none of ours".into()));
            };
            let mut whole = match begun.take() {
                Some((who, bytes)) if who == writer => bytes,
                _ => Vec::new(),
            };
            whole.extend_from_slice(bytes);
            if !goes_on {
                return Ok(Next::Entry(at, whole));
            }
            begun = Some((writer, whole));
        }
    }

    fn has_news(&mut self) -> bool {
        self.session.as_ref().is_none_or(|session| session.has_news.swap(false, Ordering::AcqRel))
    }

    fn image(&mut self) -> Result<Option<(u64, Vec<u8>)>, EngineError> {
        let Some((_, mark)) = self.image_mark()? else { return Ok(None) };
        let (tip, pieces) = (mark["tip"].as_u64().unwrap_or(0), mark["pieces"].as_u64().unwrap_or(0));
        let name = mark["name"].as_str().unwrap_or_default();
        let (stream, mut image) = (self.image_name(), Vec::new());
        for index in 0..pieces {
            let subject = self.subject(&format!("image.{name}.{index}"));
            match self.stored(&stream, &json!({ "last_by_subj": subject }))? {
                Some((_, piece)) => image.extend_from_slice(&piece),
                None => {
                    return Err(EngineError::Gone("a newer image has taken the place of this one".into()));
                }
            }
        }
        Ok(Some((tip, image)))
    }

    fn put_image(&mut self, tip: u64, image: &[u8]) -> Result<(), EngineError> {
        let (log, images) = (self.log_name(), self.image_name());
        // Its own name: another machine may be making one of the same entries.
        let name = format!("{tip}-{:016x}", random());
        let first = match self.publish_image(&name, tip, image) {
            Ok(Some(first)) => first,
            Ok(None) => {
                // It is of no use to anybody, and takes room.
                let subject = self.subject(&format!("image.{name}.*"));
                return self.purge(&images, &json!({ "filter": subject }));
            }
            // It may count all the same: the next one that does removes what is left of it.
            Err(error) => return Err(error),
        };
        // A machine that is a little behind goes on from where it is.
        self.purge_before(&log, tip.saturating_sub(ENTRIES_LEFT))?;
        self.purge_before(&images, first)
    }
}

/// Whether the entry goes on, who has written it, and its bytes.
fn split(message: &[u8]) -> Option<(bool, u64, &[u8])> {
    let (kind, rest) = message.split_first()?;
    let (writer, bytes) = rest.split_first_chunk::<8>()?;
    Some((*kind == 1, u64::from_le_bytes(*writer), bytes))
}

fn json_of(bytes: &[u8]) -> Result<Value, EngineError> {
    serde_json::from_slice(bytes)
        .map_err(|error| EngineError::Gone(format!("an answer that is no JSON: {error}")))
}

/// What a person has to change is told from what may pass by itself.
fn failed(error: Error) -> EngineError {
    match error {
        Error::Rejected { code, message } if code == "authorization" || code == "tls" => {
            EngineError::Unfit(message)
        }
        error => super::redis::gone(error),
    }
}

#[cfg(test)]
mod tests {
    use tenfold_testkit::services::Nats;
    use tenfold_testkit::wait_until;

    use super::*;
    use crate::place::Place;

    fn log(nats: &Nats) -> NatsLog {
        let text = format!("{}?durability=process&stream_mib=64", nats.url());
        let Ok(Place::Engine(settings)) = Place::parse(&text) else { panic!("{text}") };
        let mut log = NatsLog::new(settings, Arc::new(|_| ())).unwrap();
        log.connect(random()).unwrap();
        log
    }

    #[test]
    fn entries_of_any_size_come_back_and_one_of_two_writers_is_taken() {
        let Some(nats) = Nats::start() else { return };
        let (mut a, mut b) = (log(&nats), log(&nats));
        assert!(matches!(a.next(0), Ok(Next::End)));
        let large = vec![7; 3 << 20];
        let first = a.append(0, b"one").unwrap().unwrap();
        assert!(b.append(0, b"two").unwrap().is_none(), "it has not seen the first one");
        let second = b.append(first, &large).unwrap().unwrap();
        assert!(second > first + 1, "it took several messages");
        match a.next(first).unwrap() {
            Next::Entry(number, bytes) => assert!(number == second && bytes == large),
            _ => panic!("there is one"),
        }
        assert!(matches!(a.next(second), Ok(Next::End)));
        wait_until("the bell has rung for the other's entry", || a.has_news().then_some(()));
    }

    #[test]
    fn an_image_takes_the_place_of_entries_and_a_restart_changes_nothing() {
        let Some(nats) = Nats::start() else { return };
        let (mut a, mut b) = (log(&nats), log(&nats));
        assert!(a.image().unwrap().is_none());
        let mut tip = 0;
        for _ in 0..ENTRIES_LEFT + 100 {
            tip = a.append(tip, b"x").unwrap().unwrap();
        }
        let large = vec![9; 3 << 20];
        a.put_image(tip, &large).unwrap();
        b.put_image(tip - 1, b"an older one").unwrap();
        assert!(b.image().unwrap() == Some((tip, large)));
        a.put_image(tip + 1, b"the next one").unwrap();
        nats.restart();
        let mut c = log(&nats);
        assert_eq!(c.image().unwrap(), Some((tip + 1, b"the next one".to_vec())));
        assert!(matches!(c.next(1), Ok(Next::Gone)));
        assert!(matches!(c.next(tip - 500), Ok(Next::Entry(number, _)) if number == tip - 499));
        assert_eq!(c.append(tip - 1, b"y").unwrap(), None);
        assert_eq!(c.append(tip, b"y").unwrap(), Some(tip + 1));
    }
}
