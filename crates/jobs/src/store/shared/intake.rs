//! Taking jobs in: all of a request or none.

use std::collections::BTreeMap;

use rusqlite::{Result, params};

use super::super::engine::{Answer, DELAY_MS_MAX, Firing, Row};
use super::Machine;
use crate::wire::{Enqueue, NewJob, Receipt};

impl Machine {
    /// Keeps jobs that came `age_ms` ago.
    pub(super) fn enqueue(&mut self, enqueue: &Enqueue, age_ms: u64, now: i64) -> Result<Answer> {
        if let Some(queue) = self.short_of_room(enqueue, now)? {
            return Ok(Answer::Full(queue));
        }
        let batch = match &enqueue.last {
            Some(last) if !self.knows(&enqueue.jobs[0].id)? => {
                let (left, text) =
                    (enqueue.jobs.len() as i64, serde_json::to_string(last).unwrap_or_default());
                let sql = "insert into batch (left, failed, last) values (?, 0, ?)";
                self.table.write(sql, params![left, text])?;
                Some(self.table.last_number())
            }
            _ => None,
        };
        let created = now.saturating_sub_unsigned(age_ms);
        let mut receipts = Vec::with_capacity(enqueue.jobs.len());
        for job in &enqueue.jobs {
            receipts.push(self.keep(job, created, batch, now)?);
        }
        if let Some(batch) = batch {
            // Jobs that were there already are none of this batch.
            for _ in receipts.iter().filter(|receipt| receipt.known) {
                self.tick_batch(batch, false, now)?;
            }
        }
        Ok(Answer::Kept(receipts))
    }

    fn knows(&self, id: &str) -> Result<bool> {
        Ok(self.table.read("select 1 from job where id = ?", params![id], |_| Ok(()))?.is_some())
    }

    /// The queue that has no room for what is new of these jobs; makes room where the queue's rule is to drop.
    fn short_of_room(&mut self, enqueue: &Enqueue, now: i64) -> Result<Option<String>> {
        let mut news: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for job in enqueue.jobs.iter().chain(&enqueue.last) {
            let new = news.entry(&job.queue).or_default();
            new.0 += 1;
            new.1 += job.payload.len() as u64;
        }
        for (queue, new) in news {
            let spec = self.spec(queue)?;
            let sql = "select draining from queue where name = ?";
            let draining: bool = self.table.read(sql, params![queue], |row| row.get(0))?.unwrap_or(false);
            if !draining && self.has_room(queue, new, (spec.capacity, spec.bytes_max))? {
                continue;
            }
            // A job that comes again needs no room: looked at only here, where it matters.
            let mut known = true;
            for job in enqueue.jobs.iter().filter(|job| job.queue == queue) {
                known &= self.knows(&job.id)?;
            }
            if known {
                continue;
            }
            let bounds = (spec.capacity, spec.bytes_max);
            if spec.drop_oldest && !draining && new.0 <= bounds.0 && new.1 <= bounds.1 {
                self.make_room(queue, new, bounds, now)?;
            }
            if draining || !self.has_room(queue, new, bounds)? {
                *self.refused.entry(queue.into()).or_default() += new.0;
                return Ok(Some(queue.into()));
            }
        }
        Ok(None)
    }

    fn has_room(&self, queue: &str, new: (u64, u64), bounds: (u64, u64)) -> Result<bool> {
        let sql = "select live, bytes from queue where name = ?";
        let has =
            self.table.read(sql, params![queue], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let (live, bytes) = has.unwrap_or((0, 0));
        Ok(live.unsigned_abs() + new.0 <= bounds.0 && bytes.unsigned_abs() + new.1 <= bounds.1)
    }

    /// The lowest number that does not run is the oldest.
    fn make_room(&mut self, queue: &str, new: (u64, u64), bounds: (u64, u64), now: i64) -> Result<()> {
        while !self.has_room(queue, new, bounds)? {
            let sql = "select seq from job where state = 0 and queue = ? and phase <> 'leased' order by seq limit 1";
            let oldest: Option<i64> = self.table.read(sql, params![queue], |row| row.get(0))?;
            let Some(job) = oldest.map(|seq| self.load(seq)).transpose()?.flatten() else { return Ok(()) };
            self.table.write("update queue set dropped = dropped + 1 where name = ?", params![queue])?;
            self.finish(&job, 3, Some("dropped: the queue was full"), now)?;
        }
        Ok(())
    }

    fn keep(&mut self, job: &NewJob, created: i64, batch: Option<i64>, now: i64) -> Result<Receipt> {
        if self.knows(&job.id)? {
            return Ok(Receipt { id: job.id.clone(), known: true });
        }
        if let Some(word) = &job.unique {
            let sql = "select id from uniq where queue = ? and word = ? and until > ?";
            let holder: Option<String> =
                self.table.read(sql, params![job.queue, word, now], |row| row.get(0))?;
            if let Some(id) = holder {
                return Ok(Receipt { id, known: true });
            }
            let sql = "insert or replace into uniq (queue, word, id, until) values (?, ?, ?, ?)";
            self.table.write(sql, params![job.queue, word, job.id, i64::MAX])?;
        }
        self.spec(&job.queue)?;
        let run_at = created.saturating_add_unsigned(job.delay_ms.min(DELAY_MS_MAX));
        let until =
            job.unique.as_ref().map(|_| created.saturating_add_unsigned(job.unique_ms.min(DELAY_MS_MAX)));
        let bytes = job.payload.len() as i64;
        let sql = "insert into job (id, queue, name, payload, bytes, state, phase, run_at, priority, key, batch, created, \
                   word, until) values (?, ?, ?, ?, ?, 0, 'delayed', ?, ?, ?, ?, ?, ?, ?)";
        self.table.write(
            sql,
            params![
                job.id,
                job.queue,
                job.name,
                job.payload,
                bytes,
                run_at,
                job.priority,
                job.key,
                batch,
                created,
                job.unique,
                until
            ],
        )?;
        let seq = self.table.last_number();
        let sql = "update queue set live = live + 1, bytes = bytes + ?, taken = taken + 1 where name = ?";
        self.table.write(sql, params![bytes, job.queue])?;
        if run_at <= now
            && let Some(loaded) = self.load(seq)?
        {
            self.arrive(&loaded)?;
        }
        Ok(Receipt { id: job.id.clone(), known: false })
    }

    /// One job of a batch has ended for good; the last one's turn, if it was the last but one.
    pub(super) fn tick_batch(&mut self, batch: i64, failed: bool, now: i64) -> Result<()> {
        let sql = "update batch set left = left - 1, failed = failed + ? where batch = ? and left > 0";
        self.table.write(sql, params![failed, batch])?;
        let sql = "select last from batch where batch = ? and left = 0";
        let last: Option<String> = self.table.read(sql, params![batch], |row| row.get(0))?;
        let Some(last) = last else { return Ok(()) };
        self.table.write("delete from batch where batch = ?", params![batch])?;
        match serde_json::from_str::<NewJob>(&last) {
            Ok(job) => self.keep(&job, now, None, now).map(drop),
            Err(_) => Ok(()),
        }
    }

    /// What a spool has kept meanwhile, in its order. A queue that has no room for one of them gets none of those behind it.
    pub(super) fn forward(&mut self, rows: &[Row], now: i64) -> Result<Answer> {
        let mut full: Vec<String> = Vec::new();
        let mut taken = Vec::with_capacity(rows.len());
        for row in rows {
            let all = || row.enqueue.jobs.iter().chain(&row.enqueue.last);
            let is_behind = all().any(|job| full.contains(&job.queue));
            let is_taken =
                !is_behind && matches!(self.enqueue(&row.enqueue, row.age_ms, now)?, Answer::Kept(_));
            if !is_taken {
                full.extend(all().map(|job| job.queue.clone()));
            }
            taken.push(is_taken);
        }
        Ok(Answer::Forwarded(taken))
    }

    /// One firing of a schedule, for the whole service: whoever comes first.
    pub(super) fn fire(&mut self, firing: &Firing, now: i64) -> Result<Answer> {
        let sql = "insert into schedule (name, last) values (?1, ?2) on conflict do update set last = ?2 where last < ?2";
        let mut answer = Answer::Done;
        if self.table.write(sql, params![firing.name, firing.last])? > 0 {
            for enqueue in &firing.jobs {
                if let full @ Answer::Full(_) = self.enqueue(enqueue, 0, now)? {
                    answer = full;
                }
            }
        }
        Ok(answer)
    }
}
