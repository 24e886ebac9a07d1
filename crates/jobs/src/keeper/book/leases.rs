//! Giving jobs out to connections, and what becomes of one whose run has ended.

use rusqlite::Result;

use super::super::ledger::Stored;
use super::{Book, Desk, Phase, QUEUES_MAX, cut};
use crate::history;
use crate::wire::{End, Lease, Outcome, Want};

/// Jobs that one connection may hold of one queue.
const WANT_MAX: u32 = 10_000;

impl Book {
    /// What a connection takes at a time; a word of 0 ends it.
    pub(in crate::keeper) fn want(&mut self, desk: u64, wants: Vec<Want>) {
        for want in wants.into_iter().take(QUEUES_MAX) {
            let line = self.line(&want.queue);
            let desk = self.desks.entry(desk).or_default();
            desk.wants.entry(line).or_default().0 = want.at_once.min(WANT_MAX);
        }
    }

    /// A connection runs these jobs already.
    pub(in crate::keeper) fn hold(&mut self, desk: u64, held: &[i64]) {
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
    pub(in crate::keeper) fn dispatch(&mut self, now: i64, most: usize) -> Vec<(u64, Lease)> {
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
    pub(in crate::keeper) fn end(&mut self, desk: u64, end: &End, now: i64) -> Result<()> {
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
        self.ledger.retry(seq, entry.run_at, entry.attempt, cut(error))?;
        self.ledger.remember(seq, now, error)
    }

    fn die(&mut self, seq: i64, now: i64, error: &str) -> Result<()> {
        let Some(line) = self.entries.get(&seq).map(|entry| entry.line) else { return Ok(()) };
        self.lines[line].counts.died += 1;
        self.ledger.remember(seq, now, error)?;
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
    pub(super) fn finish(&mut self, seq: i64, state: Stored, now: i64, error: Option<&str>) -> Result<()> {
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

    pub(super) fn tick_batch(&mut self, batch: i64, failed: bool, now: i64) -> Result<()> {
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
    pub(in crate::keeper) fn closed(&mut self, desk: u64, clean: bool, now: i64) -> Result<()> {
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
                self.ledger.remember(seq, now, history::WORKER_DIED)?;
            }
            self.give_back(seq);
        }
        self.desks.remove(&desk);
        Ok(())
    }
}
