//! Whatever is in a topic's segment: decoding must end and keep within its bytes, and a block must come back from its own records.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tenfold_jobs::topic::{Decoded, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    match decode(bytes) {
        Decoded::Block(records, used) => {
            assert!(used <= bytes.len());
            assert_eq!(encode(records), &bytes[..used]);
        }
        Decoded::Partial(needed) => assert!(needed > bytes.len()),
        Decoded::Damaged => {}
    }
    // The sum keeps most bytes from being a block: what it is made of is tried as well.
    let records: Vec<&[u8]> = bytes.chunks(1 + usize::from(bytes.first().copied().unwrap_or(0))).collect();
    let block = encode(records.iter().copied());
    let Decoded::Block(again, used) = decode(&block) else { panic!("a block of ours") };
    assert_eq!((again.collect::<Vec<_>>(), used), (records, block.len()));
});
