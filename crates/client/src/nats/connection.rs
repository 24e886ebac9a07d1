//! `Connection`: one connection to a NATS server, for one user: requests and their answers, and the messages of subscriptions.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tenfold_runtime::net::TcpStream;

use super::codec::{self, Message, Operation};
use super::login::Login;
use crate::address::after;
use crate::error::{Error, Phase};
use crate::received::Received;

/// Most bytes of a message: an answer has a stored message in it, in base64.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Most messages of subscriptions that are kept while an answer is waited for.
const ASIDE_MAX: usize = 200_000;
/// What a read may bring: many messages of a subscription.
const READ_BYTES: usize = 64 << 10;
/// Most requests that are on their way together.
const REQUESTS_AT_ONCE: usize = 256;
/// The subscription of answers.
const ANSWERS: u64 = 1;

type Result<T> = std::result::Result<T, Error>;

/// What a server says about itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Info {
    /// Of the server.
    pub version: String,
    /// Whether messages can have headers.
    pub headers: bool,
    /// Whether there is JetStream.
    pub jetstream: bool,
    /// Most bytes of a message that it takes.
    pub max_payload: usize,
    tls_required: bool,
}

/// A connection. After an error of connecting, time or I/O it is of no more use; [`Error::Rejected`] leaves it as good as it was.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Received,
    info: Info,
    /// Where answers come in.
    pub(super) inbox: String,
    requests: u64,
    last_sid: u64,
    /// Messages of subscriptions that came while an answer was waited for.
    aside: VecDeque<Message>,
    /// Longest wait for an answer.
    patience: Duration,
}

impl Connection {
    /// Connects and logs in. Each later wait for an answer may take as long as this may.
    ///
    /// # Errors
    /// Those of connecting; [`Error::Rejected`] with the code `authorization`, or `tls` where the server asks for it.
    pub fn open(login: &Login, patience: Duration) -> Result<Connection> {
        let until = after(patience);
        let stream = login.address.connect(patience)?;
        let inbox = format!("_INBOX.{:016x}", random());
        let (received, aside) = (Received::new(READ_BYTES), VecDeque::new());
        let info = Info::default();
        let mut connection =
            Connection { stream, received, info, inbox, requests: 0, last_sid: ANSWERS, aside, patience };
        let Some(Operation::Info(text)) = connection.operation(until)? else {
            return Err(Error::Unexpected("the server does not begin with INFO"));
        };
        connection.info = serde_json::from_str(&text).map_err(Error::Json)?;
        if connection.info.tls_required {
            return Err(rejected("tls", format!("{} asks for TLS, which is not spoken here", login.address)));
        }
        let mut out = Vec::new();
        codec::put_connect(&mut out, &login.words());
        codec::put_subscribe(&mut out, &format!("{}.*", connection.inbox), ANSWERS);
        out.extend_from_slice(b"PING\r\n");
        connection.send(&out, until)?;
        loop {
            match connection.operation(until)? {
                Some(Operation::Pong) => return Ok(connection),
                Some(Operation::Refusal(words)) if words.to_ascii_lowercase().contains("authorization") => {
                    return Err(rejected("authorization", format!("{}: {words}", login.address)));
                }
                Some(Operation::Refusal(words)) => return Err(refused(words)),
                Some(_) => {}
                None => return Err(no_answer()),
            }
        }
    }

    /// What the server has said about itself.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Has the messages of a subject come in; see [`Connection::next`]. Gives the number that they bear.
    ///
    /// # Errors
    /// Those of sending.
    pub fn subscribe(&mut self, subject: &str) -> Result<u64> {
        self.last_sid += 1;
        let mut out = Vec::new();
        codec::put_subscribe(&mut out, subject, self.last_sid);
        self.send(&out, after(self.patience))?;
        Ok(self.last_sid)
    }

    /// Ends a subscription; what is on its way may still come.
    ///
    /// # Errors
    /// Those of sending.
    pub fn unsubscribe(&mut self, sid: u64) -> Result<()> {
        let mut out = Vec::new();
        codec::put_unsubscribe(&mut out, sid);
        self.send(&out, after(self.patience))
    }

    /// Publishes; nobody says whether it has arrived.
    ///
    /// # Errors
    /// Those of sending.
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(payload.len() + 256);
        codec::put_publish(&mut out, subject, "", &[], payload);
        self.send(&out, after(self.patience))
    }

    /// The next message of a subscription; `None` when there is none until then.
    ///
    /// # Errors
    /// Those of receiving; [`Error::Rejected`] with what the server says before it closes the connection.
    ///
    /// # Cancel safety
    /// What has come of a message by then is not lost.
    pub fn next(&mut self, until: Instant) -> Result<Option<Message>> {
        loop {
            if let Some(message) = self.aside.pop_front() {
                return Ok(Some(message));
            }
            match self.receive(until)? {
                Some(message) if message.sid == ANSWERS => {}
                other => return Ok(other),
            }
        }
    }

    /// Publishes, and waits for the answer. What subscriptions bring meanwhile is kept for [`Connection::next`].
    ///
    /// # Errors
    /// Those of sending and receiving; [`Error::Rejected`] with the code `503` where nobody answers to the subject.
    pub fn request(&mut self, subject: &str, headers: &[(&str, String)], payload: &[u8]) -> Result<Message> {
        let until = after(self.patience);
        self.requests += 1;
        let reply = format!("{}.{}", self.inbox, self.requests);
        let mut out = Vec::with_capacity(payload.len() + 256);
        codec::put_publish(&mut out, subject, &reply, headers, payload);
        self.send(&out, until)?;
        loop {
            match self.receive(until)? {
                Some(message) if message.sid != ANSWERS => self.put_aside(message)?,
                // An answer to a request that was given up is nobody's.
                Some(message) if message.subject != reply => {}
                Some(message) if message.status == Some(503) => {
                    return Err(nobody_answers(subject));
                }
                Some(message) => return Ok(message),
                None => return Err(no_answer()),
            }
        }
    }

    /// Publishes all of these, and waits for their answers, which come in the order of the payloads. At most 256 are on their
    /// way at a time: the server answers while it still reads.
    ///
    /// # Errors
    /// As [`Connection::request`]; which of them have arrived is not known then.
    pub fn request_all(&mut self, subject: &str, payloads: &[&[u8]]) -> Result<Vec<Message>> {
        let mut all = Vec::with_capacity(payloads.len());
        for part in payloads.chunks(REQUESTS_AT_ONCE) {
            let until = after(self.patience);
            let first = self.requests + 1;
            let mut out = Vec::with_capacity(part.iter().map(|payload| payload.len() + 128).sum());
            for payload in part {
                self.requests += 1;
                let reply = format!("{}.{}", self.inbox, self.requests);
                codec::put_publish(&mut out, subject, &reply, &[], payload);
            }
            self.send(&out, until)?;
            let mut answers: BTreeMap<u64, Message> = BTreeMap::new();
            while answers.len() < part.len() {
                let Some(message) = self.receive(until)? else { return Err(no_answer()) };
                if message.sid != ANSWERS {
                    self.put_aside(message)?;
                } else if message.status == Some(503) {
                    return Err(nobody_answers(subject));
                } else if let Some(number) = self.number_of(&message).filter(|number| *number >= first) {
                    answers.insert(number, message);
                }
            }
            all.extend(answers.into_values());
        }
        Ok(all)
    }

    /// Which request a message answers.
    fn number_of(&self, message: &Message) -> Option<u64> {
        message.subject.strip_prefix(&self.inbox)?.strip_prefix('.')?.parse().ok()
    }

    /// The next message of this subscription; those of others are kept for [`Connection::next`].
    pub(super) fn next_of(&mut self, sid: u64, until: Instant) -> Result<Message> {
        if let Some(index) = self.aside.iter().position(|message| message.sid == sid)
            && let Some(message) = self.aside.remove(index)
        {
            return Ok(message);
        }
        loop {
            match self.receive(until)? {
                Some(message) if message.sid == sid => return Ok(message),
                Some(message) if message.sid == ANSWERS => {}
                Some(message) => self.put_aside(message)?,
                None => return Err(no_answer()),
            }
        }
    }

    fn put_aside(&mut self, message: Message) -> Result<()> {
        if self.aside.len() >= ASIDE_MAX {
            return Err(Error::Overloaded { in_flight: ASIDE_MAX });
        }
        self.aside.push_back(message);
        Ok(())
    }

    pub(super) fn until(&self) -> Instant {
        after(self.patience)
    }

    /// The next message of any subscription, that of answers too.
    fn receive(&mut self, until: Instant) -> Result<Option<Message>> {
        loop {
            match self.operation(until)? {
                Some(Operation::Message(message)) => return Ok(Some(message)),
                Some(Operation::Refusal(words)) => return Err(refused(words)),
                Some(Operation::Ping) => self.send(b"PONG\r\n", after(self.patience))?,
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn send(&mut self, bytes: &[u8], until: Instant) -> Result<()> {
        self.stream.write_all_until(bytes, Some(until)).map_err(|error| Error::io(Phase::Sending, error))
    }

    /// The next operation of any kind; `None` when there is none until then. What has come of one by then is not lost.
    fn operation(&mut self, until: Instant) -> Result<Option<Operation>> {
        loop {
            let filled = self.received.filled();
            let parsed = codec::parse(filled, MESSAGE_BYTES_MAX);
            if let Some((operation, used)) = parsed.map_err(|error| Error::Unexpected(error.0))? {
                self.received.consume(used);
                return Ok(Some(operation));
            }
            let more = filled.len() + 1;
            match self.received.fill(&self.stream, more, Some(until)) {
                Err(Error::TimedOut { .. }) => return Ok(None),
                outcome => outcome?,
            }
        }
    }
}

/// A number that no other connection has, from the standard library's hash seeds.
fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

pub(super) fn rejected(code: &str, message: String) -> Error {
    Error::Rejected { code: code.into(), message }
}

fn refused(words: String) -> Error {
    rejected("-ERR", words)
}

fn nobody_answers(subject: &str) -> Error {
    rejected("503", format!("nobody answers to {subject}: is JetStream on?"))
}

fn no_answer() -> Error {
    Error::io(Phase::AwaitingReply, io::ErrorKind::TimedOut.into())
}
