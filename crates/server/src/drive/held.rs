//! `Held`: a connection that has left HTTP for an owner of its own: a WebSocket, a stream of events, a tunnel.
//!
//! The handler's answer carries a closure; once the answer's head is out, the driver gives the whole connection to it. What it
//! returns says what is next. A resident that rests costs what an idle connection costs: in the evented models no stack and
//! no timer of its own; on a thread of its own the thread waits.
//!
//! ```text
//!   take_over ─► answer's head ─► begin(Held) ─► Rest(resident) ─► roused(news) ─► Rest │ Close │ Linger
//!                                                        ▲                    │
//!                                                        └────────────────────┘
//! ```

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_runtime::feed::{self, Dormant, FeedId, News};
use tenfold_runtime::net::TcpStream;
use tenfold_runtime::{park, reserve};

use crate::drive::connection::{Connection, Line};
use crate::drive::linger::discard;
use crate::lane::Placement;
use crate::peer::Peer;

/// Bytes that are read at a time.
const READ_BYTES: usize = 16 << 10;

/// A connection in the hands of its new owner.
pub struct Held {
    line: Line,
    /// What has come and was not taken.
    early: Vec<u8>,
    /// Of the route that gave it away: where its handlers run.
    lane: usize,
    /// Readable once the worker has orders; on a thread of the connection's own, where nobody else may hear them.
    stop: Option<Arc<OwnedFd>>,
}

/// Who owns a connection that has left HTTP, while it rests.
pub trait Resident: Send + 'static {
    /// There is news. Runs where the route's handlers run their waits: on a fiber, or on the connection's thread. It may wait.
    fn roused(&mut self, held: &mut Held, news: Roused) -> Pause;
}

/// Why a [`Resident`] is roused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roused {
    /// Bytes have come: [`Held::take_early`] has them.
    Bytes,
    /// Nothing has come for as long as the last [`Pause::Rest`] has said.
    Quiet,
    /// The peer has closed its side, or the connection broke.
    End,
}

/// What a [`Resident`] wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// To be roused when something comes, and after this long at the latest.
    Rest(Duration),
    /// The connection is over.
    Close,
    /// The connection is over, and the peer may still be sending: what it sends is thrown away for a bounded time, so that
    /// what was written last is not lost to a reset.
    Linger,
}

/// What the closure of a take-over wants first.
pub enum Stay {
    /// A resident lives here from now on.
    With(Held, Box<dyn Resident>, Pause),
    /// It is over already.
    Over(Held, Pause),
}

impl Held {
    pub(crate) fn new(conn: Connection, early: Vec<u8>, lane: usize) -> Held {
        Held { line: conn.into_line(), early, lane, stop: None }
    }

    /// The stream below, for writing. What was received early is only in `self`.
    pub fn stream(&self) -> &TcpStream {
        &self.line.stream
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.line.peer
    }

    /// Whether the worker is on its way out.
    pub fn is_stopping(&self) -> bool {
        self.line.service.was_told_to_stop()
    }

    /// Takes the bytes that have come and were not taken yet. Never waits.
    pub fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }

    /// Waits for further bytes and appends them to what [`Held::take_early`] gives. False at the end of the stream.
    ///
    /// # Errors
    /// The connection's; `TimedOut` at `until`; `ECANCELED`.
    pub fn read_more(&mut self, until: Option<Instant>) -> io::Result<bool> {
        let begin = self.early.len();
        self.early.resize(begin + READ_BYTES, 0);
        let outcome = self.read(begin, until);
        self.early.truncate(begin + outcome.as_ref().map_or(0, |count| *count));
        Ok(outcome? > 0)
    }

    /// A worker with one thread hears its orders here, between one message and the next.
    fn read(&mut self, begin: usize, until: Option<Instant>) -> io::Result<usize> {
        while let Some(stop) = &self.stop
            && !self.line.service.is_stopping()
        {
            match park::interruptible(stop, || self.line.read(&mut self.early[begin..], until)) {
                Err(error) if park::is_cancellation(&error) => {}
                outcome => return outcome,
            }
        }
        self.line.read(&mut self.early[begin..], until)
    }

    /// Runs `f` as a handler of the route would run: in the `event` model its waits hold the loop, in a lane with threads of
    /// its own it runs on one of them.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let lane = &self.line.service.lanes[self.lane];
        match (&lane.pool, &lane.placement) {
            (Some(pool), _) => pool.run(f),
            (None, Placement::Inline) => park::inline(f),
            _ => f(),
        }
    }

    /// Takes the stream out of the driver's hands, with the bytes that have come.
    pub(crate) fn detach(&mut self) -> io::Result<(TcpStream, Vec<u8>)> {
        let mut early = self.take_early();
        early.extend(self.line.detach()?);
        Ok((self.line.stream.clone(), early))
    }
}

/// A closure of the application's; a panic ends the connection and nothing else.
fn guarded(f: impl FnOnce() -> Pause) -> Pause {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        tenfold_scoreboard::current().panics.add(1);
        Pause::Close
    })
}

/// A resident and its connection, at rest or not.
struct Home {
    held: Held,
    resident: Box<dyn Resident>,
}

/// Lets the owner begin, on the connection's fiber. Returns when the connection rests or is over.
pub(crate) fn begin_on_loop(held: Held, begin: Begin) {
    match first(held, begin) {
        Some(Stay::With(held, resident, pause)) => go_on(Box::new(Home { held, resident }), pause),
        Some(Stay::Over(held, pause)) => end(held, pause),
        None => {}
    }
}

/// As [`begin_on_loop`], on a thread of the connection's own: returns when the connection is over.
/// `stop` is readable once the worker has orders.
pub(crate) fn begin_on_thread(mut held: Held, begin: Begin, stop: &Arc<OwnedFd>) {
    held.stop = Some(stop.clone());
    let (held, pause) = match first(held, begin) {
        Some(Stay::With(mut held, mut resident, mut pause)) => {
            while let Pause::Rest(longest) = pause {
                let news = if held.early.is_empty() { wait(&mut held, longest) } else { Roused::Bytes };
                pause = guarded(|| resident.roused(&mut held, news));
            }
            (held, pause)
        }
        Some(Stay::Over(held, pause)) => (held, pause),
        None => return,
    };
    end(held, pause);
}

/// A panic of the closure's closes the connection, which it had.
fn first(held: Held, begin: Begin) -> Option<Stay> {
    let stay = catch_unwind(AssertUnwindSafe(|| begin(held)));
    if stay.is_err() {
        tenfold_scoreboard::current().panics.add(1);
    }
    stay.ok()
}

/// What comes first: bytes, the end, or the time.
fn wait(held: &mut Held, longest: Duration) -> Roused {
    let until = Instant::now().checked_add(longest);
    match held.read_more(until) {
        Ok(true) => Roused::Bytes,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Roused::Quiet,
        Ok(false) | Err(_) => Roused::End,
    }
}

/// What a take-over runs first.
pub(crate) type Begin = Box<dyn FnOnce(Held) -> Stay + Send>;

fn go_on(mut home: Box<Home>, mut pause: Pause) {
    while let Pause::Rest(longest) = pause {
        let mut news = Roused::Bytes;
        if home.held.early.is_empty() {
            // What is kept of an idle connection is what it needs.
            home.held.early = Vec::new();
            let line = &mut home.held.line;
            let feed = *line.feed.get_or_insert_with(|| feed::open(line.stream.socket()));
            match feed::rest(feed, home, longest) {
                Ok(()) => return,
                Err(back) => home = back,
            }
            news = wait(&mut home.held, longest);
        }
        let Home { held, resident } = &mut *home;
        pause = guarded(|| resident.roused(held, news));
    }
    end(home.held, pause);
}

fn end(held: Held, pause: Pause) {
    match pause {
        Pause::Linger => discard(&held.line.stream, held.line.feed, held.line.service.bounds.linger),
        _ => {
            let _ = held.line.stream.shutdown(Shutdown::Write);
        }
    }
}

impl Dormant for Home {
    fn rouse(mut self: Box<Self>, _feed: FeedId, news: News<'_>) {
        let news = match news {
            News::Bytes(bytes) => {
                self.held.early.extend_from_slice(bytes);
                Roused::Bytes
            }
            News::TimedOut => Roused::Quiet,
            News::End(_) | News::Stopping => Roused::End,
        };
        let Ok(stack) = reserve() else {
            // Dropped, and so closed: the peer comes again.
            tenfold_scoreboard::current().rejections.add(tenfold_scoreboard::Shed::Resources);
            return;
        };
        stack.spawn("held connection", move || {
            let Home { held, resident } = &mut *self;
            let pause = guarded(|| resident.roused(held, news));
            go_on(self, pause);
        });
    }

    /// Its owner ends it, in its own time.
    fn outlasts_stop(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("peer", &self.line.peer).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Stay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stay::With(_, _, pause) => write!(f, "With({pause:?})"),
            Stay::Over(_, pause) => write!(f, "Over({pause:?})"),
        }
    }
}
