//! `Protocol`: what answers the bytes of a connection, sans-io. A framing with a function is one (framed.rs); a protocol that
//! parses its own frames, or keeps something for each connection, implements it itself.

use crate::peer::Peer;
use crate::services::framing::FrameError;
use crate::services::reply::Reply;
use crate::state::{Need, StateMap};

/// Answers what comes on connections, one frame after another.
///
/// The server reads, calls [`Protocol::serve`] for as long as there are frames, and writes the answers of all of them at
/// once. Between frames a connection holds its session, and neither a stack nor a buffer.
pub trait Protocol: Send + Sync + 'static {
    /// What is kept for each connection; `()` if nothing is.
    type Session: Send + 'static;

    /// A connection begins.
    fn open(&self, peer: Peer, state: &StateMap) -> Self::Session;

    /// Serves the first frame of the input, or says that it has not come as a whole. It may wait, in blocking style.
    ///
    /// # Errors
    /// [`BadInput`] ends the connection, once what was replied is written.
    fn serve(
        &self,
        session: &mut Self::Session,
        input: Input<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, BadInput>;

    /// The values of the app that it needs: without one of them the app does not start.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }
}

/// What has come on a connection and was not used yet.
#[derive(Clone, Copy)]
pub struct Input<'i> {
    pub(crate) bytes: &'i [u8],
    pub(crate) seen: usize,
    pub(crate) bytes_max: usize,
    pub(crate) peer: Peer,
    pub(crate) state: &'i StateMap,
}

impl<'i> Input<'i> {
    /// The bytes. There is at least one.
    #[inline]
    pub fn bytes(&self) -> &'i [u8] {
        self.bytes
    }

    /// How many of them were there at the last call, if that has answered [`Progress::Partial`].
    #[inline]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// The most bytes of a frame.
    #[inline]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Who has sent them.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The app's values.
    pub fn state(&self) -> &'i StateMap {
        self.state
    }
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Input({} bytes from {})", self.bytes.len(), self.peer)
    }
}

/// What became of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A frame of so many bytes was answered.
    Frame(usize),
    /// So many bytes were used and were not the end of a frame: the beginning of a long one that nobody has to keep, say.
    Skip(usize),
    /// More has to come.
    Partial,
}

/// Why a connection cannot go on. It is logged as one line with the client's address.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct BadInput {
    reason: String,
}

impl BadInput {
    /// For this reason.
    pub fn new(reason: impl Into<String>) -> BadInput {
        BadInput { reason: reason.into() }
    }
}

impl From<FrameError> for BadInput {
    fn from(error: FrameError) -> BadInput {
        BadInput::new(error.to_string())
    }
}
