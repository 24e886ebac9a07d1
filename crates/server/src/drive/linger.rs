//! The end of a connection whose client may still be sending.
//!
//! Closing a socket with unread bytes makes TCP send a reset, which can destroy an answer that is still on its way (RFC
//! 9112 section 9.6). So the sending half is closed first, and what comes is thrown away, for a bounded time.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use tenfold_runtime::feed::FeedId;
use tenfold_runtime::net::TcpStream;

use crate::drive::connection::{self, Connection};

/// Most bytes that are thrown away.
const DISCARD_MAX: usize = 4 << 20;

/// Closes gracefully. Runs where the requests ran, and waits.
pub(crate) fn linger(conn: Connection) {
    discard(&conn.stream, conn.feed, conn.service.bounds.linger);
}

/// As [`linger`], for who keeps the connection a little longer.
pub(crate) fn discard(stream: &TcpStream, feed: Option<FeedId>, longest: Duration) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let until = Instant::now() + longest;
    let mut sink = [0; 2048];
    let mut discarded = 0;
    while discarded < DISCARD_MAX {
        match connection::read(stream, feed, &mut sink, Some(until)) {
            Ok(0) | Err(_) => return,
            Ok(count) => discarded += count,
        }
    }
}
