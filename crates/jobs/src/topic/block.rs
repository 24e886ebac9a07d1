//! A block: what one write puts into a segment, and what is read of it as a whole or not at all.
//!
//! ```text
//!   block    "TFL1" │ length: u32 │ CRC-32 of what follows: u32 │ records, `length` bytes       all numbers little-endian
//!   record   length: u32 │ bytes
//! ```
//!
//! A write that a kill has cut, and pages that a power failure has taken, are known by the length and the sum.

/// What a block begins with.
const MAGIC: [u8; 4] = *b"TFL1";
/// Bytes before the records.
pub(super) const HEAD_BYTES: usize = 12;
/// Most bytes of a block's records.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// What is at the beginning of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A block, and how many bytes it takes.
    Block(Records<'a>, usize),
    /// The beginning of a block, or nothing: so many bytes are needed to say more.
    Partial(usize),
    /// No block.
    Damaged,
}

/// The records of a block, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(record)
    }
}

/// Adds a record to what [`seal`] makes a block of. A fresh block is [`HEAD_BYTES`] of anything.
pub(super) fn push(block: &mut Vec<u8>, record: &[u8]) {
    block.extend_from_slice(&(record.len() as u32).to_le_bytes());
    block.extend_from_slice(record);
}

/// Gives a block its head.
pub(super) fn seal(block: &mut [u8]) {
    let (head, records) = block.split_at_mut(HEAD_BYTES);
    head[..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&(records.len() as u32).to_le_bytes());
    head[8..].copy_from_slice(&crc32fast::hash(records).to_le_bytes());
}

/// A block of these records.
pub fn encode<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut block = vec![0; HEAD_BYTES];
    records.into_iter().for_each(|record| push(&mut block, record));
    seal(&mut block);
    block
}

/// Reads the block at the beginning of `bytes`. Costs time in proportion to the block.
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return match MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
            true => Decoded::Partial(HEAD_BYTES),
            false => Decoded::Damaged,
        };
    };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = number(4) as usize;
    if !head.starts_with(&MAGIC) || length > BLOCK_BYTES_MAX {
        return Decoded::Damaged;
    }
    let Some(records) = rest.get(..length) else { return Decoded::Partial(HEAD_BYTES + length) };
    match crc32fast::hash(records) == number(8) && are_whole(records) {
        true => Decoded::Block(Records(records), HEAD_BYTES + length),
        false => Decoded::Damaged,
    }
}

/// Whether the last record ends where the block does.
fn are_whole(records: &[u8]) -> bool {
    let mut rest = Records(records);
    while rest.next().is_some() {}
    rest.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_however_it_is_cut_and_not_if_a_bit_is_another_one() {
        let records: [&[u8]; 3] = [b"one", b"", b"three"];
        let block = encode(records);
        for end in 0..block.len() {
            assert!(matches!(decode(&block[..end]), Decoded::Partial(needed) if needed > end), "{end}");
        }
        let Decoded::Block(read, used) = decode(&block) else { panic!("no block") };
        assert_eq!((read.collect::<Vec<_>>(), used), (records.to_vec(), block.len()));
        for bit in 0..block.len() * 8 {
            let mut other = block.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(decode(&other), Decoded::Block(..)), "bit {bit}");
        }
    }

    #[test]
    fn a_sum_that_is_right_does_not_make_records_of_what_are_none() {
        let mut block = encode([b"abc".as_slice()]);
        block[HEAD_BYTES] = 200;
        seal(&mut block);
        assert_eq!(decode(&block), Decoded::Damaged);
        assert_eq!(decode(&[0; 64]), Decoded::Damaged);
    }
}
