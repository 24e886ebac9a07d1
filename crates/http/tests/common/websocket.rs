//! Handshakes for the tests.

use tenfold_http::h1::{Head, Parse};
use tenfold_http::limits::HeadLimits;
use tenfold_http::websocket::handshake::{self, NoHandshake, Offer};

/// What is said to a request; its lines may end with `\n` alone.
pub fn offer(request: &str) -> Result<Offer, NoHandshake> {
    let mut head = Head::new();
    let bytes = request.replace('\n', "\r\n");
    assert!(
        matches!(head.parse(bytes.as_bytes(), &HeadLimits::default()), Ok(Parse::Complete { .. })),
        "{request}"
    );
    handshake::read(&head.view(bytes.as_bytes()))
}

/// A request that may have a WebSocket, with these field lines besides what it needs.
pub fn asking(fields: &str) -> String {
    format!(
        "GET / HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: upgrade\nSec-WebSocket-Version: 13\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n{fields}\n"
    )
}
