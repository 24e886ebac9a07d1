//! Bytes of a TCP service: every framing must end, stay inside of its bytes and its bound, and say the same however they come.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tenfold_server::fuzz_framing(bytes));
