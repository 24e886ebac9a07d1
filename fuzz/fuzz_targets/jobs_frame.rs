//! Whatever comes over the keeper's socket: decoding must end, and what it yields must come back from its own frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tenfold_jobs::wire::{Reply, Request, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((request, used))) = decode::<Request>(bytes) {
        assert!(used <= bytes.len());
        let mut frame = Vec::new();
        encode(&request, &mut frame);
        let (again, length) = decode::<Request>(&frame).expect("a frame of ours").expect("as a whole");
        assert_eq!(length, frame.len());
        // A rate may be NaN, which is not equal to itself.
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
    }
    let _ = decode::<Reply>(bytes);
});
