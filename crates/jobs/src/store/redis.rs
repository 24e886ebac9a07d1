//! The engine Redis, or Valkey: jobs are hashes, what may start is in streams, and each step is one Lua script.
//!
//! ```text
//!   delayed (sorted set) ─due─► key has a place? ─no─► w:QUEUE:KEY (sorted set) ─┐
//!                                     │yes                                       │ place is free
//!                                     ▼                                          │
//!              r:QUEUE:RANK (a STREAM for each priority) ◄───────────────────────┘
//!                     │ XREADGROUP                      ▲ gives back, retries, dead keepers (XPENDING)
//!                     ▼                                 │
//!                pending for a keeper: the lease ───────┘──► XACK, XDEL: done, dead, cancelled
//! ```
//!
//! What a stream cannot do decides what else there is. It has one order, so there is one for each priority, and a second one
//! before it for what was there before. It hands out whatever is in it, so a job comes into it only when its key has a
//! place. It has no bound that refuses (MAXLEN throws away the oldest), so count and bytes are checked in the script that adds.
//! A lease has no time of its own (XAUTOCLAIM would go by how long an entry was not touched): it holds for as long as its keeper
//! beats, so that a job may run for days, and its entries are found by XPENDING when the keeper is silent.
//!
//! Scripts are atomic, so nobody sees a job between two steps, and a round that was cut off was done call by call: each may come
//! again. All keys have one hash tag, and so one node of a cluster; the scripts name keys that are not among their KEYS.
//!
//! The Lua is in `redis/*.lua`; this file turns calls into its words and replies into answers.

mod answers;
mod durability;
mod subscriber;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tenfold_client::pool::{PoolOptions, Pooled};
use tenfold_client::redis::{Client, Command, Pipeline, Settings, Value};

use super::engine::{Answer, Call, DELAY_MS_MAX, ENDED_MAX, Engine, EngineError, KEEP_MS, Notice};
use crate::backoff::random;
use crate::place::EngineSettings;
use crate::wire::{Ask, Enqueue, NewJob};

/// One script, of several files: what is common to all calls is written once.
const SCRIPT: &str = concat!(
    include_str!("redis/base.lua"),
    include_str!("redis/enqueue.lua"),
    include_str!("redis/lease.lua"),
    include_str!("redis/ask.lua"),
    include_str!("redis/main.lua"),
);

/// Longest wait for a connection, and for the answers of a round; then the engine is away.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Refusals of a server that cannot do anything at present.
const AWAY: [&str; 10] = [
    "OOM",
    "MISCONF",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "BUSY",
    "CLUSTERDOWN",
    "NOSCRIPT",
    "STALE",
];

/// Told what Redis tells unasked; called on a thread of its own.
pub(crate) type Listener = Arc<dyn Fn(Notice) + Send + Sync>;

pub(crate) struct RedisEngine {
    settings: EngineSettings,
    client: Client,
    prefix: String,
    listener: Listener,
    session: Option<Session>,
}

/// One connection's time.
struct Session {
    connection: Pooled<Settings>,
    digest: String,
    keeper: String,
    /// Calls of an earlier session, which a server that was stopped may still find in its socket, are refused.
    number: String,
    is_over: Arc<AtomicBool>,
}

impl RedisEngine {
    /// # Errors
    /// One line: the address is none.
    pub(crate) fn new(settings: EngineSettings, listener: Listener) -> Result<RedisEngine, String> {
        let builder = Client::builder(&settings.url).map_err(|error| format!("jobs: {error}"))?;
        let pool = PoolOptions::new().connections_max(2).leak_after(Duration::from_secs(u32::MAX.into()));
        let client = builder.connect_timeout(ANSWER_MAX).reply_timeout(ANSWER_MAX).pool(pool).build();
        let prefix = format!("{{{}:jobs}}", settings.prefix);
        Ok(RedisEngine { settings, client, prefix, listener, session: None })
    }

    fn end_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.is_over.store(true, Ordering::Release);
        }
    }
}

impl Engine for RedisEngine {
    fn connect(&mut self, keeper: &str) -> Result<(), EngineError> {
        self.end_session();
        let mut connection = self.client.connection().map_err(gone)?;
        durability::check(&mut connection, &self.settings)?;
        let digest: String =
            connection.query(&Command::new("SCRIPT").arg("LOAD").arg(SCRIPT)).map_err(gone)?;
        let number = format!("{:016x}", random());
        let is_over = Arc::new(AtomicBool::new(false));
        let channels = subscriber::Channels::new(&self.prefix, keeper);
        subscriber::start(&self.client, channels, self.listener.clone(), is_over.clone()).map_err(gone)?;
        self.session = Some(Session { connection, digest, keeper: keeper.into(), number, is_over });
        Ok(())
    }

    fn round(&mut self, calls: &[Call]) -> Result<Vec<Answer>, EngineError> {
        let lease_ms = u64::try_from(self.settings.lease.as_millis()).unwrap_or(u64::MAX);
        let scripts: Vec<_> = calls.iter().map(|call| words(call, lease_ms)).collect();
        let replies = self.run(&scripts)?;
        if replies.len() != calls.len() {
            return Err(EngineError::Gone("replies are missing".into()));
        }
        calls.iter().zip(replies).map(|(call, reply)| answers::answer(call, reply)).collect()
    }
}

impl RedisEngine {
    fn run(&mut self, scripts: &[(&'static str, Vec<u8>)]) -> Result<Vec<Value>, EngineError> {
        let Some(session) = &mut self.session else {
            return Err(EngineError::Gone("there is no connection".into()));
        };
        let mut pipeline = Pipeline::new();
        for (name, words) in scripts {
            pipeline.add(
                Command::new("EVALSHA")
                    .arg(&session.digest)
                    .arg(1_u32)
                    .arg(&self.prefix)
                    .arg(*name)
                    .arg(&session.keeper)
                    .arg(&session.number)
                    .arg(words),
            );
        }
        let replies = session.connection.pipeline(&pipeline).map_err(gone);
        if replies.is_err() {
            self.end_session();
        }
        let replies = replies?;
        for reply in &replies {
            if let Value::Error(text) = reply
                && AWAY.iter().any(|code| text.starts_with(code))
            {
                let text = text.clone();
                self.end_session();
                return Err(EngineError::Gone(text));
            }
        }
        Ok(replies)
    }
}

impl Drop for RedisEngine {
    fn drop(&mut self) {
        self.end_session();
    }
}

pub(super) fn gone(error: tenfold_client::Error) -> EngineError {
    let mut text = error.to_string();
    let mut link = std::error::Error::source(&error);
    while let Some(cause) = link {
        text = format!("{text}: {cause}");
        link = cause.source();
    }
    EngineError::Gone(text)
}

fn encode(words: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(words).expect("calls have a form in MessagePack")
}

/// A call in the script's words.
fn words(call: &Call, lease_ms: u64) -> (&'static str, Vec<u8>) {
    #[derive(Serialize)]
    struct Beat<'a> {
        held: &'a [i64],
        workers: u32,
        lease_ms: u64,
        keep_ms: u64,
        ended_max: u64,
    }
    #[derive(Serialize)]
    struct Progress {
        seq: i64,
        percent: u8,
    }
    #[derive(Serialize)]
    struct Open<'a> {
        held: &'a [i64],
    }
    match call {
        Call::Open { held } => ("open", encode(&Open { held })),
        Call::Define(queues) => ("define", encode(queues)),
        Call::Enqueue(enqueue) => ("enqueue", encode(&bounded(enqueue))),
        Call::Forward(rows) => {
            let mut rows = rows.clone();
            rows.iter_mut().for_each(|row| row.enqueue = bounded(&row.enqueue));
            ("forward", encode(&rows))
        }
        Call::Take(wants) => ("take", encode(wants)),
        Call::Settle(ends) => ("settle", encode(ends)),
        Call::Crashed(seqs) => ("crashed", encode(seqs)),
        Call::Returned(seqs) => ("returned", encode(seqs)),
        Call::Progress { seq, percent } => ("progress", encode(&Progress { seq: *seq, percent: *percent })),
        Call::Fired(names) => ("fired", encode(names)),
        Call::Fire(firing) => ("fire", encode(firing)),
        Call::Beat { held, workers } => {
            let (keep_ms, ended_max) = (KEEP_MS, ENDED_MAX);
            ("beat", encode(&Beat { held, workers: *workers, lease_ms, keep_ms, ended_max }))
        }
        Call::Ask(ask) => ask_words(ask),
        Call::Close => ("close", Vec::new()),
    }
}

fn ask_words(ask: &Ask) -> (&'static str, Vec<u8>) {
    #[derive(Serialize)]
    struct List<'a> {
        queue: &'a str,
        state: i64,
        limit: u32,
    }
    #[derive(Serialize)]
    struct Retry<'a> {
        id: &'a str,
        queue: &'a str,
    }
    #[derive(Serialize)]
    struct Switch<'a> {
        queue: &'a str,
        what: &'a str,
        on: bool,
    }
    match ask {
        Ask::Queues => ("queues", Vec::new()),
        Ask::List { queue, state, limit } => {
            let state = crate::shown::state(state).unwrap_or(0);
            ("list", encode(&List { queue, state, limit: (*limit).min(1_000) }))
        }
        Ask::Job(id) => ("job", encode(id)),
        Ask::Retry { id, queue } => ("retry", encode(&Retry { id, queue })),
        Ask::Cancel(id) => ("cancel", encode(id)),
        Ask::Delete(id) => ("delete", encode(id)),
        Ask::Pause { queue, on } => ("switch", encode(&Switch { queue, what: "paused", on: *on })),
        Ask::Drain { queue, on } => ("switch", encode(&Switch { queue, what: "draining", on: *on })),
    }
}

/// With times that Lua's numbers can hold.
fn bounded(enqueue: &Enqueue) -> Enqueue {
    let bound = |job: &NewJob| NewJob {
        delay_ms: job.delay_ms.min(DELAY_MS_MAX),
        unique_ms: job.unique_ms.min(DELAY_MS_MAX),
        ..job.clone()
    };
    Enqueue { jobs: enqueue.jobs.iter().map(bound).collect(), last: enqueue.last.as_ref().map(bound) }
}
