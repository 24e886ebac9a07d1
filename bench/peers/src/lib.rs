//! What the peers share: their one option and their one answer.

use std::{env, net::TcpListener, process::exit};

/// The answer of the bare responders; the same fields as the full servers send.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n\r\nHello, world!";

/// The last answer on a connection whose client asked to close it.
pub const LAST_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\nConnection: close\r\n\r\nHello, world!";

/// The body that every server answers on `/hello`.
pub const HELLO: &str = "Hello, world!";

/// The port after `--port`.
pub fn port() -> u16 {
    let mut arguments = env::args().skip_while(|argument| argument != "--port").skip(1);
    arguments.next().and_then(|port| port.parse().ok()).unwrap_or_else(|| {
        eprintln!("usage: --port PORT");
        exit(2)
    })
}

/// A listener with the backlog that every peer gets.
pub fn listener() -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", port())).expect("the port is free");
    // std's backlog is 128; a second listen(2) on the socket changes it.
    // SAFETY: the descriptor is open for the whole call.
    unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 1024) };
    listener
}

/// Counts ends of heads ("\r\n\r\n") in a stream that arrives in pieces.
#[derive(Default, Clone, Copy)]
pub struct Heads {
    matched: u8,
}

impl Heads {
    /// How many heads ended in `bytes`.
    pub fn count(&mut self, bytes: &[u8]) -> usize {
        let mut ends = 0;
        // The common case, one whole request, without looking at each byte.
        if self.matched == 0 && bytes.len() < 256 && bytes.ends_with(b"\r\n\r\n") {
            let inner = &bytes[..bytes.len() - 4];
            if !inner.windows(4).any(|four| four == b"\r\n\r\n") {
                return 1;
            }
        }
        for &byte in bytes {
            self.matched = match (self.matched, byte) {
                (0 | 2, b'\r') => self.matched + 1,
                (1 | 3, b'\n') => self.matched + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if self.matched == 4 {
                ends += 1;
                self.matched = 0;
            }
        }
        ends
    }
}

/// Whether a request asks to close; a bare responder needs it for one scenario.
pub fn wants_close(bytes: &[u8]) -> bool {
    bytes.windows(17).any(|text| text.eq_ignore_ascii_case(b"connection: close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_across_pieces() {
        let text = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(Heads::default().count(text), 2);
        for cut in 0..text.len() {
            let mut heads = Heads::default();
            assert_eq!(heads.count(&text[..cut]) + heads.count(&text[cut..]), 2, "cut at {cut}");
        }
    }
}
