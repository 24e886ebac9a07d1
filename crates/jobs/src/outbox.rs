//! The outbox: jobs that are taken in with a transaction of the application's own database, or not at all.
//!
//! ```text
//!   transaction: order ─┐
//!                       ├─ commit ─► forward (a schedule) ─► the jobs' store ─► rows are deleted
//!   enqueue_tx: a row ──┘
//! ```
//!
//! [`Jobs::enqueue_tx`] writes a row beside what the transaction is about; [`forward`] moves rows on. It may do so twice, when it
//! dies in between: the ids are the same, so the jobs are.
//!
//! ```no_run
//! use tenfold_client::postgres;
//! use tenfold_jobs::{AppJobs, JobCx, JobResult, Jobs, outbox};
//! use tenfold_server::App;
//! use std::time::Duration;
//!
//! fn order(jobs: &Jobs, database: &postgres::Client) -> JobResult {
//!     let mut connection = database.get()?;
//!     let mut tx = connection.transaction()?;
//!     tx.execute("insert into orders (item) values ($1)", &[&"tea"])?;
//!     jobs.enqueue_tx(&mut tx, "ship", &"tea")?;
//!     Ok(tx.commit()?)
//! }
//!
//! fn forward(cx: &JobCx, (): ()) -> JobResult {
//!     let database: postgres::Client = cx.state()?;
//!     Ok(outbox::forward(cx.jobs(), &mut *database.get()?).map(drop)?)
//! }
//!
//! App::new().job("ship", |_item: String| ()).every(Duration::from_millis(200), forward);
//! ```

use serde::Serialize;
use tenfold_client::{mysql, postgres};

use crate::error::{Error, Result};
use crate::jobs::Jobs;
use crate::user_tx::UserTx;
use crate::wire::{Enqueue, NewJob};

/// Makes the table, if it is not there: for SQLite, PostgreSQL and MySQL.
pub const SQL: &str =
    "create table if not exists tenfold_outbox (id varchar(256) primary key, job text not null)";

/// Rows that are moved at a time.
const ROWS_MAX: usize = 500;

/// A database with an outbox.
pub trait OutboxIn {
    /// At most `most` rows: id and job.
    ///
    /// # Errors
    /// [`Error::Database`].
    fn rows(&mut self, most: usize) -> Result<Vec<(String, String)>>;

    /// Forgets a row.
    ///
    /// # Errors
    /// [`Error::Database`].
    fn forget(&mut self, id: &str) -> Result<()>;
}

impl Jobs {
    /// Takes a job in with the transaction: it is there once that is committed and [`forward`] has run, and never if it is
    /// not committed. Its id is returned at once. The table must be there: [`SQL`].
    ///
    /// # Errors
    /// [`Error::Database`]; as [`Jobs::with`].
    pub fn enqueue_tx(
        &self,
        tx: &mut impl UserTx,
        name: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<String> {
        let job = self.with(name, payload)?.into_job();
        let text = serde_json::to_string(&job)?;
        tx.insert_new("tenfold_outbox", &["id", "job"], &[&job.id, &text])?;
        Ok(job.id)
    }
}

/// Moves what is in the outbox to the jobs' store, and returns how many jobs that were. Call it in a schedule.
///
/// A row that is no job is logged and stays.
///
/// # Errors
/// [`Error::Database`]; as [`Jobs::enqueue`]. What was not moved is moved the next time.
pub fn forward(jobs: &Jobs, database: &mut impl OutboxIn) -> Result<usize> {
    let mut moved = 0;
    loop {
        let rows = database.rows(ROWS_MAX)?;
        let count = rows.len();
        let mut batch: Vec<NewJob> = Vec::with_capacity(count);
        for (id, text) in rows {
            match serde_json::from_str(&text) {
                Ok(job) => batch.push(job),
                Err(error) => tracing::error!(target: "jobs", id, %error, "a row of the outbox is no job"),
            }
        }
        if batch.is_empty() {
            return Ok(moved);
        }
        let ids: Vec<String> = batch.iter().map(|job| job.id.clone()).collect();
        jobs.send(Enqueue { jobs: batch, last: None })?;
        for id in &ids {
            database.forget(id)?;
        }
        moved += ids.len();
        if count < ROWS_MAX {
            return Ok(moved);
        }
    }
}

impl OutboxIn for rusqlite::Connection {
    fn rows(&mut self, most: usize) -> Result<Vec<(String, String)>> {
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement =
                self.prepare_cached("select id, job from tenfold_outbox order by id limit ?")?;
            statement.query_map([most as i64], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        read().map_err(Error::database)
    }

    fn forget(&mut self, id: &str) -> Result<()> {
        self.execute("delete from tenfold_outbox where id = ?", [id]).map(drop).map_err(Error::database)
    }
}

impl OutboxIn for postgres::Connection {
    fn rows(&mut self, most: usize) -> Result<Vec<(String, String)>> {
        let sql = "select id, job from tenfold_outbox order by id limit $1";
        let rows = self.query(sql, &[&(most as i64)]).map_err(Error::database)?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn forget(&mut self, id: &str) -> Result<()> {
        let done = self.execute("delete from tenfold_outbox where id = $1", &[&id]);
        done.map(drop).map_err(Error::database)
    }
}

impl OutboxIn for mysql::Connection {
    fn rows(&mut self, most: usize) -> Result<Vec<(String, String)>> {
        let sql = "select id, job from tenfold_outbox order by id limit ?";
        let rows = self.query(sql, &[mysql::Value::Int(most as i64)]).map_err(Error::database)?;
        let pair = |row: &mysql::Row| Ok((row.get(0)?, row.get(1)?));
        rows.iter().map(pair).collect::<Result<_, tenfold_client::Error>>().map_err(Error::database)
    }

    fn forget(&mut self, id: &str) -> Result<()> {
        let id = mysql::Value::Bytes(id.as_bytes().to_vec().into());
        let done = self.execute("delete from tenfold_outbox where id = ?", &[id]);
        done.map(drop).map_err(Error::database)
    }
}
