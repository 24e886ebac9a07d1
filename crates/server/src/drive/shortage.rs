//! `Shortage`: what an acceptor does while it can have no descriptor.
//!
//! A reserve descriptor, closed to accept and refuse, is the other known answer. It was left out: the client would learn
//! that there is an error, where the kernel's queue keeps it until there is none.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tenfold_runtime::sleep;

/// Pause when the process or the system is out of descriptors or memory: the kernel's queue keeps the clients, and a
/// spinning acceptor would starve the connections that could free a descriptor (accept(2), "ERRORS").
const PAUSE: Duration = Duration::from_millis(100);
/// A shortage is over when it has not come back for so long.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// Of one worker: all its acceptors have the same one.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// Whether there is a span, so that accepting costs one load while all is well.
    is_on: AtomicBool,
    span: Mutex<Option<Span>>,
}

#[derive(Debug)]
struct Span {
    since: Instant,
    last: Instant,
    /// An accept has worked since, which was said.
    recovered: bool,
}

impl Shortage {
    /// An accept has failed. Pauses if that was for want of something; says so once.
    pub(crate) fn failed(&self, error: &io::Error) {
        if !is_shortage(error) {
            // The connection broke before it was accepted (ECONNABORTED and the network's own errors).
            tracing::debug!(%error, "a connection was lost before it was accepted");
            return;
        }
        self.note(error, Instant::now());
        sleep(PAUSE);
    }

    fn note(&self, error: &io::Error, now: Instant) {
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *span {
            Some(span) => span.last = now,
            None => {
                tracing::error!(%error, "cannot accept; connections wait in the kernel's queue");
                *span = Some(Span { since: now, last: now, recovered: false });
                self.is_on.store(true, Ordering::Relaxed);
            }
        }
    }

    /// An accept has worked.
    #[inline]
    pub(crate) fn accepted(&self) {
        if self.is_on.load(Ordering::Relaxed) {
            self.look(Instant::now());
        }
    }

    #[cold]
    fn look(&self, now: Instant) {
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(present) = &mut *span else { return };
        if !std::mem::replace(&mut present.recovered, true) {
            let lasted_ms = now.duration_since(present.since).as_millis() as u64;
            tracing::warn!(lasted_ms, "accepts again");
        }
        // Until then another one is the same one, and not worth a line of its own.
        if now >= present.last + OVER_AFTER {
            *span = None;
            self.is_on.store(false, Ordering::Relaxed);
        }
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_comes_back_within_a_second_is_the_same_one() {
        let (shortage, error) = (Shortage::default(), io::Error::from_raw_os_error(24));
        let now = Instant::now();
        shortage.note(&error, now);
        shortage.look(now + Duration::from_millis(100));
        shortage.note(&error, now + Duration::from_millis(900));
        shortage.look(now + Duration::from_millis(1800));
        assert!(shortage.is_on.load(Ordering::Relaxed), "900 ms after the last");
        shortage.look(now + Duration::from_millis(1901));
        assert!(!shortage.is_on.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_no_shortage_does_not_pause() {
        let shortage = Shortage::default();
        shortage.failed(&io::Error::from_raw_os_error(103));
        assert!(!shortage.is_on.load(Ordering::Relaxed));
    }
}
