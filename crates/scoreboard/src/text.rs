//! `Text`: a few words of text in shared memory, as atomics, so that whoever reads it sees numbers at worst.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Room for 8 × `WORDS` bytes of UTF-8, filled with zeroes behind the text's end.
#[derive(Debug)]
pub(crate) struct Text<const WORDS: usize>([AtomicU64; WORDS]);

impl<const WORDS: usize> Text<WORDS> {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    /// Keeps as much of the text as there is room for, cut between characters.
    #[inline]
    pub(crate) fn set(&self, text: &str) {
        self.set_words(&pack(text));
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

/// Text as words.
#[inline]
pub(crate) fn pack<const WORDS: usize>(text: &str) -> [u64; WORDS] {
    let bytes = &text.as_bytes()[..text.floor_char_boundary(8 * WORDS)];
    let (whole, rest) = bytes.as_chunks::<8>();
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*chunk);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()] = u64::from_le_bytes(last);
    }
    words
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
            ("/a", "/a"),
            ("12345678", "12345678"),
            ("123456789", "123456789"),
            ("1234567890123456", "1234567890123456"),
            ("1234567890123456789", "1234567890123456"),
            ("123456789012345ä", "123456789012345"),
        ] {
            let text = Text::<2>::new();
            text.set("something before it");
            text.set(given);
            assert_eq!(unpack(&text.words()), kept);
        }
    }
}
