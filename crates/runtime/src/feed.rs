//! Connections that wait for their next bytes without a fiber: no stack, no read buffer, no timer of their own per
//! request.
//!
//! A server's connection is idle most of its life. It rests here as a boxed [`Dormant`], and the loop rouses it when
//! bytes come, when the peer closes or when its time is over; roused, it starts a fiber and is an ordinary stream until
//! it rests again. The kernel's receive operation stays armed over many requests, which saves one submission each.
//!
//! ```text
//!            rest                      bytes, end, time-out, stop
//!   fiber ─────────▶ dormant ────────────────────────────────────▶ rouse(news) ─▶ fiber …
//!     ▲  │                 while a fiber runs, bytes gather in `pending`,
//!     └──┘ read            at most PENDING_MAX: then the receive is stopped until they are read
//! ```

mod events;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_reactor::{Interest, Token};

use crate::cause::Cause;
use crate::net::Socket;
use crate::park;
use crate::scheduler::{self, Scheduler};
use crate::table::FiberId;

/// Most bytes that wait for a fiber to read them; the peer's further bytes stay in the kernel.
const PENDING_MAX: usize = 64 * 1024;

/// Marks the tokens of connections that rest by [`rest_once`] among all polls: above a packed number's 60 bits there is
/// no room, so generations give up their highest bit.
const ONCE: u64 = 1 << 59;

fn once_token(id: FiberId) -> Token {
    Token::poll(id.pack() | ONCE)
}

/// Names a feed of this thread's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedId(FiberId);

/// Somebody who rests until there is news. Boxed once for each connection; the box goes to and fro.
pub trait Dormant: 'static {
    /// Called by the loop, not on a fiber: it must not wait. Usually starts a fiber with what it got.
    fn rouse(self: Box<Self>, feed: FeedId, news: News<'_>);

    /// Whether it goes on resting when all others are roused with [`News::Stopping`]: who has its own way to end.
    fn outlasts_stop(&self) -> bool {
        false
    }
}

/// Why a [`Dormant`] was roused.
#[derive(Debug)]
pub enum News<'a> {
    /// Bytes that came; valid during the call.
    Bytes(&'a [u8]),
    /// The peer has closed its side, or the connection broke.
    End(io::Result<()>),
    /// Nothing came until the time given to [`rest`].
    TimedOut,
    /// The loop is about to end, or [`stop_resting`] was called.
    Stopping,
}

#[derive(Default)]
pub(crate) struct Feeds {
    records: RefCell<Vec<Record>>,
    free: RefCell<Vec<u32>>,
    resting: Cell<usize>,
}

#[derive(Default)]
struct Record {
    generation: u32,
    /// The receive stream is armed.
    open: bool,
    /// A cancel of it is on its way.
    closing: bool,
    /// The idle timer is armed; it may be older than `rests_until` and then only renews itself.
    timer: bool,
    /// It rests by [`rest_once`]: nothing is received here.
    once: bool,
    socket: Option<Arc<Socket>>,
    dormant: Option<Box<dyn Dormant>>,
    rests_until: Option<Instant>,
    pending: Vec<u8>,
    ended: Option<io::Result<()>>,
    waiter: Option<FiberId>,
}

impl Record {
    /// Notes that the receive is armed from now on, and gives the socket to arm it on; `None` where it is, or is over.
    fn arm(&mut self) -> Option<Arc<Socket>> {
        if self.open || self.ended.is_some() {
            return None;
        }
        self.open = true;
        self.closing = false;
        self.socket.clone()
    }
}

/// Registers a socket with this thread's loop, for [`rest`] and [`read`]. Nothing is received yet.
pub fn open(socket: &Arc<Socket>) -> FeedId {
    scheduler::with_current(|scheduler| FeedId(scheduler.feeds.insert(scheduler, socket)))
        .expect("connections rest on a loop")
}

/// Lets a connection rest for `idle_max` from the loop's present turn on. Called on its fiber, which then ends.
///
/// # Errors
/// The dormant goes back when bytes or an end are there already: read on.
pub fn rest<D: Dormant>(feed: FeedId, dormant: Box<D>, idle_max: Duration) -> Result<(), Box<D>> {
    scheduler::with_current(|scheduler| {
        let until = scheduler.reactor().now() + idle_max;
        scheduler.feeds.rest(scheduler, feed.0, dormant, until)
    })
    .expect("connections rest on a loop")
}

/// Lets a connection rest until it is readable, and no longer belong to this loop then: it is roused with no bytes and
/// may go to another thread, which reads for itself. For connections that any thread may serve; a request costs one
/// submission and one receive more than with [`rest`].
pub fn rest_once(socket: &Arc<Socket>, dormant: Box<dyn Dormant>, idle_max: Duration) {
    scheduler::with_current(|scheduler| {
        let until = scheduler.reactor().now() + idle_max;
        scheduler.feeds.rest_once(scheduler, socket, dormant, until);
    })
    .expect("connections rest on a loop");
}

/// Reads what has come for a connection that is awake. Waits as any read does; 0 is the end of the stream.
///
/// # Errors
/// The connection's, `TimedOut` or `ECANCELED`.
pub fn read(feed: FeedId, into: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
    loop {
        let taken = scheduler::with_current(|scheduler| scheduler.feeds.take(scheduler, feed.0, into))
            .expect("a feed is read on its loop");
        if let Some(outcome) = taken {
            return outcome;
        }
        park::check(park::park_for(Cause::Network, until))?;
    }
}

/// Waits until [`read`] has something to give, or until somebody wakes the fiber ([`park::Waiter::wake`]), as who tells
/// idle connections that the program ends does. Whether there is something.
///
/// # Errors
/// `TimedOut` or `ECANCELED`.
pub fn wait(feed: FeedId, until: Option<Instant>) -> io::Result<bool> {
    let look = || {
        scheduler::with_current(|scheduler| scheduler.feeds.has_news(scheduler, feed.0))
            .expect("a feed is read on its loop")
    };
    if look() {
        return Ok(true);
    }
    park::check(park::park_for(Cause::Network, until))?;
    Ok(look())
}

/// Ends a feed. The socket closes when its last owner lets go and the kernel has let go of the receive.
pub fn close(feed: FeedId) {
    scheduler::with_current(|scheduler| scheduler.feeds.remove(scheduler, feed.0));
}

/// Ends a feed and gives the bytes that have come and were not read, so that the socket can be read directly, or by
/// another thread. Waits until the kernel has let go of the receive.
pub fn detach(feed: FeedId) -> io::Result<Vec<u8>> {
    loop {
        let done = scheduler::with_current(|scheduler| scheduler.feeds.stop_receiving(scheduler, feed.0))
            .expect("a feed is detached on its loop");
        if done {
            break;
        }
        park::check(park::park_for(Cause::Network, None))?;
    }
    let rest = scheduler::with_current(|scheduler| {
        let rest = scheduler.feeds.with(feed.0, |record| std::mem::take(&mut record.pending));
        scheduler.feeds.remove(scheduler, feed.0);
        rest
    });
    Ok(rest.flatten().unwrap_or_default())
}

/// The number of connections that rest on this loop.
pub fn resting() -> usize {
    scheduler::with_current(|scheduler| scheduler.feeds.resting.get()).unwrap_or(0)
}

/// Rouses every connection that rests on this loop with [`News::Stopping`], but those that outlast it.
pub fn stop_resting() {
    scheduler::with_current_rc(|scheduler| scheduler.feeds.stop_all(scheduler));
}

impl Feeds {
    fn with<R>(&self, id: FiberId, look: impl FnOnce(&mut Record) -> R) -> Option<R> {
        let mut records = self.records.borrow_mut();
        let record = records.get_mut(id.index() as usize)?;
        (record.generation == id.generation()).then(|| look(record))
    }

    fn insert(&self, scheduler: &Scheduler, socket: &Arc<Socket>) -> FiberId {
        socket.arrive(scheduler);
        let mut records = self.records.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            records.push(Record::default());
            (records.len() - 1) as u32
        });
        let record = &mut records[index as usize];
        record.socket = Some(socket.clone());
        FiberId::new(index, record.generation)
    }

    fn remove(&self, scheduler: &Scheduler, id: FiberId) {
        let removed = self.with(id, |record| {
            let next =
                Record { generation: FiberId::next_generation(record.generation), ..Record::default() };
            std::mem::replace(record, next)
        });
        let Some(record) = removed else { return };
        if let (true, Some(socket)) = (record.once, &record.socket) {
            scheduler.reactor().close_stream(socket.as_fd(), once_token(id));
        }
        if let (true, Some(socket)) = (record.open && !record.closing, &record.socket) {
            scheduler.reactor().close_stream(socket.as_fd(), Token::receive(id.pack()));
        }
        self.free.borrow_mut().push(id.index());
        // `record` is dropped here, outside of the borrow: closing its socket calls back into the scheduler.
    }

    fn rest<D: Dormant>(
        &self,
        scheduler: &Scheduler,
        id: FiberId,
        dormant: Box<D>,
        until: Instant,
    ) -> Result<(), Box<D>> {
        let mut dormant = Some(dormant);
        let rested = self.with(id, |record| {
            if !record.pending.is_empty() || record.ended.is_some() {
                return (false, None);
            }
            record.pending = Vec::new();
            record.dormant = dormant.take().map(|dormant| dormant as Box<dyn Dormant>);
            record.rests_until = Some(until);
            // The receive stays armed over many rests, so mostly there is no second look at the record.
            (!std::mem::replace(&mut record.timer, true), record.arm())
        });
        if let Some(dormant) = dormant {
            return Err(dormant);
        }
        self.resting.set(self.resting.get() + 1);
        let (is_timer_due, to_receive) = rested.unwrap_or_default();
        if is_timer_due {
            scheduler.add_feed_timer(until, id.pack());
        }
        if let Some(socket) = to_receive {
            scheduler.reactor().open_receive(socket.as_fd(), Token::receive(id.pack()));
        }
        Ok(())
    }

    fn rest_once(
        &self,
        scheduler: &Scheduler,
        socket: &Arc<Socket>,
        dormant: Box<dyn Dormant>,
        until: Instant,
    ) {
        let id = self.insert(scheduler, socket);
        self.with(id, |record| {
            record.dormant = Some(dormant);
            record.rests_until = Some(until);
            record.timer = true;
            record.once = true;
        });
        self.resting.set(self.resting.get() + 1);
        scheduler.add_feed_timer(until, id.pack());
        scheduler.reactor().poll_once(socket.as_fd(), Interest::READ, once_token(id));
    }

    /// Arms the receive, unless it is armed or over.
    fn open(&self, scheduler: &Scheduler, id: FiberId) {
        if let Some(Some(socket)) = self.with(id, Record::arm) {
            scheduler.reactor().open_receive(socket.as_fd(), Token::receive(id.pack()));
        }
    }

    /// Moves pending bytes out; `None` when the caller has to wait.
    fn take(&self, scheduler: &Scheduler, id: FiberId, into: &mut [u8]) -> Option<io::Result<usize>> {
        let running = scheduler.running();
        let taken = self.with(id, |record| {
            let count = record.pending.len().min(into.len());
            if count > 0 {
                into[..count].copy_from_slice(&record.pending[..count]);
                record.pending.drain(..count);
                return Some(Ok(count));
            }
            if let Some(outcome) = &record.ended {
                return Some(match outcome {
                    Ok(()) => Ok(0),
                    Err(error) => Err(copy_of(error)),
                });
            }
            record.waiter = running;
            None
        });
        // The receive goes on as soon as there is room again.
        if taken.as_ref().is_none_or(Option::is_none) {
            self.open(scheduler, id);
        }
        taken.unwrap_or_else(|| Some(Err(io::ErrorKind::NotConnected.into())))
    }

    /// Whether a read would not wait; else the running fiber is woken by what comes.
    fn has_news(&self, scheduler: &Scheduler, id: FiberId) -> bool {
        let running = scheduler.running();
        let has_news = self.with(id, |record| {
            let has_news = !record.pending.is_empty() || record.ended.is_some();
            record.waiter = running.filter(|_| !has_news);
            has_news
        });
        if has_news == Some(false) {
            self.open(scheduler, id);
        }
        has_news != Some(false)
    }

    /// True once the kernel does not receive any more.
    fn stop_receiving(&self, scheduler: &Scheduler, id: FiberId) -> bool {
        let running = scheduler.running();
        let close = self.with(id, |record| {
            record.waiter = running;
            (record.open, record.open && !std::mem::replace(&mut record.closing, true), record.socket.clone())
        });
        let Some((open, close, socket)) = close else { return true };
        if let (true, Some(socket)) = (close, socket) {
            scheduler.reactor().close_stream(socket.as_fd(), Token::receive(id.pack()));
        }
        !open
    }

    fn take_dormant(&self, id: FiberId) -> Option<Box<dyn Dormant>> {
        let dormant = self.with(id, |record| record.dormant.take()).flatten();
        if dormant.is_some() {
            self.resting.set(self.resting.get() - 1);
        }
        dormant
    }
}

/// `io::Error` cannot be cloned; its kind and number are what callers look at.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
