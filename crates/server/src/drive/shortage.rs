//! `Shortage`: what an acceptor does while it can have no descriptor.
//!
//! A reserve descriptor, closed to accept and refuse, is the other known answer. It was left out: the client would learn
//! that there is an error, where the kernel's queue keeps it until there is none.

use std::io;
use std::time::{Duration, Instant};

use tenfold_runtime::sleep;

/// Pause when the process or the system is out of descriptors or memory: the kernel's queue keeps the clients, and a
/// spinning acceptor would starve the connections that could free a descriptor (accept(2), "ERRORS").
const PAUSE: Duration = Duration::from_millis(100);
/// A shortage is over when it has not come back for so long.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// Of one acceptor.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    now: Option<Span>,
}

#[derive(Debug)]
struct Span {
    since: Instant,
    last: Instant,
    /// An accept has worked since `last`.
    recovered: bool,
}

impl Shortage {
    /// An accept has failed. Pauses if that was for want of something; says so once.
    pub(crate) fn failed(&mut self, error: &io::Error) {
        if !is_shortage(error) {
            // The connection broke before it was accepted (ECONNABORTED and the network's own errors).
            tracing::debug!(%error, "a connection was lost before it was accepted");
            return;
        }
        let now = Instant::now();
        match &mut self.now {
            Some(span) => (span.last, span.recovered) = (now, false),
            None => {
                tracing::error!(%error, "cannot accept; connections wait in the kernel's queue");
                self.now = Some(Span { since: now, last: now, recovered: false });
            }
        }
        sleep(PAUSE);
    }

    /// An accept has worked.
    #[inline]
    pub(crate) fn accepted(&mut self) {
        if self.now.is_some() {
            self.look();
        }
    }

    #[cold]
    fn look(&mut self) {
        let now = Instant::now();
        let Some(span) = &mut self.now else { return };
        let lasted_ms = span.last.duration_since(span.since).as_millis() as u64;
        if !std::mem::replace(&mut span.recovered, true) {
            tracing::warn!(lasted_ms, "accepts again");
        }
        // Until then another one is the same one, and not worth a line of its own.
        if now >= span.last + OVER_AFTER {
            self.now = None;
        }
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}
