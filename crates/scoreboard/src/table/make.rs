//! Making a [`Table`], in memory or in a file.
//!
//! ```text
//!   header: what it is, seed, check │ locks │ rows
//! ```

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::place::{HEADER_WORDS, check, shape, total_words};
use super::rows::{Rows, Shape};
use super::{Table, TableConfig, TableError};
use crate::map;
use crate::robust::{LOCK_WORDS, RobustLocks};

/// What a table's words begin with, and its layout's version.
const MAGIC: u64 = u64::from_le_bytes(*b"tftable1");

impl Table {
    /// A table in memory that this process shares with the children it forks later.
    ///
    /// # Errors
    /// [`TableError::Size`] for no rows, or more than memory has addresses for; [`TableError::Io`] without memory.
    pub fn new(config: TableConfig) -> Result<Table, TableError> {
        let (shape, locks) = shape(&config)?;
        let words = map::words(None, total_words(&shape, locks)?)?;
        Table::initialise(words, &config, shape, locks)
    }

    /// The table in a file, which is made if it is not there; processes that are not each other's children can share it so.
    /// Put it where memory is (`/dev/shm`), and make it in one process before others open it.
    ///
    /// # Errors
    /// As [`Table::new`]; [`TableError::Foreign`] for a file that is no table of this shape and version.
    pub fn open(path: impl AsRef<Path>, config: TableConfig) -> Result<Table, TableError> {
        let path = path.as_ref();
        let (shape, locks) = shape(&config)?;
        let count = total_words(&shape, locks)?;
        if let Some(table) = Table::open_existing(path, &config, shape, locks, count)? {
            return Ok(table);
        }
        // Under another name first, so that nobody opens one that is not whole.
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new);
        let result = made.and_then(|file| {
            file.set_len(8 * count as u64)?;
            map::words(Some(&file), count)
        });
        let table = result.map_err(TableError::from).and_then(|words| {
            let table = Table::initialise(words, &config, shape, locks)?;
            std::fs::rename(&new, path)?;
            Ok(table)
        });
        if table.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        table
    }

    fn open_existing(
        path: &Path,
        config: &TableConfig,
        shape: Shape,
        locks: usize,
        count: usize,
    ) -> Result<Option<Table>, TableError> {
        let file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        if file.metadata()?.len() != 8 * count as u64 {
            return Err(TableError::Foreign("its length is another"));
        }
        let words = map::words(Some(&file), count)?;
        let seed = words[1].load(Relaxed);
        if words[0].load(Acquire) != MAGIC || words[2].load(Relaxed) != check(seed, &shape) {
            return Err(TableError::Foreign("it is no table, or one of another shape or version"));
        }
        Ok(Some(Table::of(words, config, shape, locks, seed, RobustLocks::at)))
    }

    fn initialise(
        words: &'static [AtomicU64],
        config: &TableConfig,
        shape: Shape,
        locks: usize,
    ) -> Result<Table, TableError> {
        // Keys may be a client's choice: which of them share a group must not be known beforehand.
        let seed = RandomState::new().hash_one(std::process::id());
        words[1].store(seed, Relaxed);
        words[2].store(check(seed, &shape), Relaxed);
        let mut made = Ok(());
        let table = Table::of(words, config, shape, locks, seed, |words| {
            RobustLocks::initialise(words).unwrap_or_else(|error| {
                made = Err(error);
                RobustLocks::at(words)
            })
        });
        made?;
        words[0].store(MAGIC, Release);
        Ok(table)
    }

    fn of(
        words: &'static [AtomicU64],
        config: &TableConfig,
        shape: Shape,
        locks: usize,
        seed: u64,
        make: impl FnOnce(&'static [AtomicU64]) -> RobustLocks,
    ) -> Table {
        let (of_locks, of_rows) = words[HEADER_WORDS..].split_at(locks * LOCK_WORDS);
        Table {
            rows: Rows::new(shape, of_rows),
            locks: make(of_locks),
            seed,
            key_bytes_max: 8 * shape.key_words,
            value_bytes_max: 8 * shape.value_words,
            evict: config.evict,
        }
    }
}
