//! `Connection`: one connection to PostgreSQL.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tenfold_runtime::adapter::AsyncStream;
use tenfold_runtime::cause::{Cause, waiting_for};
use tenfold_runtime::{block_on_until, park, spawn_detached};
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, NoTls, Row, Statement};

use crate::address::{Address, after};
use crate::error::{Error, Phase};

use super::settings::Settings;
use super::transaction::Transaction;

/// Most statements that a connection keeps prepared. A program that builds more texts than that should use parameters.
const STATEMENTS_MAX: usize = 256;
/// How long cancelling a query on the server may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What reads and writes the socket; polled by whoever waits for an answer.
type Machine = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// A statement's text and its parameters, for [`Connection::pipeline`].
pub type Query<'a> = (&'a str, &'a [&'a (dyn ToSql + Sync)]);

/// One connection. Calls on it are made one after another; [`Connection::pipeline`] sends several at once.
pub struct Connection {
    client: tokio_postgres::Client,
    machine: Machine,
    address: Address,
    timeout: Duration,
    statements: HashMap<String, Statement>,
    /// A call has begun and its answer has not come: nobody else may have the connection.
    busy: bool,
    pub(super) in_transaction: bool,
}

impl Connection {
    pub(super) fn new(
        client: tokio_postgres::Client,
        machine: tokio_postgres::Connection<AsyncStream, tokio_postgres::tls::NoTlsStream>,
        settings: &Settings,
    ) -> Connection {
        Connection {
            client,
            machine: Box::pin(machine),
            address: settings.address.clone(),
            timeout: settings.query_timeout,
            statements: HashMap::new(),
            busy: false,
            in_transaction: false,
        }
    }

    /// Runs a statement and returns all rows.
    ///
    /// # Errors
    /// [`Error::Rejected`] with the SQLSTATE; [`Error::TimedOut`] and [`Error::Cancelled`], after which the query is cancelled
    /// on the server as well and the connection is not used again; those of the connection.
    pub fn query(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(sql)?;
        self.run(async |client| client.query(&statement, parameters).await)
    }

    /// Runs a statement that has one row.
    ///
    /// # Errors
    /// [`Error::Type`] if it has none or several; as [`Connection::query`].
    pub fn query_one(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        self.query_optional(sql, parameters)?
            .ok_or_else(|| Error::Type { expected: "one row", got: "none".into() })
    }

    /// Runs a statement that has one row or none.
    ///
    /// # Errors
    /// [`Error::Type`] if it has several; as [`Connection::query`].
    pub fn query_optional(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let mut rows = self.query(sql, parameters)?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            many => Err(Error::Type { expected: "at most one row", got: format!("{many} rows") }),
        }
    }

    /// Runs a statement; how many rows it has changed.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn execute(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let statement = self.prepare(sql)?;
        self.run(async |client| client.execute(&statement, parameters).await)
    }

    /// Runs several statements, separated by semicolons, without parameters.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn batch(&mut self, sql: &str) -> Result<(), Error> {
        self.run(async |client| client.batch_execute(sql).await)
    }

    /// Sends several queries at once and waits for all of them: one round trip once their statements are prepared. Each is a
    /// transaction of its own unless there is one around them.
    ///
    /// # Errors
    /// As [`Connection::query`]: the first error, although the others were run.
    pub fn pipeline(&mut self, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, Error> {
        let statements = queries.iter().map(|(sql, _)| self.prepare(sql)).collect::<Result<Vec<_>, _>>()?;
        self.run(async |client| {
            let started = statements.iter().zip(queries);
            let mut running: Vec<_> = started
                .map(|(statement, (_, parameters))| Box::pin(client.query(statement, parameters)))
                .collect();
            // All of them are polled before the first is waited for: so all of them are sent.
            let mut rows: Vec<Option<_>> = running.iter().map(|_| None).collect();
            poll_fn(|context| {
                let mut waiting = false;
                for (query, rows) in running.iter_mut().zip(&mut rows).filter(|(_, rows)| rows.is_none()) {
                    match query.as_mut().poll(context) {
                        Poll::Ready(outcome) => *rows = Some(outcome),
                        Poll::Pending => waiting = true,
                    }
                }
                if waiting { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            rows.into_iter().flatten().collect()
        })
    }

    /// Begins a transaction. Dropped without a commit it is rolled back.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.batch("begin")?;
        self.in_transaction = true;
        Ok(Transaction::new(self))
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.run(async |client| client.prepare(sql).await)?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// Runs a call and, with it, what reads and writes the socket.
    fn run<T>(
        &mut self,
        call: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        if self.busy {
            return Err(Error::Closed);
        }
        self.busy = true;
        let until = Some(after(self.timeout));
        let Connection { client, machine, busy, address, .. } = self;
        let client = &*client;
        let mut gone = None;
        let mut call = pin!(call(client));
        let ended = waiting_for(Cause::Database, "postgres", || {
            block_on_until(
                poll_fn(|context| {
                    // First what was asked for, so that it is written in the same round. A connection that has ended may have
                    // left an answer behind.
                    if let Poll::Ready(outcome) = call.as_mut().poll(context) {
                        return Poll::Ready(Some(outcome));
                    }
                    if gone.is_none()
                        && let Poll::Ready(end) = machine.as_mut().poll(context)
                    {
                        gone = Some(end);
                    }
                    match call.as_mut().poll(context) {
                        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                        Poll::Pending if gone.is_some() => Poll::Ready(None),
                        Poll::Pending => Poll::Pending,
                    }
                }),
                until,
            )
        });
        match ended {
            Ok(Some(Ok(value))) => {
                *busy = gone.is_some();
                Ok(value)
            }
            Ok(Some(Err(error))) => {
                // A refusal, the server's or of a parameter that is of no use, leaves the connection in order.
                let error = failed(error);
                *busy = gone.is_some() || !matches!(error, Error::Rejected { .. } | Error::InvalidRequest(_));
                Err(error)
            }
            Ok(None) => Err(Error::Closed),
            Err(ended) => {
                cancel_on_server(client.cancel_token(), address.clone());
                Err(Error::io(Phase::AwaitingReply, ended.into()))
            }
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }
}

/// Asks the server to give up what runs on a connection. By a task of its own: the caller's time is over.
fn cancel_on_server(token: CancelToken, address: Address) {
    let cancel = move || {
        let cancelled = address.connect(CANCEL_TIMEOUT).and_then(|stream| {
            let telling = token.cancel_query_raw(AsyncStream::from(stream), NoTls);
            block_on_until(telling, Some(after(CANCEL_TIMEOUT)))
                .map_err(|ended| Error::io(Phase::Sending, ended.into()))?
                .map_err(failed)
        });
        if let Err(error) = cancelled {
            tracing::warn!(%error, "a query could not be cancelled on the server {address}");
        }
    };
    match park::parks() {
        true => drop(spawn_detached("cancel", cancel)),
        false => drop(std::thread::Builder::new().name("cancel".into()).spawn(cancel)),
    }
}

/// Sorts an error of tokio-postgres.
pub(super) fn failed(error: tokio_postgres::Error) -> Error {
    if let Some(refusal) = error.as_db_error() {
        return Error::Rejected { code: refusal.code().code().into(), message: refusal.message().into() };
    }
    if error.is_closed() {
        return Error::Closed;
    }
    let text = error.to_string();
    match error.into_source().map(|source| source.downcast::<io::Error>()) {
        Some(Ok(source)) => Error::io(Phase::AwaitingReply, *source),
        Some(Err(source)) => Error::InvalidRequest(format!("{text}: {source}")),
        None => Error::InvalidRequest(text),
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}
