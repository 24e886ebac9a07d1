//! `Topic`: a log that many processes append short records to, and one reader takes out in batches: visits, clicks, measurements.
//!
//! In scope: records ↔ files of a directory, their bound, and what a kill leaves of them. Out of scope: what a record means. It has
//! nothing of a queue's guarantees, and costs a hundredth of it: nobody waits for the disk, and no keeper is asked.
//!
//! ```text
//!   append ─► buffer of the process ─► its segment ┐
//!   append ─► buffer of the process ─► its segment ├─► reader: a batch ─► a file, an engine … ─► cursor
//!             at most 100 ms, 64 KiB                └   what is read to its end is deleted
//!
//!   DIRECTORY/00000000000000000007-3.log a segment: blocks (block.rs), of the writer whose first one was 3; he holds its lock
//!             lock                       who makes or drops a segment holds it; the next number, and how many were dropped
//!             cursor                     how far the reader is in each segment; of a writer it reads the oldest one
//! ```
//!
//! A writer that is killed loses what was in its buffer: at most what came in the last 100 ms. What was written is the kernel's,
//! which a power failure takes. A reader that is killed loses nothing, and gets its last batch again. Records of one process keep
//! their order; those of different processes have none.

mod block;
mod collector;
mod directory;
mod entries;
mod reader;
mod topics;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use self::directory::Directory;
use crate::error::Result;

pub use block::{BLOCK_BYTES_MAX, Decoded, Records, decode, encode};
pub use collector::{Collect, Lines};
pub use entries::Entries;
pub use reader::{Batch, Reader};
pub use topics::Topics;
pub(crate) use topics::TopicsPart;
pub use writer::Writer;

/// The smallest segment: a few of the largest blocks.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// Most bytes of one record.
pub const RECORD_BYTES_MAX: usize = 64 << 10;

/// What a topic is called, where it is, and how much of the disk it may have.
///
/// ```
/// use tenfold_jobs::topic::Topic;
///
/// # let directory = std::env::temp_dir().join(format!("topic-{}", std::process::id()));
/// let visits = Topic::new("visits").directory(&directory).bytes_max(64 << 20);
/// let writer = visits.writer();
/// writer.append(b"/index.html")?;
/// writer.flush()?; // done by itself within 100 ms
///
/// let mut reader = visits.reader()?;
/// let batch = reader.next()?.expect("a batch");
/// assert_eq!(batch.records().collect::<Vec<_>>(), [b"/index.html"]);
/// reader.commit()?;
/// assert!(reader.next()?.is_none());
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), tenfold_jobs::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Topic {
    name: String,
    directory: PathBuf,
    bytes_max: u64,
    segment_bytes: u64,
    refuses: bool,
    flush_after: Duration,
}

impl Topic {
    /// A topic with the defaults: in `topics/NAME` under the working directory, at most 1 GiB in segments of 8 MiB, of which the
    /// oldest is dropped when there is no room, and written after 100 ms.
    pub fn new(name: impl Into<String>) -> Topic {
        let name = name.into();
        Topic {
            directory: PathBuf::from("topics").join(&name),
            name,
            bytes_max: 1 << 30,
            segment_bytes: 8 << 20,
            refuses: false,
            flush_after: Duration::from_millis(100),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory; made where there is none. Of one machine, and one topic.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Topic {
        self.directory = directory.into();
        self
    }

    /// Most bytes of its segments. Each counts as a whole from its first byte, so the bound is never passed; and each process that
    /// appends has one, so there must be more of them than processes.
    pub fn bytes_max(mut self, bytes: u64) -> Topic {
        self.bytes_max = bytes;
        self
    }

    /// Most bytes of one segment; at least 4 MiB.
    pub fn segment_bytes(mut self, bytes: u64) -> Topic {
        self.segment_bytes = bytes.max(SEGMENT_BYTES_MIN);
        self
    }

    /// When there is no room, appending is an error ([`crate::Error::TopicFull`]) instead of the end of the oldest segment.
    pub fn refuse(mut self) -> Topic {
        self.refuses = true;
        self
    }

    /// How long a record may stay in its process's buffer: what a kill may take.
    pub fn flush_after(mut self, time: Duration) -> Topic {
        self.flush_after = time;
        self
    }

    /// What appends to it, in this process: one is enough, and may be cloned.
    pub fn writer(&self) -> Writer {
        Writer::new(self)
    }

    /// What takes records out of it.
    ///
    /// # Errors
    /// [`crate::Error::Topic`]: another process reads it (`WouldBlock`), or its directory cannot be used.
    pub fn reader(&self) -> Result<Reader> {
        Reader::open(self)
    }

    fn files(&self) -> Directory {
        Directory::new(self)
    }
}
