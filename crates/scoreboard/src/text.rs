//! `Text`: a few words of text in shared memory, as atomics, so that whoever reads it sees numbers at worst.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Room for 8 × `WORDS` bytes of UTF-8, filled with zeroes behind the text's end. One thread writes; who reads meanwhile may
/// see parts of two texts, so a version number belongs beside it.
///
/// ```
/// use tenfold_scoreboard::Text;
/// let path = Text::<2>::new();
/// path.set("/articles/17 and more");
/// assert_eq!(path.get(), "/articles/17 and");
/// ```
#[derive(Debug)]
pub struct Text<const WORDS: usize>([AtomicU64; WORDS]);

impl<const WORDS: usize> Text<WORDS> {
    /// An empty one.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    /// Keeps as much of the text as there is room for, cut between characters.
    #[inline]
    pub fn set(&self, text: &str) {
        self.set_words(&pack(text));
    }

    /// What is kept.
    pub fn get(&self) -> String {
        unpack(&self.words())
    }

    #[inline]
    pub(crate) fn set_words(&self, words: &[u64; WORDS]) {
        for (place, word) in self.0.iter().zip(words) {
            place.store(*word, Relaxed);
        }
    }

    pub(crate) fn words(&self) -> [u64; WORDS] {
        std::array::from_fn(|at| self.0[at].load(Relaxed))
    }
}

impl<const WORDS: usize> Default for Text<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Text as words.
#[inline]
pub(crate) fn pack<const WORDS: usize>(text: &str) -> [u64; WORDS] {
    let bytes = match text.len() {
        length if length <= 8 * WORDS => text.as_bytes(),
        _ => &text.as_bytes()[..text.floor_char_boundary(8 * WORDS)],
    };
    let (whole, rest) = bytes.as_chunks::<8>();
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*chunk);
    }
    if !rest.is_empty() {
        words[whole.len()] = match bytes.last_chunk::<8>() {
            // The last eight bytes, without those that are in the word before.
            Some(last) => u64::from_le_bytes(*last) >> (8 * (8 - rest.len())),
            None => short_word(rest),
        };
    }
    words
}

/// One to seven bytes as a word. Copying them to a place of eight and reading that would have the processor wait for the
/// stores: 4 ns each time.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u64::from(last) << (8 * (bytes.len() - 4)) | u64::from(first)
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Words as text.
pub(crate) fn unpack<const WORDS: usize>(words: &[u64; WORDS]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_up_to_the_last_character_that_fits() {
        for (given, kept) in [
            ("", ""),
            ("/", "/"),
            ("/a", "/a"),
            ("/ab", "/ab"),
            ("/abc", "/abc"),
            ("/abcd", "/abcd"),
            ("/abcde", "/abcde"),
            ("/abcdef", "/abcdef"),
            ("12345678", "12345678"),
            ("123456789", "123456789"),
            ("1234567890123", "1234567890123"),
            ("1234567890123456", "1234567890123456"),
            ("1234567890123456789", "1234567890123456"),
            ("123456789012345ä", "123456789012345"),
        ] {
            let text = Text::<2>::new();
            text.set("something before it");
            text.set(given);
            assert_eq!(text.get(), kept);
        }
    }
}
