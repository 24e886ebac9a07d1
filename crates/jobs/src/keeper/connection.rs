//! `Connection`: one client of the keeper: bytes in, bytes out, never a wait.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;

use crate::wire::{self, FrameError, Reply, Request};

/// Bytes that are read of one connection in one turn of the loop.
const TURN_BYTES_MAX: usize = 1 << 20;
/// A client that leaves so many bytes of answers unread is heard no more until it reads.
const OUTPUT_BYTES_HIGH: usize = 8 << 20;
/// … and is let go at so many.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
    /// It said that it ends in good order.
    pub(super) clean: bool,
    pub(super) gone: bool,
}

impl Connection {
    pub(super) fn new(id: u64, stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection {
            id,
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            clean: false,
            gone: false,
        })
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        let unsent = self.output.len() - self.sent;
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, unsent < OUTPUT_BYTES_HIGH);
        flags.set(PollFlags::OUT, unsent > 0);
        flags
    }

    /// Takes what has come.
    pub(super) fn read(&mut self, requests: &mut Vec<(u64, Request)>) {
        let begin = self.input.len();
        let mut chunk = [0; 64 << 10];
        while self.input.len() - begin < TURN_BYTES_MAX {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.gone = true;
                    break;
                }
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    // A socket that gave less than it could is empty: its next word is poll's to tell.
                    if count < chunk.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        if let Err(error) = self.parse(requests) {
            tracing::error!(target: "jobs", %error, "a client of the keeper makes no sense");
            self.gone = true;
        }
    }

    fn parse(&mut self, requests: &mut Vec<(u64, Request)>) -> Result<(), FrameError> {
        let mut used = 0;
        while let Some((request, length)) = wire::decode(&self.input[used..])? {
            used += length;
            self.clean |= request == Request::Bye;
            requests.push((self.id, request));
        }
        self.input.drain(..used);
        Ok(())
    }

    /// Has an answer sent by the next [`Connection::flush`].
    pub(super) fn say(&mut self, reply: &Reply) {
        wire::encode(reply, &mut self.output);
        if self.output.len() - self.sent > OUTPUT_BYTES_MAX {
            tracing::error!(target: "jobs", "a client of the keeper does not read its answers: it is let go");
            self.gone = true;
        }
    }

    pub(super) fn flush(&mut self) {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.output.clear();
        self.sent = 0;
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
