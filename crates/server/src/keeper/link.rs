//! `Link`: one end of the Unix socket between a worker and a keeper; bytes in, bytes out, never a wait.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use super::frame::{self, BadFrame};

/// Bytes that are read in one turn: a peer that never stops to send does not keep its loop from the others.
const TURN_BYTES_MAX: usize = 1 << 20;
/// A peer that leaves so many bytes unread is let go.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// One end of a socket whose messages are of the type `In` when they come, and of any when they go.
///
/// A loop owns it: it polls the descriptor, calls [`Link::read`] and [`Link::flush`], and drops a link that [`Link::is_gone`].
#[derive(Debug)]
pub struct Link<In> {
    stream: UnixStream,
    frame_bytes_max: usize,
    /// The beginning of a frame whose end has not come.
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
    gone: bool,
    fault: Option<LinkFault>,
    marker: PhantomData<In>,
}

/// What is wrong with a link that has not just been closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkFault {
    /// The other end sends bytes that are no message.
    #[error("the other end makes no sense: {0}")]
    Nonsense(#[from] BadFrame),
    /// The other end does not read what it is told; 64 MiB wait for it.
    #[error("the other end does not read: {bytes} bytes wait for it")]
    Unread {
        /// What waits.
        bytes: usize,
    },
}

impl<In: for<'de> Deserialize<'de>> Link<In> {
    /// Takes a socket. What comes is refused where the body of a frame has more than `frame_bytes_max` bytes.
    ///
    /// # Errors
    /// When the socket cannot be made non-blocking.
    pub fn new(stream: UnixStream, frame_bytes_max: usize) -> io::Result<Link<In>> {
        stream.set_nonblocking(true)?;
        Ok(Link {
            stream,
            frame_bytes_max,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            gone: false,
            fault: None,
            marker: PhantomData,
        })
    }

    /// Gives the messages that have come to `take`, of at most about 1 MiB in one turn.
    pub fn read(&mut self, mut take: impl FnMut(In)) {
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
        if let Err(error) = self.parse(&mut take) {
            self.fail(error.into());
        }
    }

    fn parse(&mut self, take: &mut impl FnMut(In)) -> Result<(), BadFrame> {
        let mut used = 0;
        while let Some((message, length)) = frame::decode(&self.input[used..], self.frame_bytes_max)? {
            used += length;
            take(message);
        }
        self.input.drain(..used);
        Ok(())
    }
}

impl<In> Link<In> {
    /// Bytes that wait for room in the socket.
    pub fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Whether it has ended: it is of no use any more.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Why it has ended, where that is not that the other end has closed it.
    pub fn fault(&self) -> Option<&LinkFault> {
        self.fault.as_ref()
    }

    /// Has a message sent by the next [`Link::flush`].
    pub fn say(&mut self, message: &impl Serialize) {
        frame::encode(message, &mut self.output);
        self.check();
    }

    /// As [`Link::say`], of frames that are made already.
    pub fn say_frames(&mut self, frames: &[u8]) {
        self.output.extend_from_slice(frames);
        self.check();
    }

    /// Sends as much as the socket takes.
    pub fn flush(&mut self) {
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

    fn check(&mut self) {
        let bytes = self.unsent();
        if bytes > OUTPUT_BYTES_MAX {
            self.fail(LinkFault::Unread { bytes });
        }
    }

    fn fail(&mut self, fault: LinkFault) {
        self.gone = true;
        self.fault.get_or_insert(fault);
    }
}

impl<In> AsFd for Link<In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Link<String>, Link<String>) {
        let (here, there) = UnixStream::pair().unwrap();
        (Link::new(here, 1 << 20).unwrap(), Link::new(there, 1 << 10).unwrap())
    }

    fn read(link: &mut Link<String>) -> Vec<String> {
        let mut all = Vec::new();
        link.read(|one| all.push(one));
        all
    }

    #[test]
    fn what_one_end_says_the_other_one_hears() {
        let (mut here, mut there) = pair();
        here.say(&"one");
        here.say(&"two");
        assert!(read(&mut there).is_empty(), "nothing is sent before the flush");
        here.flush();
        assert_eq!((read(&mut there), here.unsent()), (vec!["one".into(), "two".into()], 0));
        drop(here);
        assert!(read(&mut there).is_empty() && there.is_gone() && there.fault().is_none());
    }

    #[test]
    fn a_frame_that_is_too_long_ends_the_link() {
        let (mut here, mut there) = pair();
        here.say(&"a");
        here.say(&"x".repeat(2 << 10));
        here.flush();
        assert_eq!(read(&mut there), ["a"]);
        assert!(there.is_gone() && matches!(there.fault(), Some(LinkFault::Nonsense(_))));
    }

    #[test]
    fn a_peer_that_does_not_read_is_let_go() {
        let (mut here, _there) = pair();
        let word = "x".repeat(1 << 20);
        while !here.is_gone() {
            here.say(&word);
            here.flush();
            assert!(here.unsent() < OUTPUT_BYTES_MAX + (2 << 20));
        }
        assert!(matches!(here.fault(), Some(LinkFault::Unread { .. })));
    }
}
