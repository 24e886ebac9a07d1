//! Whatever a NATS server says: parsing must end, and an operation takes no more than there is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tenfold_client::nats::codec::{Operation, parse};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((operation, used))) = parse(rest, 1 << 16) {
        assert!(used > 0 && used <= rest.len());
        if let Operation::Message(message) = operation {
            assert!(message.payload.len() < used);
        }
        // What is there as a whole is the same without what comes behind it, and nothing without its end.
        assert!(matches!(parse(&rest[..used], 1 << 16), Ok(Some((_, again))) if again == used));
        assert!(!matches!(parse(&rest[..used - 1], 1 << 16), Ok(Some(_))));
        rest = &rest[used..];
    }
});
