//! RESP: bytes ↔ values. No I/O. RESP2 and the types of RESP3 (redis.io, "Redis serialization protocol specification").
//!
//! A reply that is not whole yet is a value of its own, with the number of bytes that are missing at least: so a large reply
//! is looked at a few times and not once for each packet.

use bytes::Bytes;

use crate::link::Malformed;

use super::value::Value;

/// Deepest nesting of a reply. Redis itself goes to 7 or so; a stack has an end.
const DEPTH_MAX: usize = 32;

/// What the front of a buffer is.
#[derive(Debug, PartialEq)]
pub enum Parsed {
    /// A reply, and how many bytes it has.
    Whole(Value, usize),
    /// At least so many bytes are missing.
    Missing(usize),
}

/// Reads one reply from the front of `input`, if it is whole. `bytes_max` bounds what it may announce.
///
/// # Errors
/// [`Malformed`]; the connection is then of no use any more.
pub fn parse(input: &[u8], bytes_max: usize) -> Result<Parsed, Malformed> {
    let mut reader = Reader { input, at: 0, bytes_max };
    match reader.value(0) {
        Ok(value) => Ok(Parsed::Whole(value, reader.at)),
        Err(Stop::Missing(bytes)) => Ok(Parsed::Missing(bytes.max(1))),
        Err(Stop::Malformed(what)) => Err(Malformed(what)),
    }
}

/// Appends a command's head: the number of its arguments.
pub(super) fn put_head(out: &mut Vec<u8>, arguments: usize) {
    put_number(out, b'*', arguments);
}

/// Appends an argument.
pub(super) fn put_argument(out: &mut Vec<u8>, argument: &[u8]) {
    put_number(out, b'$', argument.len());
    out.extend_from_slice(argument);
    out.extend_from_slice(b"\r\n");
}

fn put_number(out: &mut Vec<u8>, kind: u8, number: usize) {
    // Twenty digits hold any 64-bit number.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

enum Stop {
    Missing(usize),
    Malformed(&'static str),
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    bytes_max: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::Malformed("a reply is nested too deeply"));
        }
        let line = self.line()?;
        let (kind, rest) = line.split_first().ok_or(Stop::Malformed("a reply has no type"))?;
        match kind {
            b'+' => Ok(Value::Text(Bytes::copy_from_slice(rest))),
            b'-' => Ok(Value::Error(text(rest))),
            b':' => Ok(Value::Int(number(rest)?)),
            b'$' => self.bulk(rest, 0),
            b'*' | b'~' => self.items(rest, 1, depth),
            b'%' => self.items(rest, 2, depth),
            b'>' => match self.items(rest, 1, depth)? {
                Value::List(items) => Ok(Value::Push(items)),
                _ => Err(Stop::Malformed("a push is not a list")),
            },
            b'_' => Ok(Value::Nil),
            b'#' => match rest {
                b"t" => Ok(Value::Int(1)),
                b"f" => Ok(Value::Int(0)),
                _ => Err(Stop::Malformed("a boolean is neither t nor f")),
            },
            // Numbers of any size and precision stay text until somebody asks for a type.
            b',' | b'(' => Ok(Value::Text(Bytes::copy_from_slice(rest))),
            b'=' => self.bulk(rest, 4),
            b'!' => match self.bulk(rest, 0)? {
                Value::Bulk(bytes) => Ok(Value::Error(text(&bytes))),
                _ => Err(Stop::Malformed("an error is missing")),
            },
            _ => Err(Stop::Malformed("a reply has an unknown type")),
        }
    }

    /// A string of known length, without the first `skip` bytes of it (the format of a verbatim string).
    fn bulk(&mut self, length: &[u8], skip: usize) -> Result<Value, Stop> {
        let Some(length) = self.length(length)? else { return Ok(Value::Nil) };
        let end = self.at + length + 2;
        let Some(whole) = self.input.get(self.at..end) else {
            return Err(Stop::Missing(end - self.input.len()));
        };
        let (bytes, tail) = whole.split_at(length);
        if tail != b"\r\n" || bytes.len() < skip {
            return Err(Stop::Malformed("a string has another length than announced"));
        }
        self.at = end;
        Ok(Value::Bulk(Bytes::copy_from_slice(&bytes[skip..])))
    }

    fn items(&mut self, length: &[u8], each: usize, depth: usize) -> Result<Value, Stop> {
        let Some(length) = self.length(length)? else { return Ok(Value::Nil) };
        let count = length.checked_mul(each).ok_or(Stop::Malformed("a list is too long"))?;
        // Each item has three bytes at least, so no more room is made than came.
        let mut items = Vec::with_capacity(count.min((self.input.len() - self.at) / 3));
        for _ in 0..count {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    /// A length within bounds; `None` for the "nothing" of RESP2.
    fn length(&self, digits: &[u8]) -> Result<Option<usize>, Stop> {
        let length = number(digits)?;
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(length) if length <= self.bytes_max => Ok(Some(length)),
            Ok(_) => Err(Stop::Malformed("a reply is larger than allowed")),
            Err(_) => Err(Stop::Malformed("a length is negative")),
        }
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let Some(end) = memchr::memchr(b'\n', rest) else {
            if rest.len() > self.bytes_max {
                return Err(Stop::Malformed("a line is longer than allowed"));
            }
            // The shortest reply is a type and the end of its line: RESP3's nothing, or an empty text.
            return Err(Stop::Missing(if rest.is_empty() { 3 } else { 1 }));
        };
        let line = rest[..end].strip_suffix(b"\r").ok_or(Stop::Malformed("a line does not end in CR LF"))?;
        self.at += end + 1;
        Ok(line)
    }
}

fn number(digits: &[u8]) -> Result<i64, Stop> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(Stop::Malformed("a number is none"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &str) -> Value {
        match parse(input.as_bytes(), 1 << 20).unwrap() {
            Parsed::Whole(value, bytes) if bytes == input.len() => value,
            other => panic!("{input:?} gave {other:?}"),
        }
    }

    fn bulk(text: &'static str) -> Value {
        Value::Bulk(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn each_type_of_reply_is_read() {
        assert_eq!(whole("+OK\r\n"), Value::Text(Bytes::from_static(b"OK")));
        assert_eq!(whole("-ERR no\r\n"), Value::Error("ERR no".into()));
        assert_eq!(whole(":-7\r\n"), Value::Int(-7));
        assert_eq!(whole("$3\r\na\r\n\r\n"), bulk("a\r\n"));
        assert_eq!(whole("$-1\r\n"), Value::Nil);
        assert_eq!(whole("*-1\r\n"), Value::Nil);
        assert_eq!(
            whole("*2\r\n:1\r\n*1\r\n$1\r\nx\r\n"),
            Value::List(vec![Value::Int(1), Value::List(vec![bulk("x")])])
        );
        assert_eq!(whole("%1\r\n+a\r\n:1\r\n"), Value::List(vec![Value::Text("a".into()), Value::Int(1)]));
        assert_eq!(whole(">1\r\n:1\r\n"), Value::Push(vec![Value::Int(1)]));
        assert_eq!(whole("=5\r\ntxt:x\r\n"), bulk("x"));
        assert_eq!(whole("!5\r\nERR x\r\n"), Value::Error("ERR x".into()));
        assert_eq!((whole("_\r\n"), whole("#t\r\n")), (Value::Nil, Value::Int(1)));
    }

    #[test]
    fn every_beginning_of_a_reply_is_missing_something() {
        let reply = b"*3\r\n$5\r\nhello\r\n:42\r\n*2\r\n+a\r\n$-1\r\n";
        for end in 0..reply.len() {
            match parse(&reply[..end], 1 << 20) {
                Ok(Parsed::Missing(bytes)) => assert!(bytes <= reply.len() - end, "{end}: {bytes}"),
                other => panic!("{end}: {other:?}"),
            }
        }
        assert_eq!(parse(b"$1000\r\nab", 1 << 20), Ok(Parsed::Missing(1000)));
        assert_eq!(parse(b"", 1 << 20), Ok(Parsed::Missing(3)), "`_` and an end of line are a reply");
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for bad in [
            "x\r\n",
            "\r\n",
            ":1x\r\n",
            "$-2\r\n",
            "$1\r\nabc\r\n",
            "+a\n",
            "$99\r\n",
            "#x\r\n",
            "=1\r\nx\r\n",
        ] {
            assert!(parse(bad.as_bytes(), 50).is_err(), "{bad:?}");
        }
        assert!(parse("*1\r\n".repeat(40).as_bytes(), 50).is_err());
    }
}
