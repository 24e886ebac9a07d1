//! Bytes ↔ messages of a keeper's socket. No I/O; `fuzz/fuzz_targets/jobs_frame.rs` feeds it anything.

use serde::{Deserialize, Serialize};

/// Bytes that are no frame; the connection cannot go on then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadFrame {
    /// It says that it is longer than it may be.
    #[error("a frame of {bytes} bytes, and {bytes_max} are allowed")]
    TooLong {
        /// What it says.
        bytes: usize,
        /// What its reader takes.
        bytes_max: usize,
    },
    /// Its body is no message.
    #[error("a frame that is no message: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
}

/// Appends a message as a frame.
///
/// # Panics
/// For a type that has no form in MessagePack, as a sequence of unknown length: the messages of keepers are plain structures.
///
/// # Examples
/// ```
/// use tenfold_server::keeper::{decode, encode};
///
/// let mut bytes = Vec::new();
/// encode(&("room", 7), &mut bytes);
/// assert_eq!(decode::<(String, u32)>(&bytes, 100)?, Some((("room".into(), 7), bytes.len())));
/// assert_eq!(decode::<(String, u32)>(&bytes[..5], 100)?, None);
/// # Ok::<(), tenfold_server::keeper::BadFrame>(())
/// ```
pub fn encode(message: &impl Serialize, into: &mut Vec<u8>) {
    let begin = into.len();
    into.extend_from_slice(&[0; 4]);
    rmp_serde::encode::write_named(into, message).expect("a keeper's messages have a form in MessagePack");
    let length = (into.len() - begin - 4) as u32;
    into[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
}

/// The first message of `bytes` and how many bytes it takes; `None` when it is not there as a whole. A body has at most
/// `bytes_max` bytes.
///
/// # Errors
/// [`BadFrame`].
pub fn decode<T: for<'de> Deserialize<'de>>(
    bytes: &[u8],
    bytes_max: usize,
) -> Result<Option<(T, usize)>, BadFrame> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > bytes_max {
        return Err(BadFrame::TooLong { bytes: length, bytes_max });
    }
    match rest.get(..length) {
        Some(body) => Ok(Some((rmp_serde::from_slice(body)?, length + 4))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_from_its_frame_however_it_is_cut() {
        let mut bytes = Vec::new();
        encode(&vec!["a", "bc"], &mut bytes);
        let length = bytes.len();
        encode(&vec!["d"], &mut bytes);
        for end in 0..length {
            assert!(decode::<Vec<String>>(&bytes[..end], 100).unwrap().is_none());
        }
        let (message, used) = decode::<Vec<String>>(&bytes, 100).unwrap().unwrap();
        assert!(message == ["a", "bc"] && used == length);
    }

    #[test]
    fn a_frame_that_is_too_long_or_no_message_is_bad() {
        let mut bytes = Vec::new();
        encode(&"x".repeat(50), &mut bytes);
        assert!(matches!(decode::<String>(&bytes, 51), Err(BadFrame::TooLong { bytes: 52, bytes_max: 51 })));
        assert!(matches!(decode::<u32>(&bytes, 52), Err(BadFrame::Malformed(_))));
    }
}
