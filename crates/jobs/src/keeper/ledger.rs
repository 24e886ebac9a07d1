//! `Ledger`: the jobs' tables, and all statements on them. It decides nothing; when something is on disk, and what is believed after
//! an error, is its database's.
//!
//! Leases are not in it. They are true only while a connection is open, so a file could not say anything about them.

use std::path::Path;

use rusqlite::types::FromSql;
use rusqlite::{Row, params};
use serde_json::Value;

use super::database::Database;
use crate::wire::{Lease, NewJob};
use crate::{history, shown};

type Result<T> = rusqlite::Result<T>;

/// A job's state in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Stored {
    Live = 0,
    Done = 1,
    Dead = 2,
    Cancelled = 3,
}

/// What is kept in memory of a live job, as it is read at the start.
pub(super) struct Loaded {
    pub(super) seq: i64,
    pub(super) queue: String,
    pub(super) run_at: i64,
    pub(super) created: i64,
    pub(super) attempt: u32,
    pub(super) crashes: u32,
    pub(super) priority: i8,
    pub(super) bytes: u64,
    pub(super) key: Option<Box<str>>,
    pub(super) batch: Option<i64>,
}

/// A queue's switches.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Switches {
    pub(super) paused: bool,
    pub(super) draining: bool,
}

/// A batch whose jobs have all ended.
pub(super) struct LastOfBatch {
    pub(super) job: NewJob,
}

#[derive(Debug)]
pub(super) struct Ledger {
    database: Database,
}

const SCHEMA: &str = "
    create table if not exists job (
        seq integer primary key autoincrement, id text not null unique, queue text not null, name text not null,
        payload text not null, bytes integer not null, state integer not null, run_at integer not null,
        priority integer not null, key text, batch integer, attempt integer not null default 0,
        crashes integer not null default 0, created_at integer not null, ended_at integer, error text,
        history text
    );
    create index if not exists job_ended on job (ended_at) where state <> 0;
    create index if not exists job_dead on job (queue, seq) where state = 2;
    create table if not exists uniq (word text primary key, seq integer not null, until integer not null) without rowid;
    create table if not exists batch (batch integer primary key, left integer not null, failed integer not null, last text);
    create table if not exists queue (name text primary key, paused integer not null, draining integer not null) without rowid;
    create table if not exists schedule (name text primary key, last integer not null) without rowid;
    create table if not exists fact (name text primary key, value integer not null) without rowid;
";

impl Ledger {
    pub(super) fn open(path: &Path) -> Result<Ledger> {
        let database = Database::open(path, SCHEMA)?;
        history::add_column(database.connection(), "main")?;
        Ok(Ledger { database })
    }

    /// After an error: what was not committed has not happened.
    pub(super) fn reopen(&mut self) -> Result<()> {
        self.database.reopen()
    }

    /// Whether the next transaction waits for the disk.
    pub(super) fn synchronise(&mut self, on: bool) -> Result<()> {
        self.database.synchronise(on)
    }

    /// Makes what was written last, if anything was. Whether there was.
    pub(super) fn commit(&mut self) -> Result<bool> {
        self.database.commit()
    }

    /// All live jobs in their order.
    pub(super) fn load(&self, mut each: impl FnMut(Loaded)) -> Result<()> {
        let sql = "select seq, queue, run_at, created_at, attempt, crashes, priority, bytes, key, batch from job \
                   where state = 0 order by seq";
        let mut statement = self.database.connection().prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key: Option<String> = row.get(8)?;
            each(Loaded {
                seq: row.get(0)?,
                queue: row.get(1)?,
                run_at: row.get(2)?,
                created: row.get(3)?,
                attempt: row.get(4)?,
                crashes: row.get(5)?,
                priority: row.get(6)?,
                bytes: unsigned(row, 7)?,
                key: key.map(String::into_boxed_str),
                batch: row.get(9)?,
            });
        }
        Ok(())
    }

    /// Dead jobs of each queue.
    pub(super) fn dead(&self) -> Result<Vec<(String, u64)>> {
        let sql = "select queue, count(*) from job where state = 2 group by queue";
        self.database.read_all(sql, [], |row| Ok((row.get(0)?, unsigned(row, 1)?)))
    }

    pub(super) fn switches(&self) -> Result<Vec<(String, Switches)>> {
        self.database.read_all("select name, paused, draining from queue", [], |row| {
            Ok((row.get(0)?, Switches { paused: row.get(1)?, draining: row.get(2)? }))
        })
    }

    pub(super) fn set_switches(&mut self, queue: &str, switches: Switches) -> Result<()> {
        let sql = "insert or replace into queue (name, paused, draining) values (?, ?, ?)";
        self.database.write(sql, params![queue, switches.paused, switches.draining]).map(drop)
    }

    /// Whether an id is taken.
    pub(super) fn knows(&self, id: &str) -> Result<bool> {
        Ok(self.database.read("select 1 from job where id = ?", [id], |_| Ok(()))?.is_some())
    }

    /// The job that holds a word, with its id, state, and until when it does so in any case.
    pub(super) fn holder(&self, word: &str) -> Result<Option<(String, bool, i64)>> {
        // The job may be forgotten by now, and its word still be held.
        let sql = "select coalesce(id, ''), coalesce(state = 0, 0), until from uniq left join job using (seq) where word = ?";
        self.database.read(sql, [word], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }

    pub(super) fn hold(&mut self, word: &str, seq: i64, until: i64) -> Result<()> {
        let sql = "insert or replace into uniq (word, seq, until) values (?, ?, ?)";
        self.database.write(sql, params![word, seq, until]).map(drop)
    }

    /// A new live job; its number.
    pub(super) fn insert(&mut self, job: &NewJob, now: i64, run_at: i64, batch: Option<i64>) -> Result<i64> {
        let sql = "insert into job (id, queue, name, payload, bytes, state, run_at, priority, key, batch, created_at) \
                   values (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)";
        let bytes = job.payload.len() as i64;
        self.database.write(
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
                now
            ],
        )?;
        Ok(self.database.last_number())
    }

    /// What a worker has to know of a job.
    pub(super) fn lease(&self, seq: i64) -> Result<Option<Lease>> {
        let sql = "select id, queue, name, payload, attempt, created_at from job where seq = ?";
        self.database.read(sql, [seq], |row| {
            Ok(Lease {
                seq,
                id: row.get(0)?,
                queue: row.get(1)?,
                name: row.get(2)?,
                payload: row.get(3)?,
                attempt: row.get(4)?,
                created_ms: row.get(5)?,
            })
        })
    }

    /// Ends a job. A done one keeps no payload: it is there for its id and its history.
    pub(super) fn end(&mut self, seq: i64, state: Stored, now: i64, error: Option<&str>) -> Result<()> {
        let sql = match state {
            Stored::Done => {
                "update job set state = ?, ended_at = ?, error = coalesce(?, error), payload = '' where seq = ?"
            }
            _ => "update job set state = ?, ended_at = ?, error = coalesce(?, error) where seq = ?",
        };
        self.database.write(sql, params![state as i64, now, error, seq]).map(drop)
    }

    pub(super) fn retry(&mut self, seq: i64, run_at: i64, attempt: u32, error: &str) -> Result<()> {
        let sql = "update job set run_at = ?, attempt = ?, error = ? where seq = ?";
        self.database.write(sql, params![run_at, attempt, error, seq]).map(drop)
    }

    pub(super) fn crashed(&mut self, seq: i64, crashes: u32) -> Result<()> {
        let sql = "update job set crashes = ?, error = 'its worker died' where seq = ?";
        self.database.write(sql, params![crashes, seq]).map(drop)
    }

    /// Notes what has become of a run.
    pub(super) fn remember(&mut self, seq: i64, now: i64, what: &str) -> Result<()> {
        self.database.write(history::REMEMBER, params![now, what, seq]).map(drop)
    }

    /// Forgets the oldest dead job of a queue. Whether there was one.
    pub(super) fn drop_dead(&mut self, queue: &str) -> Result<bool> {
        let sql = "delete from job where seq = (select min(seq) from job where state = 2 and queue = ?)";
        Ok(self.database.write(sql, [queue])? > 0)
    }

    /// Forgets ended jobs that are neither dead nor younger than `before`, at most `most` of them.
    pub(super) fn forget_ended(&mut self, before: i64, most: u32) -> Result<usize> {
        let sql = "delete from job where seq in (select seq from job where state <> 0 and ended_at < ? \
                   and state <> 2 order by ended_at limit ?)";
        let count = self.database.write(sql, params![before, most])?;
        self.database
            .write("delete from uniq where until < ? and seq not in (select seq from job)", [before])?;
        Ok(count)
    }

    /// Forgets the `most` oldest done jobs.
    pub(super) fn forget_oldest(&mut self, most: u64) -> Result<usize> {
        let sql = "delete from job where seq in (select seq from job where state <> 0 and ended_at is not null \
                   and state <> 2 order by ended_at limit ?)";
        self.database.write(sql, [most as i64])
    }

    /// Ended jobs that are kept for their ids.
    pub(super) fn ended(&self) -> Result<u64> {
        let sql = "select count(*) from job where state <> 0 and state <> 2 and ended_at is not null";
        Ok(self.database.read(sql, [], |row| unsigned(row, 0))?.unwrap_or(0))
    }

    pub(super) fn begin_batch(&mut self, left: usize, last: &NewJob) -> Result<i64> {
        let text = serde_json::to_string(last).unwrap_or_default();
        self.database
            .write("insert into batch (left, failed, last) values (?, 0, ?)", params![left as i64, text])?;
        Ok(self.database.last_number())
    }

    /// One job of a batch has ended for good; the last one's turn, if it was the last but one.
    pub(super) fn tick_batch(&mut self, batch: i64, failed: bool) -> Result<Option<LastOfBatch>> {
        let sql = "update batch set left = left - 1, failed = failed + ? where batch = ? and left > 0";
        self.database.write(sql, params![failed, batch])?;
        let sql = "select last from batch where batch = ? and left = 0";
        let Some(text) = self.database.read(sql, [batch], |row| row.get::<_, String>(0))? else {
            return Ok(None);
        };
        self.database.write("delete from batch where batch = ?", [batch])?;
        Ok(serde_json::from_str(&text).ok().map(|job| LastOfBatch { job }))
    }

    /// When a schedule's job was last made.
    pub(super) fn fired(&self, name: &str) -> Result<Option<i64>> {
        self.database.read("select last from schedule where name = ?", [name], |row| row.get(0))
    }

    pub(super) fn set_fired(&mut self, name: &str, last: i64) -> Result<()> {
        self.database
            .write("insert or replace into schedule (name, last) values (?, ?)", params![name, last])
            .map(drop)
    }

    pub(super) fn fact<T: FromSql>(&self, name: &str) -> Result<Option<T>> {
        self.database.read("select value from fact where name = ?", [name], |row| row.get(0))
    }

    pub(super) fn set_fact(&mut self, name: &str, value: i64) -> Result<()> {
        self.database
            .write("insert or replace into fact (name, value) values (?, ?)", params![name, value])
            .map(drop)
    }

    /// Number and state of a job.
    pub(super) fn find(&self, id: &str) -> Result<Option<(i64, i64)>> {
        self.database
            .read("select seq, state from job where id = ?", [id], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Numbers of dead jobs, of one queue or (`""`) of all.
    pub(super) fn dead_of(&self, queue: &str) -> Result<Vec<i64>> {
        let sql = "select seq from job where state = 2 and (?1 = '' or queue = ?1) order by seq limit 100000";
        self.database.read_all(sql, [queue], |row| row.get(0))
    }

    /// A dead job lives again.
    pub(super) fn revive(&mut self, seq: i64, now: i64) -> Result<()> {
        let sql =
            "update job set state = 0, run_at = ?, attempt = 0, crashes = 0, ended_at = null where seq = ?";
        self.database.write(sql, params![now, seq]).map(drop)
    }

    /// One live job, as [`Ledger::load`] has them.
    pub(super) fn load_one(&self, seq: i64) -> Result<Option<Loaded>> {
        let sql = "select queue, run_at, created_at, attempt, crashes, priority, bytes, key, batch from job \
                   where seq = ? and state = 0";
        self.database.read(sql, [seq], |row| {
            let key: Option<String> = row.get(7)?;
            Ok(Loaded {
                seq,
                queue: row.get(0)?,
                run_at: row.get(1)?,
                created: row.get(2)?,
                attempt: row.get(3)?,
                crashes: row.get(4)?,
                priority: row.get(5)?,
                bytes: unsigned(row, 6)?,
                key: key.map(String::into_boxed_str),
                batch: row.get(8)?,
            })
        })
    }

    pub(super) fn delete(&mut self, seq: i64) -> Result<()> {
        self.database.write("delete from job where seq = ?", [seq]).map(drop)
    }

    /// Jobs for a person to look at, the latest first.
    pub(super) fn list(&self, queue: &str, state: i64, limit: u32) -> Result<Vec<Value>> {
        let sql = "select seq, id, queue, name, payload, state, run_at, priority, key, attempt, crashes, created_at, \
                   ended_at, error from job where state = ?1 and (?2 = '' or queue = ?2) order by seq desc limit ?3";
        self.database.read_all(sql, params![state, queue, limit], shown::job)
    }

    /// One job for a person to look at, with its history.
    pub(super) fn show(&self, id: &str) -> Result<Option<Value>> {
        let sql = "select seq, id, queue, name, payload, state, run_at, priority, key, attempt, crashes, created_at, \
                   ended_at, error, history from job where id = ?";
        self.database.read(sql, [id], |row| {
            let mut job = shown::job(row)?;
            job["history"] = history::shown(row.get::<_, Option<String>>(14)?.as_deref());
            Ok(job)
        })
    }
}

/// SQLite's numbers have a sign; these are never below zero.
fn unsigned(row: &Row<'_>, index: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(index)?.unsigned_abs())
}
