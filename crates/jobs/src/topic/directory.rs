//! `Directory`: the segments of a topic as files, and the bound on how many there are.
//!
//! Whoever makes or drops a segment holds the lock of `lock`; who reads, or deletes what he has read, need not. All locks are those
//! of flock(2): they end with the process that has them, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::Topic;

#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    segments_max: u64,
    refuses: bool,
}

/// A segment: its number, and that of the first one of its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) number: u64,
    pub(super) writer: u64,
}

impl Name {
    fn parse(file: &str) -> Option<Name> {
        let (number, writer) = file.strip_suffix(".log")?.split_once('-')?;
        Some(Name { number: number.parse().ok()?, writer: writer.parse().ok()? })
    }
}

/// What is written in `lock`.
#[derive(Default)]
struct Facts {
    next: u64,
    dropped: u64,
}

impl Directory {
    pub(super) fn new(topic: &Topic) -> Directory {
        Directory {
            path: topic.directory.clone(),
            segments_max: topic.bytes_max / topic.segment_bytes,
            refuses: topic.refuses,
        }
    }

    pub(super) fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn segment(&self, name: Name) -> PathBuf {
        self.file(&format!("{:020}-{}.log", name.number, name.writer))
    }

    /// All segments, the oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().to_str().and_then(Name::parse));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes the next segment of a writer, whose first one has the number that it is called by. The caller has its lock for as
    /// long as the file is open. `None` when there is no room.
    pub(super) fn create(&self, writer: Option<u64>) -> io::Result<Option<(File, Name)>> {
        self.make()?;
        let mut lock = self.open("lock")?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut facts = Facts::read(&mut lock)?;
        let segments = self.segments()?;
        let mut over = (segments.len() as u64 + 1).saturating_sub(self.segments_max);
        for name in segments.iter().filter(|_| !self.refuses) {
            if over > 0 && self.is_finished(*name)? {
                remove(&self.segment(*name))?;
                facts.dropped += 1;
                over -= 1;
            }
        }
        let number = facts.next.max(segments.last().map_or(0, |last| last.number + 1)).max(1);
        facts.next = number + u64::from(over == 0);
        facts.write(&mut lock)?;
        if over > 0 {
            return Ok(None);
        }
        // It gets its name when it is locked: one that is not has no writer any more.
        let fresh = self.file("new");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&fresh)?;
        file.set_len(0)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let name = Name { number, writer: writer.unwrap_or(number) };
        fs::rename(fresh, self.segment(name))?;
        Ok(Some((file, name)))
    }

    /// Whether a segment has no writer any more, or is gone itself.
    fn is_finished(&self, name: Name) -> io::Result<bool> {
        match File::open(self.segment(name)) {
            Ok(file) => is_free(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Segments that were dropped to make room.
    pub(super) fn dropped(&self) -> io::Result<u64> {
        Ok(Facts::read(&mut self.open("lock")?)?.dropped)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600).open(self.file(name))
    }

    /// The lock of whoever reads; `WouldBlock` while somebody else does.
    pub(super) fn lock_reader(&self) -> io::Result<File> {
        self.make()?;
        let file = self.open("reader")?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }
}

/// Whether nobody writes to a segment any more. The lock that is tried is given back by closing the file.
pub(super) fn is_free(file: &File) -> io::Result<bool> {
    // Shared, so that two who look do not take each other for the writer.
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a file that somebody else may have deleted.
pub(super) fn remove(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Facts {
    /// What cannot be read is as if it was not there: the files have the last word on the numbers.
    fn read(file: &mut File) -> io::Result<Facts> {
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        let mut numbers = text.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0));
        Ok(Facts { next: numbers.next().unwrap_or(0), dropped: numbers.next().unwrap_or(0) })
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        file.rewind()?;
        // As long as what was there, whatever the numbers.
        writeln!(file, "{:020} {:020}", self.next, self.dropped)
    }
}
