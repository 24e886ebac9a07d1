//! One line per request, as text or JSON, to standard output or a file.
//!
//! Whoever serves a request only formats the line into memory; a thread of the worker's own writes, when 8 KiB are there,
//! after a second, and at the end. If the disk or the reader of a pipe cannot keep up the buffer grows to its bound, and
//! from then on lines are dropped and counted: a log must not hold requests up.

mod format;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use http::{StatusCode, Version};

use crate::peer::Peer;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// No access log.
    #[default]
    Off,
    /// The combined format of Apache and nginx, then the time in microseconds, the route and the request id.
    Text,
    /// One JSON object.
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogTarget {
    /// Standard output.
    #[default]
    Stdout,
    /// A file, appended to; workers may share it.
    File(PathBuf),
}

/// What a line is made of.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The client.
    pub peer: &'a Peer,
    /// When the request came.
    pub at: SystemTime,
    /// Its method as it was sent.
    pub method: &'a str,
    /// Its target as it was sent.
    pub target: &'a str,
    /// Its version.
    pub version: Version,
    /// The answer's status.
    pub status: StatusCode,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// From the first byte of the request to the last one of the answer.
    pub took: Duration,
    /// The route's pattern.
    pub route: &'a str,
    /// The request id, if it has one.
    pub request_id: Option<&'a str>,
    /// Its Referer.
    pub referer: Option<&'a [u8]>,
    /// Its User-Agent.
    pub user_agent: Option<&'a [u8]>,
}

/// An access log of one worker. Opened after the fork, since it has a thread; shared by the worker's threads.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    target: LogTarget,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// Bytes that make the writer write at once.
const FLUSH_BYTES: usize = 8 << 10;
/// The longest that a line waits.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// Most bytes that wait to be written; lines beyond are dropped.
const BUFFER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// Notified at `FLUSH_BYTES` and at the end.
    wake: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    closed: bool,
    /// The file was opened again.
    next: Option<Next>,
}

/// Where lines go from some point on.
#[derive(Debug)]
struct Next {
    file: File,
    /// The first bytes of the buffer, that were there before and belong to the old file.
    before: usize,
}

impl AccessLog {
    /// A log that writes nothing.
    pub fn off() -> AccessLog {
        AccessLog { format: LogFormat::Off, target: LogTarget::Stdout, shared: Arc::default(), writer: None }
    }

    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// When the file cannot be opened for appending, or there is no thread to be had.
    pub fn open(format: LogFormat, target: &LogTarget) -> io::Result<AccessLog> {
        if format == LogFormat::Off {
            return Ok(AccessLog::off());
        }
        match target {
            LogTarget::Stdout => AccessLog::to(format, io::stdout()),
            LogTarget::File(path) => {
                let mut log = AccessLog::to(format, append_to(path)?)?;
                log.target = target.clone();
                Ok(log)
            }
        }
    }

    /// Opens the file again, so that what was renamed by a log rotation is let go. Lines that are already buffered go to
    /// the old one, and none that is recorded after this has returned. A log without a file has nothing to do.
    ///
    /// # Errors
    /// When the file cannot be opened: then the old one is written on.
    pub fn reopen(&self) -> io::Result<()> {
        if let (LogTarget::File(path), true) = (&self.target, self.is_on()) {
            let file = append_to(path)?;
            let mut buffer = self.shared.lock();
            // Opened twice before the writer has looked: what came in between goes to the newer one.
            let before = buffer.next.as_ref().map_or(buffer.bytes.len(), |next| next.before);
            buffer.next = Some(Next { file, before });
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// A log into any writer, which the log's thread calls with whole lines.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn to(format: LogFormat, out: impl Write + Send + 'static) -> io::Result<AccessLog> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let writer = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || theirs.write_all_to(Box::new(out)))?;
        Ok(AccessLog { format, target: LogTarget::Stdout, shared, writer: Some(writer) })
    }

    /// Whether entries are worth making.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.format != LogFormat::Off
    }

    /// Logs one request. Waits for nothing but the lock, under which a line is formatted; about half a microsecond.
    pub fn record(&self, entry: &Entry<'_>) {
        let format = match self.format {
            LogFormat::Off => return,
            LogFormat::Text => format::text,
            LogFormat::Json => format::json,
        };
        let mut buffer = self.shared.lock();
        let before = buffer.bytes.len();
        format(&mut buffer.bytes, entry);
        let after = buffer.bytes.len();
        if after > BUFFER_BYTES_MAX {
            buffer.bytes.truncate(before);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        } else if before < FLUSH_BYTES && after >= FLUSH_BYTES {
            self.shared.wake.notify_one();
        }
    }

    /// Lines that were lost because the target was too slow or failed.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes what is there and ends the thread. Blocks as long as the target does.
impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            // It has no panics of its own, and nobody could be told about one here.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's thread.
    fn write_all_to(&self, mut out: Box<dyn Write>) {
        let mut full = Vec::new();
        let mut trouble = Trouble::default();
        loop {
            let (closed, next) = self.take(&mut full);
            let (old, new) = full.split_at(next.as_ref().map_or(full.len(), |next| next.before));
            trouble.write(&mut out, old, &self.dropped);
            if let Some(next) = next {
                out = Box::new(next.file);
                trouble = Trouble::default();
                trouble.write(&mut out, new, &self.dropped);
            }
            full.clear();
            if closed {
                return;
            }
        }
    }

    /// Waits until there is something to write, and swaps it for the empty `full`. True at the end; with the file to go on
    /// with, if it was opened again.
    fn take(&self, full: &mut Vec<u8>) -> (bool, Option<Next>) {
        let mut buffer = self.lock();
        let due = Instant::now() + FLUSH_AFTER;
        while !buffer.closed && buffer.next.is_none() && buffer.bytes.len() < FLUSH_BYTES {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            buffer = self.wake.wait_timeout(buffer, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut buffer.bytes, full);
        (buffer.closed, buffer.next.take())
    }
}

/// A target that cannot be written, as a full disk: it is said once, lines are dropped and counted meanwhile, and what was
/// cut off is ended before the next line.
#[derive(Default)]
struct Trouble {
    lines_lost: u64,
    /// The target ends in a part of a line.
    torn: bool,
}

impl Trouble {
    fn write(&mut self, out: &mut dyn Write, lines: &[u8], dropped: &AtomicU64) {
        if lines.is_empty() {
            return;
        }
        let mut written = 0;
        let outcome = self.mend(out).and_then(|()| write_counted(out, lines, &mut written));
        match outcome {
            Ok(()) if self.lines_lost > 0 => {
                let lines_lost = std::mem::take(&mut self.lines_lost);
                tracing::warn!(lines_lost, "the access log can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                if written > 0 {
                    self.torn = lines[written - 1] != b'\n';
                }
                let lost = lines[written..].iter().filter(|byte| **byte == b'\n').count() as u64;
                dropped.fetch_add(lost, Ordering::Relaxed);
                if self.lines_lost == 0 {
                    tracing::error!(%error, "the access log cannot be written; requests are served on");
                }
                self.lines_lost += lost;
            }
        }
    }

    fn mend(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.torn {
            out.write_all(b"\n")?;
            self.torn = false;
        }
        Ok(())
    }
}

/// [`Write::write_all`], and how far it came.
fn write_counted(out: &mut dyn Write, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < bytes.len() {
        match out.write(&bytes[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
#[path = "access_log/tests.rs"]
mod tests;
