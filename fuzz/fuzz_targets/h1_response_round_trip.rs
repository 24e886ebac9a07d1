//! The properties are in `tenfold_http::fuzzing::h1_response_round_trip`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenfold_http::fuzzing::h1_response_round_trip(data));
