//! The meta protocol: bytes ↔ replies. No I/O. memcached's doc/protocol.txt, "Meta Commands".

use bytes::Bytes;

use crate::error::Error;
use crate::link::{Malformed, Parsed, Protocol};

/// Longest line of a reply; the server's own lines are shorter than a key and its flags.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Longest key (protocol.txt, "Keys").
const KEY_BYTES_MAX: usize = 250;

/// Replies come in the order of the commands.
#[derive(Debug)]
pub(crate) struct Meta;

/// A reply. Each meta command has one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// `VA`: a value, and its version where that was asked for.
    Value { data: Bytes, version: u64 },
    /// `HD`: done.
    Done,
    /// `EN`, `NF`: there is none.
    Missing,
    /// `NS`: not stored.
    NotStored,
    /// `EX`: it has another version by now.
    Changed,
    /// A refusal.
    Refused { code: String, message: String },
}

impl Protocol for Meta {
    type Reply = Reply;

    fn parse(input: &[u8], bytes_max: usize) -> Result<Parsed<Reply>, Malformed> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            return match input.len() {
                length if length > LINE_BYTES_MAX => Err(Malformed("a line is too long")),
                _ => Ok(Parsed::Missing(1)),
            };
        };
        let line = input[..end].strip_suffix(b"\r").ok_or(Malformed("a line does not end in CR LF"))?;
        let line = std::str::from_utf8(line).map_err(|_| Malformed("a line is not text"))?;
        let (code, rest) = line.split_once(' ').unwrap_or((line, ""));
        let reply = match code {
            "VA" => return value(input, end + 1, rest, bytes_max),
            "HD" => Reply::Done,
            "EN" | "NF" => Reply::Missing,
            "NS" => Reply::NotStored,
            "EX" => Reply::Changed,
            "ERROR" | "CLIENT_ERROR" | "SERVER_ERROR" => {
                Reply::Refused { code: code.into(), message: rest.into() }
            }
            _ => return Err(Malformed("a reply has an unknown code")),
        };
        Ok(Parsed::Next(reply, end + 1))
    }
}

/// `VA <size> <flags>*\r\n<data>\r\n`
fn value(input: &[u8], start: usize, rest: &str, bytes_max: usize) -> Result<Parsed<Reply>, Malformed> {
    let mut words = rest.split(' ');
    let length: usize =
        words.next().and_then(|digits| digits.parse().ok()).ok_or(Malformed("a value has no length"))?;
    if length > bytes_max {
        return Err(Malformed("a value is larger than allowed"));
    }
    let whole = start + length + 2;
    let Some(block) = input.get(start..whole) else { return Ok(Parsed::Missing(whole - input.len())) };
    let data = block.strip_suffix(b"\r\n").ok_or(Malformed("a value has another length than announced"))?;
    let version = words.find_map(|flag| flag.strip_prefix('c')?.parse().ok()).unwrap_or(0);
    Ok(Parsed::Next(Reply::Value { data: Bytes::copy_from_slice(data), version }, whole))
}

/// Whether a key can be on a line.
pub(super) fn check_key(key: &str) -> Result<(), Error> {
    let fits = !key.is_empty() && key.len() <= KEY_BYTES_MAX;
    // Control characters and spaces end a key, and would let it be a command of its own.
    if fits && key.bytes().all(|byte| byte > b' ' && byte != 0x7f) {
        return Ok(());
    }
    Err(Error::InvalidRequest(format!(
        "a key has 1 to {KEY_BYTES_MAX} bytes, without spaces and control characters"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str) -> Result<Parsed<Reply>, Malformed> {
        Meta::parse(input.as_bytes(), 100)
    }

    #[test]
    fn replies_are_read() {
        let value = Reply::Value { data: Bytes::from_static(b"a\r\nb"), version: 7 };
        assert_eq!(parse("VA 4 c7\r\na\r\nb\r\nHD"), Ok(Parsed::Next(value, 15)));
        assert_eq!(parse("HD\r\n"), Ok(Parsed::Next(Reply::Done, 4)));
        assert_eq!(parse("EN\r\n"), Ok(Parsed::Next(Reply::Missing, 4)));
        let refused = Reply::Refused { code: "SERVER_ERROR".into(), message: "out of memory".into() };
        assert_eq!(parse("SERVER_ERROR out of memory\r\n"), Ok(Parsed::Next(refused, 28)));
        assert_eq!(parse("VA 4\r\na"), Ok(Parsed::Missing(5)));
        assert_eq!(parse("VA 4"), Ok(Parsed::Missing(1)));
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for bad in ["HD\n", "XX\r\n", "VA\r\n", "VA x\r\n", "VA 101\r\n", "VA 1\r\nabc"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_cannot_be_a_command() {
        assert!(check_key("user:7").is_ok());
        for bad in ["", "a b", "a\r\nmd b", "\u{7f}"] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
        assert!(check_key(&"x".repeat(251)).is_err());
    }
}
