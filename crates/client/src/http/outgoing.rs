//! `Outgoing`: the bytes of a request, for as long as they may have to be sent again.

use std::cell::RefCell;

use tenfold_http::EncodeError;

/// A request without a body of its own, a long path or credentials is shorter.
const SHORT_BYTES: usize = 256;

thread_local! {
    /// Where requests are written.
    static DESK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An encoded request. A short one is kept on the caller's stack: it stays until the answer has come, and an allocator has at
/// hand only what came back a moment ago, not what thousands of calls hold while they wait.
pub(crate) struct Outgoing {
    short: [u8; SHORT_BYTES],
    /// Of `short`.
    len: usize,
    /// Empty for a short one.
    long: Vec<u8>,
}

impl Outgoing {
    /// Nothing yet; written where it stays, since moving it would copy all of it.
    pub(crate) const fn new() -> Outgoing {
        Outgoing { short: [0; SHORT_BYTES], len: 0, long: Vec::new() }
    }

    /// Takes what `encode` writes. It must not write another one. After an error it is as before.
    pub(crate) fn write(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        DESK.with_borrow_mut(|desk| {
            desk.clear();
            encode(desk)?;
            match self.short.get_mut(..desk.len()) {
                Some(short) => {
                    short.copy_from_slice(desk);
                    self.len = desk.len();
                }
                None => self.long = std::mem::take(desk),
            }
            Ok(())
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_all_lengths_come_out_as_they_were_written() {
        for len in [0, 1, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 100_000, 3] {
            let text: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut request = Outgoing::new();
            let written = request.write(|out| {
                out.extend_from_slice(&text);
                Ok(())
            });
            assert!(written.is_ok());
            assert_eq!(request.bytes(), text);
        }
    }

    #[test]
    fn what_a_refused_request_has_written_is_in_no_other() {
        let mut request = Outgoing::new();
        let refused = request.write(|out| {
            out.extend_from_slice(b"half");
            Err(EncodeError::InvalidTarget)
        });
        assert!(refused.is_err() && request.bytes().is_empty());
        assert!(request.write(|_| Ok(())).is_ok());
        assert!(request.bytes().is_empty());
    }
}
