//! The keeper of the rooms: the process that gives every message its place, keeps the histories, and knows who is present.
//!
//! It is a process of its own beside the keeper of jobs: that one waits for the disk, and a chat must not. Workers reach it over
//! a Unix socket in the abstract namespace (unix(7)), which leaves no file behind; it talks to processes of its own user only.
//!
//! In an upgrade, the newer master's keeper asks that of its parent process for all histories and takes them over with their
//! epochs; the older one answers what it has done, does nothing more, and sends its workers there, who ask the newer one the rest.
//! If the newer one goes away again, they come back, to rooms of new epochs: nobody knows here what it has said meanwhile.

mod facts;
mod hub;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenfold_server::keeper::Link;
use tenfold_server::supervisor::{ExitReason, Group, Order, Report, Worker, set_title};

use self::facts::Facts;
use self::hub::{Hub, Local, Nats, Out, Redis, Remote, Source};
use crate::pump::address;
use crate::rule::Rules;
use crate::wire::{self, Reply, Request, Snapshot};

/// Workers at a time; one more is closed at once.
const WORKERS_MAX: usize = 4_096;
/// Longest wait of the loop.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a keeper that is told to stop waits for its workers; the master's own patience may end first.
const LINGER: Duration = Duration::from_secs(30);
/// How often it looks then whether they are gone.
const LEAVE_LOOK: Duration = Duration::from_millis(50);
/// How long an older keeper has to hand everything over.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// The name of the socket of a master's keeper.
pub(crate) fn socket_name(master: u32) -> String {
    format!("tenfold-rooms-{master}")
}

/// The keeper as a group of one process.
/// `engine` is the URL of who gives messages their places, where that is not the keeper itself.
pub(crate) fn group(name: String, rules: Rules, engine: Option<String>) -> Group {
    // Taken in the master: its parent is the older master in an upgrade, and somebody else otherwise.
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid().unsigned_abs());
    let older = socket_name(parent);
    Group::new("rooms", 1, move |worker| match run((&name, &older), &rules, engine.as_deref(), worker) {
        Ok(()) => ExitReason::Done,
        Err(reason) => ExitReason::Failed(reason),
    })
}

/// Refuses what is no engine, before anything is started.
pub(crate) fn check_engine(url: &str) -> Result<(), String> {
    source(url).map(drop)
}

/// The server that a URL names; nobody connects yet.
fn source(url: &str) -> Result<Box<dyn Source>, String> {
    match url.split_once("://") {
        Some(("redis" | "rediss" | "unix" | "redis+unix", _)) => {
            let redis = Redis::new(url).map_err(|error| format!("rooms = {url:?}: {error}"))?;
            Ok(Box::new(redis))
        }
        Some(("nats", _)) => Ok(Box::new(Nats::new(url)?)),
        _ => Err(format!("rooms = {url:?}: expected redis://host:port or nats://host:port")),
    }
}

struct Keeper<'a> {
    worker: &'a Worker,
    listener: UnixListener,
    links: Vec<(u64, Link<Request>)>,
    next_id: u64,
    hub: Box<dyn Hub>,
    leaving: Option<Instant>,
    heir: Option<Heir>,
    /// To the older keeper, which takes its workers back when this end is closed.
    _older: Option<UnixStream>,
    facts: Facts,
}

/// A newer keeper that has everything.
struct Heir {
    /// Its link.
    id: u64,
    /// Where it listens.
    name: String,
    /// Who was sent there.
    told: BTreeSet<u64>,
}

/// Runs in a process of its own, on its only thread, until it is ordered to stop.
fn run(
    (name, older): (&str, &str),
    rules: &Rules,
    engine: Option<&str>,
    worker: &Worker,
) -> Result<(), String> {
    let listener = address(name).and_then(|address| UnixListener::bind_addr(&address));
    let listener = listener.map_err(|error| format!("cannot listen as {name}: {error}"))?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let mut hub: Box<dyn Hub> = match engine {
        None => Box::new(Local::new(rules.clone())),
        Some(url) => Box::new(Remote::start(source(url)?, rules.clone())?),
    };
    let older = take_over(older, name, &mut *hub);
    if let Err(error) = &older
        && !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
    {
        tracing::warn!(target: "rooms", %error, "the older keeper's histories could not be taken over");
    }
    let mut facts = Facts::default();
    facts.tell(worker, hub.health());
    set_title(&format!("keeper of rooms gen {}", worker.generation()));
    worker.ready();
    let (links, _older) = (Vec::new(), older.ok());
    let keeper =
        Keeper { worker, listener, links, next_id: 0, hub, leaving: None, heir: None, _older, facts };
    keeper.run().map_err(|error| format!("cannot wait: {error}"))
}

/// Asks an older keeper for everything that it has. It sends its workers here for as long as the socket is open.
fn take_over(older: &str, name: &str, hub: &mut dyn Hub) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect_addr(&address(older)?)?;
    if !is_ours(&stream) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.set_read_timeout(Some(HAND_OVER_MAX))?;
    let mut bytes = Vec::new();
    wire::encode(&Request::Yield { name: name.to_owned() }, &mut bytes);
    stream.write_all(&bytes)?;
    let (mut input, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        while let Some((reply, length)) = wire::decode::<Reply>(&input).map_err(io::Error::other)? {
            input.drain(..length);
            match reply {
                Reply::Handed { room, snapshot } => hub.restore(&room, snapshot),
                Reply::Yielded => return Ok(stream),
                _ => {}
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Whether the process at the other end has this one's user, or is root: names in the abstract namespace have no permissions.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
}

impl Keeper<'_> {
    fn run(mut self) -> io::Result<()> {
        loop {
            self.wait()?;
            while let Some(order) = self.worker.try_order() {
                match order {
                    Order::Fast => return Ok(()),
                    Order::Graceful => drop(self.leaving.get_or_insert(Instant::now() + LINGER)),
                    Order::ReopenLogs => self.worker.reporter().say(&Report::Logs(Ok(()))),
                    Order::Dump => {
                        self.worker.reporter().say(&Report::Dump("the keeper waits for its workers\n".into()))
                    }
                    _ => {}
                }
            }
            self.accept();
            self.turn();
            self.facts.tell(self.worker, self.hub.health());
            if self.leaving.is_some_and(|until| !self.has_workers() || Instant::now() > until) {
                return Ok(());
            }
        }
    }

    fn has_workers(&self) -> bool {
        let heir = self.heir.as_ref().map(|heir| heir.id);
        self.links.iter().any(|(id, _)| Some(*id) != heir)
    }

    fn wait(&self) -> io::Result<()> {
        let wait = if self.leaving.is_some() { LEAVE_LOOK } else { WAIT_MAX };
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.worker.orders_fd(), PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        fds.extend(self.hub.bell().map(|bell| PollFd::from_borrowed_fd(bell, PollFlags::IN)));
        fds.extend(self.links.iter().map(|(_, link)| {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, link.unsent() > 0);
            PollFd::from_borrowed_fd(link.as_fd(), flags)
        }));
        match poll(&mut fds, Timespec::try_from(wait).ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if !is_ours(&stream) {
                tracing::warn!(target: "rooms", "somebody else's process wants to be a worker");
                continue;
            }
            if self.links.len() >= WORKERS_MAX {
                tracing::warn!(target: "rooms", "more than {WORKERS_MAX} workers");
                continue;
            }
            self.next_id += 1;
            match wire::link(stream) {
                Ok(link) => self.links.push((self.next_id, link)),
                Err(error) => tracing::warn!(target: "rooms", %error, "cannot take a worker"),
            }
        }
    }

    fn turn(&mut self) {
        let mut requests = Vec::new();
        for (id, link) in &mut self.links {
            link.read(|request| requests.push((*id, request)));
        }
        let mut out = Out::new();
        for (id, request) in requests {
            match request {
                Request::Yield { name } => self.yield_to(id, name, &mut out),
                // The newer keeper's to do. Whoever asks is sent there, and asks again.
                _ if self.heir.is_some() => {}
                request => self.hub.take(id, request, &mut out),
            }
        }
        let hub = &mut self.hub;
        self.links.retain(|(id, link)| {
            if link.is_gone() {
                if let Some(fault) = link.fault() {
                    tracing::error!(target: "rooms", %fault, "a worker is let go");
                }
                hub.lose(*id, &mut out);
            }
            !link.is_gone()
        });
        self.look_after_heir(&mut out);
        self.hub.tidy(&mut out);
        self.send_on(&mut out);
        self.say(out);
    }

    /// A newer keeper gets everything; nothing is done here any more.
    fn yield_to(&mut self, id: u64, name: String, out: &mut Out) {
        tracing::info!(target: "rooms", "a newer keeper takes over");
        let all: Vec<(String, Snapshot)> = self.hub.snapshots();
        out.extend(all.into_iter().map(|(room, snapshot)| (id, Reply::Handed { room, snapshot })));
        out.push((id, Reply::Yielded));
        self.heir = Some(Heir { id, name, told: BTreeSet::new() });
    }

    /// Tells workers to go to the newer keeper, each as soon as it has all its answers.
    fn send_on(&mut self, out: &mut Out) {
        let Some(heir) = &mut self.heir else { return };
        for (id, _) in &self.links {
            if *id != heir.id && !self.hub.owes(*id) && heir.told.insert(*id) {
                out.push((*id, Reply::Moved { name: heir.name.clone() }));
            }
        }
    }

    /// A newer keeper that goes away leaves its work to this one: an upgrade that is taken back.
    fn look_after_heir(&mut self, out: &mut Out) {
        let is_there = |heir: &Heir| self.links.iter().any(|(id, _)| *id == heir.id);
        if self.heir.as_ref().is_none_or(is_there) {
            return;
        }
        tracing::warn!(target: "rooms", "the newer keeper is gone: its rooms begin anew");
        self.heir = None;
        self.hub.renew();
        // What they have asked meanwhile was nobody's to do: they come again.
        for (id, _) in std::mem::take(&mut self.links) {
            self.hub.lose(id, out);
        }
    }

    fn say(&mut self, out: Out) {
        // A message goes to many workers: it is made into a frame once.
        let (mut frame, mut last): (Vec<u8>, Option<Reply>) = (Vec::new(), None);
        for (id, reply) in out {
            if last.as_ref() != Some(&reply) {
                frame.clear();
                wire::encode(&reply, &mut frame);
                last = Some(reply);
            }
            if let Some((_, link)) = self.links.iter_mut().find(|(other, _)| *other == id) {
                link.say_frames(&frame);
            }
        }
        self.links.iter_mut().for_each(|(_, link)| link.flush());
    }
}
