//! `Reply`: where an answer goes.

use std::fmt;
use std::io::{self, Write};

use crate::peer::Peer;
use crate::services::framing::{FrameError, Framing};

/// The answer to a frame: what is written here goes out together with the answers of all frames that came at the same time.
pub struct Reply<'r> {
    pub(crate) out: &'r mut Vec<u8>,
    pub(crate) framing: Option<&'r dyn Framing>,
    pub(crate) peer: Peer,
    pub(crate) closes: bool,
}

impl Reply<'_> {
    /// Appends bytes as they are.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Appends a frame with this content, made by the service's framing; where there is none, the bytes as they are.
    ///
    /// # Errors
    /// [`FrameError`], when the content cannot be in a frame.
    pub fn frame(&mut self, content: &[u8]) -> Result<(), FrameError> {
        match self.framing {
            Some(framing) => framing.encode(content, self.out),
            None => {
                self.push(content);
                Ok(())
            }
        }
    }

    /// What was written and has not gone out yet, with the answers to earlier frames before it.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Who has asked.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The connection ends once this answer is written.
    pub fn close(&mut self) {
        self.closes = true;
    }
}

impl Write for Reply<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes)", self.out.len())
    }
}
