//! `Link`: one end of the Unix socket between a worker and the keeper of the rooms; bytes in, bytes out, never a wait.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use crate::wire::{self, FrameError};

/// Bytes that are read in one turn.
const TURN_BYTES_MAX: usize = 1 << 20;
/// A peer that leaves so many bytes unread is let go.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// `In` is what comes.
#[derive(Debug)]
pub(crate) struct Link<In> {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
    pub(crate) gone: bool,
    marker: PhantomData<In>,
}

impl<In: for<'de> Deserialize<'de>> Link<In> {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Link<In>> {
        stream.set_nonblocking(true)?;
        Ok(Link { stream, input: Vec::new(), output: Vec::new(), sent: 0, gone: false, marker: PhantomData })
    }

    /// Whether something waits for room in the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Gives what has come to `take`.
    pub(crate) fn read(&mut self, mut take: impl FnMut(In)) {
        let mut chunk = [0; 64 << 10];
        let mut total = 0;
        while total < TURN_BYTES_MAX {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.gone = true;
                    break;
                }
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    total += count;
                    // A socket that gave less than it could is empty.
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
        if let Err(error) = self.parse(&mut take) {
            tracing::error!(target: "rooms", %error, "the other end makes no sense");
            self.gone = true;
        }
    }

    fn parse(&mut self, take: &mut impl FnMut(In)) -> Result<(), FrameError> {
        let mut used = 0;
        while let Some((message, length)) = wire::decode(&self.input[used..])? {
            used += length;
            take(message);
        }
        self.input.drain(..used);
        Ok(())
    }

    /// Has a message sent by the next [`Link::flush`].
    pub(crate) fn say(&mut self, message: &impl Serialize) {
        wire::encode(message, &mut self.output);
        self.check();
    }

    /// As [`Link::say`], of a frame that is made already.
    pub(crate) fn say_frame(&mut self, frame: &[u8]) {
        self.output.extend_from_slice(frame);
        self.check();
    }

    fn check(&mut self) {
        if self.output.len() - self.sent > OUTPUT_BYTES_MAX {
            tracing::error!(target: "rooms", "the other end does not read: it is let go");
            self.gone = true;
        }
    }

    pub(crate) fn flush(&mut self) {
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

impl<In> AsFd for Link<In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
