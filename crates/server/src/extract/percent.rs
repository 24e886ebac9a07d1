//! Percent-decoding (RFC 3986 section 2.1).

use std::borrow::Cow;

/// Decodes `%41` to `A`. A "+" stays one: it means a space only in forms and queries. `None` for an incomplete or
/// non-hexadecimal escape, and for bytes that are not UTF-8.
pub(super) fn decode(text: &str) -> Option<Cow<'_, str>> {
    let Some(first) = text.find('%') else {
        return Some(Cow::Borrowed(text));
    };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text.as_bytes()[..first]);
    let mut rest = &text.as_bytes()[first..];
    while let [byte, tail @ ..] = rest {
        if *byte != b'%' {
            decoded.push(*byte);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return None };
        decoded.push(digit(*high)? << 4 | digit(*low)?);
        rest = tail;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_nothing_else() {
        for (text, decoded) in [
            ("", Some("")),
            ("plain", Some("plain")),
            ("a%20b+c", Some("a b+c")),
            ("%c3%A9", Some("\u{e9}")),
            ("%2f", Some("/")),
            ("%2", None),
            ("%", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
        ] {
            assert_eq!(decode(text).as_deref(), decoded, "{text}");
        }
    }
}
