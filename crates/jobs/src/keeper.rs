//! The keeper: the one process that owns the embedded store. Workers reach it over a Unix socket beside the file.
//!
//! ```text
//!   loop, one thread:  poll ─► read every socket ─► book + ledger ─► commit, on disk ─► answers ─► leases
//!                                                                      │
//!                        what arrives meanwhile waits in the sockets ◄─┘ and shares the next commit
//! ```
//!
//! So a commit is never waited for by a timer, and grows by itself when there is much to do. A worker that dies is an end of
//! file here, and its jobs go back in the same turn. There is no second thread, because there is nothing that it could do
//! while the disk is busy: nobody may be told anything before.
//!
//! One keeper at a time has a file: it holds a lock on `FILE.lock`. In an upgrade the newer one asks for it
//! ([`Request::Yield`]); the older one stands by, and takes it again if the newer one goes away.

mod book;
mod connection;
mod ledger;
mod line;
mod schedule;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, flock};
use serde_json::Value;
use tenfold_server::supervisor::{ExitReason, Group, Order, Report, Worker, set_title};

use self::book::Book;
use self::connection::Connection;
use self::ledger::Ledger;
use self::schedule::Schedules;
use crate::wire::{self, Ask, Reply, Request};

/// Clients at a time; one more is closed at once.
const CLIENTS_MAX: usize = 4_096;
/// Jobs that are given out in one turn.
const DISPATCH_MAX: usize = 1_024;
/// Longest wait of the loop.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// After a keeper that did not end in good order: how long its workers have to say what they are running.
const QUIET_MS: i64 = 500;
/// How often ended jobs are looked through.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How often the numbers of the queues are told to the master, for `status`.
const FACTS_EVERY: Duration = Duration::from_secs(1);
/// Queues that are told.
const FACTS_MAX: usize = 200;
/// How often a lock that another keeper has is tried.
const LOCK_LOOK: Duration = Duration::from_millis(20);
/// How long a newer keeper has the chance to take a lock that was given up for it.
/// How often it looks then whether they are gone.
const LEAVE_LOOK: Duration = Duration::from_millis(100);
/// How long a keeper that is told to stop waits for its workers; the master's own patience may end first.
const LINGER: Duration = Duration::from_secs(30);
const STAND_BACK: Duration = Duration::from_secs(3);

/// The keeper as a group of one process, to be added to a master beside its workers.
pub fn group(file: PathBuf) -> Group {
    Group::new("keeper", 1, move |worker| match run(&file, worker) {
        Ok(()) => ExitReason::Done,
        Err(reason) => ExitReason::Failed(format!("{}: {reason}", file.display())),
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
    let mut asks = true;
    loop {
        let Some(lock) = take_lock(file, worker, asks)? else { return Ok(()) };
        // A bound of file sizes (setrlimit(2), RLIMIT_FSIZE) kills who does not catch its signal; caught, it is an error of
        // write(2) as that of a full disk.
        let _ = signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), Arc::default());
        let left = Keeper::open(file, worker).and_then(|keeper| keeper.run());
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

/// `None` when the order to stop came first.
fn take_lock(file: &Path, worker: &Worker, asks: bool) -> Result<Option<File>, String> {
    let path = beside(file, "lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("cannot open the lock {}: {error}", path.display()))?;
    let until = Instant::now() + Duration::from_secs(30);
    let mut asked = false;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(format!("cannot lock {}: {error}", path.display())),
        }
        if asks && !asked {
            asked = ask_to_yield(file, worker.generation()).is_ok();
        }
        if asks && Instant::now() > until {
            return Err("another server keeps its jobs in this file".into());
        }
        if hear(worker, Some(LOCK_LOOK)) {
            return Ok(None);
        }
    }
}

fn ask_to_yield(file: &Path, generation: u32) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket_path(file))?;
    let mut bytes = Vec::new();
    wire::encode(&Request::Yield { generation }, &mut bytes);
    stream.write_all(&bytes)
}

struct Keeper<'a> {
    worker: &'a Worker,
    socket: PathBuf,
    listener: UnixListener,
    connections: Vec<Connection>,
    next_id: u64,
    book: Book,
    schedules: Schedules,
    /// Connections that have ended, until the file knows.
    ended: Vec<(u64, bool)>,
    /// The last turn could not write.
    failing: bool,
    next_tidy: Instant,
    facts: Facts,
    yielded: bool,
    /// It was told to stop, and waits for its workers until then.
    leaving: Option<Instant>,
}

impl<'a> Keeper<'a> {
    fn open(file: &Path, worker: &'a Worker) -> Result<Keeper<'a>, String> {
        // Made with its mode, which SQLite gives to the log beside it as well.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(file)
            .map_err(|error| format!("cannot open the file: {error}"))?;
        let text = |error: rusqlite::Error| format!("cannot use the file: {error}");
        let mut ledger = Ledger::open(file).map_err(text)?;
        let was_clean = ledger.fact::<i64>("clean").map_err(text)? != Some(0);
        ledger.set_fact("clean", 0).and_then(|()| ledger.commit()).map_err(text)?;
        let quiet_until = if was_clean { 0 } else { now_ms() + QUIET_MS };
        let book = Book::open(ledger, quiet_until).map_err(text)?;
        let socket = socket_path(file);
        let listener = listen(&socket).map_err(|error| format!("cannot listen beside it: {error}"))?;
        set_title(&format!("keeper gen {}", worker.generation()));
        let mut keeper = Keeper {
            worker,
            socket,
            listener,
            connections: Vec::new(),
            next_id: 0,
            book,
            schedules: Schedules::default(),
            ended: Vec::new(),
            failing: false,
            next_tidy: Instant::now() + TIDY_EVERY,
            facts: Facts::default(),
            yielded: false,
            leaving: None,
        };
        // Who asks the master as soon as it serves finds the keeper.
        keeper.tell();
        worker.ready();
        Ok(keeper)
    }

    fn run(mut self) -> Result<Left, String> {
        loop {
            self.wait().map_err(|error| format!("cannot wait: {error}"))?;
            while let Some(order) = self.worker.try_order() {
                if order == Order::Fast {
                    return self.close().map(|()| Left::Stopped);
                }
                if obey(order, self.worker) {
                    self.leaving.get_or_insert(Instant::now() + LINGER);
                }
            }
            self.accept();
            self.turn()?;
            self.tell();
            // A service manager tells all processes at once to stop: workers need the keeper for what they finish.
            if self
                .leaving
                .is_some_and(|until| self.yielded || !self.book.has_workers() || Instant::now() > until)
            {
                return self.close().map(|()| Left::Stopped);
            }
            if self.yielded {
                return self.close().map(|()| Left::Yielded);
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> io::Result<()> {
        let now = now_ms();
        let times = self.book.next_time(now).into_iter().chain(self.schedules.next_time());
        let next = times.min().map(|at| Duration::from_millis(at.saturating_sub(now).max(0).unsigned_abs()));
        let next = if self.leaving.is_some() { Some(LEAVE_LOOK) } else { next };
        // A turn that failed is not tried again at once: whoever asks has been told, and what is left can wait.
        let wait = if self.failing { Duration::from_millis(100) } else { next.unwrap_or(WAIT_MAX) };
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.worker.orders_fd(), PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        let clients =
            self.connections.iter().map(|one| PollFd::from_borrowed_fd(one.as_fd(), one.interest()));
        fds.extend(clients);
        match poll(&mut fds, Timespec::try_from(wait.min(WAIT_MAX)).ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() >= CLIENTS_MAX {
                tracing::warn!(target: "jobs", "more than {CLIENTS_MAX} clients of the keeper");
                continue;
            }
            self.next_id += 1;
            match Connection::new(self.next_id, stream) {
                Ok(connection) => self.connections.push(connection),
                Err(error) => tracing::warn!(target: "jobs", %error, "cannot take a client"),
            }
        }
    }

    /// Everything that has come is one transaction.
    fn turn(&mut self) -> Result<(), String> {
        let mut requests = Vec::new();
        for connection in &mut self.connections {
            connection.read(&mut requests);
        }
        let ended = &mut self.ended;
        self.connections.retain(|one| {
            if one.gone {
                ended.push((one.id, one.clean));
            }
            !one.gone
        });
        let askers: Vec<(u64, bool)> =
            requests.iter().map(|(id, request)| (*id, wants_answer(request))).collect();
        let now = now_ms();
        let outcome =
            self.apply(requests, now).and_then(|replies| self.book.ledger.commit().map(|_| replies));
        match outcome {
            Ok(mut replies) => {
                self.ended.clear();
                self.failing = false;
                self.schedules.settle();
                replies.append(&mut self.book.take_notices());
                for (id, reply) in replies {
                    self.say(id, &reply);
                }
            }
            Err(error) => {
                if !self.failing {
                    tracing::error!(target: "jobs", %error, "the jobs cannot be written: nothing of this turn is kept");
                }
                self.failing = true;
                self.book.recover().map_err(|again| format!("{error}; and then: {again}"))?;
                self.schedules.forget();
                for (id, _) in askers.into_iter().filter(|(_, wants)| *wants) {
                    self.say(id, &Reply::Failed(format!("the store cannot be written: {error}")));
                }
            }
        }
        self.dispatch(now);
        for connection in &mut self.connections {
            connection.flush();
        }
        Ok(())
    }

    fn apply(&mut self, requests: Vec<(u64, Request)>, now: i64) -> rusqlite::Result<Vec<(u64, Reply)>> {
        let mut replies = Vec::new();
        for (id, request) in requests {
            let reply = match request {
                Request::Hello(hello) => {
                    self.book.define(hello.queues);
                    self.book.hold(id, &hello.held);
                    self.schedules.define(hello.schedules, &self.book.ledger, now)?;
                    None
                }
                Request::Enqueue(enqueue) => Some(self.book.enqueue(enqueue, now)?),
                Request::Want(wants) => {
                    self.book.want(id, wants);
                    None
                }
                Request::Ended(ends) => {
                    for end in &ends {
                        self.book.end(id, end, now)?;
                    }
                    Some(Reply::Settled(ends.iter().map(|end| end.seq).collect()))
                }
                Request::Progress { seq, percent } => {
                    self.book.progress(id, seq, percent);
                    None
                }
                Request::Bye => None,
                Request::Yield { generation } => {
                    self.yielded |= self.leaving.is_some() || generation > self.worker.generation();
                    None
                }
                Request::Ask(ask) => Some(self.book.ask(&ask, now)?),
            };
            replies.extend(reply.map(|reply| (id, reply)));
        }
        for (id, clean) in self.ended.clone() {
            self.book.closed(id, clean, now)?;
        }
        for job in self.schedules.due(&mut self.book.ledger, now)? {
            if let Reply::Full { queue } = self.book.enqueue(job, now)? {
                tracing::warn!(target: "jobs", queue, "a scheduled job has no room in its queue");
            }
        }
        if Instant::now() >= self.next_tidy {
            let more = self.book.tidy(now)?;
            self.next_tidy = Instant::now() + if more { Duration::from_millis(50) } else { TIDY_EVERY };
        }
        Ok(replies)
    }

    /// Tells the master how the queues are, once a second while that changes.
    fn tell(&mut self) {
        let passed = self.facts.told_at.map(|at| at.elapsed());
        if passed.is_some_and(|passed| passed < FACTS_EVERY) {
            return;
        }
        let mut jobs = self.book.describe(now_ms());
        self.facts.add_rates(&mut jobs, passed);
        // Whoever asks may be somewhere else.
        let socket = std::path::absolute(&self.socket).unwrap_or_else(|_| self.socket.clone());
        jobs["socket"] = socket.display().to_string().into();
        let json = jobs.to_string();
        self.facts.told_at = Some(Instant::now());
        if json != self.facts.told {
            self.worker.reporter().say(&Report::Facts { name: "jobs".into(), json: json.clone() });
            self.facts.told = json;
        }
    }

    /// Gives jobs to whoever takes them: only reads the file, so there is nothing to commit.
    fn dispatch(&mut self, now: i64) {
        let mut work: Vec<(u64, Vec<crate::wire::Lease>)> = Vec::new();
        for (id, lease) in self.book.dispatch(now, DISPATCH_MAX) {
            match work.iter_mut().find(|(desk, _)| *desk == id) {
                Some((_, leases)) => leases.push(lease),
                None => work.push((id, vec![lease])),
            }
        }
        for (id, leases) in work {
            self.say(id, &Reply::Work(leases));
        }
    }

    fn say(&mut self, id: u64, reply: &Reply) {
        if let Some(connection) = self.connections.iter_mut().find(|one| one.id == id) {
            connection.say(reply);
        }
    }

    /// Ends in good order.
    fn close(mut self) -> Result<(), String> {
        let _ = fs::remove_file(&self.socket);
        let is_clean = !self.book.has_leases();
        let ledger = &mut self.book.ledger;
        ledger
            .set_fact("clean", i64::from(is_clean))
            .and_then(|()| ledger.commit())
            .map(drop)
            .map_err(|error| format!("cannot close the file: {error}"))
    }
}

/// What the master was told last.
#[derive(Default)]
struct Facts {
    told: String,
    told_at: Option<Instant>,
    /// Jobs done of each queue.
    done: HashMap<String, u64>,
}

impl Facts {
    /// Adds what was done a second since the last time.
    fn add_rates(&mut self, jobs: &mut Value, passed: Option<Duration>) {
        let Some(queues) = jobs["queues"].as_array_mut() else { return };
        queues.truncate(FACTS_MAX);
        for queue in queues {
            let (name, done) =
                (queue["name"].as_str().unwrap_or_default(), queue["done"].as_u64().unwrap_or(0));
            let before = self.done.insert(name.to_owned(), done).unwrap_or(0);
            let seconds = passed.map_or(1.0, |passed| passed.as_secs_f64().max(0.001));
            queue["per_second"] = (((done.saturating_sub(before)) as f64 / seconds).round() as u64).into();
        }
    }
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

/// Whether a client waits for what comes of it.
fn wants_answer(request: &Request) -> bool {
    matches!(request, Request::Enqueue(_) | Request::Ask(_) | Request::Ended(_))
}

/// Milliseconds since 1970: what is written in the file must mean the same after a restart.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Listens on a path that only this user may connect to, in the place of whatever is there.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let fresh = beside(path, "new");
    let _ = fs::remove_file(&fresh);
    // Nobody else may connect, not even between bind and chmod.
    let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(&fresh);
    rustix::process::umask(umask);
    let listener = bound?;
    listener.set_nonblocking(true)?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}
