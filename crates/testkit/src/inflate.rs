//! `inflate_within`: a receiver of permessage-deflate that keeps no more than it has said.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// The message of a compressed payload, as a receiver with a window of `2^window_bits` bytes has it; `None` when it cannot be
/// read, for instance because it refers further back.
///
/// All that has come is in a ring of the window's size, of which miniz_oxide refuses to look out. zlib would not do: it looks
/// into its window only for what is not in its output any more, and zlib-rs has one size of window.
pub fn inflate_within(payload: &[u8], window_bits: u8) -> Option<Vec<u8>> {
    let mut ring = vec![0; 1 << window_bits];
    // RFC 7692 section 7.2.2: the four bytes that every message ends with are not sent.
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut decompressor = DecompressorOxide::new();
    let (mut used, mut at, mut out) = (0, 0, Vec::new());
    loop {
        let (status, taken, made) =
            decompress(&mut decompressor, &input[used..], &mut ring, at, TINFL_FLAG_HAS_MORE_INPUT);
        used += taken;
        out.extend_from_slice(&ring[at..at + made]);
        at = (at + made) % ring.len();
        match status {
            TINFLStatus::HasMoreOutput => {}
            TINFLStatus::NeedsMoreInput => return Some(out),
            _ => return None,
        }
    }
}
