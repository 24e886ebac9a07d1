//! permessage-deflate (RFC 7692) without context takeover: each message is compressed by itself.
//!
//! So no connection keeps a window between messages, which would be 32 KiB and more, and one compressed frame can go to
//! every member of a room. What it costs is a somewhat worse ratio on small messages.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::error::WebSocketError;
use super::window::Window;

/// What every message ends with, which is not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Output is made in steps of this many bytes.
const STEP_BYTES: usize = 4096;
/// Level 1 of zlib-rs has fixed codes, and looks for a repeat in one place: 2.5 µs for 256 bytes of JSON and 3.5 to 6.5 µs for
/// 4 KiB. Level 2 takes three times as long, for 2 to 30 % fewer bytes.
const LEVEL: Compression = Compression::fast();

/// Decompresses messages of any window. 46 KiB from the first one on; one serves all connections in turn.
pub struct Inflater(Option<Decompress>);

/// Compresses messages for receivers of one window. 245 to 370 KiB, of which four times the window; one serves all
/// connections in turn.
pub struct Deflater(Compress);

impl Inflater {
    /// A fresh one, which costs nothing where no message comes compressed.
    pub fn new() -> Inflater {
        Inflater(None)
    }

    /// The message that `input` is the compressed payload of.
    ///
    /// # Errors
    /// `TooBig` at the first byte beyond `bytes_max`, however small the input; `Deflate`.
    pub fn inflate(&mut self, input: &[u8], bytes_max: usize) -> Result<Vec<u8>, WebSocketError> {
        let state = self.0.get_or_insert_with(|| Decompress::new(false));
        state.reset(false);
        let mut out = Vec::new();
        for part in [input, &TAIL] {
            let mut used = 0;
            loop {
                let mut step = [0; STEP_BYTES];
                let before = (state.total_in(), state.total_out());
                let status = state.decompress(&part[used..], &mut step, FlushDecompress::Sync);
                let status = status.map_err(|_| WebSocketError::Deflate)?;
                let taken = (state.total_in() - before.0) as usize;
                let made = (state.total_out() - before.1) as usize;
                used += taken;
                out.extend_from_slice(&step[..made]);
                if out.len() > bytes_max {
                    return Err(WebSocketError::TooBig(bytes_max));
                }
                // A block that says it is the last one is allowed (section 7.2.3.4); what follows begins anew.
                if status == Status::StreamEnd {
                    state.reset(false);
                }
                let is_idle = taken == 0 && made == 0;
                if is_idle || (used == part.len() && made < STEP_BYTES) {
                    break;
                }
            }
        }
        Ok(out)
    }
}

impl Deflater {
    /// A fresh one, which prefers speed and refers no further back than `window`.
    pub fn new(window: Window) -> Deflater {
        Deflater(Compress::new_with_window_bits(LEVEL, false, window.bits()))
    }

    /// The compressed payload of a message.
    pub fn deflate(&mut self, input: &[u8]) -> Vec<u8> {
        self.0.reset();
        let mut out = Vec::with_capacity(input.len() / 2 + STEP_BYTES);
        let mut used = 0;
        loop {
            let before = self.0.total_in();
            let status = self.0.compress_vec(&input[used..], &mut out, FlushCompress::Sync);
            used += (self.0.total_in() - before) as usize;
            debug_assert!(status.is_ok(), "compressing fails only where the state was misused");
            if used >= input.len() && out.len() < out.capacity() {
                break;
            }
            out.reserve(STEP_BYTES);
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        out
    }
}

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater::new()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deflater")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_one_by_one() {
        let mut inflater = Inflater::new();
        let noise: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for mut deflater in Window::ALL.map(Deflater::new) {
            for message in [&b""[..], b"Hello", &[b'x'; 100_000], &noise] {
                let sent = deflater.deflate(message);
                assert_eq!(inflater.inflate(&sent, 1 << 20).unwrap(), message);
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let mut inflater = Inflater::new();
        // RFC 7692 section 7.2.3: "Hello" in one compressed block, without compression, with BFINAL, and in two blocks.
        for payload in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflater.inflate(payload, 100).unwrap(), b"Hello", "{payload:x?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_and_nonsense_at_once() {
        let mut bomb = Vec::with_capacity(64 << 10);
        let mut best = Compress::new(Compression::best(), false);
        best.compress_vec(&vec![0; 60 << 20], &mut bomb, FlushCompress::Finish).unwrap();
        assert_eq!(best.total_in(), 60 << 20, "it fits into the longest message of the default limits");
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&bomb, 1000), Err(WebSocketError::TooBig(1000)));
        let made = inflater.0.as_ref().map_or(0, Decompress::total_out);
        assert!(made <= 1000 + STEP_BYTES as u64, "the rest of it was not even made");
        assert_eq!(inflater.inflate(&[0xff, 0xff, 0xff], 1000), Err(WebSocketError::Deflate));
        assert_eq!(inflater.inflate(&Deflater::new(Window::Large).deflate(b"abcd"), 4).unwrap(), b"abcd");
        assert_eq!(
            inflater.inflate(&Deflater::new(Window::Large).deflate(b"abcde"), 4),
            Err(WebSocketError::TooBig(4))
        );
    }
}
