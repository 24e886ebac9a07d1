//! `Words`: a line in words, without a copy.

/// The words of a line, which any number of spaces separate.
#[derive(Clone, Debug)]
pub(super) struct Words<'l>(&'l [u8]);

impl<'l> Words<'l> {
    pub(super) fn new(line: &'l [u8]) -> Words<'l> {
        Words(line)
    }

    /// Whether the last word is the one by which a client says that it wants no answer. No key comes behind it.
    pub(super) fn is_noreply(&self) -> bool {
        self.0.trim_ascii_end().ends_with(b" noreply") || self.0.trim_ascii() == b"noreply"
    }
}

impl<'l> Iterator for Words<'l> {
    type Item = &'l [u8];

    #[inline]
    fn next(&mut self) -> Option<&'l [u8]> {
        let start = self.0.iter().position(|byte| *byte != b' ')?;
        let rest = &self.0[start..];
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        self.0 = after;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_separate_words_and_are_none() {
        let words: Vec<&[u8]> = Words::new(b"  set  a 1 ").collect();
        assert_eq!(words, [&b"set"[..], b"a", b"1"]);
        assert!(Words::new(b" a 1 noreply").is_noreply() && !Words::new(b" a 1 norepl").is_noreply());
        assert_eq!(Words::new(b"   ").next(), None);
    }
}
