//! `Database`: a SQLite file of the keeper's: how it is opened, when something in it is on disk, and what is believed of it after an
//! error of its disk. It knows no table.
//!
//! Runs in the keeper, on its only thread. Everything of one turn is one transaction: [`Database::commit`] returns once it is
//! on disk (WAL with `synchronous = FULL`: the log is synchronised at each commit; sqlite.org/pragma.html#pragma_synchronous).
//!
//! A synchronisation that failed is not to be repeated: Linux has marked the pages as clean by then, so the next one says that all
//! is well while the disk has nothing of them (Rebello and others, "Can Applications Recover from fsync Failures?", USENIX
//! ATC 2020). So:
//!
//! ```text
//!   error ─► the connection is closed, the file opened again ─► before the next transaction begins: everything in the log is
//!            written once more, into the file itself, and synchronised; the file is checked ─► it goes on
//! ```
//!
//! The fresh connection is opened before the old one is closed. The index of the log (`-shm`) lives on by that, and has nothing of
//! the transaction that failed; a connection that is alone would read the log anew, and find it there in the page cache. That is
//! what a keeper does that starts after one that died, so [`Database::open`] writes the log into the file as well.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Error, OptionalExtension, Params, Result, Row, ffi};

/// Pages of 4 KiB after which the log is copied into the file.
const CHECKPOINT_PAGES: i64 = 4000;
/// How long another process may hold the file: somebody who looks into it.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
    /// A transaction is open.
    open: bool,
    /// Commits wait for the disk.
    synchronises: bool,
    /// There was an error, and nothing was proved since.
    doubtful: bool,
}

impl Database {
    /// Opens a file, makes it what `schema` says, and has what a log from before holds on disk.
    pub(super) fn open(path: &Path, schema: &str) -> Result<Database> {
        let connection = connect(path)?;
        connection.execute_batch(schema)?;
        let mut database =
            Database { path: path.to_owned(), connection, open: false, synchronises: true, doubtful: false };
        database.write_out()?;
        Ok(database)
    }

    /// After an error nothing that the connection believes is worth anything: what was not committed has not happened.
    pub(super) fn reopen(&mut self) -> Result<()> {
        self.connection = connect(&self.path)?;
        (self.open, self.synchronises, self.doubtful) = (false, true, true);
        Ok(())
    }

    /// Begins a transaction, unless one is open; after an error only if the disk keeps things again.
    pub(super) fn begin(&mut self) -> Result<()> {
        if !self.open {
            self.prove()?;
            self.connection.prepare_cached("begin immediate")?.execute([])?;
            self.open = true;
        }
        Ok(())
    }

    /// Whether the next transaction waits for the disk when it is committed, as it does unless somebody says otherwise. One that does
    /// not is the kernel's: it outlives all processes, and a power failure may take it. The next one that does takes it along
    /// (`synchronous = NORMAL`).
    pub(super) fn synchronise(&mut self, on: bool) -> Result<()> {
        if !self.open && on != self.synchronises {
            self.connection.pragma_update(None, "synchronous", if on { "full" } else { "normal" })?;
            self.synchronises = on;
        }
        Ok(())
    }

    /// Makes what was written last, if anything was. Whether there was.
    pub(super) fn commit(&mut self) -> Result<bool> {
        if !self.open {
            return Ok(false);
        }
        self.connection.prepare_cached("commit")?.execute([])?;
        self.open = false;
        Ok(true)
    }

    /// Costs time in proportion to the file: an error of a disk is seldom, and no trifle.
    fn prove(&mut self) -> Result<()> {
        if !self.doubtful {
            return Ok(());
        }
        self.write_out()?;
        let found: String = self.connection.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(found)));
        }
        self.doubtful = false;
        tracing::info!(target: "jobs", path = %self.path.display(), "the file can be written again, and is whole");
        Ok(())
    }

    /// Writes everything that is in the log into the file itself, and synchronises both.
    fn write_out(&mut self) -> Result<()> {
        let sql = "pragma wal_checkpoint(passive)";
        let (busy, pages, written): (i64, i64, i64) =
            self.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if busy != 0 || written < pages {
            tracing::warn!(target: "jobs", path = %self.path.display(), "somebody reads the file: a part of it stays in its log");
        }
        Ok(())
    }

    /// The connection, for statements of more than one step.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn write(&mut self, sql: &str, parameters: impl Params) -> Result<usize> {
        self.begin()?;
        self.connection.prepare_cached(sql)?.execute(parameters)
    }

    /// The number of the row that was written last.
    pub(super) fn last_number(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    pub(super) fn read<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        f: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.connection.prepare_cached(sql)?.query_row(parameters, f).optional()
    }

    pub(super) fn read_all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        f: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.connection.prepare_cached(sql)?.query_map(parameters, f)?.collect()
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -32_000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
