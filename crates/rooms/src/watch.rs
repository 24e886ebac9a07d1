//! `Watch`: the epoll set of the pump: sockets that it waits for to take more, the keeper's link, and a bell.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

/// Events of one turn.
const EVENTS_MAX: usize = 256;
const BELL: u64 = u64::MAX;
const LINK: u64 = u64::MAX - 1;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// Somebody has rung.
    Bell,
    /// The link has bytes, room, or is gone.
    Link,
    /// The socket of this number has room again.
    Room(usize),
}

pub(crate) struct Watch {
    epoll: OwnedFd,
    bell: OwnedFd,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Watch> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Watch { epoll, bell })
    }

    /// Has the pump look around. From any thread.
    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Tells once when the socket has room. From any thread. A socket that is closed is forgotten by the kernel (epoll(7)).
    pub(crate) fn writable_once(&self, socket: impl AsFd, number: usize) -> io::Result<()> {
        let flags = EventFlags::OUT | EventFlags::ONESHOT;
        let data = EventData::new_u64(number as u64);
        match epoll::modify(&self.epoll, &socket, data, flags) {
            Err(rustix::io::Errno::NOENT) => Ok(epoll::add(&self.epoll, &socket, data, flags)?),
            other => Ok(other?),
        }
    }

    pub(crate) fn watch_link(&self, link: impl AsFd, has_unsent: bool, is_new: bool) -> io::Result<()> {
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, has_unsent);
        let data = EventData::new_u64(LINK);
        if is_new {
            return Ok(epoll::add(&self.epoll, &link, data, flags)?);
        }
        Ok(epoll::modify(&self.epoll, &link, data, flags)?)
    }

    /// Waits for at most so long.
    pub(crate) fn wait(&self, longest: Duration, into: &mut Vec<Happened>) -> io::Result<()> {
        into.clear();
        let mut events =
            [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS_MAX];
        let timeout = Timespec::try_from(longest).ok();
        let count = match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..count] {
            into.push(match event.data.u64() {
                BELL => {
                    let _ = rustix::io::read(&self.bell, &mut [0; 8]);
                    Happened::Bell
                }
                LINK => Happened::Link,
                number => Happened::Room(number as usize),
            });
        }
        Ok(())
    }
}
