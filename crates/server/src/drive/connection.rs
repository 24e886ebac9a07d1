//! One client's connection: what is kept of it between requests, and how it is read and written.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tenfold_http::h1::Exchange;
use tenfold_runtime::feed::{self, FeedId};
use tenfold_runtime::net::TcpStream;
use tenfold_runtime::park::{self, WatchedPeer};
use tenfold_runtime::turn_now;
use tenfold_scoreboard::Stage;

use crate::drive::crowd::Courtesy;
use crate::drive::sight::{Dawn, within};
use crate::drive::write_pace::WritePace;
use crate::guard::addresses::Counted;
use crate::peer::Peer;
use crate::service::{Open, Service};

/// Everything that an idle connection costs, apart from the kernel's part: about 200 bytes.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// Where its bytes arrive once it has rested on a loop.
    pub(crate) feed: Option<FeedId>,
    pub(crate) peer: Peer,
    pub(crate) exchange: Exchange,
    /// When the first byte of the present request was seen; the deadline counts from it.
    pub(crate) arrived: Option<Instant>,
    pub(crate) service: Arc<Service>,
    /// This process got it from a front for one request: the front has to know whether an answer has begun.
    pub(crate) behind_front: bool,
    /// It closes after the present answer, whatever the client wishes.
    pub(crate) last: bool,
    /// When it has been there for long enough; `None` for never.
    ends: Option<Instant>,
    /// What is known of its next request.
    pub(crate) dawn: Dawn,
    /// How fast its client takes the present answer.
    pub(crate) pace: WritePace,
    /// When it makes room for others.
    pub(crate) courtesy: Courtesy,
    /// Counts it among its address's connections, where those are bounded.
    pub(crate) counted: Option<Counted>,
    /// Counts it among the worker's connections for as long as it lives.
    open: Open,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, peer: Peer, service: &Arc<Service>) -> Connection {
        Connection {
            stream,
            feed: None,
            peer,
            exchange: Exchange::new(),
            arrived: None,
            service: service.clone(),
            behind_front: false,
            last: false,
            ends: service.bounds.connection_age_max.and_then(end),
            dawn: Dawn::accepted(service.sight),
            pace: WritePace::default(),
            courtesy: Courtesy::default(),
            counted: None,
            open: Open::count(service),
        }
    }

    /// Bytes have come: if a request begins with them, it has arrived now.
    #[inline]
    pub(crate) fn note_arrival(&mut self) {
        if self.arrived.is_none() {
            self.arrived = Some(Instant::now());
        }
    }

    /// A loop has read bytes for it while nobody served it: if a request begins with them, it has arrived with the loop's
    /// present turn, whose clock is read already.
    #[inline]
    pub(crate) fn roused(&mut self) {
        self.arrived.get_or_insert_with(turn_now);
        self.dawn.came(self.service.sight);
    }

    /// Whether it ends with the answer to a request that arrived at `arrived`.
    #[inline]
    pub(crate) fn is_old(&self, arrived: impl FnOnce() -> Instant) -> bool {
        self.ends.is_some_and(|ends| ends <= arrived())
    }

    /// Reads some bytes; 0 is the client's end.
    pub(crate) fn read(&self, into: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
        read(&self.stream, self.feed, into, until)
    }

    /// [`Connection::write_all`], by a caller that has said that the request is being written.
    pub(crate) fn write_plain(&self, bytes: &[u8]) -> io::Result<()> {
        self.note_start();
        write_all(&self.stream, bytes, self.service.bounds.write_stall)
    }

    /// Writes everything; a client that takes nothing for too long is an error.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.note_start();
        within(Stage::Write, || self.write_rest(bytes))
    }

    fn write_rest(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_for_room(|until| park::parking(|| self.stream.write_until(bytes, Some(until))))?
                }
                other => {
                    let sent = other?;
                    self.pace.note(sent);
                    sent
                }
            };
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Runs a write that may have to wait, within the client's stall and its least rate.
    pub(crate) fn wait_for_room(
        &self,
        write: impl FnOnce(Instant) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.pace.wait(&self.service.bounds, write)
    }

    /// Writes head and body with one system call where the socket takes both.
    pub(crate) fn write_both(&self, first: &[u8], second: &[u8]) -> io::Result<()> {
        self.note_start();
        within(Stage::Write, || self.write_parts(first, second))
    }

    fn write_parts(&self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let until = Instant::now() + self.service.bounds.write_stall;
        let bufs = [IoSlice::new(first), IoSlice::new(second)];
        let sent = park::parking(|| self.stream.write_vectored_until(&bufs, Some(until)))?;
        match sent.checked_sub(first.len()) {
            Some(of_second) => self.write_rest(&second[of_second..]),
            None => {
                self.write_rest(&first[sent..])?;
                self.write_rest(second)
            }
        }
    }

    /// Runs what the client waits for: once it is gone, the waits of `f` are cancelled.
    #[inline]
    pub(crate) fn for_client<R>(&self, f: impl FnOnce() -> R) -> R {
        park::for_peer(self.watched_peer(), f)
    }

    /// The client, as one that waits for an answer.
    #[inline]
    pub(crate) fn watched_peer(&self) -> WatchedPeer {
        let end_counts = self.service.bounds.cancel_on_half_close;
        WatchedPeer::new(self.stream.socket().as_fd(), end_counts)
    }

    /// Writes what there is room for of an answer that the end of the connection follows at once.
    pub(crate) fn write_last(&self, bytes: &[u8]) -> io::Result<usize> {
        self.note_start();
        self.stream.try_write_more(bytes)
    }

    #[inline]
    fn note_start(&self) {
        if self.behind_front {
            tenfold_scoreboard::current().answer_started.store(1, Ordering::Release);
        }
    }

    /// Stops receiving on the loop, so that another thread or process can read the socket. What had come already is
    /// returned.
    pub(crate) fn detach(&mut self) -> io::Result<Vec<u8>> {
        self.feed.take().map_or(Ok(Vec::new()), feed::detach)
    }
}

/// When a connection that begins now has been there for `age_max`, less up to a tenth.
fn end(age_max: Duration) -> Option<Instant> {
    /// Connections of this process so far. Their fractions of the golden ratio are spread evenly however many there are
    /// (Knuth, The Art of Computer Programming, volume 3, section 6.4), which random numbers are only on average.
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    const GOLDEN: u32 = 0x9E37_79B9;
    let place = BEGUN.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN);
    let less = age_max.mul_f64(0.1 * f64::from(place) / f64::from(u32::MAX));
    Instant::now().checked_add(age_max.saturating_sub(less))
}

/// What is left of a connection that has left HTTP: who keeps thousands of them pays for no more.
pub(crate) struct Line {
    pub(crate) stream: TcpStream,
    pub(crate) feed: Option<FeedId>,
    pub(crate) peer: Peer,
    pub(crate) service: Arc<Service>,
    _counted: Option<Counted>,
    _open: Open,
}

impl Connection {
    /// Leaves HTTP.
    pub(crate) fn into_line(mut self) -> Line {
        Line {
            stream: self.stream.clone(),
            feed: self.feed.take(),
            peer: self.peer,
            service: self.service.clone(),
            _counted: self.counted.take(),
            _open: self.open.hand_on(),
        }
    }
}

impl Line {
    /// Reads some bytes; 0 is the client's end.
    pub(crate) fn read(&self, into: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
        read(&self.stream, self.feed, into, until)
    }

    /// As [`Connection::detach`].
    pub(crate) fn detach(&mut self) -> io::Result<Vec<u8>> {
        self.feed.take().map_or(Ok(Vec::new()), feed::detach)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed::close(feed);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed::close(feed);
        }
    }
}

/// Reads from wherever a connection's bytes arrive.
pub(crate) fn read(
    stream: &TcpStream,
    feed: Option<FeedId>,
    into: &mut [u8],
    until: Option<Instant>,
) -> io::Result<usize> {
    park::parking(|| match feed {
        Some(feed) => feed::read(feed, into, until),
        None => stream.read_until(into, until),
    })
}

/// Writes everything; each wait for room is bounded by `stall`.
pub(crate) fn write_all(stream: &TcpStream, mut bytes: &[u8], stall: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = match stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                park::parking(|| stream.write_until(bytes, Some(Instant::now() + stall)))?
            }
            other => other?,
        };
        bytes = &bytes[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_begin_together_end_apart_and_none_too_late() {
        let before = Instant::now();
        let mut ends: Vec<_> = (0..100).map(|_| end(Duration::from_secs(3600)).unwrap() - before).collect();
        ends.sort();
        assert!(ends[0] < Duration::from_secs(3260) && ends[99] > Duration::from_secs(3580), "{ends:?}");
        assert!(ends[0] >= Duration::from_secs(3240), "{ends:?}");
        let gaps = ends.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max() < Some(Duration::from_secs(12)), "a tenth of an hour is 3.6 s for each: {ends:?}");
    }
}
