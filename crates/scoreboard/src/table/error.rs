//! `TableError`: what can go wrong with a shared table.

use std::io;

/// Why a table could not be made or changed. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A table of so many rows cannot be made.
    #[error("a table cannot have {rows} rows of this size")]
    Size {
        /// How many were asked for.
        rows: usize,
    },
    /// The key is too long. It is never cut.
    #[error("a key of {bytes} bytes, of at most {bytes_max}")]
    Key {
        /// Its length.
        bytes: usize,
        /// What the table takes.
        bytes_max: usize,
    },
    /// The value is too long.
    #[error("a value of {bytes} bytes, of at most {bytes_max}")]
    Value {
        /// Its length.
        bytes: usize,
        /// What the table takes.
        bytes_max: usize,
    },
    /// Every row that the key could be in has another, and the table does not evict.
    #[error("the table is full")]
    Full,
    /// Somebody who holds a lock has been stopped for a second.
    #[error("a row was locked for a second: its process is stopped")]
    Busy,
    /// The value is no counter.
    #[error("the value is no counter")]
    NotANumber,
    /// The file is another thing.
    #[error("this file cannot be opened as the table: {0}")]
    Foreign(&'static str),
    /// The system gave no memory, or no file.
    #[error(transparent)]
    Io(#[from] io::Error),
}
