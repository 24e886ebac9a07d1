//! The embedded store, from a worker's side: connections to the keeper's socket.
//!
//! Whoever enqueues borrows a connection for one exchange; it works on fibers and on threads. Whoever runs jobs has one
//! connection of his own for as long as he lives (`desk.rs`): its end is what tells the keeper that he died.

mod desk;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tenfold_server::runtime::cause::{Cause, waiting_for};
use tenfold_server::runtime::net::UnixStream;
use tenfold_server::runtime::sync::Semaphore;
use tenfold_server::runtime::{park, try_sleep};

use self::desk::KeeperDesk;
use super::{Desk, Kept, Sink, Store};
use crate::backoff::random_share;
use crate::error::{Error, Result};
use crate::wire::{self, Ask, Enqueue, Hello, Reply, Request, Want};

/// Connections of one process that enqueue at a time; others wait for one.
const CONNECTIONS_MAX: usize = 64;
/// Rests before the keeper is tried again: it is started again within milliseconds, or it is not.
const REST_MIN: Duration = Duration::from_millis(5);
const REST_MAX: Duration = Duration::from_millis(200);
/// Longest wait for one answer before the connection is given up and the request sent again.
const ANSWER_MAX: Duration = Duration::from_secs(10);

pub(crate) struct KeeperStore {
    socket: PathBuf,
    /// What each connection says first: a keeper that was started again knows no queue's rules.
    hello: Hello,
    idle: Mutex<Vec<UnixStream>>,
    places: Semaphore,
}

impl KeeperStore {
    pub(crate) fn new(socket: PathBuf, hello: Hello) -> KeeperStore {
        KeeperStore { socket, hello, idle: Mutex::default(), places: Semaphore::new(CONNECTIONS_MAX) }
    }

    /// Asks until there is an answer that is one.
    fn exchange(&self, request: &Request, until: Instant) -> Result<Reply> {
        let _place = self.places.acquire_many_until(1, Some(until))?;
        let mut frame = Vec::new();
        wire::encode(request, &mut frame);
        let mut rest = REST_MIN;
        loop {
            let reason = match self.try_exchange(&frame, until) {
                Ok(Reply::Failed(reason)) => reason,
                Ok(reply) => return Ok(reply),
                Err(error) if park::is_cancellation(&error) => return Err(error.into()),
                Err(error) => error.to_string(),
            };
            let now = Instant::now();
            if now >= until {
                return Err(Error::unavailable(reason));
            }
            if park::current_deadline().is_some_and(|deadline| deadline <= now) {
                return Err(Error::Ended(std::io::ErrorKind::TimedOut.into()));
            }
            try_sleep(rest.mul_f64(0.5 + random_share()).min(until - now))?;
            rest = (rest * 2).min(REST_MAX);
        }
    }

    fn try_exchange(&self, frame: &[u8], until: Instant) -> std::io::Result<Reply> {
        let until = until.min(Instant::now() + ANSWER_MAX);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = UnixStream::connect(&self.socket)?;
                let mut hello = Vec::new();
                wire::encode(&Request::Hello(self.hello.clone()), &mut hello);
                (&stream).write_all(&hello)?;
                stream
            }
        };
        stream.write_all_until(frame, Some(until))?;
        let mut input = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some((reply, _)) = wire::decode(&input).map_err(std::io::Error::other)? {
                self.put_back(stream);
                return Ok(reply);
            }
            match stream.read_until(&mut chunk, Some(until))? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => input.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Another thread may take it next.
    fn put_back(&self, stream: UnixStream) {
        let stream = stream.into_stream();
        stream.socket().leave();
        let fd = rustix::io::fcntl_dupfd_cloexec(&stream, 0);
        drop(stream);
        if let Ok(fd) = fd {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(UnixStream::from_fd(fd));
        }
    }
}

impl Store for KeeperStore {
    fn enqueue(&self, enqueue: &Enqueue, until: Instant) -> Result<Kept> {
        let request = Request::Enqueue(enqueue.clone());
        match waiting_for(Cause::Other, "jobs", || self.exchange(&request, until))? {
            Reply::Kept(receipts) => Ok(Kept::All(receipts)),
            Reply::Full { queue } => Ok(Kept::Full(queue)),
            other => Err(unexpected(other)),
        }
    }

    fn ask(&self, ask: &Ask, until: Instant) -> Result<Value> {
        match self.exchange(&Request::Ask(ask.clone()), until)? {
            Reply::Answer(value) => Ok(value),
            other => Err(unexpected(other)),
        }
    }

    fn work(&self, hello: Hello, wants: Vec<Want>, sink: Sink) -> Result<Arc<dyn Desk>> {
        let desk = KeeperDesk::open(self.socket.clone(), hello, wants, sink)?;
        Ok(desk)
    }
}

fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Refused(reason) => Error::Refused(reason),
        other => Error::Refused(format!("the keeper answers something else: {other:?}")),
    }
}

impl std::fmt::Debug for KeeperStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeeperStore").field("socket", &self.socket).finish_non_exhaustive()
    }
}
