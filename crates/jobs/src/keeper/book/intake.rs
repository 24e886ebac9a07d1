//! Taking jobs in: all of a request or none.

use std::collections::HashMap;

use rusqlite::Result;

use super::super::ledger::{Loaded, Stored};
use super::{Book, Entry, Phase};
use crate::wire::{Enqueue, JOBS_MAX, NAME_BYTES_MAX, NewJob, Receipt, Reply};

impl Book {
    /// Keeps jobs, all or none.
    pub(in crate::keeper) fn enqueue(&mut self, enqueue: Enqueue, now: i64) -> Result<Reply> {
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

    pub(super) fn keep(&mut self, job: NewJob, now: i64, batch: Option<i64>) -> Result<Receipt> {
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
}

/// Why these cannot be jobs.
pub(in crate::keeper) fn refusal(jobs: &[NewJob], last: Option<&NewJob>) -> Option<String> {
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
