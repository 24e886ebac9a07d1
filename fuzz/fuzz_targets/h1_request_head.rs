//! The properties are in `tenfold_http::fuzzing::h1_request_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenfold_http::fuzzing::h1_request_head(data));
