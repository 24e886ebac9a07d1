//! What a person asks, and how he steps in.

use rusqlite::Result;
use serde_json::{Value, json};

use super::super::ledger::{Stored, Switches};
use super::{Book, Phase};
use crate::wire::{Ask, Reply};
use crate::{history, shown};

impl Book {
    /// Answers a person.
    pub(in crate::keeper) fn ask(&mut self, ask: &Ask, now: i64) -> Result<Reply> {
        Ok(Reply::Answer(match ask {
            Ask::Queues => self.describe(now),
            Ask::List { queue, state, limit } => {
                let Some(stored) = shown::state(state) else {
                    return Ok(Reply::Refused(shown::no_state(state)));
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
                Some((_, state)) if state == Stored::Live as i64 => {
                    return Ok(Reply::Refused(format!("job {id} is live: cancel it first")));
                }
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
            self.ledger.remember(*seq, now, history::AGAIN)?;
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

    pub(in crate::keeper) fn describe(&self, now: i64) -> Value {
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

fn unknown(id: &str) -> Reply {
    Reply::Refused(format!("there is no job {id}"))
}
