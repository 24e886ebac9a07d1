//! IPROTO: bytes ↔ packets. No I/O. Tarantool's "Binary protocol" page; a packet is a length, a header and a body, all
//! MessagePack.

use rmpv::Value;
use rmpv::decode::read_value_with_max_depth;

use crate::error::Error;
use crate::link::{Malformed, Parsed, Protocol};

/// Deepest nesting of a reply.
const DEPTH_MAX: usize = 64;
/// A response's type is this and the number of an error.
const ERROR: u64 = 0x8000;

/// Kinds of requests.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Select = 1,
    Insert = 2,
    Replace = 3,
    Update = 4,
    Delete = 5,
    Auth = 7,
    Eval = 8,
    Upsert = 9,
    Call = 10,
    Execute = 11,
    Begin = 14,
    Commit = 15,
    Rollback = 16,
    Ping = 64,
}

/// Keys of headers and bodies.
pub(super) mod key {
    pub(crate) const KIND: u64 = 0x00;
    pub(crate) const SYNC: u64 = 0x01;
    pub(crate) const STREAM: u64 = 0x0a;
    pub(crate) const SPACE: u64 = 0x10;
    pub(crate) const INDEX: u64 = 0x11;
    pub(crate) const LIMIT: u64 = 0x12;
    pub(crate) const OFFSET: u64 = 0x13;
    pub(crate) const ITERATOR: u64 = 0x14;
    pub(crate) const INDEX_BASE: u64 = 0x15;
    pub(crate) const KEY: u64 = 0x20;
    pub(crate) const TUPLE: u64 = 0x21;
    pub(crate) const FUNCTION: u64 = 0x22;
    pub(crate) const USER: u64 = 0x23;
    pub(crate) const EXPRESSION: u64 = 0x27;
    pub(crate) const OPERATIONS: u64 = 0x28;
    pub(crate) const DATA: u64 = 0x30;
    pub(crate) const ERROR_TEXT: u64 = 0x31;
    pub(crate) const METADATA: u64 = 0x32;
    pub(crate) const SQL_TEXT: u64 = 0x40;
    pub(crate) const SQL_BIND: u64 = 0x41;
    pub(crate) const SQL_INFO: u64 = 0x42;
}

/// Replies carry the number of their request: a slow one holds up nobody.
#[derive(Debug)]
pub(crate) struct Iproto;

/// A response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    kind: u64,
    body: Value,
}

/// A request's body, encoded.
#[derive(Clone, Debug)]
pub(super) struct Request {
    kind: Kind,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn new(kind: Kind, body: Vec<(u64, Value)>) -> Result<Request, Error> {
        let map = Value::Map(body.into_iter().map(|(key, value)| (key.into(), value)).collect());
        let mut bytes = Vec::with_capacity(64);
        rmpv::encode::write_value(&mut bytes, &map)
            .map_err(|error| Error::InvalidRequest(error.to_string()))?;
        Ok(Request { kind, body: bytes })
    }

    /// Appends the packet with its number and, for a stream, the stream's.
    pub(super) fn encode(&self, out: &mut Vec<u8>, number: u64, stream: Option<u64>) {
        let start = out.len();
        // The length comes last; five bytes hold it whatever it is.
        out.extend_from_slice(&[0xce, 0, 0, 0, 0]);
        out.push(if stream.is_some() { 0x83 } else { 0x82 });
        out.extend_from_slice(&[key::KIND as u8, self.kind as u8, key::SYNC as u8, 0xcf]);
        out.extend_from_slice(&number.to_be_bytes());
        if let Some(stream) = stream {
            out.extend_from_slice(&[key::STREAM as u8, 0xcf]);
            out.extend_from_slice(&stream.to_be_bytes());
        }
        out.extend_from_slice(&self.body);
        let length = u32::try_from(out.len() - start - 5).unwrap_or(u32::MAX);
        out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
    }
}

impl Reply {
    /// The body, or the server's refusal.
    pub(super) fn accepted(self) -> Result<Body, Error> {
        let body = Body(self.body);
        if self.kind & ERROR == 0 {
            return Ok(body);
        }
        let message = body.take(key::ERROR_TEXT).as_str().unwrap_or("(no message)").to_owned();
        Err(Error::Rejected { code: (self.kind & !ERROR).to_string(), message })
    }
}

/// A response's body: a map with numbers as keys.
#[derive(Debug)]
pub(super) struct Body(Value);

impl Body {
    /// The value under a key, `Nil` without one.
    pub(super) fn take(&self, key: u64) -> Value {
        let found = self.0.as_map().and_then(|map| map.iter().find(|(known, _)| known.as_u64() == Some(key)));
        found.map_or(Value::Nil, |(_, value)| value.clone())
    }
}

impl Protocol for Iproto {
    type Reply = Reply;

    fn parse(input: &[u8], bytes_max: usize) -> Result<Parsed<Reply>, Malformed> {
        let Some((length, head)) = length(input)? else { return Ok(Parsed::Missing(1)) };
        if length > bytes_max {
            return Err(Malformed("a reply is larger than allowed"));
        }
        let whole = head + length;
        let Some(mut packet) = input.get(head..whole) else {
            return Ok(Parsed::Missing(whole - input.len()));
        };
        let broken = |_| Malformed("a packet is not MessagePack");
        let header = Body(read_value_with_max_depth(&mut packet, DEPTH_MAX).map_err(broken)?);
        let body = match packet.is_empty() {
            true => Value::Nil,
            false => read_value_with_max_depth(&mut packet, DEPTH_MAX).map_err(broken)?,
        };
        let number = |key| header.take(key).as_u64().ok_or(Malformed("a header has no kind or number"));
        Ok(Parsed::Numbered(number(key::SYNC)?, Reply { kind: number(key::KIND)?, body }, whole))
    }
}

/// A packet's length and how many bytes say it.
fn length(input: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let bytes = match input.first() {
        None => return Ok(None),
        Some(small @ 0..=0x7f) => return Ok(Some((usize::from(*small), 1))),
        Some(0xcc) => 1,
        Some(0xcd) => 2,
        Some(0xce) => 4,
        Some(0xcf) => 8,
        Some(_) => return Err(Malformed("a packet does not begin with its length")),
    };
    let Some(digits) = input.get(1..=bytes) else { return Ok(None) };
    let length = digits.iter().fold(0u64, |length, digit| length << 8 | u64::from(*digit));
    usize::try_from(length)
        .map(|length| Some((length, bytes + 1)))
        .map_err(|_| Malformed("a length is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_back_and_its_beginnings_are_missing_something() {
        // A response has the shape of a request.
        let request = Request::new(Kind::Ping, vec![(key::DATA, Value::Array(vec![1.into()]))]).unwrap();
        let mut bytes = Vec::new();
        request.encode(&mut bytes, 7, None);
        let whole = bytes.len();
        match Iproto::parse(&bytes, 1000).unwrap() {
            Parsed::Numbered(7, reply, length) => {
                assert_eq!((reply.kind, length), (64, whole));
                assert_eq!(Body(reply.body).take(key::DATA), Value::Array(vec![1.into()]));
            }
            other => panic!("{other:?}"),
        }
        for end in 0..whole {
            assert!(matches!(Iproto::parse(&bytes[..end], 1000), Ok(Parsed::Missing(bytes)) if bytes > 0));
        }
        assert!(Iproto::parse(&bytes, 3).is_err());
        assert!(Iproto::parse(&[0xc0], 1000).is_err());
        assert!(Iproto::parse(&[2, 0xc1, 0xc1], 1000).is_err());
    }
}
