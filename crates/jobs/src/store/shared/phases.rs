//! The ways of a job between its phases, on a [`Table`]: each is called within one transaction, so nobody sees a job between two
//! of them.

use rusqlite::{Result, Row, params};

use super::Machine;
use crate::history;
use crate::wire::QueueSpec;

/// Jobs whose time has come that are moved at once.
const WAKE_MAX: i64 = 1_000;

/// What the ways below need of a job.
pub(super) struct Job {
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) queue: String,
    pub(super) state: i64,
    pub(super) phase: Option<String>,
    pub(super) key: Option<String>,
    pub(super) slot: bool,
    pub(super) keeper: Option<String>,
    pub(super) batch: Option<i64>,
    pub(super) attempt: u32,
    pub(super) bytes: i64,
    pub(super) word: Option<String>,
    pub(super) until: Option<i64>,
}

fn job(row: &Row<'_>) -> Result<Job> {
    Ok(Job {
        seq: row.get(0)?,
        id: row.get(1)?,
        queue: row.get(2)?,
        state: row.get(3)?,
        phase: row.get(4)?,
        key: row.get(5)?,
        slot: row.get(6)?,
        keeper: row.get(7)?,
        batch: row.get(8)?,
        attempt: row.get(9)?,
        bytes: row.get(10)?,
        word: row.get(11)?,
        until: row.get(12)?,
    })
}

/// Most jobs of one key at a time, where there is such a bound.
fn bound(spec: &QueueSpec) -> Option<u32> {
    if spec.ordered { Some(1) } else { spec.per_key.filter(|bound| *bound > 0) }
}

impl Machine {
    pub(super) fn load(&self, seq: i64) -> Result<Option<Job>> {
        let sql = "select seq, id, queue, state, phase, key, slot, keeper, batch, attempt, bytes, word, until \
                   from job where seq = ?";
        self.table.read(sql, params![seq], job)
    }

    /// The rules of a queue; one that nobody has described has the defaults.
    pub(super) fn spec(&mut self, queue: &str) -> Result<QueueSpec> {
        let text: Option<String> =
            self.table.read("select spec from queue where name = ?", params![queue], |row| row.get(0))?;
        if let Some(spec) = text.and_then(|text| serde_json::from_str(&text).ok()) {
            return Ok(spec);
        }
        let spec = QueueSpec { name: queue.into(), ..QueueSpec::default() };
        self.set_spec(&spec)?;
        Ok(spec)
    }

    fn set_spec(&mut self, spec: &QueueSpec) -> Result<()> {
        let text = serde_json::to_string(spec).unwrap_or_default();
        let sql = "insert into queue (name, spec) values (?1, ?2) on conflict (name) do update set spec = ?2 where spec <> ?2";
        self.table.write(sql, params![spec.name, text]).map(drop)
    }

    /// The latest word about a queue counts. What waits in it already takes its place under the new rules.
    pub(super) fn define(&mut self, new: &QueueSpec) -> Result<()> {
        let old = self.spec(&new.name)?;
        if old == *new {
            return Ok(());
        }
        self.set_spec(new)?;
        if bound(&old) != bound(new) {
            let sql = "select distinct key from job where phase = 'blocked' and queue = ? order by key";
            let keys: Vec<String> = self.table.read_all(sql, params![new.name], |row| row.get(0))?;
            for key in keys {
                self.promote(&new.name, &key)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_phase(&mut self, seq: i64, phase: &str) -> Result<()> {
        self.table.write("update job set phase = ? where seq = ?", params![phase, seq]).map(drop)
    }

    /// It may start as far as time is concerned.
    pub(super) fn arrive(&mut self, job: &Job) -> Result<()> {
        match &job.key {
            Some(key) if !job.slot && bound(&self.spec(&job.queue)?).is_some() => {
                self.set_phase(job.seq, "blocked")?;
                self.promote(&job.queue, key)
            }
            _ => self.set_phase(job.seq, "ready"),
        }
    }

    /// As many jobs of a key as it has places for.
    fn promote(&mut self, queue: &str, key: &str) -> Result<()> {
        let bound = bound(&self.spec(queue)?).map_or(i64::MAX, i64::from);
        let sql = "select places from used where queue = ? and key = ?";
        let mut used: i64 = self.table.read(sql, params![queue, key], |row| row.get(0))?.unwrap_or(0);
        while used < bound {
            let sql = "select seq from job where phase = 'blocked' and queue = ? and key = ? order by priority desc, seq limit 1";
            let next: Option<i64> = self.table.read(sql, params![queue, key], |row| row.get(0))?;
            let Some(seq) = next else { return Ok(()) };
            self.table.write("update job set phase = 'ready', slot = 1 where seq = ?", params![seq])?;
            let sql = "insert into used (queue, key, places) values (?, ?, 1) on conflict do update set places = places + 1";
            self.table.write(sql, params![queue, key])?;
            used += 1;
        }
        Ok(())
    }

    /// Gives the place of its key to the next one.
    pub(super) fn release(&mut self, job: &Job) -> Result<()> {
        let (Some(key), true) = (&job.key, job.slot) else { return Ok(()) };
        self.table.write("update job set slot = 0 where seq = ?", params![job.seq])?;
        let sql = "update used set places = places - 1 where queue = ? and key = ?";
        self.table.write(sql, params![job.queue, key])?;
        let sql = "delete from used where queue = ? and key = ? and places <= 0";
        self.table.write(sql, params![job.queue, key])?;
        self.promote(&job.queue, key)
    }

    /// A leased job goes back to where it was, and keeps the place of its key.
    pub(super) fn give_back(&mut self, seq: i64) -> Result<()> {
        self.table
            .write("update job set phase = 'ready', keeper = null where seq = ?", params![seq])
            .map(drop)
    }

    /// Jobs whose time has come.
    pub(super) fn wake(&mut self, now: i64) -> Result<()> {
        let sql = "select seq from job where phase = 'delayed' and run_at <= ? order by run_at, seq limit ?";
        let due: Vec<i64> = self.table.read_all(sql, params![now, WAKE_MAX], |row| row.get(0))?;
        for seq in due {
            if let Some(job) = self.load(seq)? {
                self.arrive(&job)?;
            }
        }
        Ok(())
    }

    /// A live job is over, in whatever phase it is. States: 1 done, 2 dead, 3 cancelled.
    pub(super) fn finish(&mut self, job: &Job, state: i64, error: Option<&str>, now: i64) -> Result<()> {
        let sql = "update job set state = ?1, phase = null, keeper = null, ended = ?2, error = coalesce(?3, error), \
                   payload = case when ?1 = 1 then '' else payload end where seq = ?4";
        self.table.write(sql, params![state, now, error, job.seq])?;
        let sql = "update queue set live = live - 1, bytes = bytes - ? where name = ?";
        self.table.write(sql, params![job.bytes, job.queue])?;
        self.release(job)?;
        if let Some(word) = &job.word {
            let until = job.until.unwrap_or(0);
            let sql = "update uniq set until = ? where queue = ? and word = ? and id = ?";
            self.table.write(sql, params![until, job.queue, word, job.id])?;
            let sql = "delete from uniq where queue = ? and word = ? and until <= ?";
            self.table.write(sql, params![job.queue, word, now])?;
        }
        if state == 2 {
            self.bound_dead(&job.queue)?;
        }
        match job.batch {
            Some(batch) => self.tick_batch(batch, state != 1, now),
            None => Ok(()),
        }
    }

    fn bound_dead(&mut self, queue: &str) -> Result<()> {
        let most = self.spec(queue)?.dead_max;
        let sql = "delete from job where seq in (select seq from job where state = 2 and queue = ? order by seq desc limit -1 offset ?)";
        self.table.write(sql, params![queue, i64::try_from(most).unwrap_or(i64::MAX)]).map(drop)
    }

    pub(super) fn die(&mut self, job: &Job, error: &str, now: i64) -> Result<()> {
        self.table.write("update queue set died = died + 1 where name = ?", params![job.queue])?;
        self.remember(job.seq, error, now)?;
        self.finish(job, 2, Some(error), now)
    }

    /// Its worker has died while it ran.
    pub(super) fn crash(&mut self, job: &Job, now: i64) -> Result<()> {
        self.table.write("update queue set crashed = crashed + 1 where name = ?", params![job.queue])?;
        let sql = "update job set crashes = crashes + 1, error = 'its worker died' where seq = ?";
        self.table.write(sql, params![job.seq])?;
        let sql = "select crashes from job where seq = ?";
        let crashes: u32 = self.table.read(sql, params![job.seq], |row| row.get(0))?.unwrap_or(0);
        match crashes >= self.spec(&job.queue)?.crashes_max {
            true => self.die(job, &format!("its worker died {crashes} times while it ran"), now),
            false => {
                self.remember(job.seq, history::WORKER_DIED, now)?;
                self.give_back(job.seq)
            }
        }
    }

    /// Notes what has become of a run.
    pub(super) fn remember(&mut self, seq: i64, what: &str, now: i64) -> Result<()> {
        self.table.write(history::REMEMBER, params![now, what, seq]).map(drop)
    }
}
