//! `Table`: the state of a shared store in a SQLite database in memory, and the statements that have changed it.
//!
//! What one replica has written, the others do again, in the same order and on the same state: statement by statement, with their
//! values. No statement may depend on anything else than that: no clock, no random numbers, no order that SQLite leaves open.

use std::borrow::Cow;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row, ToSql};
use serde::{Deserialize, Serialize};

/// One statement with its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Statement {
    sql: Cow<'static, str>,
    values: Vec<Cell>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
}

pub(super) struct Table {
    connection: Connection,
    /// Since [`Table::begin`].
    written: Vec<Statement>,
}

const SCHEMA: &str = "
    create table if not exists job (
        seq integer primary key autoincrement, id text not null unique, queue text not null, name text not null,
        payload text not null, bytes integer not null, state integer not null, phase text, run_at integer not null,
        priority integer not null, key text, slot integer not null default 0, keeper text, batch integer,
        attempt integer not null default 0, crashes integer not null default 0, created integer not null, ended integer,
        error text, word text, until integer, history text
    );
    create index if not exists job_ready on job (queue, priority desc, seq) where phase = 'ready';
    create index if not exists job_blocked on job (queue, key, priority desc, seq) where phase = 'blocked';
    create index if not exists job_delayed on job (run_at, seq) where phase = 'delayed';
    create index if not exists job_leased on job (keeper, seq) where phase = 'leased';
    create index if not exists job_live on job (queue, seq) where state = 0;
    create index if not exists job_dead on job (queue, seq) where state = 2;
    create index if not exists job_ended on job (ended, seq) where state = 1 or state = 3;
    create table if not exists used (queue text, key text, places integer not null, primary key (queue, key)) without rowid;
    create table if not exists uniq (
        queue text, word text, id text not null, until integer not null, primary key (queue, word)
    ) without rowid;
    create table if not exists batch (
        batch integer primary key autoincrement, left integer not null, failed integer not null, last text not null
    );
    create table if not exists queue (
        name text primary key, spec text not null, paused integer not null default 0, draining integer not null default 0,
        tokens real not null default 0, filled integer not null default 0, live integer not null default 0,
        bytes integer not null default 0, taken integer not null default 0, done integer not null default 0,
        retried integer not null default 0, died integer not null default 0, crashed integer not null default 0,
        dropped integer not null default 0, cancelled integer not null default 0
    ) without rowid;
    create table if not exists keeper (
        name text primary key, session text not null, beats integer not null, workers integer not null
    ) without rowid;
    create table if not exists schedule (name text primary key, last integer not null) without rowid;
";

impl Table {
    pub(super) fn new() -> Result<Table> {
        let connection = Connection::open_in_memory()?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.execute_batch(SCHEMA)?;
        Ok(Table { connection, written: Vec::new() })
    }

    /// As [`Table::image`] has written it.
    pub(super) fn restore(image: &Path) -> Result<Table> {
        let mut table = Table::new()?;
        let text = image.to_string_lossy().into_owned();
        table.connection.execute("attach database ? as image", [text])?;
        crate::history::add_column(&table.connection, "image")?;
        let tables = ["job", "used", "uniq", "batch", "queue", "keeper", "schedule", "sqlite_sequence"];
        let copy = |table: &str| match table {
            "sqlite_sequence" => "delete from sqlite_sequence; \
                                  insert into sqlite_sequence select * from image.sqlite_sequence;"
                .to_owned(),
            table => format!("insert into main.{table} select * from image.{table};"),
        };
        let sql: String = tables.into_iter().map(copy).collect();
        table.connection.execute_batch(&format!("{sql} detach database image;"))?;
        table.connection.set_prepared_statement_cache_capacity(128);
        table.written.clear();
        Ok(table)
    }

    /// Writes all that there is to a file.
    pub(super) fn image(&self, path: &Path) -> Result<()> {
        self.connection.execute("vacuum into ?", [path.to_string_lossy().into_owned()]).map(drop)
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        self.written.clear();
        self.connection.prepare_cached("begin")?.execute([]).map(drop)
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        self.written.clear();
        self.connection.prepare_cached("commit")?.execute([]).map(drop)
    }

    pub(super) fn roll_back(&mut self) -> Result<()> {
        self.written.clear();
        match self.connection.is_autocommit() {
            true => Ok(()),
            false => self.connection.prepare_cached("rollback")?.execute([]).map(drop),
        }
    }

    /// What has been written since [`Table::begin`].
    pub(super) fn written(&self) -> &[Statement] {
        &self.written
    }

    /// Does what another replica has done.
    pub(super) fn repeat(&mut self, statements: &[Statement]) -> Result<()> {
        self.begin()?;
        for statement in statements {
            let values = statement.values.iter().map(|cell| match cell {
                Cell::Null => Value::Null,
                Cell::Int(number) => Value::Integer(*number),
                Cell::Real(number) => Value::Real(*number),
                Cell::Text(text) => Value::Text(text.clone()),
            });
            let mut prepared = self.connection.prepare_cached(&statement.sql)?;
            prepared.execute(rusqlite::params_from_iter(values))?;
        }
        self.commit()
    }

    /// Changes something; how many rows. A statement that changes nothing here changes nothing anywhere.
    pub(super) fn write(&mut self, sql: &'static str, values: &[&dyn ToSql]) -> Result<usize> {
        let count = self.connection.prepare_cached(sql)?.execute(values)?;
        if count > 0 {
            let cells = values.iter().map(|value| Ok(cell(&value.to_sql()?)));
            self.written.push(Statement { sql: sql.into(), values: cells.collect::<Result<_>>()? });
        }
        Ok(count)
    }

    pub(super) fn last_number(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    pub(super) fn read<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        row: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.connection.prepare_cached(sql)?.query_row(values, row).optional()
    }

    pub(super) fn read_all<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        row: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.connection.prepare_cached(sql)?.query_map(values, row)?.collect()
    }
}

fn cell(value: &ToSqlOutput<'_>) -> Cell {
    let value = match value {
        ToSqlOutput::Borrowed(value) => *value,
        ToSqlOutput::Owned(value) => ValueRef::from(value),
        _ => ValueRef::Null,
    };
    match value {
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) | ValueRef::Blob(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Null => Cell::Null,
    }
}
