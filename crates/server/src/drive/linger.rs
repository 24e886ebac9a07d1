//! The end of a connection whose client may still be sending.
//!
//! Closing a socket with unread bytes makes TCP send a reset, which can destroy an answer that is still on its way (RFC
//! 9112 section 9.6). So the sending half is closed first, and what comes is thrown away, for a bounded time.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenfold_runtime::feed::FeedId;
use tenfold_runtime::net::TcpStream;
use tenfold_supervisor::Worker;

use crate::drive::connection::{self, Connection};
use crate::service::Service;

/// Most bytes that are thrown away.
const DISCARD_MAX: usize = 4 << 20;
/// Most clients that a worker which stops waits for together; each is a descriptor.
const LINGERING_MAX: usize = 1024;

/// Closes gracefully. Runs where the requests ran, and waits there, except for a thread of a worker that stops.
pub(crate) fn linger(conn: Connection) {
    let service = &conn.service;
    if service.crowd().is_some() && service.is_stopping() && service.lingering.add(&conn.stream) {
        return;
    }
    discard(&conn.stream, conn.feed, conn.service.bounds.linger);
}

/// As [`linger`], for who keeps the connection a little longer.
pub(crate) fn discard(stream: &TcpStream, feed: Option<FeedId>, longest: Duration) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let until = Instant::now() + longest;
    let mut sink = [0; 2048];
    let mut discarded = 0;
    while discarded < DISCARD_MAX {
        match connection::read(stream, feed, &mut sink, Some(until)) {
            Ok(0) | Err(_) => return,
            Ok(count) => discarded += count,
        }
    }
}

/// The clients that a stopping worker has answered, in the models where a connection holds a thread: whoever is left in the
/// kernel's queue would else wait until each of those before has closed, or for its time-out, one after another.
#[derive(Default)]
pub(crate) struct Lingering {
    streams: Mutex<Vec<TcpStream>>,
}

impl Lingering {
    /// Whether there was room. The sending half is closed.
    fn add(&self, stream: &TcpStream) -> bool {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() == LINGERING_MAX {
            return false;
        }
        if stream.shutdown(Shutdown::Write).is_ok() {
            streams.push(stream.clone());
        }
        true
    }

    /// Waits until all of them have closed, at most for as long as for one. On the worker's main thread, when nothing else is
    /// left to do; obeys meanwhile.
    pub(crate) fn wait(&self, worker: &Worker, service: &Service) {
        let until = Instant::now() + service.bounds.linger;
        let streams = std::mem::take(&mut *self.streams.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left: Vec<(TcpStream, usize)> = streams.into_iter().map(|stream| (stream, 0)).collect();
        let mut sink = [0; 8192];
        loop {
            left.retain_mut(|(stream, discarded)| still_open(stream, discarded, &mut sink));
            let Some(time) = until.checked_duration_since(Instant::now()).filter(|_| !left.is_empty()) else {
                return;
            };
            let orders = worker.orders_fd();
            let clients = left.iter().map(|(stream, _)| stream.as_fd());
            let mut fds: Vec<_> =
                clients.chain([orders]).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            // A signal only makes it look again.
            let _ = poll(&mut fds, Timespec::try_from(time).ok().as_ref());
            service.hear(worker);
        }
    }
}

/// Throws away what has come; whether the client may send more.
fn still_open(stream: &TcpStream, discarded: &mut usize, sink: &mut [u8]) -> bool {
    while *discarded < DISCARD_MAX {
        match stream.try_read(sink) {
            Ok(0) => return false,
            Ok(count) => *discarded += count,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    false
}
