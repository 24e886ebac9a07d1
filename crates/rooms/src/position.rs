//! `Position`: a place in the history of a room, the same for WebSocket, server-sent events and long-poll.

use std::fmt;
use std::str::FromStr;

/// A place in the history of a room: `epoch:offset`, for instance `9f3c21:17`.
///
/// Offsets count a room's messages, from 1. An epoch is one life of a room's counter: whoever comes with another one has missed
/// an unknown number of messages, and is told so.
///
/// ```
/// use tenfold_rooms::Position;
/// let position: Position = "9f3c21:17".parse()?;
/// assert_eq!((position.offset, position.to_string()), (17, "9f3c21:17".to_owned()));
/// assert!("17".parse::<Position>().is_err());
/// # Ok::<(), tenfold_rooms::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Which life of the room's counter.
    pub epoch: u64,
    /// How many messages it has counted.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Position, crate::Error> {
        let parts = text.split_once(':').and_then(|(epoch, offset)| {
            Some(Position { epoch: u64::from_str_radix(epoch, 16).ok()?, offset: offset.parse().ok()? })
        });
        parts.ok_or(crate::Error::Position)
    }
}
