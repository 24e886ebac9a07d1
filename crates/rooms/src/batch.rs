//! `Batch`: messages of a room as they go over the connections, encoded once for all members that want them alike.
//!
//! A room has members of up to five encodings: WebSocket without compression and with three windows of it, and event streams.
//! Each has a batch of its own here. With one for all, members of two kinds that take turns in a room's list would have every
//! message encoded, and compressed, again for each of them.

use bytes::Bytes;

use crate::envelope::Encoding;

/// Most bytes of one batch, but for its last message; a member that catches up gets several.
pub(crate) const BATCH_BYTES_MAX: usize = 64 << 10;

pub(crate) struct Batch {
    pub(crate) encoding: Encoding,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Messages that are left out, because a newer one of the same key is in `bytes` or follows.
    pub(crate) coalesced: u64,
    pub(crate) bytes: Bytes,
}

/// The last batch of each encoding that has members.
#[derive(Default)]
pub(crate) struct Batches(Vec<Batch>);

impl Batches {
    /// The batch for members of this encoding that have got everything before `from`, if it is made and nothing can be added
    /// to it. `head` is the room's newest message.
    pub(crate) fn find(&self, encoding: Encoding, from: u64, head: u64) -> Option<&Batch> {
        let is_full = |batch: &Batch| batch.to == head || batch.bytes.len() >= BATCH_BYTES_MAX;
        self.0.iter().find(|batch| batch.encoding == encoding && batch.from == from && is_full(batch))
    }

    /// Keeps a batch instead of the one that its encoding has.
    pub(crate) fn put(&mut self, batch: Batch) {
        match self.0.iter_mut().find(|one| one.encoding == batch.encoding) {
            Some(one) => *one = batch,
            None => self.0.push(batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use tenfold_http::websocket::Window;

    use super::*;

    fn batch(encoding: Encoding, from: u64, to: u64, bytes: usize) -> Batch {
        Batch { encoding, from, to, coalesced: 0, bytes: vec![0; bytes].into() }
    }

    #[test]
    fn each_encoding_has_its_batch_and_a_new_one_takes_its_place() {
        let windows = Window::ALL.map(Encoding::Deflated);
        let encodings = [Encoding::Text, Encoding::Event].into_iter().chain(windows);
        let mut batches = Batches::default();
        for (from, to) in [(1, 1), (2, 3)] {
            encodings.clone().for_each(|encoding| batches.put(batch(encoding, from, to, 10)));
            for encoding in encodings.clone() {
                assert!(batches.find(encoding, from, to).is_some_and(|found| found.encoding == encoding));
            }
            assert_eq!(batches.0.len(), 5);
        }
    }

    #[test]
    fn a_batch_is_found_while_nothing_can_be_added_to_it() {
        let mut batches = Batches::default();
        batches.put(batch(Encoding::Text, 1, 4, 10));
        assert!(batches.find(Encoding::Text, 1, 4).is_some());
        assert!(batches.find(Encoding::Text, 1, 5).is_none(), "a fifth message has come");
        assert!(batches.find(Encoding::Text, 2, 4).is_none(), "for a member that has got the first");
        assert!(batches.find(Encoding::Event, 1, 4).is_none());
        batches.put(batch(Encoding::Text, 1, 4, BATCH_BYTES_MAX));
        assert!(batches.find(Encoding::Text, 1, 5).is_some(), "the fifth does not fit");
    }
}
