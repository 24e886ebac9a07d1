//! `Connection`: one client of the keeper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use tenfold_server::keeper::Link;

use crate::wire::{FRAME_BYTES_MAX, Reply, Request};

/// A client that leaves so many bytes of answers unread is heard no more until it reads.
const OUTPUT_BYTES_HIGH: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    link: Link<Request>,
    /// It said that it ends in good order.
    pub(super) clean: bool,
}

impl Connection {
    pub(super) fn new(id: u64, stream: UnixStream) -> io::Result<Connection> {
        Ok(Connection { id, link: Link::new(stream, FRAME_BYTES_MAX)?, clean: false })
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        let unsent = self.link.unsent();
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, unsent < OUTPUT_BYTES_HIGH);
        flags.set(PollFlags::OUT, unsent > 0);
        flags
    }

    /// Takes what has come.
    pub(super) fn read(&mut self, requests: &mut Vec<(u64, Request)>) {
        let (id, clean) = (self.id, &mut self.clean);
        self.link.read(|request| {
            *clean |= request == Request::Bye;
            requests.push((id, request));
        });
    }

    /// Whether it has ended; one that had to be ended is told about.
    pub(super) fn is_gone(&self) -> bool {
        if let Some(fault) = self.link.fault() {
            tracing::error!(target: "jobs", %fault, "a client of the keeper is let go");
        }
        self.link.is_gone()
    }

    /// Has an answer sent by the next [`Connection::flush`].
    pub(super) fn say(&mut self, reply: &Reply) {
        self.link.say(reply);
    }

    pub(super) fn flush(&mut self) {
        self.link.flush();
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}
