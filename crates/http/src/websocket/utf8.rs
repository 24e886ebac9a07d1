//! UTF-8 that comes in pieces: an error is said at the first byte that cannot be, not at the end of the message.

/// The text, if all of it is.
pub(super) fn whole(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Checks `bytes` from `valid` on, up to where the checking has come; a character that is cut off at the end may go on.
///
/// `None` when no continuation can make it right.
pub(super) fn check_on(bytes: &[u8], valid: usize) -> Option<usize> {
    match std::str::from_utf8(&bytes[valid..]) {
        Ok(text) => Some(valid + text.len()),
        Err(error) if error.error_len().is_none() => Some(valid + error.valid_up_to()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_in_two_pieces_is_one_and_a_wrong_byte_is_wrong_at_once() {
        let text = "κόσμε".as_bytes();
        let mut valid = 0;
        for end in 1..=text.len() {
            valid = check_on(&text[..end], valid).unwrap();
        }
        assert_eq!(valid, text.len());
        assert_eq!(check_on(b"ab\xed\xa0\x80", 0), None, "a surrogate");
        assert_eq!(check_on(b"ab\xf4\x90", 2), None, "beyond U+10FFFF");
    }
}
