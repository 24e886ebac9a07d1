//! The properties are in `tenfold_http::fuzzing::websocket_deflate`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenfold_http::fuzzing::websocket_deflate(data));
