//! `Embedded`: the keeper of a file, which decides everything itself.
//!
//! ```text
//!   loop, one thread:  poll ─► read every socket ─► book + ledger ─► commit, on disk ─► answers ─► leases
//!                                                                      │
//!                        what arrives meanwhile waits in the sockets ◄─┘ and shares the next commit
//! ```
//!
//! So a commit is never waited for by a timer, and grows by itself when there is much to do. A worker that dies is an end of
//! file here, and its jobs go back in the same turn. There is no second thread, because there is nothing that it could do
//! while the disk is busy: nobody may be told anything before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tenfold_server::supervisor::{Worker, set_title};

use super::book::Book;
use super::facts::Facts;
use super::front::Front;
use super::ledger::Ledger;
use super::schedule::Schedules;
use super::{Left, QUIET_MS, make_file, now_ms};
use crate::wire::{Lease, Reply, Request};

/// Jobs that are given out in one turn.
const DISPATCH_MAX: usize = 1_024;
/// How often ended jobs are looked through.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How often a keeper that leaves looks whether its workers are gone.
const LEAVE_LOOK: Duration = Duration::from_millis(100);
/// Rest after a turn that failed: whoever asks has been told, and what is left can wait.
const FAILED_REST: Duration = Duration::from_millis(100);
/// Longest wait of the loop.
const WAIT_MAX: Duration = Duration::from_secs(1);

pub(super) struct Embedded<'a> {
    front: Front<'a>,
    book: Book,
    schedules: Schedules,
    /// Connections that have ended, until the file knows.
    ended: Vec<(u64, bool)>,
    /// What was said in turns that failed and is heard only once: rules, wants and what is held.
    unheard: Vec<(u64, Request)>,
    /// Why the last turn could not write.
    failing: Option<String>,
    next_tidy: Instant,
    facts: Facts,
    yielded: bool,
}

impl<'a> Embedded<'a> {
    pub(super) fn open(file: &Path, worker: &'a Worker) -> Result<Embedded<'a>, String> {
        make_file(file)?;
        let text = |error: rusqlite::Error| format!("cannot use the file: {error}");
        let mut ledger = Ledger::open(file).map_err(text)?;
        let was_clean = ledger.fact::<i64>("clean").map_err(text)? != Some(0);
        ledger.set_fact("clean", 0).and_then(|()| ledger.commit()).map_err(text)?;
        let quiet_until = if was_clean { 0 } else { now_ms() + QUIET_MS };
        let book = Book::open(ledger, quiet_until).map_err(text)?;
        let front = Front::open(file, worker)?;
        set_title(&format!("keeper gen {}", worker.generation()));
        let mut keeper = Embedded {
            front,
            book,
            schedules: Schedules::default(),
            ended: Vec::new(),
            unheard: Vec::new(),
            failing: None,
            next_tidy: Instant::now() + TIDY_EVERY,
            facts: Facts::default(),
            yielded: false,
        };
        // Who asks the master as soon as it serves finds the keeper.
        keeper.tell();
        worker.ready();
        Ok(keeper)
    }

    pub(super) fn run(mut self) -> Result<Left, String> {
        loop {
            self.front.wait(self.patience(), None)?;
            if self.front.obey_orders() {
                return self.close().map(|()| Left::Stopped);
            }
            self.turn()?;
            if self.facts.is_due() {
                self.tell();
            }
            if self.front.may_leave(!self.yielded && self.book.has_workers()) {
                return self.close().map(|()| Left::Stopped);
            }
            if self.yielded {
                return self.close().map(|()| Left::Yielded);
            }
        }
    }

    /// Until when there is nothing to do unless somebody says something.
    fn patience(&self) -> Duration {
        if self.failing.is_some() {
            return FAILED_REST;
        }
        if self.front.is_leaving() {
            return LEAVE_LOOK;
        }
        let now = now_ms();
        let times = self.book.next_time(now).into_iter().chain(self.schedules.next_time());
        let next = times.min().map(|at| Duration::from_millis(at.saturating_sub(now).max(0).unsigned_abs()));
        next.unwrap_or(WAIT_MAX)
    }

    /// Everything that has come is one transaction.
    fn turn(&mut self) -> Result<(), String> {
        let mut requests = std::mem::take(&mut self.unheard);
        requests.append(&mut self.front.read(&mut self.ended));
        let mut heard = Heard::of(&requests);
        let now = now_ms();
        match self.write(requests, &mut heard, now) {
            Ok(mut replies) => {
                self.ended.clear();
                self.failing = None;
                self.schedules.settle();
                replies.append(&mut self.book.take_notices());
                for (id, reply) in replies {
                    self.front.say(id, &reply);
                }
            }
            Err(error) => self.fail(&error, heard)?,
        }
        self.dispatch(now);
        self.front.flush();
        Ok(())
    }

    /// On disk when it returns, or the kernel's where nobody wants more.
    fn write(
        &mut self,
        requests: Vec<(u64, Request)>,
        heard: &mut Heard,
        now: i64,
    ) -> rusqlite::Result<Vec<(u64, Reply)>> {
        self.book.ledger.synchronise(heard.wants_disk)?;
        let replies = self.apply(requests, now)?;
        // Of what is refused nothing is written: it has no reason to wait for the disk. Answers of one client keep their order.
        let (refusals, replies): (Vec<_>, Vec<_>) = replies.into_iter().partition(|(id, reply)| {
            matches!(reply, Reply::Full { .. } | Reply::Refused(_)) && heard.askers.get(id) == Some(&1)
        });
        for (id, reply) in refusals {
            heard.askers.remove(&id);
            self.front.say(id, &reply);
        }
        self.front.flush();
        self.book.ledger.commit()?;
        Ok(replies)
    }

    /// Nothing of a turn has happened: who asked is told so, and memory is made again from the file.
    fn fail(&mut self, error: &rusqlite::Error, heard: Heard) -> Result<(), String> {
        let reason = format!("the store cannot be written: {error}");
        if self.failing.as_ref() != Some(&reason) {
            tracing::error!(target: "jobs", reason, "nothing of this turn is kept");
        }
        self.book.recover().map_err(|again| format!("{error}; and then: {again}"))?;
        self.schedules.forget();
        // Whoever ran it tells its end again: nobody else may run it meanwhile.
        heard.ends.iter().for_each(|(id, seqs)| self.book.hold(*id, seqs));
        // Bounded by the clients that there are: each says them once.
        self.unheard = heard.facts;
        self.unheard.retain(|(id, _)| !self.ended.iter().any(|(ended, _)| ended == id));
        for (id, count) in heard.askers {
            (0..count).for_each(|_| self.front.say(id, &Reply::Failed(reason.clone())));
        }
        self.failing = Some(reason);
        Ok(())
    }

    fn apply(&mut self, requests: Vec<(u64, Request)>, now: i64) -> rusqlite::Result<Vec<(u64, Reply)>> {
        let mut replies = Vec::new();
        for (id, request) in requests {
            let reply = match request {
                Request::Hello(hello) => {
                    self.book.define(hello.queues);
                    self.book.hold(id, &hello.held);
                    let ledger = &self.book.ledger;
                    self.schedules.define(hello.schedules, now, |name| ledger.fired(name))?;
                    None
                }
                Request::Enqueue(enqueue) => Some(self.book.enqueue(enqueue, now)?),
                Request::Want(wants) => {
                    self.book.want(id, wants);
                    None
                }
                Request::Ended(ends) => {
                    for end in &ends {
                        self.book.end(id, end, now)?;
                    }
                    Some(Reply::Settled(ends.iter().map(|end| end.seq).collect()))
                }
                Request::Progress { seq, percent } => {
                    self.book.progress(id, seq, percent);
                    None
                }
                Request::Bye => None,
                Request::Yield { generation } => {
                    self.yielded |= self.front.is_leaving() || generation > self.front.worker.generation();
                    None
                }
                Request::Ask(ask) => Some(self.book.ask(&ask, now)?),
            };
            replies.extend(reply.map(|reply| (id, reply)));
        }
        for (id, clean) in self.ended.clone() {
            self.book.closed(id, clean, now)?;
        }
        self.fire(now)?;
        if Instant::now() >= self.next_tidy {
            let more = self.book.tidy(now)?;
            self.next_tidy = Instant::now() + if more { Duration::from_millis(50) } else { TIDY_EVERY };
        }
        Ok(replies)
    }

    /// Makes the jobs of schedules whose time has come.
    fn fire(&mut self, now: i64) -> rusqlite::Result<()> {
        for firing in self.schedules.due(now) {
            self.book.ledger.set_fired(&firing.name, firing.last)?;
            for job in firing.jobs {
                if let Reply::Full { queue } = self.book.enqueue(job, now)? {
                    tracing::warn!(target: "jobs", queue, "a scheduled job has no room in its queue");
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self) {
        let jobs = self.book.describe(now_ms());
        self.facts.tell(self.front.worker, &self.front.socket, jobs);
    }

    /// Gives jobs to whoever takes them: only reads the file, so there is nothing to commit.
    fn dispatch(&mut self, now: i64) {
        let mut work: Vec<(u64, Vec<Lease>)> = Vec::new();
        for (id, lease) in self.book.dispatch(now, DISPATCH_MAX) {
            match work.iter_mut().find(|(desk, _)| *desk == id) {
                Some((_, leases)) => leases.push(lease),
                None => work.push((id, vec![lease])),
            }
        }
        for (id, leases) in work {
            self.front.say(id, &Reply::Work(leases));
        }
    }

    /// Ends in good order.
    fn close(mut self) -> Result<(), String> {
        self.front.close();
        let is_clean = !self.book.has_leases();
        let ledger = &mut self.book.ledger;
        ledger
            .set_fact("clean", i64::from(is_clean))
            .and_then(|()| ledger.commit())
            .map(drop)
            .map_err(|error| format!("cannot close the file: {error}"))
    }
}

/// What is to be known of a turn's requests: what they want of the disk, and what is to be done if it fails.
#[derive(Default)]
struct Heard {
    /// Somebody is told that something is on disk.
    wants_disk: bool,
    /// Who waits for answers, and for how many.
    askers: BTreeMap<u64, u32>,
    /// Whose jobs have ended.
    ends: Vec<(u64, Vec<i64>)>,
    /// What is said only once.
    facts: Vec<(u64, Request)>,
}

impl Heard {
    /// Its answer is waited for.
    fn ask(&mut self, id: u64) {
        *self.askers.entry(id).or_default() += 1;
    }

    fn of(requests: &[(u64, Request)]) -> Heard {
        let mut heard = Heard::default();
        for (id, request) in requests {
            match request {
                Request::Enqueue(enqueue) => {
                    heard.ask(*id);
                    heard.wants_disk |= enqueue.jobs.iter().chain(&enqueue.last).any(|job| !job.process);
                }
                Request::Ask(_) => {
                    heard.ask(*id);
                    heard.wants_disk = true;
                }
                Request::Ended(ends) => {
                    heard.ask(*id);
                    heard.wants_disk = true;
                    heard.ends.push((*id, ends.iter().map(|end| end.seq).collect()));
                }
                Request::Hello(_) | Request::Want(_) | Request::Yield { .. } => {
                    heard.facts.push((*id, request.clone()));
                }
                Request::Progress { .. } | Request::Bye => {}
            }
        }
        heard
    }
}
