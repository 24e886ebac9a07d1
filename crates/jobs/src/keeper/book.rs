//! `Book`: what the keeper decides: who is taken in, who runs next, and what becomes of a job whose run has ended.
//!
//! In memory it has each live job (about 120 bytes; the payload stays in the file), and who runs it. It changes memory and
//! ledger together, within one turn of the keeper's loop; nobody is told anything before the ledger has committed. When that
//! fails, memory is made again from the file, which knows nothing of the turn: see [`Book::recover`].
//!
//! Knows no sockets: connections are numbers here.

use std::collections::{BTreeSet, HashMap};

use rusqlite::Result;
use serde_json::{Value, json};

use super::ledger::{Ledger, Loaded, Stored, Switches};
use super::line::{Line, Place};
use crate::wire::{
    Ask, End, Enqueue, JOBS_MAX, Lease, NAME_BYTES_MAX, NewJob, Outcome, QueueSpec, Receipt, Reply, Want,
};

/// How long an ended job is kept, for its history and so that the same id is known again.
const KEEP_MS: i64 = 600_000;
/// Most ended jobs that are kept.
const ENDED_MAX: u64 = 500_000;
/// Jobs that are forgotten in one go: a turn must stay short.
const FORGET_MAX: u32 = 2_000;
/// Queues that there may be.
const QUEUES_MAX: usize = 1_000;
/// Jobs that one connection may hold of one queue.
const WANT_MAX: u32 = 10_000;

#[derive(Debug)]
pub(super) struct Book {
    pub(super) ledger: Ledger,
    entries: HashMap<i64, Entry>,
    lines: Vec<Line>,
    by_name: HashMap<String, usize>,
    /// Jobs that may not start yet: time and number.
    delayed: BTreeSet<(i64, i64)>,
    desks: HashMap<u64, Desk>,
    /// Ended jobs in the file.
    ended: u64,
    /// Nothing starts before: workers of a keeper that died say first what they are running.
    quiet_until: i64,
    /// What a connection has to be told beside the answers to its own requests.
    notices: Vec<(u64, Reply)>,
}

/// A live job.
#[derive(Debug)]
struct Entry {
    line: usize,
    phase: Phase,
    run_at: i64,
    created: i64,
    attempt: u32,
    crashes: u32,
    priority: i8,
    progress: u8,
    /// It keeps the place of its key although it waits.
    holds: bool,
    bytes: u64,
    key: Option<Box<str>>,
    batch: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Delayed,
    /// In its line.
    Waiting,
    Leased(u64),
}

/// A connection that runs jobs.
#[derive(Debug, Default)]
struct Desk {
    /// By line: most at a time, and those that it has.
    wants: HashMap<usize, (u32, u32)>,
    held: BTreeSet<i64>,
}

impl Book {
    pub(super) fn open(ledger: Ledger, quiet_until: i64) -> Result<Book> {
        let mut book = Book {
            ledger,
            entries: HashMap::new(),
            lines: Vec::new(),
            by_name: HashMap::new(),
            delayed: BTreeSet::new(),
            desks: HashMap::new(),
            ended: 0,
            quiet_until,
            notices: Vec::new(),
        };
        book.load()?;
        Ok(book)
    }

    fn load(&mut self) -> Result<()> {
        let mut loaded = Vec::new();
        self.ledger.load(|job| loaded.push(job))?;
        self.entries.reserve(loaded.len());
        for job in loaded {
            self.admit(job);
        }
        for (queue, dead) in self.ledger.dead()? {
            let line = self.line(&queue);
            self.lines[line].dead = dead;
        }
        for (queue, switches) in self.ledger.switches()? {
            let line = self.line(&queue);
            self.lines[line].switches = switches;
        }
        self.ended = self.ledger.ended()?;
        Ok(())
    }

    /// After a failed turn: what the file says, and who runs what of it. Counters, rules and connections stay.
    pub(super) fn recover(&mut self) -> Result<()> {
        self.ledger.reopen()?;
        self.entries.clear();
        self.delayed.clear();
        self.notices.clear();
        for line in &mut self.lines {
            let mut fresh = Line::new(line.spec.clone());
            fresh.counts = line.counts;
            *line = fresh;
        }
        self.load()?;
        let held: Vec<(u64, Vec<i64>)> = self
            .desks
            .iter_mut()
            .map(|(desk, d)| {
                d.wants.values_mut().for_each(|want| want.1 = 0);
                (*desk, std::mem::take(&mut d.held).into_iter().collect())
            })
            .collect();
        for (desk, held) in held {
            self.hold(desk, &held);
        }
        Ok(())
    }

    fn line(&mut self, name: &str) -> usize {
        if let Some(line) = self.by_name.get(name) {
            return *line;
        }
        self.lines.push(Line::new(QueueSpec { name: name.into(), ..QueueSpec::default() }));
        self.by_name.insert(name.into(), self.lines.len() - 1);
        self.lines.len() - 1
    }

    /// The rules of queues; the latest word counts. What is in a queue already takes its place under them.
    pub(super) fn define(&mut self, specs: Vec<QueueSpec>) {
        for spec in specs.into_iter().take(QUEUES_MAX) {
            let line = self.line(&spec.name);
            let old = std::mem::replace(&mut self.lines[line].spec, spec);
            let spec = &self.lines[line].spec;
            if (old.per_key, old.ordered) != (spec.per_key, spec.ordered) {
                self.rebuild(line);
            }
        }
    }

    /// Puts the waiting jobs of a line in place again.
    fn rebuild(&mut self, line: usize) {
        let old = &self.lines[line];
        let mut fresh = Line::new(old.spec.clone());
        fresh.switches = old.switches;
        (fresh.live, fresh.bytes, fresh.leased, fresh.dead) = (old.live, old.bytes, old.leased, old.dead);
        fresh.counts = old.counts;
        self.lines[line] = fresh;
        let mut waiting: Vec<(Place, i64)> = Vec::new();
        for (seq, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.line == line) {
            entry.holds = false;
            if entry.phase == Phase::Waiting {
                waiting.push((entry.place(*seq), *seq));
            }
        }
        waiting.sort_unstable();
        for (place, seq) in waiting {
            self.lines[line].arrive(place, self.entries[&seq].key.as_deref());
        }
    }

    /// Takes a live job of the file into memory.
    fn admit(&mut self, job: Loaded) {
        let line = self.line(&job.queue);
        self.lines[line].live += 1;
        self.lines[line].bytes += job.bytes;
        let entry = Entry {
            line,
            phase: Phase::Delayed,
            run_at: job.run_at,
            created: job.created,
            attempt: job.attempt,
            crashes: job.crashes,
            priority: job.priority,
            progress: 0,
            holds: false,
            bytes: job.bytes,
            key: job.key,
            batch: job.batch,
        };
        self.delayed.insert((job.run_at, job.seq));
        self.entries.insert(job.seq, entry);
    }

    /// Keeps jobs, all or none.
    pub(super) fn enqueue(&mut self, enqueue: Enqueue, now: i64) -> Result<Reply> {
        let Enqueue { jobs, last } = enqueue;
        if let Some(reason) = refusal(&jobs, last.as_ref()) {
            return Ok(Reply::Refused(reason));
        }
        if let Some(queue) = self.short_of_room(&jobs, last.as_ref(), now)? {
            return Ok(Reply::Full { queue });
        }
        let batch = match &last {
            Some(last) if !self.ledger.knows(&jobs[0].id)? => {
                Some(self.ledger.begin_batch(jobs.len(), last)?)
            }
            _ => None,
        };
        let receipts = jobs.into_iter().map(|job| self.keep(job, now, batch)).collect::<Result<Vec<_>>>()?;
        if let Some(batch) = batch {
            // Jobs that were there already are none of this batch.
            for _ in receipts.iter().filter(|receipt| receipt.known) {
                self.tick_batch(batch, false, now)?;
            }
        }
        Ok(Reply::Kept(receipts))
    }

    /// The queue that has no room for what is new of these jobs; makes room where the queue's rule is to drop.
    fn short_of_room(&mut self, jobs: &[NewJob], last: Option<&NewJob>, now: i64) -> Result<Option<String>> {
        let mut news: HashMap<usize, (u64, u64)> = HashMap::new();
        for job in jobs.iter().chain(last) {
            let line = self.line(&job.queue);
            let new = news.entry(line).or_default();
            new.0 += 1;
            new.1 += job.payload.len() as u64;
        }
        for (line, (count, bytes)) in news {
            let draining = self.lines[line].switches.draining;
            if !draining && self.lines[line].has_room(count, bytes) {
                continue;
            }
            // A job that comes again needs no room: looked at only here, where it matters.
            let mut known = true;
            for job in jobs.iter().filter(|job| self.by_name.get(&job.queue) == Some(&line)) {
                known &= self.ledger.knows(&job.id)?;
            }
            let fits = count <= self.lines[line].spec.capacity && bytes <= self.lines[line].spec.bytes_max;
            if known {
                continue;
            }
            if self.lines[line].spec.drop_oldest && !draining && fits {
                self.make_room(line, (count, bytes), now)?;
            }
            if draining || !self.lines[line].has_room(count, bytes) {
                self.lines[line].counts.refused += count;
                return Ok(Some(self.lines[line].spec.name.clone()));
            }
        }
        Ok(None)
    }

    fn make_room(&mut self, line: usize, (count, bytes): (u64, u64), now: i64) -> Result<()> {
        while !self.lines[line].has_room(count, bytes) {
            // The lowest number that does not run is the oldest. One that could start is found at once; only where there is
            // none are the others looked through.
            let waiting =
                |(_, entry): &(&i64, &Entry)| entry.line == line && !matches!(entry.phase, Phase::Leased(_));
            let ready = self.lines[line].heads().into_iter().min();
            let any = || self.entries.iter().filter(waiting).map(|(seq, _)| *seq).min();
            let Some(seq) = ready.or_else(any) else { return Ok(()) };
            self.lines[line].counts.dropped += 1;
            self.finish(seq, Stored::Cancelled, now, Some("dropped: the queue was full"))?;
        }
        Ok(())
    }

    fn keep(&mut self, job: NewJob, now: i64, batch: Option<i64>) -> Result<Receipt> {
        if self.ledger.knows(&job.id)? {
            return Ok(Receipt { id: job.id, known: true });
        }
        let word = job.unique.as_ref().map(|unique| format!("{}\u{0}{unique}", job.queue));
        if let Some(word) = &word
            && let Some((holder, is_live, until)) = self.ledger.holder(word)?
            && (is_live || now < until)
        {
            return Ok(Receipt { id: holder, known: true });
        }
        let run_at = now.saturating_add_unsigned(job.delay_ms);
        let seq = self.ledger.insert(&job, now, run_at, batch)?;
        if let Some(word) = word {
            self.ledger.hold(&word, seq, now.saturating_add_unsigned(job.unique_ms))?;
        }
        self.admit(Loaded {
            seq,
            queue: job.queue,
            run_at,
            created: now,
            attempt: 0,
            crashes: 0,
            priority: job.priority,
            bytes: job.payload.len() as u64,
            key: job.key.map(String::into_boxed_str),
            batch,
        });
        let line = self.entries[&seq].line;
        self.lines[line].counts.taken += 1;
        Ok(Receipt { id: job.id, known: false })
    }

    /// What a connection takes at a time; a word of 0 ends it.
    pub(super) fn want(&mut self, desk: u64, wants: Vec<Want>) {
        for want in wants.into_iter().take(QUEUES_MAX) {
            let line = self.line(&want.queue);
            let desk = self.desks.entry(desk).or_default();
            desk.wants.entry(line).or_default().0 = want.at_once.min(WANT_MAX);
        }
    }

    /// A connection runs these jobs already.
    pub(super) fn hold(&mut self, desk: u64, held: &[i64]) {
        for seq in held {
            let Some(entry) = self.entries.get_mut(seq) else { continue };
            if entry.phase == Phase::Delayed {
                self.delayed.remove(&(entry.run_at, *seq));
                entry.phase = Phase::Waiting;
                self.lines[entry.line].arrive(entry.place(*seq), entry.key.as_deref());
            }
            if entry.phase == Phase::Waiting {
                let line = &mut self.lines[entry.line];
                // A job that waits behind its key can run nevertheless: it does, and nothing is to be done about it.
                let had_place = line.withdraw(entry.place(*seq), entry.key.as_deref());
                entry.holds = false;
                line.leased += 1;
                entry.phase = Phase::Leased(desk);
                if !had_place {
                    entry.key = None;
                }
                let desk = self.desks.entry(desk).or_default();
                desk.wants.entry(entry.line).or_default().1 += 1;
                desk.held.insert(*seq);
            }
        }
    }

    /// Moves jobs whose time has come into their lines.
    fn wake(&mut self, now: i64) {
        while let Some((run_at, seq)) = self.delayed.first().copied().filter(|(run_at, _)| *run_at <= now) {
            self.delayed.remove(&(run_at, seq));
            let Some(entry) = self.entries.get_mut(&seq) else { continue };
            entry.phase = Phase::Waiting;
            let place = entry.place(seq);
            let line = &mut self.lines[entry.line];
            if std::mem::take(&mut entry.holds) {
                line.arrive_holding(place);
            } else {
                line.arrive(place, entry.key.as_deref());
            }
        }
    }

    /// Gives out what can start, at most `most` jobs.
    pub(super) fn dispatch(&mut self, now: i64, most: usize) -> Vec<(u64, Lease)> {
        self.wake(now);
        let mut given = Vec::new();
        if now < self.quiet_until {
            return given;
        }
        for index in 0..self.lines.len() {
            while given.len() < most && self.lines[index].has_ready() {
                let Some(desk) = self.freest(index) else { break };
                let Some(seq) = self.lines[index].take(now) else { break };
                let lease = match self.ledger.lease(seq) {
                    Ok(Some(lease)) => lease,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::error!(target: "jobs", %error, seq, "cannot read a job");
                        let place = self.entries[&seq].place(seq);
                        self.lines[index].arrive_holding(place);
                        return given;
                    }
                };
                self.lines[index].leased += 1;
                if let Some(entry) = self.entries.get_mut(&seq) {
                    entry.phase = Phase::Leased(desk);
                    entry.progress = 0;
                }
                if let Some(d) = self.desks.get_mut(&desk) {
                    d.held.insert(seq);
                    d.wants.entry(index).or_default().1 += 1;
                }
                given.push((desk, lease));
            }
        }
        given
    }

    /// The connection with the most room for this line.
    fn freest(&self, line: usize) -> Option<u64> {
        let room = |desk: &Desk| desk.wants.get(&line).map_or(0, |(most, has)| most.saturating_sub(*has));
        let desks = self.desks.iter().map(|(id, desk)| (room(desk), *id));
        desks.filter(|(room, _)| *room > 0).max().map(|(_, id)| id)
    }

    /// A run has ended. That a job is done counts whoever says it; everything else is for who holds it to say.
    pub(super) fn end(&mut self, desk: u64, end: &End, now: i64) -> Result<()> {
        let Some(entry) = self.entries.get(&end.seq) else { return Ok(()) };
        let line = entry.line;
        let is_its = entry.phase == Phase::Leased(desk) && entry.attempt == end.attempt;
        if end.outcome != Outcome::Done && !is_its {
            return Ok(());
        }
        match &end.outcome {
            Outcome::Done => {
                self.lines[line].counts.done += 1;
                self.finish(end.seq, Stored::Done, now, None)
            }
            Outcome::Dead { error } => self.die(end.seq, now, error),
            Outcome::Retry { after_ms, error } => self.retry_later(end.seq, *after_ms, error, now),
            Outcome::Returned => {
                self.give_back(end.seq);
                Ok(())
            }
        }
    }

    fn retry_later(&mut self, seq: i64, after_ms: u64, error: &str, now: i64) -> Result<()> {
        self.unlease(seq);
        let Some(entry) = self.entries.get_mut(&seq) else { return Ok(()) };
        let line = &mut self.lines[entry.line];
        line.counts.retried += 1;
        entry.attempt = entry.attempt.saturating_add(1);
        entry.run_at = now.saturating_add_unsigned(after_ms);
        entry.phase = Phase::Delayed;
        entry.holds = line.holds_while_delayed(entry.key.as_deref());
        if !entry.holds {
            line.release(entry.key.as_deref());
        }
        self.delayed.insert((entry.run_at, seq));
        self.ledger.retry(seq, entry.run_at, entry.attempt, cut(error))
    }

    fn die(&mut self, seq: i64, now: i64, error: &str) -> Result<()> {
        let Some(line) = self.entries.get(&seq).map(|entry| entry.line) else { return Ok(()) };
        self.lines[line].counts.died += 1;
        self.finish(seq, Stored::Dead, now, Some(cut(error)))?;
        self.lines[line].dead += 1;
        while self.lines[line].dead > self.lines[line].spec.dead_max {
            let queue = self.lines[line].spec.name.clone();
            if !self.ledger.drop_dead(&queue)? {
                break;
            }
            self.lines[line].dead -= 1;
        }
        Ok(())
    }

    /// A live job is over, in whatever phase it is.
    fn finish(&mut self, seq: i64, state: Stored, now: i64, error: Option<&str>) -> Result<()> {
        self.ledger.end(seq, state, now, error)?;
        self.unlease(seq);
        let Some(entry) = self.entries.remove(&seq) else { return Ok(()) };
        let line = &mut self.lines[entry.line];
        line.live -= 1;
        line.bytes -= entry.bytes;
        let place = entry.place(seq);
        let had_place = match entry.phase {
            Phase::Delayed => {
                self.delayed.remove(&(entry.run_at, seq));
                entry.holds
            }
            Phase::Waiting => line.withdraw(place, entry.key.as_deref()),
            Phase::Leased(_) => true,
        };
        if had_place {
            line.release(entry.key.as_deref());
        }
        if state != Stored::Dead {
            self.ended += 1;
        }
        match entry.batch {
            Some(batch) => self.tick_batch(batch, state != Stored::Done, now),
            None => Ok(()),
        }
    }

    fn tick_batch(&mut self, batch: i64, failed: bool, now: i64) -> Result<()> {
        match self.ledger.tick_batch(batch, failed)? {
            Some(last) => self.keep(last.job, now, None).map(drop),
            None => Ok(()),
        }
    }

    /// Takes a job from whoever runs it.
    fn unlease(&mut self, seq: i64) {
        let Some(entry) = self.entries.get(&seq) else { return };
        let Phase::Leased(desk) = entry.phase else { return };
        self.lines[entry.line].leased -= 1;
        if let Some(desk) = self.desks.get_mut(&desk) {
            desk.held.remove(&seq);
            if let Some((_, has)) = desk.wants.get_mut(&entry.line) {
                *has = has.saturating_sub(1);
            }
        }
    }

    /// A job that was given out goes back to where it was.
    fn give_back(&mut self, seq: i64) {
        self.unlease(seq);
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        if matches!(entry.phase, Phase::Leased(_)) {
            entry.phase = Phase::Waiting;
            // It has its key's place, and the lowest number of those that wait for one.
            let place = entry.place(seq);
            self.lines[entry.line].arrive_holding(place);
        }
    }

    /// A connection has ended; `clean` when it said so. What it held goes back at once.
    pub(super) fn closed(&mut self, desk: u64, clean: bool, now: i64) -> Result<()> {
        let Some(gone) = self.desks.get(&desk) else { return Ok(()) };
        for seq in gone.held.clone() {
            if !clean && let Some(entry) = self.entries.get_mut(&seq) {
                entry.crashes += 1;
                let (crashes, line) = (entry.crashes, entry.line);
                self.lines[line].counts.crashed += 1;
                self.ledger.crashed(seq, crashes)?;
                if crashes >= self.lines[line].spec.crashes_max {
                    self.die(seq, now, &format!("its worker died {crashes} times while it ran"))?;
                    continue;
                }
            }
            self.give_back(seq);
        }
        self.desks.remove(&desk);
        Ok(())
    }

    /// Whether a connection runs jobs, or would.
    pub(super) fn has_workers(&self) -> bool {
        self.desks
            .values()
            .any(|desk| !desk.held.is_empty() || desk.wants.values().any(|(most, _)| *most > 0))
    }

    /// Whether a job runs.
    pub(super) fn has_leases(&self) -> bool {
        self.desks.values().any(|desk| !desk.held.is_empty())
    }

    pub(super) fn progress(&mut self, desk: u64, seq: i64, percent: u8) {
        if let Some(entry) = self.entries.get_mut(&seq).filter(|entry| entry.phase == Phase::Leased(desk)) {
            entry.progress = percent.min(100);
        }
    }

    /// What is to be told to connections that did not ask.
    pub(super) fn take_notices(&mut self) -> Vec<(u64, Reply)> {
        std::mem::take(&mut self.notices)
    }

    /// When something happens by itself.
    pub(super) fn next_time(&self, now: i64) -> Option<i64> {
        let delayed = self.delayed.first().map(|(run_at, _)| *run_at);
        let rates = self.lines.iter().filter_map(|line| line.next_start(now));
        let quiet = (now < self.quiet_until).then_some(self.quiet_until);
        delayed.into_iter().chain(rates).chain(quiet).min()
    }

    /// Forgets ended jobs that are old, or too many; a little at a time. Whether there is more to forget.
    pub(super) fn tidy(&mut self, now: i64) -> Result<bool> {
        let mut count = self.ledger.forget_ended(now - KEEP_MS, FORGET_MAX)?;
        let over = self.ended.saturating_sub(count as u64 + ENDED_MAX).min(FORGET_MAX.into());
        if over > 0 {
            count += self.ledger.forget_oldest(over)?;
        }
        self.ended = self.ended.saturating_sub(count as u64);
        Ok(count >= FORGET_MAX as usize)
    }

    /// Answers a person.
    pub(super) fn ask(&mut self, ask: &Ask, now: i64) -> Result<Reply> {
        Ok(Reply::Answer(match ask {
            Ask::Queues => self.describe(now),
            Ask::List { queue, state, limit } => {
                let stored = match state.as_str() {
                    "live" => Stored::Live,
                    "done" => Stored::Done,
                    "dead" => Stored::Dead,
                    "cancelled" => Stored::Cancelled,
                    other => {
                        return Ok(Reply::Refused(format!(
                            "unknown state {other:?}: expected live, done, dead or cancelled"
                        )));
                    }
                };
                let mut jobs = self.ledger.list(queue, stored, (*limit).min(1_000))?;
                jobs.iter_mut().for_each(|job| self.add_phase(job));
                Value::Array(jobs)
            }
            Ask::Job(id) => match self.ledger.show(id)? {
                Some(mut job) => {
                    self.add_phase(&mut job);
                    job
                }
                None => return Ok(unknown(id)),
            },
            Ask::Retry { id, queue } => return self.retry(id, queue, now),
            Ask::Cancel(id) => return self.cancel(id, now),
            Ask::Delete(id) => match self.ledger.find(id)? {
                Some((_, 0)) => return Ok(Reply::Refused(format!("job {id} is live: cancel it first"))),
                Some((seq, state)) => {
                    if state == Stored::Dead as i64
                        && let Some(job) = self.ledger.show(id)?
                    {
                        let line = self.line(job["queue"].as_str().unwrap_or_default());
                        self.lines[line].dead = self.lines[line].dead.saturating_sub(1);
                    }
                    self.ledger.delete(seq)?;
                    json!({ "deleted": 1 })
                }
                None => return Ok(unknown(id)),
            },
            Ask::Pause { queue, on } => return self.switch(queue, |switches| switches.paused = *on),
            Ask::Drain { queue, on } => return self.switch(queue, |switches| switches.draining = *on),
        }))
    }

    fn switch(&mut self, queue: &str, change: impl FnOnce(&mut Switches)) -> Result<Reply> {
        let Some(line) = self.by_name.get(queue).copied() else {
            return Ok(Reply::Refused(format!("there is no queue {queue:?}")));
        };
        change(&mut self.lines[line].switches);
        let switches = self.lines[line].switches;
        self.ledger.set_switches(queue, switches)?;
        Ok(Reply::Answer(json!({ "queue": queue, "paused": switches.paused, "draining": switches.draining })))
    }

    fn retry(&mut self, id: &str, queue: &str, now: i64) -> Result<Reply> {
        let dead = match id {
            "" => self.ledger.dead_of(queue)?,
            id => match self.ledger.find(id)? {
                Some((seq, state)) if state == Stored::Dead as i64 => vec![seq],
                Some(_) => return Ok(Reply::Refused(format!("job {id} is not dead"))),
                None => return Ok(unknown(id)),
            },
        };
        for seq in &dead {
            self.ledger.revive(*seq, now)?;
            if let Some(job) = self.ledger.load_one(*seq)? {
                let line = self.line(&job.queue);
                self.lines[line].dead = self.lines[line].dead.saturating_sub(1);
                self.admit(job);
            }
        }
        Ok(Reply::Answer(json!({ "retried": dead.len() })))
    }

    fn cancel(&mut self, id: &str, now: i64) -> Result<Reply> {
        let Some((seq, _)) = self.ledger.find(id)? else { return Ok(unknown(id)) };
        let Some(entry) = self.entries.get(&seq) else {
            return Ok(Reply::Refused(format!("job {id} has ended")));
        };
        let line = entry.line;
        if let Phase::Leased(desk) = entry.phase {
            self.notices.push((desk, Reply::Cancel(seq)));
        }
        self.lines[line].counts.cancelled += 1;
        self.finish(seq, Stored::Cancelled, now, Some("cancelled"))?;
        Ok(Reply::Answer(json!({ "cancelled": 1 })))
    }

    fn add_phase(&self, job: &mut Value) {
        let Some(entry) = job["seq"].as_i64().and_then(|seq| self.entries.get(&seq)) else { return };
        job["phase"] = match entry.phase {
            Phase::Delayed => "delayed",
            Phase::Waiting => "waiting",
            Phase::Leased(_) => "running",
        }
        .into();
        job["progress"] = entry.progress.into();
    }

    pub(super) fn describe(&self, now: i64) -> Value {
        let mut delayed = vec![0_u64; self.lines.len()];
        for (_, seq) in &self.delayed {
            if let Some(entry) = self.entries.get(seq) {
                delayed[entry.line] += 1;
            }
        }
        let queues = self.lines.iter().enumerate().map(|(index, line)| {
            let created = line.heads().into_iter().filter_map(|seq| Some(self.entries.get(&seq)?.created));
            json!({
                "name": line.spec.name,
                "live": line.live,
                "ready": line.ready_len(),
                "delayed": delayed[index],
                "blocked": line.blocked_len(),
                "running": line.leased,
                "dead": line.dead,
                "bytes": line.bytes,
                "capacity": line.spec.capacity,
                "bytes_max": line.spec.bytes_max,
                "oldest_ms": created.min().map_or(0, |created| (now - created).max(0)),
                "paused": line.switches.paused,
                "draining": line.switches.draining,
                "taken": line.counts.taken,
                "done": line.counts.done,
                "retried": line.counts.retried,
                "died": line.counts.died,
                "crashed": line.counts.crashed,
                "refused": line.counts.refused,
                "dropped": line.counts.dropped,
                "cancelled": line.counts.cancelled,
            })
        });
        json!({ "queues": queues.collect::<Vec<_>>(), "workers": self.desks.values().filter(|d| !d.wants.is_empty()).count() })
    }
}

impl Entry {
    fn place(&self, seq: i64) -> Place {
        (-i16::from(self.priority), seq)
    }
}

fn unknown(id: &str) -> Reply {
    Reply::Refused(format!("there is no job {id}"))
}

/// Errors are for people: their beginning is enough.
pub(super) fn cut(error: &str) -> &str {
    let mut end = error.len().min(2_000);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}

/// Why these cannot be jobs.
pub(super) fn refusal(jobs: &[NewJob], last: Option<&NewJob>) -> Option<String> {
    if jobs.is_empty() || jobs.len() > JOBS_MAX {
        return Some(format!("{} jobs at once: from 1 to {JOBS_MAX} are possible", jobs.len()));
    }
    for job in jobs.iter().chain(last) {
        let words = [("id", &job.id), ("queue", &job.queue), ("name", &job.name)];
        if let Some((what, _)) = words.iter().find(|(_, word)| word.is_empty() || word.len() > NAME_BYTES_MAX)
        {
            return Some(format!("a job's {what} has from 1 to {NAME_BYTES_MAX} bytes"));
        }
        let long = |word: &Option<String>| word.as_ref().is_some_and(|word| word.len() > NAME_BYTES_MAX);
        if long(&job.key) || long(&job.unique) {
            return Some(format!("a job's keys have at most {NAME_BYTES_MAX} bytes"));
        }
    }
    None
}
