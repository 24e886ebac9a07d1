//! What a connection has received and not yet used: one piece for all clients that read replies one after another.

use std::io;
use std::time::Instant;

use tenfold_runtime::net::TcpStream;

use crate::error::{Error, Phase};

/// Bytes on the heap, since a read's worth of them is as much as a fiber's whole stack.
///
/// ```text
///   0        start          end              bytes.len()
///   |  used  |   filled     |     spare      |
/// ```
///
/// It grows to the largest reply, whose bound is the caller's, and stays so.
#[derive(Debug)]
pub(crate) struct Received {
    /// Always initialised, so that reading into the spare part needs neither zeroing nor unsafe code.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Room for so many bytes is offered to each read, at least.
    room: usize,
}

impl Received {
    /// Nothing yet, and nothing allocated.
    pub(crate) fn new(room: usize) -> Received {
        Received { bytes: Vec::new(), start: 0, end: 0, room }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first bytes are used.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.filled().len(), "only what is there is used");
        self.start += count;
    }

    /// Waits until so many bytes are there. What has come is not lost when the time is over first.
    ///
    /// # Errors
    /// [`Error::Closed`]; those of waiting for a reply.
    pub(crate) fn fill(
        &mut self,
        stream: &TcpStream,
        wanted: usize,
        until: Option<Instant>,
    ) -> Result<(), Error> {
        while self.filled().len() < wanted {
            let missing = wanted - self.filled().len();
            match stream.read_until(self.spare(missing), until) {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(Phase::AwaitingReply, error)),
            }
        }
        Ok(())
    }

    /// Room for `missing` bytes, and for a read.
    fn spare(&mut self, missing: usize) -> &mut [u8] {
        let room = missing.max(self.room);
        if self.bytes.len() < self.end + room {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let needed = self.end + room;
            if self.bytes.len() < needed {
                self.bytes.resize(needed, 0);
            }
        }
        &mut self.bytes[self.end..]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn bytes_keep_their_order_while_they_are_used_and_the_room_moves_and_grows() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut peer = listener.accept().unwrap().0;
        let mut received = Received::new(4);
        peer.write_all(b"abcdefghijkl").unwrap();
        received.fill(&stream, 3, None).unwrap();
        assert!(received.filled().starts_with(b"abc"));
        received.consume(2);
        received.fill(&stream, 10, None).unwrap();
        assert_eq!(received.filled(), b"cdefghijkl");
        received.consume(10);
        peer.write_all(b"mn").unwrap();
        received.fill(&stream, 2, None).unwrap();
        assert_eq!((received.filled(), received.bytes.len()), (&b"mn"[..], 10), "used bytes make room");
        drop(peer);
        assert!(matches!(received.fill(&stream, 3, None), Err(Error::Closed)));
        assert_eq!(received.filled(), b"mn");
    }
}
