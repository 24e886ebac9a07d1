//! Response heads that were made within this second: most answers of a service have one of a few.
//!
//! A head without a handler's own fields is decided by its status, type, length and connection. Eight of them are kept by
//! each thread, by a hash of those; a hit is a comparison and a copy, a third of the cost of making the head.

use std::cell::RefCell;

use http::{HeaderMap, StatusCode, Version};
use tenfold_http::h1::{self, BodyLength, ResponseHead, Sent};

use crate::clock;
use crate::drive::answer::Asked;

const KEPT: usize = 8;

/// What decides a head. Pointers stand for the static texts that they point to; equal texts at two places only miss.
#[derive(Clone, Copy, PartialEq)]
struct Key {
    second: i64,
    status: StatusCode,
    version: Version,
    to_head: bool,
    keep_alive: bool,
    length: BodyLength,
    content_type: (usize, usize),
    server: (usize, usize),
}

struct Kept {
    key: Key,
    sent: Sent,
    bytes: Vec<u8>,
}

thread_local! {
    static HEADS: RefCell<[Option<Kept>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

/// Appends a response's head to `output`.
///
/// Inlined into its one caller: passing this many small arguments over the stack costs as much as the comparison.
#[inline(always)]
pub(crate) fn write(
    output: &mut Vec<u8>,
    asked: Asked,
    status: StatusCode,
    headers: &HeaderMap,
    content_type: Option<&'static str>,
    length: BodyLength,
    server: Option<&str>,
) -> Sent {
    let make = |output: &mut Vec<u8>, date: &[u8]| {
        h1::response_head(
            output,
            ResponseHead {
                version: asked.version,
                to_head: asked.to_head,
                status,
                headers,
                content_type: content_type.map(str::as_bytes),
                body: length,
                keep_alive: asked.keep_alive,
                date,
                server,
            },
        )
    };
    if !headers.is_empty() {
        return clock::with_date(|_, date| make(output, date));
    }
    // Not a result of the closures: on its way through them it would be stored in parts and loaded as a whole, which has the
    // processor wait for the stores.
    let mut sent = Sent { body: BodyLength::None, keep_alive: false, upgraded: false };
    clock::with_date(|second, date| {
        let key = Key {
            second,
            status,
            version: asked.version,
            to_head: asked.to_head,
            keep_alive: asked.keep_alive,
            length,
            content_type: address(content_type),
            server: address(server),
        };
        HEADS.with_borrow_mut(|heads| {
            let kept = &mut heads[slot(&key)];
            match kept {
                Some(kept) if kept.key == key => {
                    output.extend_from_slice(&kept.bytes);
                    sent = kept.sent;
                }
                _ => {
                    let start = output.len();
                    sent = make(output, date);
                    *kept = Some(Kept { key, sent, bytes: output[start..].to_vec() });
                }
            }
        });
    });
    sent
}

fn address(text: Option<&str>) -> (usize, usize) {
    text.map_or((0, 0), |text| (text.as_ptr().addr(), text.len()))
}

fn slot(key: &Key) -> usize {
    let length = match key.length {
        BodyLength::Known(length) => length as usize,
        _ => 0,
    };
    (length ^ (length >> 3) ^ (key.content_type.0 >> 4) ^ usize::from(key.status.as_u16())) % KEPT
}
