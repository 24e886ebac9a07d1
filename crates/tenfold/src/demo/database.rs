//! The demo's SQLite database, as one worker sees it.
//!
//! Reads run where the handler runs, on a fiber too: a query by key takes some ten microseconds, less than handing it to
//! another thread and back would. In WAL mode a reader waits for no writer. A write may have to wait for another process's
//! (`busy_timeout` sleeps inside of SQLite and would hold the loop), so writes go to the thread pool.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Serialize;
use tenfold::jobs::{JobError, JobResult};
use tenfold::{Cause, Result, offload, waiting_for};

/// Connections for reading, in each worker; the threads of the blocking models share them.
const READERS: usize = 4;

/// How long a write waits for other processes' writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Most comments that a page shows.
const COMMENTS_SHOWN: usize = 200;

/// The connections of one worker. Opened after the fork: SQLite forbids to carry one across
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.6).
#[derive(Clone)]
pub struct Database(Arc<Connections>);

struct Connections {
    readers: [Mutex<Connection>; READERS],
    next: AtomicUsize,
    writer: Mutex<Connection>,
}

/// An article as the list shows it.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub id: i64,
    pub title: String,
    pub teaser: String,
    pub comments: i64,
}

/// An article with what was said about it.
#[derive(Debug, Serialize)]
pub struct Article {
    pub id: i64,
    pub title: String,
    pub paragraphs: Vec<String>,
    pub comments: Vec<Comment>,
}

/// What a visitor has said.
#[derive(Debug, Serialize)]
pub struct Comment {
    pub name: String,
    pub text: String,
    /// UTC, `YYYY-MM-DD hh:mm`.
    pub at: String,
}

/// Makes the file with its tables and articles. Runs in the master, which closes it again before it forks.
pub fn create(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(include_str!("assets/schema.sql"))?;
    for article in include_str!("assets/articles.txt").split("\n---\n") {
        let (title, body) = article.trim().split_once("\n\n").unwrap_or((article, ""));
        transaction.execute("INSERT INTO articles (title, body) VALUES (?1, ?2)", params![title, body])?;
    }
    transaction.commit()
}

impl Database {
    /// Opens the worker's connections.
    pub fn open(path: &Path) -> Result<Database> {
        let open = |flags: OpenFlags| -> rusqlite::Result<Mutex<Connection>> {
            // The mutexes here make SQLite's own superfluous.
            let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            // A comment may get lost when the machine loses power, in a demo whose file does not outlive the server.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(Mutex::new(connection))
        };
        // Readers need the right to write as well: WAL's shared memory is a file that they update.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let readers = [open(flags)?, open(flags)?, open(flags)?, open(flags)?];
        Ok(Database(Arc::new(Connections { readers, next: AtomicUsize::new(0), writer: open(flags)? })))
    }

    /// All articles, in their order.
    pub fn articles(&self) -> Result<Vec<Summary>> {
        let connection = self.reader();
        let mut statement = connection.prepare_cached(
            "SELECT id, title, substr(body, 1, instr(body || char(10), char(10)) - 1), \
             (SELECT count(*) FROM comments WHERE article_id = articles.id) FROM articles ORDER BY id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Summary { id: row.get(0)?, title: row.get(1)?, teaser: row.get(2)?, comments: row.get(3)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// One article with its newest comments, oldest of them first; `None` if there is no such article.
    pub fn article(&self, id: i64) -> Result<Option<Article>> {
        let connection = self.reader();
        let found = connection
            .prepare_cached("SELECT title, body FROM articles WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        let Some((title, body)) = found else { return Ok(None) };
        let mut statement = connection.prepare_cached(
            "SELECT name, text, at FROM (SELECT id, name, text, at FROM comments WHERE article_id = ?1 \
             ORDER BY id DESC LIMIT ?2) ORDER BY id",
        )?;
        let rows = statement.query_map(params![id, COMMENTS_SHOWN as i64], |row| {
            Ok(Comment { name: row.get(0)?, text: row.get(1)?, at: row.get(2)? })
        })?;
        let comments = rows.collect::<rusqlite::Result<_>>()?;
        let paragraphs = body.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(Some(Article { id, title, paragraphs, comments }))
    }

    /// Writes a comment; `false` if there is no such article.
    pub fn comment(&self, id: i64, name: String, text: String) -> Result<bool> {
        let connections = self.0.clone();
        let write = move || {
            lock(&connections.writer).execute(
                "INSERT INTO comments (article_id, name, text) SELECT id, ?2, ?3 FROM articles WHERE id = ?1",
                params![id, name, text],
            )
        };
        let written = waiting_for(Cause::Database, "sqlite", || offload(write));
        Ok(written.map_err(std::io::Error::from)?? > 0)
    }

    /// Reads something.
    pub fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        Ok(read(&self.reader())?)
    }

    /// Writes something, on the thread pool.
    pub fn write(
        &self,
        write: impl FnOnce(&mut Transaction<'_>) -> rusqlite::Result<()> + Send,
    ) -> Result<()> {
        let outcome = self.transact(|tx| write(tx).map_err(JobError::from));
        outcome.map_err(|error| tenfold::Error::internal(error.to_string()))
    }

    /// Writes what a job does; an error takes all of it back.
    ///
    /// # Errors
    /// The closure's; SQLite's.
    pub fn write_in_job(&self, write: impl FnOnce(&mut Transaction<'_>) -> JobResult + Send) -> JobResult {
        self.transact(write)
    }

    fn transact(&self, write: impl FnOnce(&mut Transaction<'_>) -> JobResult + Send) -> JobResult {
        let work = || {
            let mut connection = lock(&self.0.writer);
            let mut tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            write(&mut tx)?;
            Ok(tx.commit()?)
        };
        waiting_for(Cause::Database, "sqlite", || tenfold::runtime::offload_scoped(work))?
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.0.readers[number % READERS])
    }
}

/// A panic while a connection was in use leaves it usable: SQLite rolls back what was not committed.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::store::Store;
    use super::*;

    #[test]
    fn a_comment_is_kept_with_its_article_and_nowhere_else() {
        let store = Store::create().unwrap();
        let database = Database::open(&store.data().database()).unwrap();
        let articles = database.articles().unwrap();
        assert!(articles.len() >= 3 && articles.iter().all(|article| !article.teaser.is_empty()));

        let text = "Robert'); DROP TABLE articles;--";
        assert!(database.comment(1, "Little Bobby".into(), text.into()).unwrap());
        assert!(!database.comment(999, "nobody".into(), "nowhere".into()).unwrap());
        let article = database.article(1).unwrap().unwrap();
        assert_eq!((article.comments.len(), article.comments[0].text.as_str()), (1, text));
        assert!(database.article(2).unwrap().unwrap().comments.is_empty());
        assert!(database.article(999).unwrap().is_none());
    }
}
