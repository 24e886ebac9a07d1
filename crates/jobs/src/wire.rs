//! What workers and the keeper say to each other over their Unix socket.
//!
//! The frames are those of every keeper (`server/keeper.rs`): a reload or an upgrade has programs of two versions talk to one, so
//! fields travel with their names, and one that is missing takes its default. Nothing here does I/O;
//! `fuzz/fuzz_targets/jobs_frame.rs` feeds it anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenfold_server::keeper;
pub use tenfold_server::keeper::{BadFrame, encode};

/// Most bytes of a frame's body.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Most jobs of one request.
pub const JOBS_MAX: usize = 10_000;
/// Most bytes of a job's id, queue, name or key.
pub const NAME_BYTES_MAX: usize = 256;

/// From a client to the keeper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request {
    /// The first one of a client that knows queues. It may come again.
    Hello(Hello),
    /// Keep these jobs, all or none.
    Enqueue(Enqueue),
    /// From now on this connection takes up to so many jobs of each queue at a time.
    Want(Vec<Want>),
    /// These jobs have ended.
    Ended(Vec<End>),
    /// How far a job is, from 0 to 100.
    Progress {
        /// The job.
        seq: i64,
        /// Percent.
        percent: u8,
    },
    /// The connection ends now in good order: what it still holds goes back as if it had not begun.
    Bye,
    /// A keeper of a newer generation asks for the store.
    Yield {
        /// Whose.
        generation: u32,
    },
    /// A person or a page asks.
    Ask(Ask),
}

/// What a client knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// Its process.
    pub pid: u32,
    /// Queues of its program.
    pub queues: Vec<QueueSpec>,
    /// Schedules of its program.
    pub schedules: Vec<ScheduleSpec>,
    /// Jobs that it is still running, for a keeper that was started again meanwhile.
    pub held: Vec<i64>,
}

/// Jobs to keep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Enqueue {
    /// The jobs; at most [`JOBS_MAX`].
    pub jobs: Vec<NewJob>,
    /// One more, which waits until all of `jobs` have ended.
    pub last: Option<NewJob>,
}

/// A job on its way in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewJob {
    /// Names it for ever: the same id again is the same job.
    pub id: String,
    /// The queue.
    pub queue: String,
    /// Which handler.
    pub name: String,
    /// What the handler gets, as JSON.
    pub payload: String,
    /// Milliseconds until it may run.
    pub delay_ms: u64,
    /// A higher one runs first.
    pub priority: i8,
    /// Jobs of one key share the queue's bound for a key.
    pub key: Option<String>,
    /// While a job with the same one is not done, or was taken less than `unique_ms` ago, there is no second one.
    pub unique: Option<String>,
    /// See `unique`.
    pub unique_ms: u64,
    /// It is enough that the death of all processes cannot take it: a power failure may.
    pub process: bool,
}

/// A queue's bounds and rules, as the keeper needs them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueSpec {
    /// The name.
    pub name: String,
    /// Most jobs that are not done, running ones included.
    pub capacity: u64,
    /// Most bytes of their payloads.
    pub bytes_max: u64,
    /// Make room by dropping the oldest that waits.
    pub drop_oldest: bool,
    /// Most starts a second.
    pub rate: Option<f64>,
    /// Most that run at a time with the same key.
    pub per_key: Option<u32>,
    /// Jobs of one key run one after another, in their order, and one that waits to be tried again holds the others up.
    pub ordered: bool,
    /// Most dead ones that are kept.
    pub dead_max: u64,
    /// A job whose worker has died so often while it ran is dead.
    pub crashes_max: u32,
}

/// Something that comes again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleSpec {
    /// The name of the job that it makes.
    pub name: String,
    /// Its queue.
    pub queue: String,
    /// A period in milliseconds; 0 where `cron` says when.
    pub every_ms: u64,
    /// A cron pattern, in UTC.
    pub cron: String,
    /// What becomes of times that passed while nothing ran.
    pub misfire: Misfire,
}

/// What becomes of a schedule's times that passed while nothing ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Misfire {
    /// One run makes up for all of them.
    #[default]
    Once,
    /// None: the next time counts.
    Skip,
    /// Each has its run, up to a hundred.
    All,
}

/// How many jobs of a queue a connection takes at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Want {
    /// The queue.
    pub queue: String,
    /// Most at a time.
    pub at_once: u32,
}

/// How a job has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The job.
    pub seq: i64,
    /// Of which run: how often it had failed before. An end of an earlier run says nothing about a later one.
    pub attempt: u32,
    /// How.
    pub outcome: Outcome,
}

/// How one run of a job has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// It is done.
    Done,
    /// It failed and is to be tried again.
    Retry {
        /// Not before.
        after_ms: u64,
        /// Why it failed.
        error: String,
    },
    /// It failed for good.
    Dead {
        /// Why.
        error: String,
    },
    /// It did not run, or not to its end, because its worker stops: no attempt is counted.
    Returned,
}

/// From the keeper to a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reply {
    /// To an [`Request::Enqueue`]: the jobs are on disk.
    Kept(Vec<Receipt>),
    /// To an [`Request::Enqueue`]: nothing was kept.
    Full {
        /// Which queue has no room.
        queue: String,
    },
    /// Nothing was done, and asking again does not help.
    Refused(String),
    /// Nothing was done, and it may help to ask again.
    Failed(String),
    /// Run these.
    Work(Vec<Lease>),
    /// The ends of these jobs are on disk.
    Settled(Vec<i64>),
    /// Stop this one.
    Cancel(i64),
    /// To an [`Request::Ask`].
    Answer(Value),
}

/// What became of one job of an enqueue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The id of the job; another one's, where that is the same by its `unique`.
    pub id: String,
    /// Whether it was there already.
    pub known: bool,
}

/// A job that a worker is to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// The keeper's number for it.
    pub seq: i64,
    /// Its id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Which handler.
    pub name: String,
    /// JSON.
    pub payload: String,
    /// How often it failed before.
    pub attempt: u32,
    /// When it was taken in, in milliseconds since 1970.
    pub created_ms: i64,
}

/// A question, or an intervention, of a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ask {
    /// All queues with their numbers.
    Queues,
    /// Jobs of a queue in a state.
    List {
        /// The queue; empty for all.
        queue: String,
        /// `live`, `done`, `dead` or `cancelled`.
        state: String,
        /// Most that are shown.
        limit: u32,
    },
    /// One job.
    Job(String),
    /// Dead jobs run again: one by its id, or all of a queue.
    Retry {
        /// The job, or empty.
        id: String,
        /// The queue, where `id` is empty; empty for all.
        queue: String,
    },
    /// A job is taken back, or stopped where it runs.
    Cancel(String),
    /// An ended job is forgotten.
    Delete(String),
    /// A queue hands out nothing.
    Pause {
        /// The queue.
        queue: String,
        /// Or goes on.
        on: bool,
    },
    /// A queue takes nothing in any more, and hands out what it has.
    Drain {
        /// The queue.
        queue: String,
        /// Or takes in again.
        on: bool,
    },
}

/// The first message of `bytes` and how many bytes it takes; `None` when it is not there as a whole.
///
/// # Errors
/// [`BadFrame`]; the connection cannot go on then.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<Option<(T, usize)>, BadFrame> {
    keeper::decode(bytes, FRAME_BYTES_MAX)
}

/// Milliseconds, at most what fits.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

impl Default for QueueSpec {
    fn default() -> QueueSpec {
        QueueSpec {
            name: String::new(),
            capacity: 100_000,
            bytes_max: 256 << 20,
            drop_oldest: false,
            rate: None,
            per_key: None,
            ordered: false,
            dead_max: 10_000,
            crashes_max: 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_from_its_frame_however_it_is_cut() {
        let job = NewJob { id: "a".into(), payload: "{}".into(), priority: -3, ..NewJob::default() };
        let said = Request::Enqueue(Enqueue { jobs: vec![job], last: None });
        let mut bytes = Vec::new();
        encode(&said, &mut bytes);
        encode(&Request::Bye, &mut bytes);
        for end in 0..bytes.len() {
            if let Some((heard, used)) = decode::<Request>(&bytes[..end]).unwrap() {
                assert_eq!(heard, said);
                let next = decode::<Request>(&bytes[used..end]).unwrap();
                assert!(next.is_none());
            }
        }
        let (_, used) = decode::<Request>(&bytes).unwrap().unwrap();
        assert_eq!(decode(&bytes[used..]).unwrap(), Some((Request::Bye, bytes.len() - used)));
    }

    #[test]
    fn a_frame_that_is_too_long_or_no_message_is_an_error() {
        assert!(matches!(decode::<Request>(&[255; 8]), Err(BadFrame::TooLong { .. })));
        assert!(matches!(decode::<Request>(&[1, 0, 0, 0, 7]), Err(BadFrame::Malformed(_))));
    }

    #[test]
    fn a_field_that_an_older_program_does_not_send_has_its_default() {
        let mut bytes = Vec::new();
        encode(&serde_json::json!({ "Enqueue": { "jobs": [{ "id": "a", "queue": "q" }] } }), &mut bytes);
        let (heard, _) = decode::<Request>(&bytes).unwrap().unwrap();
        let Request::Enqueue(Enqueue { jobs, last: None }) = heard else { panic!("{heard:?}") };
        assert_eq!((jobs[0].id.as_str(), jobs[0].delay_ms), ("a", 0));
    }
}
