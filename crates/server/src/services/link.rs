//! `Link`: one connection of a service, and its life on a loop or on a thread.
//!
//! ```text
//!   loop     accepted ─▶ begin ─▶ at rest ─▶ roused by bytes ─▶ a fiber: exchange ─▶ at rest …
//!                           └────▶ a function: its own fiber to the end
//!   thread   accepted ─▶ to_the_end
//! ```

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tenfold_runtime::feed::{self, Dormant, FeedId, News};
use tenfold_runtime::net::TcpStream;
use tenfold_runtime::{RuntimeError, reserve, sleep};

use crate::drive::blocking::wait_for_request;
use crate::drive::connection::Connection;
use crate::drive::exchange::Next;
use crate::drive::linger::linger;
use crate::drive::workspace::Workspace;
use crate::peer::Peer;
use crate::service::Service;
use crate::services::catalogue::TcpService;
use crate::services::conn::{self, Conn};
use crate::services::exchange::serve;
use crate::services::handler::Kind;

/// Pause while the service has as many connections as it may.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Everything that an idle connection costs, apart from the kernel's part.
pub(crate) struct Link {
    pub(super) conn: Connection,
    pub(super) tcp: Arc<TcpService>,
    /// What the protocol keeps of it.
    pub(super) session: Box<dyn Any + Send>,
    _place: Place,
}

/// One connection in its service's count.
struct Place(Arc<TcpService>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    /// Makes a connection of what was accepted, unless its address has too many. Waits until the service has a place for it:
    /// of several acceptors each may have begun to wait for a connection while there was one.
    pub(super) fn admit(
        stream: TcpStream,
        address: Option<SocketAddr>,
        tcp: &Arc<TcpService>,
        service: &Arc<Service>,
    ) -> Option<Link> {
        let mut counted = None;
        if let (Some(addresses), Some(address)) = (&service.addresses, address) {
            // There is nothing to say that every protocol would understand.
            let place = addresses.connect(address.ip());
            counted = place
                .inspect_err(|()| {
                    tenfold_scoreboard::current().rejections.add(tenfold_scoreboard::Shed::Address)
                })
                .ok()?;
        }
        while !tcp.try_open() {
            if service.is_stopping() {
                // Nobody waits in the kernel's queue any more, and whoever was accepted is served.
                tcp.open.fetch_add(1, Ordering::Relaxed);
                break;
            }
            sleep(FULL_PAUSE);
        }
        let place = Place(tcp.clone());
        let peer = Peer::from(address);
        let session = match &tcp.kind {
            Kind::Frames(protocol) => protocol.open(peer, &service.state),
            Kind::Free(_) => Box::new(()),
        };
        let mut conn = Connection::new(stream, peer, service);
        conn.counted = counted;
        Some(Link { conn, tcp: tcp.clone(), session, _place: place })
    }

    /// What is left when the service has done its part.
    pub(super) fn into_connection(self) -> Connection {
        self.conn
    }

    /// Logs what its client has done wrong.
    pub(super) fn complain(&self, reason: &str) {
        self.tcp.complaints.bad_input(self.tcp.name, self.conn.peer, reason);
    }

    pub(super) fn idle_max(&self) -> Duration {
        self.tcp.limits.idle(&self.conn.service.bounds)
    }

    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let stall = self.tcp.limits.stall(&self.conn.service.bounds);
        crate::drive::connection::write_all(&self.conn.stream, bytes, stall)
    }

    /// Where its bytes arrive on this loop.
    pub(super) fn feed(&mut self) -> FeedId {
        *self.conn.feed.get_or_insert_with(|| feed::open(self.conn.stream.socket()))
    }
}

/// A new connection on a loop. Called by the acceptor: it does not wait.
pub(super) fn begin(mut link: Link) {
    link.conn.dawn.looked();
    match &link.tcp.kind {
        Kind::Free(_) => start(Box::new(link), |link| conn::run(Conn::on_loop(*link))),
        Kind::Frames(_) => {
            // Often its first frame is there already, and then it needs neither a rest nor a timer.
            let mut work = Workspace::take();
            match link.conn.stream.try_read(work.input.spare()) {
                Ok(0) => work.put(),
                Ok(count) => {
                    work.input.commit(count);
                    start(Box::new(link), |link| run(link, work));
                }
                Err(error) => {
                    work.put();
                    if error.kind() == io::ErrorKind::WouldBlock {
                        rest(Box::new(link));
                    }
                }
            }
        }
    }
}

fn rest(mut link: Box<Link>) {
    let (feed, idle_max) = (link.feed(), link.idle_max());
    if let Err(link) = feed::rest(feed, link, idle_max) {
        start(link, |link| run(link, Workspace::take()));
    }
}

fn start(link: Box<Link>, run: impl FnOnce(Box<Link>) + 'static) {
    match reserve() {
        Ok(stack) => stack.spawn(link.tcp.name, move || run(link)),
        Err(error) => turn_away(&error),
    }
}

fn turn_away(error: &RuntimeError) {
    tenfold_scoreboard::current().rejections.add(tenfold_scoreboard::Shed::Resources);
    tracing::warn!(target: "tenfold::services", %error, "no fiber for a connection");
}

impl Dormant for Link {
    fn rouse(mut self: Box<Self>, _feed: FeedId, news: News<'_>) {
        if let News::Bytes(bytes) = news {
            self.conn.roused();
            let mut work = Workspace::take();
            work.input.append(bytes);
            start(self, |link| run(link, work));
        }
        // Else the client is gone, or its time is over, or the worker stops: dropping it closes it.
    }
}

/// Serves what the connection has to offer, on the running fiber, then lets it rest or closes it.
fn run(mut link: Box<Link>, mut work: Box<Workspace>) {
    loop {
        match serve(&mut link, &mut work) {
            Next::Idle => {
                let (feed, idle_max) = (link.feed(), link.idle_max());
                if !link.conn.service.is_stopping() {
                    match feed::rest(feed, link, idle_max) {
                        Ok(()) => return work.put(),
                        Err(back) => link = back,
                    }
                }
                // Bytes are there, or the worker stops, and the next frame may be on its way.
                let until = Instant::now() + link.conn.service.idle_grace.min(idle_max);
                match link.conn.read(work.input.spare(), Some(until)) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => work.input.commit(count),
                }
            }
            // A service's connections are its own: nobody takes them over.
            Next::Close | Next::TakenOver => break,
            Next::Linger => {
                work.put();
                return linger(link.conn);
            }
        }
    }
    work.put();
}

/// Serves a connection to its end, or until it is idle and `stop` is readable. Runs on a thread.
pub(super) fn to_the_end(mut link: Link, stop: &Arc<OwnedFd>) {
    link.conn.dawn.looked();
    if matches!(link.tcp.kind, Kind::Free(_)) {
        return conn::run(Conn::on_thread(link, stop.clone()));
    }
    let mut work = Workspace::take();
    let idle_max = link.idle_max();
    loop {
        match wait_for_request(&link.conn, work.input.spare(), stop, idle_max) {
            Ok(0) | Err(_) => break,
            Ok(count) => work.input.commit(count),
        }
        match serve(&mut link, &mut work) {
            Next::Idle => {}
            // A service's connections are its own: nobody takes them over.
            Next::Close | Next::TakenOver => break,
            Next::Linger => {
                work.put();
                return linger(link.conn);
            }
        }
    }
    work.put();
}
