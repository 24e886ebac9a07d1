//! Connections on threads of their own: the thread waits, between requests as well.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_runtime::net::TcpListener;
use tenfold_runtime::park;

use crate::drive::acceptor::accept_loop;
use crate::drive::connection::Connection;
use crate::drive::crowd::Crowd;
use crate::drive::exchange::{Next, serve};
use crate::drive::held;
use crate::drive::linger::linger;
use crate::drive::workspace::Workspace;
use crate::service::Service;

/// Accepts on this thread until the worker stops; `each` gets the connections.
pub(crate) fn accept(listener: &TcpListener, service: &Arc<Service>, each: impl FnMut(Connection)) {
    let stop = &service.stop.eventfd;
    accept_loop(
        listener,
        service,
        |listener| park::interruptible(stop, || listener.accept_from_until(None)),
        each,
    );
}

/// Serves a connection to its end, or until it is idle and the worker stops.
pub(crate) fn serve_connection(conn: Connection) {
    let stop = conn.service.stop.eventfd.clone();
    serve_connection_until(conn, &stop);
}

/// Waits for the first bytes of a request. Between requests the word to stop shortens the wait to the grace, and so does
/// somebody who waits for the thread; within one they do not.
pub(crate) fn wait_for_request(
    conn: &Connection,
    into: &mut [u8],
    stop: &Arc<OwnedFd>,
    idle_max: Duration,
) -> io::Result<usize> {
    let began = Instant::now();
    let until = began + idle_max;
    let look_every = conn.service.crowd().map_or(idle_max, Crowd::idle_look);
    let mut look = began + conn.service.idle_grace.max(look_every);
    loop {
        match park::interruptible(stop, || conn.read(into, Some(until.min(look)))) {
            Err(error) if park::is_cancellation(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut && Instant::now() < until => {
                if conn.courtesy.is_due(&conn.service) {
                    return Err(error);
                }
                look = Instant::now() + look_every;
            }
            outcome => return outcome,
        }
        // In a worker with one thread `stop` is where all orders come in, and this reads them.
        if conn.service.is_stopping() {
            // A request that is on its way already must not find the connection closed.
            return conn.read(into, Some(until.min(Instant::now() + conn.service.idle_grace)));
        }
    }
}

/// Serves a connection to its end, or until it is idle and `stop` is readable.
pub(crate) fn serve_connection_until(mut conn: Connection, stop: &Arc<OwnedFd>) {
    let mut work = Workspace::take();
    let mut idle_max = conn.service.bounds.header_timeout;
    conn.dawn.looked();
    loop {
        match wait_for_request(&conn, work.input.spare(), stop, idle_max) {
            Ok(0) | Err(_) => break,
            Ok(count) => work.input.commit(count),
        }
        match serve(&mut conn, &mut work) {
            Next::Idle => idle_max = conn.service.bounds.keepalive,
            Next::Close => break,
            Next::Linger => {
                work.put();
                linger(conn);
                return;
            }
            Next::TakenOver => {
                if let Some((held, begin)) = work.hand_over(conn) {
                    held::begin_on_thread(held, begin, stop);
                }
                return;
            }
        }
    }
    work.put();
}
