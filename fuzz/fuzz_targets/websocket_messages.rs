//! The properties are in `tenfold_http::fuzzing::websocket_messages`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenfold_http::fuzzing::websocket_messages(data));
