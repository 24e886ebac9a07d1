//! The items in a SQLite file: a store in the worker's own process, without a wait.
//!
//! Reads run where the handler runs, on a fiber too: a query by key takes some ten microseconds, less than handing it to
//! another thread and back would.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

/// Connections of a worker; the threads of the blocking models share them.
const READERS: usize = 4;

/// The connections of one worker, opened after the fork: SQLite forbids to carry one across.
#[derive(Debug)]
pub(crate) struct Database {
    readers: Vec<Mutex<Connection>>,
    next: AtomicUsize,
}

/// Makes the file with its items.
pub(super) fn create(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, item BLOB NOT NULL); DELETE FROM items",
    )?;
    for id in 0..super::ITEMS {
        transaction.execute("INSERT INTO items VALUES (?1, ?2)", params![id as i64, super::item(id)])?;
    }
    transaction.commit()
}

impl Database {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Database> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || Connection::open_with_flags(path, flags).map(Mutex::new);
        let readers = (0..READERS).map(|_| open()).collect::<rusqlite::Result<_>>()?;
        Ok(Database { readers, next: AtomicUsize::new(0) })
    }

    pub(super) fn get(&self, id: u64) -> rusqlite::Result<Option<Vec<u8>>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = self.readers[number % READERS].lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached("SELECT item FROM items WHERE id = ?1")?;
        statement.query_row([id as i64], |row| row.get(0)).optional()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Store, fill, item};

    #[test]
    fn an_item_comes_back_as_it_was_made() {
        let file = std::env::temp_dir().join(format!("tenfold-store-{}.sqlite", std::process::id()));
        let address = format!("sqlite:{}", file.display());
        fill(&address).unwrap();
        let store = Store::open(&address).unwrap();
        let found = (store.get(17).unwrap(), store.get(1_000_000).unwrap());
        drop(store);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(found, (Some(item(17)), None));
    }
}
