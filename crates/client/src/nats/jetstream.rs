//! JetStream, as requests over a [`Connection`] (docs.nats.io, reference of the JetStream API): streams that are appended to where
//! they end as expected, and what they keep.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::connection::{Connection, rejected};
use crate::error::Error;

/// The server's words for an expectation that is wrong, and for a message that is not there
/// (nats-server, server/errors.json).
const WRONG_LAST: i64 = 10_071;
const WRONG_LAST_CONSTANT: i64 = 10_164;
const NOT_FOUND: i64 = 10_037;

type Result<T> = std::result::Result<T, Error>;

/// What an appended message expects of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Anything,
    /// The number of the stream's last message.
    Last(u64),
    /// The number of the last message of the same subject; 0 is none.
    LastOfSubject(u64),
}

/// A message that a stream keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Its number in the stream.
    pub number: u64,
    /// Where it was published.
    pub subject: String,
    /// When, in nanoseconds since 1970 by the server's clock; 0 where it was asked for alone.
    pub time: u64,
    /// What was published.
    pub payload: Vec<u8>,
}

/// Whether JetStream says that the stream or the message is not there.
pub fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Rejected { code, .. } if code == "10037" || code == "10059")
}

impl Connection {
    /// A request to JetStream's API; `what` is the subject behind `$JS.API.`.
    ///
    /// # Errors
    /// [`Error::Rejected`] with JetStream's `err_code`; those of [`Connection::request`].
    pub fn api(&mut self, what: &str, body: &Value) -> Result<Value> {
        let answer = self.request(&format!("$JS.API.{what}"), &[], body.to_string().as_bytes())?;
        accepted(&answer.payload)
    }

    /// Appends, and gives the message's number in its stream; `None` where the stream does not end as expected.
    ///
    /// # Errors
    /// As [`Connection::api`].
    pub fn append(&mut self, subject: &str, expected: Expected, payload: &[u8]) -> Result<Option<u64>> {
        let header = match expected {
            Expected::Anything => None,
            Expected::Last(number) => Some(("Nats-Expected-Last-Sequence", number)),
            Expected::LastOfSubject(number) => Some(("Nats-Expected-Last-Subject-Sequence", number)),
        };
        let headers: Vec<_> = header.iter().map(|(name, number)| (*name, number.to_string())).collect();
        let answer = self.request(subject, &headers, payload)?;
        match accepted(&answer.payload) {
            Ok(answer) => answer["seq"]
                .as_u64()
                .map(Some)
                .ok_or(Error::Unexpected("an acknowledgement without a number")),
            Err(Error::Rejected { code, .. })
                if code == WRONG_LAST.to_string() || code == WRONG_LAST_CONSTANT.to_string() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Appends all of these in their order, whatever the stream ends with.
    ///
    /// # Errors
    /// As [`Connection::api`]; which of them are there is not known then.
    pub fn append_all(&mut self, subject: &str, payloads: &[&[u8]]) -> Result<()> {
        let answers = self.request_all(subject, payloads)?;
        answers.iter().try_for_each(|answer| accepted(&answer.payload).map(drop))
    }

    /// One message that a stream keeps, as `{"last_by_subj": …}` or `{"seq": …, "next_by_subj": …}` says which.
    ///
    /// # Errors
    /// As [`Connection::api`].
    pub fn kept(&mut self, stream: &str, which: &Value) -> Result<Option<Kept>> {
        let answer = match self.api(&format!("STREAM.MSG.GET.{stream}"), which) {
            Err(Error::Rejected { code, .. }) if code == NOT_FOUND.to_string() => return Ok(None),
            answer => answer?,
        };
        let message = &answer["message"];
        let payload = STANDARD.decode(message["data"].as_str().unwrap_or_default());
        let payload = payload.map_err(|_| Error::Unexpected("a kept message is no base64"))?;
        let subject = message["subject"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Kept { number: message["seq"].as_u64().unwrap_or(0), subject, time: 0, payload }))
    }

    /// All messages of a subject, which may have wildcards, that a stream keeps at this moment, the oldest first. They are held in
    /// memory together.
    ///
    /// # Errors
    /// As [`Connection::api`]; [`Error::Unexpected`] when some were lost on the way.
    pub fn all_kept(&mut self, stream: &str, subject: &str) -> Result<Vec<Kept>> {
        let deliver = format!("{}.all.{stream}", self.inbox);
        let sid = self.subscribe(&deliver)?;
        let config = json!({ "stream_name": stream, "config": {
            "deliver_subject": deliver, "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant",
            "filter_subject": subject, "mem_storage": true, "num_replicas": 1, "inactive_threshold": 5_000_000_000_u64,
        }});
        let made = self.api(&format!("CONSUMER.CREATE.{stream}"), &config);
        let all = made.and_then(|made| {
            let name = made["name"].as_str().unwrap_or_default().to_owned();
            // What was delivered by the time of the answer is not pending any more.
            let pending = made["num_pending"].as_u64().unwrap_or(0);
            let delivered = made["delivered"]["consumer_seq"].as_u64().unwrap_or(0);
            let all = self.delivered(sid, pending + delivered);
            self.api(&format!("CONSUMER.DELETE.{stream}.{name}"), &json!({}))?;
            all
        });
        self.unsubscribe(sid)?;
        all
    }

    fn delivered(&mut self, sid: u64, mut left: u64) -> Result<Vec<Kept>> {
        let (until, mut all) = (self.until(), Vec::new());
        while left > 0 {
            let message = self.next_of(sid, until)?;
            let place = message.reply.as_deref().and_then(Delivery::parse);
            let place = place.ok_or(Error::Unexpected("a delivery without its numbers"))?;
            if place.count != all.len() as u64 + 1 {
                return Err(Error::Unexpected("a delivery was lost"));
            }
            left = place.pending;
            let (number, time) = (place.number, place.time);
            all.push(Kept { number, subject: message.subject, time, payload: message.payload });
        }
        Ok(all)
    }
}

/// What the reply subject of a delivered message says.
struct Delivery {
    number: u64,
    count: u64,
    time: u64,
    pending: u64,
}

impl Delivery {
    /// `$JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERED.NUMBER.COUNT.TIME.PENDING[.…]` (ADR-15 of NATS).
    fn parse(subject: &str) -> Option<Delivery> {
        let words: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').collect();
        let words = if words.len() >= 9 { words.get(2..)? } else { &words[..] };
        let number = |index: usize| words.get(index)?.parse().ok();
        Some(Delivery { number: number(3)?, count: number(4)?, time: number(5)?, pending: number(6)? })
    }
}

fn accepted(bytes: &[u8]) -> Result<Value> {
    let answer: Value = serde_json::from_slice(bytes).map_err(Error::Json)?;
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => Err(rejected(
            &error["err_code"].to_string(),
            error["description"].as_str().unwrap_or("it refuses").to_owned(),
        )),
    }
}
