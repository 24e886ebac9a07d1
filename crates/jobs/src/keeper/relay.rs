//! `Relay`: the keeper before an engine. It hands on what workers say, in rounds, and keeps jobs in a spool while the engine is away.
//!
//! ```text
//!   workers ─► gathered ──────────► round: [open] define settle enqueue … forward beat take ─► engine thread
//!      ▲          │ away, or others of the queue are in the spool              │
//!      │          └──► spool, on disk ──► "kept"                               ▼
//!      └───────────────────────── answers, leases, cancels ◄────────── one answer a call
//! ```
//!
//! One round is on its way at a time; what comes meanwhile shares the next one, as it shares a commit in the embedded keeper.
//! A round that fails was done in part or not at all: what takes jobs in goes to the spool, with the same ids; what has ended is
//! told again; leases that were given out unheard are given back when the engine is reached again (`Call::Open`). While jobs of a
//! queue are in the spool, further ones get behind them there, so that nothing overtakes.

mod away;
mod forward;
mod rounds;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde_json::Value;
use tenfold_server::supervisor::{Worker, set_title};

use super::book::refusal;
use super::desks::Desks;
use super::engine_thread::{EngineThread, Event, Order};
use super::facts::Facts;
use super::front::Front;
use super::schedule::Schedules;
use super::spool::Spool;
use super::{Left, QUIET_MS, make_file, now_ms};
use crate::place::EngineSettings;
use crate::shown;
use crate::store::engine::{Call, EngineError, Notice};
use crate::wire::{Ask, End, Enqueue, Hello, Outcome, QueueSpec, Receipt, Reply, Request, ScheduleSpec};

/// How long the start waits for the engine to be reached, or to be found unfit.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// How often a keeper that leaves looks whether its workers are gone.
const LEAVE_LOOK: Duration = Duration::from_millis(100);
/// How long the end of the keeper waits for the engine.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Relay<'a> {
    front: Front<'a>,
    spool: Spool,
    engine: EngineThread,
    /// The engine's address, for people.
    shown: String,
    keeper: String,
    lease: Duration,
    link: Link,
    /// `Call::Open` was the first call of this connection.
    opened: bool,
    /// After a keeper that did not end in good order: until when its workers have the word.
    quiet_until: Instant,
    /// Calls of the next round, and of the one that is on its way.
    gathered: Vec<(Call, For)>,
    in_flight: Option<Vec<(Call, For)>>,
    /// Something may start.
    rang: bool,
    look_at: Instant,
    beat_at: Instant,
    forward: forward::Pass,
    desks: Desks,
    /// Ends that the engine does not know yet, and who has told them.
    unsettled: BTreeMap<i64, (u64, End)>,
    specs: BTreeMap<String, QueueSpec>,
    schedules: Schedules,
    scheduled: BTreeSet<String>,
    /// Answers that leave once the spool is on disk.
    pledged: Vec<(u64, Reply)>,
    replies: Vec<(u64, Reply)>,
    facts: Facts,
    /// What the engine said last about its queues.
    queues: Value,
    yielded: bool,
}

/// How things are with the engine.
enum Link {
    Connecting,
    Up,
    Away { again_at: Instant, rest: Duration, reason: String },
}

/// Who waits for an answer.
enum For {
    Nobody,
    Client(u64),
    Ends(Vec<i64>),
    /// Rows of the spool.
    Spool(Vec<i64>),
    Schedules(Vec<ScheduleSpec>),
    Facts,
    Take,
}

impl<'a> Relay<'a> {
    pub(super) fn open(settings: &EngineSettings, worker: &'a Worker) -> Result<Relay<'a>, String> {
        let file = &settings.spool;
        let spooled = |reason: String| format!("{}: {reason}", file.display());
        make_file(file).map_err(spooled)?;
        let text = |error: rusqlite::Error| spooled(format!("cannot use the spool: {error}"));
        let mut spool = Spool::open(file).map_err(text)?;
        let keeper = spool.keeper().map_err(text)?;
        let was_clean = spool.fact("clean", || "1".into()).map_err(text)? == "1";
        spool.set_fact("clean", "0").map_err(text)?;
        let engine = EngineThread::start(settings)?;
        let front = Front::open(file, worker).map_err(spooled)?;
        set_title(&format!("keeper gen {}", worker.generation()));
        let now = Instant::now();
        let quiet = if was_clean { Duration::ZERO } else { Duration::from_millis(QUIET_MS.unsigned_abs()) };
        let mut relay = Relay {
            front,
            spool,
            engine,
            shown: settings.shown(),
            keeper,
            lease: settings.lease,
            link: Link::Connecting,
            opened: false,
            quiet_until: now + quiet,
            gathered: Vec::new(),
            in_flight: None,
            rang: false,
            look_at: now,
            beat_at: now,
            forward: forward::Pass::default(),
            desks: Desks::default(),
            unsettled: BTreeMap::new(),
            specs: BTreeMap::new(),
            schedules: Schedules::default(),
            scheduled: BTreeSet::new(),
            pledged: Vec::new(),
            replies: Vec::new(),
            facts: Facts::default(),
            queues: serde_json::json!({ "queues": [], "workers": 0 }),
            yielded: false,
        };
        relay.engine.order(Order::Connect(relay.keeper.clone()));
        relay.await_engine()?;
        relay.tell();
        worker.ready();
        Ok(relay)
    }

    /// Waits for the first word of the engine. One that is away is no reason not to start; one that is unfit is.
    fn await_engine(&mut self) -> Result<(), String> {
        let until = Instant::now() + FIRST_PATIENCE;
        while matches!(self.link, Link::Connecting) && Instant::now() < until {
            self.front.wait(until.saturating_duration_since(Instant::now()), Some(self.engine.as_fd()))?;
            if self.front.obey_orders() || self.front.is_leaving() {
                return Ok(());
            }
            for event in self.engine.heard() {
                if let Event::Connected(Err(EngineError::Unfit(reason))) = event {
                    return Err(reason);
                }
                self.hear(event);
            }
        }
        Ok(())
    }

    pub(super) fn run(mut self) -> Result<Left, String> {
        loop {
            self.front.wait(self.patience(), Some(self.engine.as_fd()))?;
            if self.front.obey_orders() {
                return self.close(true).map(|()| Left::Stopped);
            }
            self.turn()?;
            if self.front.may_leave(!self.yielded && self.desks.has_workers()) {
                let says_so = !self.yielded;
                return self.close(says_so).map(|()| Left::Stopped);
            }
            if self.yielded {
                return self.close(false).map(|()| Left::Yielded);
            }
        }
    }

    /// Until when there is nothing to do unless somebody says something.
    fn patience(&self) -> Duration {
        if self.front.is_leaving() {
            return LEAVE_LOOK;
        }
        let now = Instant::now();
        let next = match &self.link {
            Link::Away { again_at, .. } => *again_at,
            Link::Connecting => now + self.lease,
            Link::Up if self.in_flight.is_some() => now + self.lease,
            Link::Up => self.next_round(now).max(self.quiet_until),
        };
        next.saturating_duration_since(now)
    }

    fn turn(&mut self) -> Result<(), String> {
        for event in self.engine.heard() {
            self.hear(event);
        }
        let mut ended = Vec::new();
        for (id, request) in self.front.read(&mut ended) {
            self.take(id, request);
        }
        for (id, clean) in ended {
            self.part_with(id, clean);
        }
        self.commit();
        self.advance();
        for (id, reply) in std::mem::take(&mut self.replies) {
            self.front.say(id, &reply);
        }
        self.front.flush();
        if self.facts.is_due() && !matches!(self.link, Link::Up) {
            self.tell();
        }
        Ok(())
    }

    /// Something from the engine's thread.
    fn hear(&mut self, event: Event) {
        match event {
            Event::Connected(Ok(())) => {
                if let Link::Away { .. } = self.link {
                    tracing::info!(target: "jobs", engine = self.shown, spooled = self.spool.jobs(), "the engine is there");
                }
                self.link = Link::Up;
                self.opened = false;
            }
            Event::Connected(Err(error)) => self.lose(error),
            Event::Done(Ok(answers)) => self.settle_round(answers),
            Event::Done(Err(error)) => self.lose(error),
            Event::Notice(Notice::Bell) => self.rang = true,
            Event::Notice(Notice::Cancel(seq)) => self.cancel_here(seq),
        }
    }

    /// A job is not this machine's any more; if it runs here, its waits end.
    fn cancel_here(&mut self, seq: i64) {
        if let Some(desk) = self.desks.remove(seq) {
            self.replies.push((desk, Reply::Cancel(seq)));
        }
    }

    fn take(&mut self, id: u64, request: Request) {
        match request {
            Request::Hello(hello) => self.greet(id, hello),
            Request::Enqueue(enqueue) => self.take_in(id, enqueue),
            Request::Want(wants) => {
                self.desks.want(id, wants);
                self.rang = true;
            }
            Request::Ended(ends) => self.take_ends(id, ends),
            Request::Progress { seq, percent } => {
                if self.desks.holder(seq) == Some(id) {
                    self.gather(Call::Progress { seq, percent: percent.min(100) }, For::Nobody);
                }
            }
            Request::Bye => {}
            Request::Yield { generation } => {
                self.yielded |= self.front.is_leaving() || generation > self.front.worker.generation();
            }
            Request::Ask(ask) => self.take_question(id, ask),
        }
    }

    fn greet(&mut self, id: u64, hello: Hello) {
        let news: Vec<QueueSpec> =
            hello.queues.into_iter().filter(|new| self.specs.get(&new.name) != Some(new)).collect();
        if !news.is_empty() {
            self.specs.extend(news.iter().map(|new| (new.name.clone(), new.clone())));
            self.gather(Call::Define(news), For::Nobody);
        }
        self.desks.hold(id, &hello.held);
        // Each program comes with all of its schedules, each time: only what is new needs the engine's word.
        let news: Vec<ScheduleSpec> = hello
            .schedules
            .into_iter()
            .filter(|one| self.scheduled.insert(serde_json::to_string(one).unwrap_or_default()))
            .collect();
        if !news.is_empty() {
            let names = news.iter().map(|one| one.name.clone()).collect();
            self.gather(Call::Fired(names), For::Schedules(news));
        }
    }

    fn take_in(&mut self, id: u64, enqueue: Enqueue) {
        if let Some(reason) = refusal(&enqueue.jobs, enqueue.last.as_ref()) {
            return self.replies.push((id, Reply::Refused(reason)));
        }
        let stands_behind = enqueue.jobs.iter().chain(&enqueue.last).any(|job| self.spool.of(&job.queue) > 0);
        match self.link {
            Link::Up if !stands_behind => self.gather(Call::Enqueue(enqueue), For::Client(id)),
            _ => self.spool(id, &enqueue),
        }
    }

    fn take_ends(&mut self, id: u64, ends: Vec<End>) {
        let (mut seqs, mut strange) = (Vec::new(), Vec::new());
        for end in ends {
            // That a job is done counts whoever says it; everything else is for who holds it to say.
            match self.desks.holder(end.seq) == Some(id) || end.outcome == Outcome::Done {
                true => {
                    self.desks.remove(end.seq);
                    seqs.push(end.seq);
                    self.unsettled.insert(end.seq, (id, cut(end)));
                }
                false => strange.push(end.seq),
            }
        }
        if !strange.is_empty() {
            self.replies.push((id, Reply::Settled(strange)));
        }
        // While the engine is away they wait for it here.
        if !seqs.is_empty() && !matches!(self.link, Link::Away { .. }) {
            self.gather_ends(seqs);
        }
    }

    fn gather_ends(&mut self, seqs: Vec<i64>) {
        let ends = seqs.iter().filter_map(|seq| self.unsettled.get(seq)).map(|(_, end)| end.clone());
        self.gathered.push((Call::Settle(ends.collect()), For::Ends(seqs)));
    }

    fn take_question(&mut self, id: u64, ask: Ask) {
        if let Ask::List { state, .. } = &ask
            && shown::state(state).is_none()
        {
            return self.replies.push((id, Reply::Refused(shown::no_state(state))));
        }
        match &self.link {
            Link::Away { reason, .. } => {
                let reason = format!("the engine is away: {reason}");
                self.replies.push((id, Reply::Failed(reason)));
            }
            _ => self.gather(Call::Ask(ask), For::Client(id)),
        }
    }

    /// A connection has ended; what it held goes back at once.
    fn part_with(&mut self, id: u64, clean: bool) {
        let held = self.desks.close(id);
        if !held.is_empty() {
            self.gather(if clean { Call::Returned(held) } else { Call::Crashed(held) }, For::Nobody);
        }
    }

    /// For the next round. What is worth nothing while the engine is away is not kept for it.
    fn gather(&mut self, call: Call, whom: For) {
        let comes_again =
            matches!(call, Call::Define(_) | Call::Progress { .. } | Call::Crashed(_) | Call::Returned(_));
        if !(comes_again && matches!(self.link, Link::Away { .. })) {
            self.gathered.push((call, whom));
        }
    }

    fn tell(&mut self) {
        let mut jobs = self.queues.clone();
        jobs["spooled"] = self.spool.jobs().into();
        jobs["engine"] = self.shown.clone().into();
        jobs["engine_away"] = matches!(self.link, Link::Away { .. }).into();
        self.facts.tell(self.front.worker, &self.front.socket, jobs);
    }

    /// Ends. `says_so` when nobody goes on with what it has.
    fn close(mut self, says_so: bool) -> Result<(), String> {
        self.front.close();
        let is_clean = self.desks.held().is_empty() && self.unsettled.is_empty();
        let until = Instant::now() + LAST_PATIENCE;
        let mut said = !says_so;
        while matches!(self.link, Link::Up) && Instant::now() < until && (!said || self.in_flight.is_some()) {
            if self.in_flight.is_none() {
                said = true;
                let held = self.desks.held();
                let calls = vec![(Call::Returned(held), For::Nobody), (Call::Close, For::Nobody)];
                self.gathered.extend(calls);
                self.send_gathered();
            }
            self.front.wait(until.saturating_duration_since(Instant::now()), Some(self.engine.as_fd()))?;
            for event in self.engine.heard() {
                self.hear(event);
            }
        }
        self.commit();
        let text = |error: rusqlite::Error| format!("cannot close the spool: {error}");
        self.spool.set_fact("clean", if is_clean { "1" } else { "0" }).map_err(text)?;
        for (id, reply) in std::mem::take(&mut self.replies) {
            self.front.say(id, &reply);
        }
        self.front.flush();
        Ok(())
    }
}

/// Errors are for people: their beginning is enough.
fn cut(mut end: End) -> End {
    if let Outcome::Retry { error, .. } | Outcome::Dead { error } = &mut end.outcome {
        error.truncate(super::book::cut(error).len());
    }
    end
}

/// The receipts of jobs that are in the spool: whether the engine knows them already, nobody can say.
fn receipts(enqueue: &Enqueue) -> Vec<Receipt> {
    enqueue.jobs.iter().map(|job| Receipt { id: job.id.clone(), known: false }).collect()
}
