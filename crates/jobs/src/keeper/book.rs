//! `Book`: what the keeper decides: who is taken in, who runs next, and what becomes of a job whose run has ended.
//!
//! In memory it has each live job (about 120 bytes; the payload stays in the file), and who runs it. It changes memory and
//! ledger together, within one turn of the keeper's loop; nobody is told anything before the ledger has committed. When that
//! fails, memory is made again from the file, which knows nothing of the turn: see [`Book::recover`].
//!
//! Knows no sockets: connections are numbers here.
//!
//! ```text
//!   intake.rs   taking jobs in: all of a request or none
//!   leases.rs   giving them out, and what becomes of a run
//!   asks.rs     what a person asks, and how he steps in
//! ```

mod asks;
mod intake;
mod leases;

use std::collections::{BTreeSet, HashMap};

use rusqlite::Result;

use super::ledger::{Ledger, Loaded};
use super::line::{Line, Place};
use crate::wire::{QueueSpec, Reply};

pub(super) use intake::refusal;

/// How long an ended job is kept, for its history and so that the same id is known again.
const KEEP_MS: i64 = 600_000;
/// Most ended jobs that are kept.
const ENDED_MAX: u64 = 500_000;
/// Jobs that are forgotten in one go: a turn must stay short.
const FORGET_MAX: u32 = 2_000;
/// Queues that there may be.
const QUEUES_MAX: usize = 1_000;

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
}

impl Entry {
    fn place(&self, seq: i64) -> Place {
        (-i16::from(self.priority), seq)
    }
}

/// Errors are for people: their beginning is enough.
pub(super) fn cut(error: &str) -> &str {
    let mut end = error.len().min(2_000);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}
