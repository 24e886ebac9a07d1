//! Giving jobs out, and what becomes of them.

use std::time::{Duration, Instant};

use rusqlite::{Result, params};

use super::super::engine::{Answer, ENDED_MAX, KEEP_MS};
use super::Machine;
use crate::wire::{End, Lease, Outcome, Want};

/// The longest until it is worth asking again.
const WAIT_MS_MAX: i64 = 1_000;
/// Ended jobs that are forgotten at once.
const FORGET_MAX: i64 = 1_000;

impl Machine {
    /// A keeper comes, or comes back: what it runs it keeps, everything else of its goes back. Those that it must not go on with.
    pub(super) fn open(&mut self, held: &[i64]) -> Result<Answer> {
        let sql = "insert into keeper (name, session, beats, workers) values (?1, ?2, 0, 0) \
                   on conflict do update set session = ?2, beats = beats + 1";
        self.table.write(sql, params![self.keeper, self.session])?;
        for seq in self.leases_of(&self.keeper.clone())? {
            if !held.contains(&seq) {
                self.give_back(seq)?;
            }
        }
        let mut lost = Vec::new();
        for seq in held {
            match self.load(*seq)? {
                Some(job) if job.state == 0 && job.phase.as_deref() != Some("leased") => {
                    // A job that waits behind its key can run nevertheless: it does, and takes no place.
                    let sql = "update job set phase = 'leased', keeper = ? where seq = ?";
                    self.table.write(sql, params![self.keeper, seq])?;
                }
                Some(job) if job.state == 0 && job.keeper.as_ref() == Some(&self.keeper) => {}
                _ => lost.push(*seq),
            }
        }
        Ok(Answer::Lost(lost))
    }

    /// A keeper ends in good order.
    pub(super) fn close(&mut self) -> Result<Answer> {
        self.table.write("delete from keeper where name = ?", params![self.keeper])?;
        Ok(Answer::Done)
    }

    fn leases_of(&self, keeper: &str) -> Result<Vec<i64>> {
        let sql = "select seq from job where phase = 'leased' and keeper = ? order by seq";
        self.table.read_all(sql, params![keeper], |row| row.get(0))
    }

    pub(super) fn take_all(&mut self, wants: &[Want], now: i64) -> Result<Answer> {
        self.wake(now)?;
        let (mut leases, mut wait) = (Vec::new(), WAIT_MS_MAX);
        for want in wants {
            if let Some(next_start) = self.take(want, now, &mut leases)? {
                wait = wait.min(next_start);
            }
        }
        let sql = "select min(run_at) from job where phase = 'delayed'";
        let due: Option<i64> = self.table.read(sql, params![], |row| row.get(0))?.flatten();
        let wait = due.map_or(wait, |due| wait.min(due - now)).max(0);
        Ok(Answer::Taken { leases, wait_ms: wait.unsigned_abs() })
    }

    /// Takes jobs of one queue; when its rate allows the next start, if something waits for that.
    fn take(&mut self, want: &Want, now: i64, leases: &mut Vec<Lease>) -> Result<Option<i64>> {
        let spec = self.spec(&want.queue)?;
        let sql = "select paused, tokens, filled from queue where name = ?";
        let row =
            self.table.read(sql, params![want.queue], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (paused, tokens, filled): (bool, f64, i64) = row.unwrap_or_default();
        if paused {
            return Ok(None);
        }
        let tokens = spec.rate.map(|rate| {
            let passed = (now - filled).max(0) as f64 / 1000.0;
            (tokens + passed * rate).min(rate.max(1.0))
        });
        let most = tokens.map_or(want.at_once, |tokens| want.at_once.min(tokens as u32));
        let sql = "select seq, id, name, payload, attempt, created from job where phase = 'ready' and queue = ? \
                   order by priority desc, seq limit ?";
        let taken: Vec<Lease> = self.table.read_all(sql, params![want.queue, most], |row| {
            Ok(Lease {
                seq: row.get(0)?,
                id: row.get(1)?,
                queue: want.queue.clone(),
                name: row.get(2)?,
                payload: row.get(3)?,
                attempt: row.get(4)?,
                created_ms: row.get(5)?,
            })
        })?;
        for lease in &taken {
            let sql = "update job set phase = 'leased', keeper = ? where seq = ?";
            self.table.write(sql, params![self.keeper, lease.seq])?;
        }
        let count = taken.len();
        leases.extend(taken);
        let (Some(tokens), Some(rate)) = (tokens, spec.rate) else { return Ok(None) };
        let left = tokens - count as f64;
        if count > 0 {
            let sql = "update queue set tokens = ?, filled = ? where name = ?";
            self.table.write(sql, params![left, now, want.queue])?;
        }
        let sql = "select 1 from job where phase = 'ready' and queue = ? limit 1";
        let more = self.table.read(sql, params![want.queue], |_| Ok(()))?.is_some();
        Ok((more && left < 1.0).then(|| ((1.0 - left) / rate * 1000.0).ceil() as i64))
    }

    /// Runs have ended. That a job is done counts whoever says it; everything else is for who holds it to say.
    pub(super) fn settle(&mut self, ends: &[End], now: i64) -> Result<Answer> {
        for end in ends {
            let Some(job) = self.load(end.seq)?.filter(|job| job.state == 0) else { continue };
            let is_its = job.phase.as_deref() == Some("leased")
                && job.keeper.as_ref() == Some(&self.keeper)
                && job.attempt == end.attempt;
            match &end.outcome {
                Outcome::Done => {
                    self.table
                        .write("update queue set done = done + 1 where name = ?", params![job.queue])?;
                    self.finish(&job, 1, None, now)?;
                }
                _ if !is_its => {}
                Outcome::Returned => self.give_back(end.seq)?,
                Outcome::Dead { error } => self.die(&job, error, now)?,
                Outcome::Retry { after_ms, error } => {
                    let sql = "update queue set retried = retried + 1 where name = ?";
                    self.table.write(sql, params![job.queue])?;
                    let run_at = now.saturating_add_unsigned(*after_ms);
                    let sql = "update job set phase = 'delayed', keeper = null, run_at = ?, attempt = attempt + 1, \
                               error = ? where seq = ?";
                    self.table.write(sql, params![run_at, error, end.seq])?;
                    self.remember(end.seq, error, now)?;
                    // In an ordered queue it keeps its key's place, so that the others of its key stay behind it.
                    if !self.spec(&job.queue)?.ordered {
                        self.release(&job)?;
                    }
                }
            }
        }
        Ok(Answer::Done)
    }

    /// The workers of these jobs have ended; `died` when not in good order.
    pub(super) fn unlease(&mut self, seqs: &[i64], died: bool, now: i64) -> Result<Answer> {
        for seq in seqs {
            let job = self.load(*seq)?.filter(|job| job.phase.as_deref() == Some("leased"));
            match job.filter(|job| job.keeper.as_ref() == Some(&self.keeper)) {
                Some(job) if died => self.crash(&job, now)?,
                Some(job) => self.give_back(job.seq)?,
                None => {}
            }
        }
        Ok(Answer::Done)
    }

    /// This keeper is alive. Looks after those that are not; which of `held` are no longer this keeper's.
    ///
    /// A keeper is dead that has not counted a beat for as long as a lease, by this machine's own clock and while this machine was
    /// there to see it: clocks need not agree, and an engine that was away kills nobody.
    pub(super) fn beat(&mut self, held: &[i64], workers: u32, now: i64) -> Result<Answer> {
        let due = self.beat_at.is_none_or(|at| at.elapsed() >= self.lease / 5);
        let sql =
            "update keeper set beats = beats + 1, workers = ?1 where name = ?2 and (?3 or workers <> ?1)";
        if self.table.write(sql, params![workers, self.keeper, due])? > 0 {
            self.beat_at = Some(Instant::now());
        }
        let mut lost = Vec::new();
        for seq in held {
            let sql = "select 1 from job where seq = ? and phase = 'leased' and keeper = ?";
            if self.table.read(sql, params![seq, self.keeper], |_| Ok(()))?.is_none() {
                lost.push(*seq);
            }
        }
        let sql = "select name, beats from keeper where name <> ? order by name";
        let others: Vec<(String, i64)> =
            self.table.read_all(sql, params![self.keeper], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (name, beats) in others {
            let seen = self.seen.entry(name.clone()).or_insert((beats, Instant::now()));
            if seen.0 != beats {
                *seen = (beats, Instant::now());
            } else if seen.1.elapsed() > self.lease {
                self.bury(&name, now)?;
            }
        }
        self.tidy(now)?;
        Ok(Answer::Lost(lost))
    }

    fn bury(&mut self, keeper: &str, now: i64) -> Result<()> {
        tracing::warn!(target: "jobs", keeper, "a machine is gone: its jobs run elsewhere");
        for seq in self.leases_of(keeper)? {
            if let Some(job) = self.load(seq)? {
                self.crash(&job, now)?;
            }
        }
        self.table.write("delete from keeper where name = ?", params![keeper]).map(drop)
    }

    /// Forgets ended jobs that are old, or too many; a little at a time, and now and then.
    fn tidy(&mut self, now: i64) -> Result<()> {
        if self.tidied_at.is_some_and(|at| at.elapsed() < Duration::from_secs(10)) {
            return Ok(());
        }
        self.tidied_at = Some(Instant::now());
        let before = now.saturating_sub_unsigned(KEEP_MS);
        let sql = "delete from job where seq in (select seq from job where (state = 1 or state = 3) and ended < ? \
                   order by ended, seq limit ?)";
        self.table.write(sql, params![before, FORGET_MAX])?;
        let sql = "delete from job where seq in (select seq from job where state = 1 or state = 3 \
                   order by ended desc, seq desc limit ? offset ?)";
        self.table.write(sql, params![FORGET_MAX, ENDED_MAX as i64])?;
        self.table.write("delete from uniq where until <= ?", params![now]).map(drop)
    }
}
