//! The properties are in `tenfold_http::fuzzing::h1_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenfold_http::fuzzing::h1_body(data));
