//! The keeper: the one process of a machine that owns its jobs' store, or stands before it. Workers reach it over a Unix socket
//! beside its file.
//!
//! ```text
//!   embedded.rs   a file: book (what is decided) and ledger (what is written)
//!   relay.rs      an engine elsewhere: calls to it, and a spool for the time that it is away
//!   front.rs      what both have: the socket, and who is connected
//! ```
//!
//! One keeper at a time has a file: it holds a lock on `FILE.lock`. In an upgrade the newer one asks for it
//! ([`Request::Yield`]); the older one stands by, and takes it again if the newer one goes away.

mod book;
mod connection;
mod database;
mod desks;
mod embedded;
mod engine_thread;
mod facts;
mod front;
mod ledger;
mod line;
mod lock;
mod relay;
mod schedule;
mod spool;

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tenfold_server::supervisor::{ExitReason, Group, Order, Report, Worker};

use self::embedded::Embedded;
use self::relay::Relay;
use crate::place::Place;
use crate::wire::{self, Ask, Reply, Request};

/// After a keeper that did not end in good order: how long its workers have to say what they are running.
const QUIET_MS: i64 = 500;
/// How long a newer keeper has the chance to take a lock that was given up for it.
const STAND_BACK: Duration = Duration::from_secs(3);

/// The keeper of a file as a group of one process, to be added to a master beside its workers.
pub fn group(file: PathBuf) -> Group {
    group_of(Place::File(file))
}

pub(crate) fn group_of(place: Place) -> Group {
    Group::new("keeper", 1, move |worker| match run_in(&place, worker) {
        Ok(()) => ExitReason::Done,
        Err(reason) => ExitReason::Failed(match &place {
            Place::File(file) => format!("{}: {reason}", file.display()),
            Place::Engine(_) => reason,
        }),
    })
}

/// Where the keeper of a file listens.
pub fn socket_path(file: &Path) -> PathBuf {
    beside(file, "sock")
}

fn beside(file: &Path, extension: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Why the keeper's loop came back.
enum Left {
    Stopped,
    /// A newer keeper has asked for the store.
    Yielded,
}

/// Keeps jobs in `file` until the worker is ordered to stop. Runs in a process of its own, on its only thread.
///
/// # Errors
/// One line: the file cannot be used, or another server has it.
pub fn run(file: &Path, worker: &Worker) -> Result<(), String> {
    run_in(&Place::File(file.to_owned()), worker)
}

fn run_in(place: &Place, worker: &Worker) -> Result<(), String> {
    let mut asks = true;
    loop {
        let Some(lock) = lock::take(place.file(), worker, asks)? else { return Ok(()) };
        // A bound of file sizes (setrlimit(2), RLIMIT_FSIZE) kills who does not catch its signal; caught, it is an error of
        // write(2) as that of a full disk.
        let _ = signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), Arc::default());
        let left = match place {
            Place::File(file) => Embedded::open(file, worker).and_then(Embedded::run),
            Place::Engine(engine) => Relay::open(engine, worker).and_then(Relay::run),
        };
        drop(lock);
        match left? {
            Left::Stopped => return Ok(()),
            Left::Yielded => {
                tracing::info!(target: "jobs", "a newer keeper takes over");
                let until = Instant::now() + STAND_BACK;
                while Instant::now() < until {
                    if hear(worker, Some(until - Instant::now())) {
                        return Ok(());
                    }
                }
                asks = false;
            }
        }
    }
}

/// Obeys one order, for which it waits. Whether it was to stop.
fn hear(worker: &Worker, wait: Option<Duration>) -> bool {
    match worker.wait_order(wait) {
        Some(order) => obey(order, worker),
        None => false,
    }
}

fn obey(order: Order, worker: &Worker) -> bool {
    match order {
        Order::Graceful | Order::Fast => return true,
        Order::ReopenLogs => worker.reporter().say(&Report::Logs(Ok(()))),
        Order::Dump => worker.reporter().say(&Report::Dump("the keeper waits for its clients\n".into())),
        _ => {}
    }
    false
}

/// Makes a file that only this user can read. SQLite gives its mode to the log beside it as well.
fn make_file(file: &Path) -> Result<(), String> {
    let mut options = OpenOptions::new();
    let made = options.create(true).truncate(false).write(true).mode(0o600).open(file);
    made.map(drop).map_err(|error| format!("cannot open the file: {error}"))
}

/// Puts a question to the keeper behind `socket`, and blocks for its answer. For the command line.
///
/// # Errors
/// One line: nobody answers, or the keeper refuses.
pub fn ask(socket: &Path, ask: &Ask) -> Result<Value, String> {
    let failed = |error: io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(failed)?;
    let (mut frame, mut input, mut chunk) = (Vec::new(), Vec::new(), [0; 64 << 10]);
    wire::encode(&Request::Ask(ask.clone()), &mut frame);
    stream.write_all(&frame).map_err(failed)?;
    loop {
        if let Some((reply, _)) = wire::decode(&input).map_err(|error| error.to_string())? {
            return match reply {
                Reply::Answer(value) => Ok(value),
                Reply::Refused(reason) | Reply::Failed(reason) => Err(reason),
                other => Err(format!("the keeper answers something else: {other:?}")),
            };
        }
        match stream.read(&mut chunk).map_err(failed)? {
            0 => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Milliseconds since 1970: what is written in the file must mean the same after a restart.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
