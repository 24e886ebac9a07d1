//! `Front`: the keeper's side towards the workers of its machine: a Unix socket beside its file, and who is connected.
//!
//! Runs on the keeper's loop and never waits but in [`Front::wait`].

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use tenfold_server::supervisor::{Order, Worker};

use super::connection::Connection;
use super::{beside, obey, socket_path};
use crate::wire::{Reply, Request};

/// Clients at a time; one more is closed at once.
const CLIENTS_MAX: usize = 4_096;
/// Longest wait of the loop.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a keeper that is told to stop waits for its workers; the master's own patience may end first.
const LINGER: Duration = Duration::from_secs(30);

pub(super) struct Front<'a> {
    pub(super) worker: &'a Worker,
    pub(super) socket: PathBuf,
    listener: UnixListener,
    connections: Vec<Connection>,
    next_id: u64,
    /// It was told to stop, and waits for its workers until then.
    leaving: Option<Instant>,
}

impl<'a> Front<'a> {
    pub(super) fn open(file: &Path, worker: &'a Worker) -> Result<Front<'a>, String> {
        let socket = socket_path(file);
        let listener = listen(&socket).map_err(|error| format!("cannot listen beside it: {error}"))?;
        Ok(Front { worker, socket, listener, connections: Vec::new(), next_id: 0, leaving: None })
    }

    /// Waits until there is something to do, for at most so long.
    pub(super) fn wait(&self, wait: Duration, more: Option<BorrowedFd<'_>>) -> Result<(), String> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.worker.orders_fd(), PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        fds.extend(more.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let clients = self.connections.iter();
        fds.extend(
            clients.map(|one| PollFd::from_borrowed_fd(std::os::fd::AsFd::as_fd(one), one.interest())),
        );
        match poll(&mut fds, Timespec::try_from(wait.min(WAIT_MAX)).ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(format!("cannot wait: {errno}")),
        }
    }

    /// Obeys what the master has ordered. Whether the keeper ends at once.
    pub(super) fn obey_orders(&mut self) -> bool {
        while let Some(order) = self.worker.try_order() {
            if order == Order::Fast {
                return true;
            }
            if obey(order, self.worker) {
                self.leaving.get_or_insert(Instant::now() + LINGER);
            }
        }
        false
    }

    /// Whether it was told to stop.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// A service manager tells all processes at once to stop: workers need the keeper for what they finish.
    pub(super) fn may_leave(&self, has_workers: bool) -> bool {
        self.leaving.is_some_and(|until| !has_workers || Instant::now() > until)
    }

    /// Takes new clients, and reads what all have sent. Whose connections have ended, and whether in good order, goes to
    /// `ended`.
    pub(super) fn read(&mut self, ended: &mut Vec<(u64, bool)>) -> Vec<(u64, Request)> {
        self.accept();
        let mut requests = Vec::new();
        for connection in &mut self.connections {
            connection.read(&mut requests);
        }
        self.connections.retain(|one| {
            let is_gone = one.is_gone();
            if is_gone {
                ended.push((one.id, one.clean));
            }
            !is_gone
        });
        requests
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

    /// Has a client told something by the next [`Front::flush`].
    pub(super) fn say(&mut self, id: u64, reply: &Reply) {
        if let Some(connection) = self.connections.iter_mut().find(|one| one.id == id) {
            connection.say(reply);
        }
    }

    pub(super) fn flush(&mut self) {
        self.connections.iter_mut().for_each(Connection::flush);
    }

    pub(super) fn close(&self) {
        let _ = fs::remove_file(&self.socket);
    }
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
