//! The small grammars that several states share: token lists, numbers, hosts, line ends. Bytes in, verdict out.

/// Bytes of a registered name (RFC 3986 section 3.2.2): unreserved and sub-delims without the comma. The grammar
/// would allow a comma, but in a field value a comma is also what a merging proxy puts between two Host lines.
static HOST_BYTE: [bool; 256] = byte_set(b"-._~!$&'()*+;=");

/// Bytes of a token (RFC 9110 section 5.6.2).
static TOKEN_BYTE: [bool; 256] = byte_set(b"!#$%&'*+-.^_`|~");

/// Whether `value` is `uri-host [":" port]` (RFC 9110 section 7.2). An empty host is one: RFC 9112 section 3.2 has
/// clients send it when the target has no authority.
#[inline]
pub(crate) fn is_host(value: &[u8]) -> bool {
    if value.first() == Some(&b'[') {
        return is_ip_literal(value);
    }
    let name_len = value.iter().position(|&byte| !HOST_BYTE[usize::from(byte)]).unwrap_or(value.len());
    match value.get(name_len) {
        Some(b'%') => is_escaped_host(value),
        _ => is_port_suffix(&value[name_len..]),
    }
}

/// A host with escapes, which is legal and never seen.
#[cold]
fn is_escaped_host(value: &[u8]) -> bool {
    let mut rest = value;
    loop {
        let name_len = rest.iter().position(|&byte| !HOST_BYTE[usize::from(byte)]).unwrap_or(rest.len());
        match &rest[name_len..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = &rest[name_len + 3..];
            }
            suffix => return is_port_suffix(suffix),
        }
    }
}

/// `"[" IPv6address "]" [":" port]`. Only the alphabet is checked; IPvFuture is refused since nobody has ever sent it.
fn is_ip_literal(value: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b']', value) else { return false };
    let address = &value[1..end];
    !address.is_empty()
        && address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        && is_port_suffix(&value[end + 1..])
}

/// Nothing, or `":" *DIGIT` (RFC 3986 section 3.2.3).
fn is_port_suffix(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Whether `name` is a non-empty token.
pub(crate) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&b| TOKEN_BYTE[usize::from(b)])
}

/// The elements of a comma-separated list, trimmed, without the empty ones that RFC 9110 section 5.6.1.2 has recipients
/// ignore.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// `value` without spaces and tabs around it: OWS (RFC 9110 section 5.6.3), which is narrower than ASCII white space.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|&b| !is_blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|&b| !is_blank(b)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// A space or a tab.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `1*DIGIT` as a number; `None` for anything else and for more than 64 bits.
///
/// Not `str::parse`: that accepts a leading "+" (RFC 9110 section 8.6 does not).
pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Appends `number` in decimal.
#[inline]
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    // Copies of known size are a move each, and most lengths are this short.
    let digit = |unit: u64| b'0' + (number / unit % 10) as u8;
    match number {
        0..10 => out.push(digit(1)),
        10..100 => out.extend_from_slice(&[digit(10), digit(1)]),
        100..1_000 => out.extend_from_slice(&[digit(100), digit(10), digit(1)]),
        1_000..10_000 => out.extend_from_slice(&[digit(1_000), digit(100), digit(10), digit(1)]),
        _ => push_long_decimal(out, number),
    }
}

fn push_long_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// ASCII letters and digits, and each byte of `others`.
const fn byte_set(others: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        set[others[at] as usize] = true;
        at += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_rfc_9110_section_7_2() {
        for good in
            ["", "a", "example.org", "example.org:80", "127.0.0.1:8080", "[::1]", "[::1]:80", "a:", "x%20y"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a,b", "a/b", "u@h", "h:8a", "h:80:80", "[::1", "[]", "[::1]x", "a%2", "a%zz", "a?",
            "h\u{e9}",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn decimals_are_digits_only_and_fit_64_bits() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", "1 ", "0x1", "1_0", "1,1", "18446744073709551616", "99999999999999999999"]
        {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn written_decimals_read_back() {
        for number in [0, 1, 9, 10, 99, 100, 999, 1_000, 9_999, 10_000, 12_345, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn lists_skip_empty_elements() {
        let elements: Vec<_> = list(b" a ,,\tb c , ").collect();
        assert_eq!(elements, [&b"a"[..], b"b c"]);
        assert_eq!(list(b"  ").count(), 0);
    }
}
