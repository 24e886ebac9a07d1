//! The properties are in `tenfold_http::fuzzing::websocket_extensions`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenfold_http::fuzzing::websocket_extensions(data));
