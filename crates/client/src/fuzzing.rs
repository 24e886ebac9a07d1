//! The parsers of this crate that are private, for the fuzz targets in `fuzz/`. No part of the interface.

use crate::link::{Malformed, Parsed, Protocol};

/// Any bytes are a reply, the beginning of one, or malformed; what is whole is whole whatever comes behind it, and no beginning of
/// it is.
///
/// # Panics
/// When that does not hold.
fn reply<P: Protocol>(input: &[u8])
where
    P::Reply: std::fmt::Debug,
{
    const BYTES_MAX: usize = 1 << 16;
    if input.is_empty() {
        return;
    }
    let Ok(parsed) = P::parse(input, BYTES_MAX) else { return };
    let whole = match parsed {
        Parsed::Next(_, bytes) | Parsed::Numbered(_, _, bytes) | Parsed::Unasked(bytes) => bytes,
        Parsed::Missing(missing) => return assert!(missing > 0),
    };
    assert!(whole > 0 && whole <= input.len());
    // By what they say, because a number that is none (NaN) is not equal to itself.
    let again = P::parse(&input[..whole], BYTES_MAX);
    assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, Malformed>(parsed)));
    for end in 1..whole.min(64) {
        match P::parse(&input[..end], BYTES_MAX) {
            Ok(Parsed::Missing(missing)) => assert!(missing > 0 && missing <= whole - end),
            other => panic!("the first {end} of {whole} bytes gave {other:?}"),
        }
    }
}

/// memcached's replies.
pub fn memcached_reply(input: &[u8]) {
    reply::<crate::memcached::meta::Meta>(input);
}

/// Tarantool's replies.
#[cfg(feature = "tarantool")]
pub fn tarantool_reply(input: &[u8]) {
    reply::<crate::tarantool::iproto::Iproto>(input);
}

/// Whatever a MySQL server says at any point.
#[cfg(feature = "mysql")]
pub fn mysql_packet(input: &[u8]) {
    use crate::mysql::packet;

    let _ = packet::Greeting::parse(input);
    let _ = packet::switch(input);
    let _ = packet::refusal(input);
    let _ = packet::done(input);
    let _ = packet::end_of_list(input);
    // Columns as long as they are some, and what is left as their row.
    let (mut columns, mut rest) = (Vec::new(), input);
    while let Some((length, more)) = rest.split_first()
        && let Some((description, more)) = more.split_at_checked(usize::from(*length))
        && let Ok(column) = packet::column(description)
    {
        columns.push(column);
        rest = more;
    }
    if let Ok(values) = packet::row(rest, &columns) {
        assert_eq!(values.len(), columns.len());
    }
}
