//! `Reader`: takes records out of a topic, a batch at a time, and remembers how far it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::Topic;
use super::block::{self, Decoded, Records};
use super::directory::{self, Directory, Name};
use crate::error::{Error, Result};

/// Bytes of a batch; one block may be larger.
const BATCH_BYTES: usize = 1 << 20;

/// Takes records out of a topic; one process at a time can.
#[derive(Debug)]
pub struct Reader {
    topic: String,
    directory: Directory,
    /// Held for as long as it lives.
    _lock: File,
    /// How far it is in each segment.
    cursor: BTreeMap<u64, u64>,
    /// Of which segment the last batch was: the next one comes from another, if one has some.
    last: u64,
    bytes: Vec<u8>,
    /// Where the cursor is once the batch is done.
    taken: Option<(u64, u64)>,
    lost_bytes: u64,
}

/// Records of one process, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    blocks: &'a [u8],
}

impl Reader {
    pub(super) fn open(topic: &Topic) -> Result<Reader> {
        let failed = |source| Error::Topic { topic: topic.name.clone(), source };
        let directory = topic.files();
        let lock = directory.lock_reader().map_err(failed)?;
        let text = match fs::read_to_string(directory.file("cursor")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(failed)?,
        };
        let pair = |line: &str| {
            let (number, at) = line.split_once(' ')?;
            Some((number.parse().ok()?, at.parse().ok()?))
        };
        let cursor = text.lines().filter_map(pair).collect();
        let (topic, bytes) = (topic.name.clone(), Vec::new());
        Ok(Reader { topic, directory, _lock: lock, cursor, last: 0, bytes, taken: None, lost_bytes: 0 })
    }

    /// The next records, about 1 MiB of them at most; `None` when there are none now. Never waits for records.
    ///
    /// Without a [`Reader::commit`] in between it gives the same ones, or those of another process, again: nothing is passed over.
    ///
    /// # Errors
    /// [`Error::Topic`]: the files cannot be read.
    #[expect(clippy::should_implement_trait, reason = "a batch is borrowed from its reader")]
    pub fn next(&mut self) -> Result<Option<Batch<'_>>> {
        let found = self.find();
        match found.map_err(|source| Error::Topic { topic: self.topic.clone(), source })? {
            Some(end) => Ok(Some(Batch { blocks: &self.bytes[..end] })),
            None => Ok(None),
        }
    }

    /// The last batch is done: it does not come again, not even after a kill. A power failure may bring it back.
    ///
    /// # Errors
    /// [`Error::Topic`]: the cursor cannot be written; the batch will come again.
    pub fn commit(&mut self) -> Result<()> {
        let Some((number, at)) = self.taken.take() else { return Ok(()) };
        let before = self.cursor.insert(number, at);
        self.last = number;
        self.write_cursor().map_err(|source| {
            match before {
                Some(before) => self.cursor.insert(number, before),
                None => self.cursor.remove(&number),
            };
            Error::Topic { topic: self.topic.clone(), source }
        })
    }

    /// Bytes that could not be read: what a kill or a power failure has cut. Of this reader, since it was opened.
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Segments that were dropped to make room for others, ever.
    ///
    /// # Errors
    /// [`Error::Topic`]: it cannot be read.
    pub fn dropped_segments(&self) -> Result<u64> {
        self.directory.dropped().map_err(|source| Error::Topic { topic: self.topic.clone(), source })
    }

    /// Fills `bytes` from the first segment that has something; where the blocks end.
    fn find(&mut self) -> io::Result<Option<usize>> {
        self.taken = None;
        loop {
            let segments = self.directory.segments()?;
            // One that is gone was dropped to make room.
            self.cursor.retain(|number, _| segments.iter().any(|name| name.number == *number));
            // Of each writer the oldest one: what he wrote later comes later.
            let mut writers = BTreeSet::new();
            let mut oldest: Vec<Name> =
                segments.into_iter().filter(|name| writers.insert(name.writer)).collect();
            let after = oldest.partition_point(|name| name.number <= self.last);
            oldest.rotate_left(after);
            let mut is_over = false;
            for name in oldest {
                match self.take(name)? {
                    Taken::Batch(end) => return Ok(Some(end)),
                    Taken::Nothing => {}
                    Taken::Over => is_over = true,
                }
            }
            // Its writer's next one has its turn.
            if !is_over {
                return Ok(None);
            }
        }
    }

    /// What a segment has beyond the cursor. One that has nothing and no writer is deleted.
    fn take(&mut self, name: Name) -> io::Result<Taken> {
        let number = name.number;
        let file = match File::open(self.directory.segment(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Over),
            file => file?,
        };
        let at = self.cursor.get(&number).copied().unwrap_or(0);
        // In this order: what its writer wrote last is read after he was seen to be gone.
        let mut is_finished = false;
        loop {
            self.read(&file, at, BATCH_BYTES)?;
            let (mut end, needed) = blocks(&self.bytes);
            if end == 0 && needed.is_some_and(|needed| needed > BATCH_BYTES) {
                self.read(&file, at, needed.unwrap_or(BATCH_BYTES))?;
                end = blocks(&self.bytes).0;
            }
            if end > 0 {
                self.taken = Some((number, at + end as u64));
                return Ok(Taken::Batch(end));
            }
            if is_finished {
                break;
            }
            if !directory::is_free(&file)? {
                return Ok(Taken::Nothing);
            }
            is_finished = true;
        }
        let cut = file.metadata()?.len().saturating_sub(at);
        if cut > 0 {
            self.lost_bytes += cut;
            tracing::warn!(target: "jobs", topic = self.topic, segment = number, bytes = cut, "the end of a segment is no record");
        }
        directory::remove(&self.directory.segment(name))?;
        self.cursor.remove(&number);
        Ok(Taken::Over)
    }

    fn read(&mut self, file: &File, at: u64, most: usize) -> io::Result<()> {
        self.bytes.resize(most, 0);
        let mut filled = 0;
        while filled < most {
            match file.read_at(&mut self.bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }

    fn write_cursor(&self) -> io::Result<()> {
        let mut text = String::new();
        for (number, at) in &self.cursor {
            text.push_str(&format!("{number} {at}\n"));
        }
        let fresh = self.directory.file("cursor.new");
        File::create(&fresh)?.write_all(text.as_bytes())?;
        fs::rename(fresh, self.directory.file("cursor"))
    }
}

/// What a segment has given.
enum Taken {
    /// Blocks in `bytes`, up to here.
    Batch(usize),
    /// Nothing yet.
    Nothing,
    /// It has been read to its end, and is gone.
    Over,
}

/// Where the whole blocks at the beginning of some bytes end, and how many bytes the next one needs, if it may become one.
fn blocks(bytes: &[u8]) -> (usize, Option<usize>) {
    let mut end = 0;
    loop {
        match block::decode(&bytes[end..]) {
            Decoded::Block(_, used) => end += used,
            Decoded::Partial(needed) => return (end, Some(needed)),
            Decoded::Damaged => return (end, None),
        }
    }
}

impl<'a> Batch<'a> {
    /// The records, in the order in which their process appended them.
    pub fn records(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.blocks;
        let mut block: Option<Records<'a>> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some(record) = block.as_mut().and_then(Iterator::next) {
                    return Some(record);
                }
                let Decoded::Block(records, used) = block::decode(rest) else { return None };
                (block, rest) = (Some(records), &rest[used..]);
            }
        })
    }
}
