//! Takes connections from a listener, on a fiber or on a thread.
//!
//! Listeners are shared by all workers and by all threads of a worker. Waiting is for readiness and not exclusive, so a
//! worker that hangs does not swallow connections (with io_uring's own accept it does).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{sleep, yield_now};

use crate::drive::connection::Connection;
use crate::peer::Peer;
use crate::service::Service;

/// Connections taken in one go before others on the thread have their turn.
const BATCH: usize = 16;
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
    accept: impl FnMut(&TcpListener) -> io::Result<(TcpStream, Option<SocketAddr>)>,
    mut serve: impl FnMut(Connection),
) {
    let admit = |stream, address| admit(stream, address, service).into_iter().for_each(&mut serve);
    accept_each(listener, service, || service.has_room(), accept, admit);
}

/// As [`accept_loop`], for what is no HTTP: `serve` gets the streams, as long as there is room.
pub(crate) fn accept_each(
    listener: &TcpListener,
    service: &Arc<Service>,
    has_room: impl Fn() -> bool,
    mut accept: impl FnMut(&TcpListener) -> io::Result<(TcpStream, Option<SocketAddr>)>,
    mut serve: impl FnMut(TcpStream, Option<SocketAddr>),
) {
    let mut in_batch = 0;
    while !service.is_stopping() {
        if !has_room() {
            sleep(FULL_PAUSE);
            continue;
        }
        match accept(listener) {
            Ok((stream, address)) => {
                service.shortage.accepted();
                serve(stream, address);
                in_batch += 1;
                if in_batch % BATCH == 0 {
                    yield_now();
                }
            }
            Err(error) if tenfold_runtime::park::is_cancellation(&error) => break,
            Err(error) => service.shortage.failed(&error),
        }
    }
    // Whoever has completed the handshake is served: nothing that the kernel has queued is reset. Bounded, because under
    // load the queue of a listener that others accept from as well is never empty.
    let until = Instant::now() + service.idle_grace.max(DRAIN_MIN);
    while Instant::now() < until
        && let Ok((stream, address)) = listener.try_accept_from()
    {
        serve(stream, address);
    }
}

/// Sent to an address that has too many connections.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

/// Makes a connection of what was accepted, unless its address has too many.
pub(crate) fn admit(
    stream: TcpStream,
    address: Option<SocketAddr>,
    service: &Arc<Service>,
) -> Option<Connection> {
    let mut counted = None;
    if let (Some(addresses), Some(address)) = (&service.addresses, address) {
        match addresses.connect(address.ip()) {
            Ok(place) => counted = place,
            Err(()) => {
                tenfold_scoreboard::current().rejections.add(tenfold_scoreboard::Shed::Address);
                let _ = stream.try_write(TOO_MANY);
                return None;
            }
        }
    }
    let mut conn = Connection::new(stream, Peer::from(address), service);
    conn.counted = counted;
    Some(conn)
}
