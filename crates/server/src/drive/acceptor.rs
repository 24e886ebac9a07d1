//! Takes connections from a listener, on a fiber or on a thread.
//!
//! Listeners are shared by all workers and by all threads of a worker. Waiting is for readiness and not exclusive, so a
//! worker that hangs does not swallow connections (with io_uring's own accept it does).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tenfold_runtime::net::TcpListener;
use tenfold_runtime::{sleep, yield_now};

use crate::drive::connection::Connection;
use crate::peer::Peer;
use crate::service::Service;

/// Connections taken in one go before others on the thread have their turn.
const BATCH: usize = 16;
/// Pause when the process or the system is out of descriptors or memory: the kernel's queue keeps the clients, and a
/// spinning acceptor would starve the connections that could free a descriptor (accept(2), "ERRORS").
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Pause while the worker has as many connections as it may.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Least time for which a worker that stops takes connections from the kernel's queue.
const DRAIN_MIN: Duration = Duration::from_millis(200);

/// Accepts until the worker stops, then takes what is still in the kernel's queue.
///
/// `serve` gets each connection; `accept` waits for the next one and fails when the worker stops.
pub(crate) fn accept_loop(
    listener: &TcpListener,
    service: &Arc<Service>,
    mut accept: impl FnMut(
        &TcpListener,
    ) -> io::Result<(tenfold_runtime::net::TcpStream, Option<std::net::SocketAddr>)>,
    mut serve: impl FnMut(Connection),
) {
    let mut in_batch = 0;
    while !service.is_stopping() {
        if !service.has_room() {
            sleep(FULL_PAUSE);
            continue;
        }
        match accept(listener) {
            Ok((stream, address)) => {
                serve(Connection::new(stream, Peer::from(address), service));
                in_batch += 1;
                if in_batch % BATCH == 0 {
                    yield_now();
                }
            }
            Err(error) if tenfold_runtime::park::is_cancellation(&error) => break,
            Err(error) if is_exhausted(&error) => {
                warn_once(&error);
                sleep(EXHAUSTED_PAUSE);
            }
            // The connection broke before it was accepted (ECONNABORTED and the network's own errors).
            Err(error) => tracing::debug!(%error, "a connection was lost before it was accepted"),
        }
    }
    // Whoever has completed the handshake is served: nothing that the kernel has queued is reset. Bounded, because under
    // load the queue of a listener that others accept from as well is never empty.
    let until = Instant::now() + service.idle_grace.max(DRAIN_MIN);
    while Instant::now() < until
        && let Ok((stream, address)) = listener.try_accept_from()
    {
        serve(Connection::new(stream, Peer::from(address), service));
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

fn warn_once(error: &io::Error) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(%error, "cannot accept; connections wait in the kernel's queue (said once)");
    }
}
