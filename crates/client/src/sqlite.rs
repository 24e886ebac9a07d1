//! SQLite, without holding a loop: each closure runs with a connection on the runtime's thread pool.
//!
//! SQLite reads and writes files, which nobody can wait for without a thread. So a task hands its work over and parks (or
//! blocks, on a plain thread). When its time is over, the statement that runs is interrupted, and the connection goes back to
//! the pool when the closure has returned.

use std::panic::Location;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tenfold_runtime::{OffloadError, offload, park};

use crate::error::{Error, Phase};
use crate::pool::{self, Pool, PoolOptions};

/// Instructions of SQLite's machine between two looks at the clock: well below a millisecond.
const STEPS: i32 = 10_000;

/// A pool of connections to one database file. Cloning is cheap and shares it.
///
/// ```
/// use tenfold_client::sqlite::Client;
///
/// # let directory = std::env::temp_dir().join(format!("tenfold-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// let database = Client::new(directory.join("shop.db"));
/// let count: i64 = database.with(|connection| {
///     connection.execute_batch("create table goods (name text); insert into goods values ('tea')")?;
///     connection.query_row("select count(*) from goods", [], |row| row.get(0))
/// })?;
/// assert_eq!(count, 1);
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), tenfold_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<Settings>,
}

/// How connections are opened; the pool's manager.
#[derive(Clone, Debug)]
pub struct Settings {
    name: String,
    path: PathBuf,
    busy_timeout: Duration,
}

impl Client {
    /// Connections to a file, which is made if it is missing: at most 4, a write-ahead log, a wait of 5 s for another
    /// writer.
    pub fn new(path: impl AsRef<Path>) -> Client {
        Client::with_options(path, PoolOptions::new().connections_max(4))
    }

    /// As [`Client::new`], with other bounds of the pool.
    pub fn with_options(path: impl AsRef<Path>, options: PoolOptions) -> Client {
        let path = path.as_ref().to_owned();
        let name = format!("sqlite {}", path.display());
        let settings = Settings { name, path, busy_timeout: Duration::from_secs(5) };
        Client { pool: options.build(settings) }
    }

    /// Runs `work` with a connection. A transaction that it leaves open is rolled back.
    ///
    /// # Errors
    /// [`Error::Rejected`] with SQLite's extended result code; [`Error::TimedOut`] and [`Error::Cancelled`], after which the
    /// statement that runs is interrupted; the pool's.
    ///
    /// # Panics
    /// With the panic of `work`.
    #[track_caller]
    pub fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let mut connection = self.pool.borrow(Location::caller(), None)?;
        let interrupt = connection.get_interrupt_handle();
        let deadline = park::current_deadline();
        let is_over = move || deadline.is_some_and(|deadline| deadline <= Instant::now());
        let run = move || {
            // For a plain thread, where nobody else is there to interrupt.
            connection.progress_handler(STEPS, Some(move || is_over() || park::task_is_cancelled()))?;
            let outcome = work(&mut connection);
            connection.progress_handler(0, None::<fn() -> bool>)?;
            outcome
        };
        match offload(run) {
            Ok(outcome) => outcome.map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) if is_over() => {
                    Error::io(Phase::AwaitingReply, std::io::ErrorKind::TimedOut.into())
                }
                Some(ErrorCode::OperationInterrupted) if park::task_is_cancelled() => {
                    Error::io(Phase::AwaitingReply, park::cancelled())
                }
                _ => failed(error),
            }),
            Err(OffloadError::Panicked(panic)) => std::panic::resume_unwind(panic),
            Err(ended) => {
                interrupt.interrupt();
                Err(Error::io(Phase::AwaitingReply, ended.into()))
            }
        }
    }

    /// The pool.
    pub fn pool(&self) -> &Pool<Settings> {
        &self.pool
    }
}

impl pool::Manager for Settings {
    type Connection = Connection;
    type Error = Error;

    fn name(&self) -> &str {
        &self.name
    }

    fn connect(&self) -> Result<Connection, Error> {
        let settings = self.clone();
        let open = move || {
            let connection = Connection::open(&settings.path)?;
            connection.busy_timeout(settings.busy_timeout)?;
            // The answer is the mode that came of it: a file that cannot have a log keeps its own.
            connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            Ok(connection)
        };
        offload(open).map_err(|ended| Error::io(Phase::Connecting, ended.into()))?.map_err(failed)
    }

    fn reset(&self, connection: &mut Connection) -> Result<(), Error> {
        // On the thread of the pool that has run the work, so it holds up no loop.
        if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("rollback").map_err(failed) }
    }
}

fn failed(error: rusqlite::Error) -> Error {
    match &error {
        rusqlite::Error::SqliteFailure(code, message) => Error::Rejected {
            code: code.extended_code.to_string(),
            message: message.clone().unwrap_or_else(|| error.to_string()),
        },
        _ => Error::InvalidRequest(error.to_string()),
    }
}
