//! Any bytes are a reply, the beginning of one, or malformed; and what is whole is whole however much comes behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenfold_client::redis::{Parsed, parse};

const BYTES_MAX: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    if let Ok(Parsed::Whole(value, bytes)) = parse(input, BYTES_MAX) {
        assert!(bytes <= input.len());
        assert_eq!(parse(&input[..bytes], BYTES_MAX), Ok(Parsed::Whole(value, bytes)));
        for end in 0..bytes.min(64) {
            match parse(&input[..end], BYTES_MAX) {
                Ok(Parsed::Missing(missing)) => assert!(missing > 0 && missing <= bytes - end),
                other => panic!("the first {end} of {bytes} bytes gave {other:?}"),
            }
        }
    }
});
