//! The collector: a process of the master that reads one topic, and hands each batch to whoever takes them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tenfold_server::supervisor::{ExitReason, Group, Order, Report, Worker, set_title};

use super::{Batch, Reader, Topic};
use crate::error::{Error, Result};

/// Rest when there is nothing to read: what comes meanwhile is one batch.
const REST: Duration = Duration::from_millis(50);
/// Rest before a batch that failed is tried again.
const FAILED_REST: Duration = Duration::from_secs(1);

/// Takes the batches of a topic. A function is one; [`Lines`] and [`Entries`](super::Entries) are others.
pub trait Collect: Send + 'static {
    /// Takes a batch. When it returns an error, or its process dies before it returns, the same batch comes again.
    ///
    /// # Errors
    /// Whatever keeps it from taking it; it is said in the log, and tried again after a second.
    fn collect(&mut self, batch: Batch<'_>) -> io::Result<()>;

    /// Logs are to be reopened: they were moved away.
    ///
    /// # Errors
    /// It cannot; the command says so.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: FnMut(Batch<'_>) -> io::Result<()> + Send + 'static> Collect for F {
    fn collect(&mut self, batch: Batch<'_>) -> io::Result<()> {
        self(batch)
    }
}

/// Appends each record as a line to a file, which is opened again when logs are (`tenfold reopen`, `SIGUSR1`).
///
/// A batch that a kill has interrupted is in it twice, the first time in part: its last line may be cut.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Lines {
    /// To this file; made when the first batch comes.
    pub fn to(path: impl Into<PathBuf>) -> Lines {
        Lines { path: path.into(), file: None }
    }

    fn file(&mut self) -> io::Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(&self.path)?;
            end_last_line(&mut file)?;
            self.file = Some(BufWriter::with_capacity(256 << 10, file));
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What a kill has cut does not become the beginning of another record.
fn end_last_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut last = *b"\n";
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

impl Collect for Lines {
    fn collect(&mut self, batch: Batch<'_>) -> io::Result<()> {
        let file = self.file()?;
        let mut put = || {
            for record in batch.records() {
                file.write_all(record)?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        put().inspect_err(|_| {
            // What its buffer still has belongs to a batch that comes again.
            if let Some(file) = self.file.take() {
                drop(file.into_parts());
            }
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        self.file().map(drop)
    }
}

/// The collector of a topic as a group of one process. It outlives a reload; in an upgrade the newer one waits until the older one
/// has ended.
pub(crate) fn group(topic: Topic, collect: Arc<Mutex<dyn Collect>>) -> Group {
    Group::new(format!("collector-{}", topic.name()), 1, move |worker| {
        // Each process has its own: a fork of what the master never calls.
        let mut collect = collect.lock().unwrap_or_else(PoisonError::into_inner);
        match run(&topic, &mut *collect, worker) {
            Ok(()) => ExitReason::Done,
            Err(error) => ExitReason::Failed(said(&error)),
        }
    })
}

/// An error with its cause, in one line.
fn said(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Runs in a process of its own, on its only thread, until it is told to stop.
fn run(topic: &Topic, collect: &mut dyn Collect, worker: &Worker) -> Result<()> {
    set_title(&format!("collector {} gen {}", topic.name(), worker.generation()));
    worker.ready();
    let Some(mut reader) = open(topic, collect, worker)? else { return Ok(()) };
    let (mut stopping, mut failing) = (false, false);
    loop {
        let now = Instant::now();
        let rest = match turn(&mut reader, collect) {
            Ok(true) => {
                failing = false;
                Duration::ZERO
            }
            Ok(false) if stopping => return Ok(()),
            Ok(false) => REST,
            Err(error) => {
                if !failing {
                    tracing::error!(target: "jobs", topic = topic.name(), error = said(&error), "a batch is tried again");
                }
                failing = true;
                FAILED_REST
            }
        };
        // Whoever stops has taken what is there; what he cannot take is there at the next start.
        if stopping && failing {
            return Ok(());
        }
        stopping |= hear(worker, collect, (now + rest).saturating_duration_since(Instant::now()), stopping);
    }
}

/// One batch. Whether there was one.
fn turn(reader: &mut Reader, collect: &mut dyn Collect) -> Result<bool> {
    let Some(batch) = reader.next()? else { return Ok(false) };
    collect.collect(batch).map_err(|source| Error::Collect { source })?;
    reader.commit()?;
    Ok(true)
}

/// Opens the topic when nobody else reads it; `None` when it is told to stop before.
fn open(topic: &Topic, collect: &mut dyn Collect, worker: &Worker) -> Result<Option<Reader>> {
    loop {
        match topic.reader() {
            Err(Error::Topic { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                if hear(worker, collect, REST, false) {
                    return Ok(None);
                }
            }
            reader => return reader.map(Some),
        }
    }
}

/// Obeys orders for so long, at least those that are there. Whether one was to stop.
fn hear(worker: &Worker, collect: &mut dyn Collect, wait: Duration, stopping: bool) -> bool {
    let mut order =
        if wait.is_zero() || stopping { worker.try_order() } else { worker.wait_order(Some(wait)) };
    while let Some(one) = order {
        match one {
            Order::Graceful | Order::Fast => return true,
            Order::ReopenLogs => {
                let outcome = collect.reopen().map_err(|error| error.to_string());
                worker.reporter().say(&Report::Logs(outcome));
            }
            Order::Dump => worker.reporter().say(&Report::Dump("the collector waits for records\n".into())),
            _ => {}
        }
        order = worker.try_order();
    }
    false
}
