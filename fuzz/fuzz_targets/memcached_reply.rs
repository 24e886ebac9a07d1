//! Whatever a server says: parsing ends, and what is whole stays whole. See `tenfold_client::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tenfold_client::fuzzing::memcached_reply(input));
