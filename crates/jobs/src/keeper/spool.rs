//! `Spool`: the file that takes jobs in while the engine is away, and gives them on in their order.
//!
//! Runs in the keeper, on its loop. Like the ledger: everything of one turn is one transaction, and nobody is told anything before
//! it is on disk. In memory it has how many jobs of each queue it holds.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Result, params};

use super::database::Database;
use crate::backoff::random;
use crate::store::engine::Row;
use crate::wire::Enqueue;

/// Most jobs that it holds.
pub(super) const JOBS_MAX: u64 = 1_000_000;
/// Most bytes of their payloads.
pub(super) const BYTES_MAX: u64 = 1 << 30;

const SCHEMA: &str = "
    create table if not exists spool (
        number integer primary key autoincrement, enqueue blob not null, at integer not null
    );
    create table if not exists spool_fact (name text primary key, value text not null) without rowid;
";

#[derive(Debug)]
pub(super) struct Spool {
    database: Database,
    /// Jobs of each queue that has some.
    queues: HashMap<String, u64>,
    jobs: u64,
    bytes: u64,
}

/// What is taken out to be forwarded.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) numbers: Vec<i64>,
    pub(super) rows: Vec<Row>,
    /// The last number that was looked at.
    pub(super) last: Option<i64>,
}

impl Spool {
    pub(super) fn open(path: &Path) -> Result<Spool> {
        let database = Database::open(path, SCHEMA)?;
        let mut spool = Spool { database, queues: HashMap::new(), jobs: 0, bytes: 0 };
        spool.recount()?;
        Ok(spool)
    }

    /// Counts what the file holds.
    fn recount(&mut self) -> Result<()> {
        (self.jobs, self.bytes) = (0, 0);
        self.queues.clear();
        let mut from = 0;
        loop {
            let load = self.load_after(from, 1_000)?;
            let Some(last) = load.last else { return Ok(()) };
            from = last;
            load.rows.iter().for_each(|row| self.count(&row.enqueue));
        }
    }

    fn count(&mut self, enqueue: &Enqueue) {
        for job in enqueue.jobs.iter().chain(&enqueue.last) {
            *self.queues.entry(job.queue.clone()).or_default() += 1;
            self.jobs += 1;
            self.bytes += job.payload.len() as u64;
        }
    }

    fn uncount(&mut self, enqueue: &Enqueue) {
        for job in enqueue.jobs.iter().chain(&enqueue.last) {
            self.jobs = self.jobs.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(job.payload.len() as u64);
            if let Some(count) = self.queues.get_mut(&job.queue) {
                *count -= 1;
                if *count == 0 {
                    self.queues.remove(&job.queue);
                }
            }
        }
    }

    /// A word that is kept with the file; made by `make` where there is none.
    pub(super) fn fact(&mut self, name: &str, make: impl FnOnce() -> String) -> Result<String> {
        let sql = "select value from spool_fact where name = ?";
        let known = self.database.read(sql, [name], |row| row.get(0))?;
        match known {
            Some(known) => Ok(known),
            None => {
                let value = make();
                self.set_fact(name, &value)?;
                Ok(value)
            }
        }
    }

    pub(super) fn set_fact(&mut self, name: &str, value: &str) -> Result<()> {
        self.database
            .write("insert or replace into spool_fact (name, value) values (?, ?)", [name, value])?;
        self.commit()
    }

    /// A name for this machine that no other has.
    pub(super) fn keeper(&mut self) -> Result<String> {
        self.fact("keeper", || format!("{:016x}", random()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs == 0
    }

    /// Jobs that it holds.
    pub(super) fn jobs(&self) -> u64 {
        self.jobs
    }

    /// Jobs of a queue that it holds.
    pub(super) fn of(&self, queue: &str) -> u64 {
        self.queues.get(queue).copied().unwrap_or(0)
    }

    pub(super) fn has_room(&self, enqueue: &Enqueue) -> bool {
        let all = || enqueue.jobs.iter().chain(&enqueue.last);
        let bytes: u64 = all().map(|job| job.payload.len() as u64).sum();
        self.jobs + all().count() as u64 <= JOBS_MAX && self.bytes + bytes <= BYTES_MAX
    }

    /// Keeps jobs; on disk after [`Spool::commit`].
    pub(super) fn put(&mut self, enqueue: &Enqueue, now: i64) -> Result<()> {
        let body = rmp_serde::to_vec_named(enqueue).expect("an enqueue has a form in MessagePack");
        self.database.write("insert into spool (enqueue, at) values (?, ?)", params![body, now])?;
        self.count(enqueue);
        Ok(())
    }

    /// Makes what was written last.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.database.commit().map(drop)
    }

    /// After an error: nothing since the last commit has happened.
    pub(super) fn reopen(&mut self) -> Result<()> {
        self.database.reopen()?;
        self.recount()
    }

    /// The oldest that come after this number, at most so many enqueues.
    pub(super) fn load_after(&self, number: i64, most: u32) -> Result<Load> {
        let sql = "select number, enqueue, at from spool where number > ? order by number limit ?";
        let mut statement = self.database.connection().prepare_cached(sql)?;
        let mut rows = statement.query(params![number, most])?;
        let mut load = Load::default();
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(1)?;
            let at: i64 = row.get(2)?;
            load.last = Some(row.get(0)?);
            match rmp_serde::from_slice(&body) {
                Ok(enqueue) => {
                    load.numbers.push(row.get(0)?);
                    let age_ms = super::now_ms().saturating_sub(at).max(0).unsigned_abs();
                    load.rows.push(Row { enqueue, age_ms });
                }
                Err(error) => tracing::error!(target: "jobs", %error, "a row of the spool is no job"),
            }
        }
        Ok(load)
    }

    /// Forgets what the engine has; on disk after [`Spool::commit`], and harmless if it is not.
    pub(super) fn forget(&mut self, number: i64, enqueue: &Enqueue) -> Result<()> {
        self.database.write("delete from spool where number = ?", [number])?;
        self.uncount(enqueue);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::NewJob;

    fn enqueue(id: &str) -> Enqueue {
        let job = NewJob { id: id.into(), queue: "q".into(), payload: "1234".into(), ..NewJob::default() };
        Enqueue { jobs: vec![job], last: None }
    }

    #[test]
    fn what_was_put_in_comes_out_in_its_order_and_is_counted() {
        let path = std::env::temp_dir().join(format!("spool-{}.db", std::process::id()));
        let mut spool = Spool::open(&path).unwrap();
        for id in ["a", "b", "c"] {
            spool.put(&enqueue(id), 0).unwrap();
        }
        spool.commit().unwrap();
        assert_eq!((spool.of("q"), spool.jobs(), spool.bytes), (3, 3, 12));
        let load = spool.load_after(0, 2).unwrap();
        let ids: Vec<&str> = load.rows.iter().map(|row| row.enqueue.jobs[0].id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        for (number, row) in load.numbers.iter().zip(&load.rows) {
            spool.forget(*number, &row.enqueue).unwrap();
        }
        spool.commit().unwrap();
        spool.put(&enqueue("d"), 0).unwrap();
        spool.reopen().unwrap();
        assert_eq!((spool.of("q"), spool.jobs(), spool.bytes), (1, 1, 4));
        assert!(!spool.is_empty());
        let name = spool.keeper().unwrap();
        assert_eq!(spool.keeper().unwrap(), name);
        drop(spool);
        std::fs::remove_file(path).unwrap();
    }
}
