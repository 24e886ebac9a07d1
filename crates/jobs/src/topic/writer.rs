//! `Writer`: appends to a topic from one process.
//!
//! ```text
//!   append ─► buffer, under a lock ─┬─ 64 KiB, or 100 ms ─► thread `topic`: one block ─► segment
//!   (any thread, any fiber)         └─ 1 MiB: the disk is slower; whoever appends writes it himself
//! ```

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::block::{self, BLOCK_BYTES_MAX, HEAD_BYTES};
use super::directory::Directory;
use super::{RECORD_BYTES_MAX, Topic};
use crate::error::{Error, Result};

/// Bytes that are worth a write.
const BLOCK_BYTES: usize = 64 << 10;
/// Rest after a write that failed.
const FAILED_REST: Duration = Duration::from_millis(200);

/// Appends records to a topic. Cheap to clone; the last one that is dropped writes what is left.
///
/// Made after the fork, in the process that appends: it has a thread of its own from the first record on.
#[derive(Clone, Debug)]
pub struct Writer(Arc<Owner>);

/// Ends the thread.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    directory: Directory,
    segment_bytes: u64,
    flush_after: Duration,
    buffer: Mutex<Buffer>,
    /// The first record of a buffer, a buffer that is worth a write, or the end.
    wake: Condvar,
    /// Locked before the buffer, so that blocks are written in the order in which they were filled.
    file: Mutex<Segment>,
}

#[derive(Debug)]
struct Buffer {
    /// A block without its head.
    block: Vec<u8>,
    over: bool,
}

#[derive(Debug, Default)]
struct Segment {
    /// The file, and how long it is.
    file: Option<(File, u64)>,
    /// What this writer is called by: the number of its first segment.
    writer: Option<u64>,
    /// A sealed block that could not be written; empty when there is none.
    left: Vec<u8>,
}

impl Writer {
    pub(super) fn new(topic: &Topic) -> Writer {
        let shared = Shared {
            name: topic.name.clone(),
            directory: topic.files(),
            segment_bytes: topic.segment_bytes,
            flush_after: topic.flush_after,
            buffer: Mutex::new(Buffer { block: vec![0; HEAD_BYTES], over: false }),
            wake: Condvar::new(),
            file: Mutex::default(),
        };
        Writer(Arc::new(Owner { shared: Arc::new(shared), thread: Mutex::default() }))
    }

    /// Appends a record of at most 64 KiB. It is safe from a kill of this process once it was written: within 100 ms, or when
    /// [`Writer::flush`] returns.
    ///
    /// Costs some ten nanoseconds and a copy; when the disk is slower than what comes, it is the caller who waits for a write.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`]; [`Error::TopicFull`] and [`Error::Topic`] once 1 MiB could not be written: this record is not
    /// there then, and those before it still wait.
    pub fn append(&self, record: &[u8]) -> Result<()> {
        let shared = &self.0.shared;
        if record.len() > RECORD_BYTES_MAX {
            let (topic, bytes) = (shared.name.clone(), record.len());
            return Err(Error::RecordTooLarge { topic, bytes, bytes_max: RECORD_BYTES_MAX });
        }
        let mut buffer = shared.buffer();
        while buffer.block.len() + 4 + record.len() > HEAD_BYTES + BLOCK_BYTES_MAX {
            drop(buffer);
            shared.flush()?;
            buffer = shared.buffer();
        }
        let before = buffer.block.len();
        block::push(&mut buffer.block, record);
        let is_worth_it = before < BLOCK_BYTES && buffer.block.len() >= BLOCK_BYTES;
        drop(buffer);
        if before == HEAD_BYTES {
            self.0.start();
        }
        if before == HEAD_BYTES || is_worth_it {
            shared.wake.notify_one();
        }
        Ok(())
    }

    /// Writes what was appended so far. It is the kernel's then: it outlives this process, and not the machine's power.
    ///
    /// # Errors
    /// [`Error::TopicFull`], [`Error::Topic`]; what was not written still waits.
    pub fn flush(&self) -> Result<()> {
        self.0.shared.flush()
    }
}

impl Owner {
    /// Starts the thread, if it does not run. Without one, records are written when there are many, and at the end.
    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = self.shared.clone();
            let run = move || shared.flush_always();
            *thread = std::thread::Builder::new().name("topic".into()).spawn(run).ok();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.buffer().over = true;
        self.shared.wake.notify_one();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        if let Err(error) = self.shared.flush() {
            tracing::error!(target: "jobs", topic = self.shared.name, %error, "records are lost");
        }
    }
}

impl Shared {
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread `topic`.
    fn flush_always(&self) {
        let mut failed = false;
        loop {
            let mut buffer = self.buffer();
            while buffer.block.len() == HEAD_BYTES && !buffer.over && !failed {
                buffer = self.wake.wait(buffer).unwrap_or_else(PoisonError::into_inner);
            }
            let rest = if failed { FAILED_REST } else { self.flush_after };
            let is_small = |buffer: &mut Buffer| (failed || buffer.block.len() < BLOCK_BYTES) && !buffer.over;
            let waited = self.wake.wait_timeout_while(buffer, rest, is_small);
            let over = waited.unwrap_or_else(PoisonError::into_inner).0.over;
            if over {
                return;
            }
            let outcome = self.flush();
            if let (Err(error), false) = (&outcome, failed) {
                tracing::error!(target: "jobs", topic = self.name, %error, "a topic cannot be written");
            }
            failed = outcome.is_err();
        }
    }

    fn flush(&self) -> Result<()> {
        let mut segment = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if segment.left.is_empty() {
            let mut buffer = self.buffer();
            if buffer.block.len() == HEAD_BYTES {
                return Ok(());
            }
            let mut fresh = Vec::with_capacity(buffer.block.len());
            fresh.resize(HEAD_BYTES, 0);
            segment.left = std::mem::replace(&mut buffer.block, fresh);
            drop(buffer);
            block::seal(&mut segment.left);
        }
        segment.write(self)
    }
}

impl Segment {
    /// Writes the block that is left, in whole or not at all.
    fn write(&mut self, shared: &Shared) -> Result<()> {
        let failed = |source| Error::Topic { topic: shared.name.clone(), source };
        let length = self.left.len() as u64;
        if self.file.as_ref().is_some_and(|(_, at)| at + length > shared.segment_bytes) {
            self.file = None;
        }
        if self.file.is_none() {
            let made = shared.directory.create(self.writer).map_err(failed)?;
            let (file, name) = made.ok_or_else(|| Error::topic_full(&shared.name))?;
            self.writer = Some(name.writer);
            self.file = Some((file, 0));
        }
        let Some((file, at)) = &mut self.file else { return Ok(()) };
        match file.write_all(&self.left) {
            Ok(()) => {
                *at += length;
                self.left.clear();
                Ok(())
            }
            Err(error) => {
                // A part of it may be there; where it cannot be taken back, the segment ends with it.
                if file.set_len(*at).is_err() {
                    self.file = None;
                }
                Err(failed(error))
            }
        }
    }
}
