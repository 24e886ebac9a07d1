//! Connections on event loops: a fiber while there are requests, a boxed [`Connection`] at rest while there are none.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_runtime::feed::{self, Dormant, FeedId, News};
use tenfold_runtime::net::TcpListener;
use tenfold_runtime::{JoinHandle, Reserved, RuntimeError, reserve, spawn};

use crate::drive::acceptor::accept_loop;
use crate::drive::connection::Connection;
use crate::drive::exchange::{Next, serve};
use crate::drive::held;
use crate::drive::linger::linger;
use crate::drive::workspace::Workspace;
use crate::service::Service;

/// Sent where there is not even a stack for a fiber.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

/// Starts a fiber that accepts from a listener for the running loop.
pub(crate) fn spawn_acceptor(listener: TcpListener, service: Arc<Service>, begin: Begin) -> JoinHandle<()> {
    spawn(move || match service.balance() {
        Some(mut balance) => accept_loop(&listener, &service, |listener| balance.accept(listener), begin),
        None => accept_loop(&listener, &service, |listener| listener.accept_from_until(None), begin),
    })
}

/// What a model does with a new connection.
pub(crate) type Begin = fn(Connection);

/// The models `fiber`, `event` and their mixes: requests run on fibers of this loop.
///
/// Often a new connection's first request is there already, and then it needs neither a rest nor a timer.
pub(crate) fn begin(mut conn: Connection) {
    let mut work = Workspace::take();
    conn.dawn.looked();
    match conn.stream.try_read(work.input.spare()) {
        Ok(0) => work.put(),
        Ok(count) => {
            work.input.commit(count);
            conn.note_arrival();
            start_fiber(Box::new(conn), work);
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            work.put();
            let idle_max = conn.service.bounds.header_timeout;
            rest(Box::new(conn), idle_max);
        }
        Err(_) => work.put(),
    }
}

fn rest(mut conn: Box<Connection>, idle_max: Duration) {
    let feed = open_feed(&mut conn);
    if let Err(conn) = feed::rest(feed, conn, idle_max) {
        start_fiber(conn, Workspace::take());
    }
}

fn open_feed(conn: &mut Connection) -> FeedId {
    *conn.feed.get_or_insert_with(|| feed::open(conn.stream.socket()))
}

/// A connection between requests: the box that it has anyway.
impl Dormant for Connection {
    fn rouse(mut self: Box<Self>, _feed: FeedId, news: News<'_>) {
        if let News::Bytes(bytes) = news {
            self.roused();
            let mut work = Workspace::take();
            work.input.append(bytes);
            start_fiber(self, work);
        }
        // Else the client is gone, or its time is over, or the worker stops: dropping it closes it.
    }
}

fn start_fiber(conn: Box<Connection>, work: Box<Workspace>) {
    match reserve() {
        Ok(stack) => run_on(stack, conn, work),
        Err(error) => {
            turn_away(&conn, &error);
            work.put();
        }
    }
}

/// Answers 503 where there is not even a fiber to answer on; the caller drops the connection.
pub(crate) fn turn_away(conn: &Connection, error: &RuntimeError) {
    tenfold_scoreboard::current().rejections.add(tenfold_scoreboard::Shed::Resources);
    tracing::warn!(%error, "no fiber for a request");
    let _ = conn.stream.try_write(NO_ROOM);
}

fn run_on(stack: Reserved, conn: Box<Connection>, work: Box<Workspace>) {
    stack.spawn("connection", move || run(conn, work));
}

/// Serves what the connection has to offer, on the running fiber, then lets it rest or closes it.
fn run(mut conn: Box<Connection>, mut work: Box<Workspace>) {
    loop {
        match serve(&mut conn, &mut work) {
            Next::Idle if conn.service.is_stopping() => {
                // Its last answer has promised to stay, before the word to stop came.
                let until = Instant::now() + conn.service.idle_grace;
                match conn.read(work.input.spare(), Some(until)) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => work.input.commit(count),
                }
            }
            Next::Idle => {
                let feed = open_feed(&mut conn);
                let idle_max = conn.service.bounds.keepalive;
                match feed::rest(feed, conn, idle_max) {
                    Ok(()) => {
                        work.put();
                        return;
                    }
                    Err(back) => conn = back,
                }
                match conn.read(work.input.spare(), None) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => work.input.commit(count),
                }
            }
            Next::Close => break,
            Next::Linger => {
                work.put();
                linger(*conn);
                return;
            }
            Next::TakenOver => {
                if let Some((held, begin)) = work.hand_over(*conn) {
                    held::begin_on_loop(held, begin);
                }
                return;
            }
        }
    }
    work.put();
}
