//! What a connection needs while it is served and not while it is idle: buffers and the parser's storage. Pooled by
//! thread.

use std::cell::RefCell;

use tenfold_http::h1::Head;

use crate::drive::connection::Connection;
use crate::drive::held::{Begin, Held};
use crate::drive::sight::Sight;
use crate::drive::tally::Tally;
use crate::guard::memory::Charge;

/// Buffers larger than this are not kept: one large answer must not cost memory for ever.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Workspaces kept by a thread: as many as there are requests in flight at a time in a busy one, about 1.5 MiB.
const KEPT_MAX: usize = 512;
/// A waiting handler holds its connection's workspace, so the first sizes count a thousand times; both grow on demand.
const INPUT_BYTES: usize = 2 * 1024;
const OUTPUT_BYTES: usize = 512;

#[expect(
    clippy::vec_box,
    reason = "a workspace goes to and fro in its box; a vector of values would copy it each time"
)]
mod kept {
    use super::{RefCell, Workspace};

    thread_local! {
        pub(super) static KEPT: RefCell<Vec<Box<Workspace>>> = const { RefCell::new(Vec::new()) };
    }
}
use kept::KEPT;

pub(crate) struct Workspace {
    pub(crate) input: ReadBuffer,
    pub(crate) output: Vec<u8>,
    pub(crate) head: Head,
    pub(crate) tally: Tally,
    pub(crate) sight: Sight,
    /// Who gets the connection, and the lane of the route that gave it away.
    pub(crate) take_over: Option<(Begin, usize)>,
}

impl Workspace {
    pub(crate) fn take() -> Box<Workspace> {
        KEPT.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
            Box::new(Workspace {
                input: ReadBuffer::new(INPUT_BYTES),
                output: Vec::with_capacity(OUTPUT_BYTES),
                head: Head::new(),
                tally: Tally::default(),
                sight: Sight::default(),
                take_over: None,
            })
        })
    }

    /// The connection in the hands of its new owner, with what it has sent beyond the request. Only after
    /// [`crate::drive::exchange::Next::TakenOver`].
    pub(crate) fn hand_over(mut self: Box<Self>, conn: Connection) -> Option<(Held, Begin)> {
        let taken = self.take_over.take();
        let early = self.input.filled().to_vec();
        self.put();
        taken.map(|(begin, lane)| (Held::new(conn, early, lane), begin))
    }

    pub(crate) fn put(mut self: Box<Workspace>) {
        self.input.clear();
        self.output.clear();
        self.head.clear();
        self.take_over = None;
        if self.input.bytes.len() > KEPT_BYTES_MAX || self.output.capacity() > KEPT_BYTES_MAX {
            return;
        }
        KEPT.with_borrow_mut(|kept| {
            if kept.len() < KEPT_MAX {
                kept.push(self);
            }
        });
    }
}

/// Bytes that were received and not yet used.
///
/// ```text
///   0        start          end              bytes.len()
///   |  used  |   filled     |     spare      |
/// ```
pub(crate) struct ReadBuffer {
    /// Always initialised, so that reading into the spare part needs neither zeroing nor unsafe code.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Its part of the worker's budget.
    charge: Charge,
}

impl ReadBuffer {
    pub(crate) fn new(bytes: usize) -> ReadBuffer {
        ReadBuffer { bytes: vec![0; bytes], start: 0, end: 0, charge: Charge::new(bytes) }
    }

    #[inline]
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        self.start += count;
        if self.start == self.end {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Room for at least one more byte; doubles when full, so it is the caller who bounds the length.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.bytes.resize((self.bytes.len() * 2).max(INPUT_BYTES), 0);
                self.charge.resize(self.bytes.len());
            }
        }
        &mut self.bytes[self.end..]
    }

    /// The first `count` bytes of the spare part were filled.
    pub(crate) fn commit(&mut self, count: usize) {
        self.end += count;
    }

    pub(crate) fn append(&mut self, mut more: &[u8]) {
        while !more.is_empty() {
            let spare = self.spare();
            let count = spare.len().min(more.len());
            spare[..count].copy_from_slice(&more[..count]);
            self.commit(count);
            more = &more[count..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_keeps_its_bytes_in_order_while_it_moves_and_grows() {
        let mut buffer = ReadBuffer::new(4);
        buffer.append(b"abcd");
        buffer.consume(2);
        buffer.append(b"efghijkl");
        assert_eq!(buffer.filled(), b"cdefghijkl");
        buffer.consume(10);
        assert!(buffer.is_empty());
    }
}
