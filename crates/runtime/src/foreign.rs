//! Waiting for descriptors that are not ours: those of drivers, which know nothing of us. For the crate `hook`.
//!
//! A driver opens, closes and duplicates its descriptors as it likes, and a pool hands its connections from one thread
//! to another. So nothing is kept about a descriptor from one wait to the next; only while a fiber waits is it listed
//! here, by number, so that whoever closes the number can end the wait.
//!
//! ```text
//!   SHARDS[fd mod 1024] ── waits: (fd, fiber, closed)
//!                             ▲ wait: listed before, taken off after         ▼
//!                             └ closing: marks those of its number, wakes their fibers
//! ```

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tenfold_fiber::trace::{self, Place};
use tenfold_reactor::{Op, Token};

use crate::cause::Cause;
use crate::expiry;
use crate::park::{self, earlier, loop_that_may_park};
use crate::remote;
use crate::table::WakeId;

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The descriptor is ready, or was a moment ago: try again.
    Ready,
    /// The given time has passed.
    TimedOut,
    /// The task's deadline has passed.
    Deadline,
    /// The task was cancelled.
    Cancelled,
    /// Somebody has closed the descriptor's number meanwhile: it must not be used any more.
    Closed,
    /// It cannot be waited for; the number of the error. Without a fiber this is `EDEADLK`.
    Failed(i32),
}

const EDEADLK: i32 = 35;
const SHARDS: usize = 1024;
/// How often a closer tries to get at a shard. It may be a signal handler that has interrupted the shard's holder: that
/// one closes without a word, and the waiter stays until its time is over.
const CLOSER_TRIES: usize = 10_000;
/// The least that a task sleeps whose time is over: a loop that sleeps between looks must not become one that does not.
const NAP_MIN: Duration = Duration::from_millis(10);

struct Wait {
    fd: RawFd,
    fiber: WakeId,
    closed: bool,
    parked: Parked,
}

/// A fiber that waits, for the watchdog: it may hold a lock that another fiber of its thread blocks that thread for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub(crate) name: &'static str,
    pub(crate) since: Instant,
    pub(crate) place: Place,
}

/// The fibers of a loop that wait here, those that have waited longest first, at most `most`.
pub(crate) fn parked_on(slot: u32, most: usize) -> Vec<Parked> {
    let mut all = Vec::new();
    for shard in &WAITS {
        all.extend(shard.lock().iter().filter(|wait| wait.fiber.slot() == slot).map(|wait| wait.parked));
    }
    all.sort_by_key(|parked| parked.since);
    all.truncate(most);
    all
}

/// Bounded by the number of fibers, each of which waits once.
static WAITS: [spin::Mutex<Vec<Wait>>; SHARDS] = [const { spin::Mutex::new(Vec::new()) }; SHARDS];
/// All that are listed: closing costs one load while it is zero.
static LISTED: AtomicUsize = AtomicUsize::new(0);

/// Parks the running fiber until one of the `events` (poll(2)) may have come.
///
/// ```
/// use std::{io::Write, net::{TcpListener, TcpStream}, os::fd::AsFd};
/// use tenfold_runtime::{Runtime, foreign::{Ended, wait}, spawn};
///
/// Runtime::new(&Default::default())?.run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
///     let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
///     let server = listener.accept().unwrap().0;
///     let waiting = spawn(move || wait(server.as_fd(), 0x1, None));
///     client.write_all(b"x").unwrap();
///     assert_eq!(waiting.join().unwrap(), Ended::Ready);
/// })?;
/// # Ok::<(), tenfold_runtime::RuntimeError>(())
/// ```
///
/// Cost: one system call with epoll, one more entry of the next submission with io_uring.
pub fn wait(fd: BorrowedFd<'_>, events: u16, until: Option<Instant>) -> Ended {
    match run(fd, &mut Op::PollForeign { fd, events }, until) {
        Ok(()) => Ended::Ready,
        Err(ended) => ended,
    }
}

/// Connects a socket whose calls block, to an address as connect(2) takes it; the running fiber parks meanwhile. Nothing
/// about the socket changes for others who share it. `None` where the loop cannot do that (epoll), or there is none.
///
/// # Errors
/// As [`wait`]; the kernel's own are [`Ended::Failed`].
pub fn connect(fd: BorrowedFd<'_>, address: &[u8], until: Option<Instant>) -> Option<Result<(), Ended>> {
    loop_that_may_park()?
        .reactor()
        .connects()
        .then(|| run(fd, &mut Op::ConnectForeign { fd, address }, until))
}

/// Runs an operation on the running fiber, where a closer of its descriptor can find it.
fn run(fd: BorrowedFd<'_>, op: &mut Op<'_>, until: Option<Instant>) -> Result<(), Ended> {
    let Some(scheduler) = loop_that_may_park() else { return Err(Ended::Failed(EDEADLK)) };
    let Some(fiber) = scheduler.running() else { return Err(Ended::Failed(EDEADLK)) };
    let (name, deadline) = scheduler
        .with_running(|record| (record.name, record.task.deadline))
        .expect("a running fiber has a record");
    let parked = Parked { name, since: scheduler.reactor().now(), place: trace::place() };
    let listed = Listed::enter(fd.as_raw_fd(), WakeId::new(scheduler.id, fiber), parked);
    let limit = earlier(until, deadline);
    let cancelled = || scheduler.with_running(|record| record.task.cancelled) == Some(true);
    let mut ended = None;
    let outcome = scheduler.reactor().run(op, Token(fiber.pack()), |pending| {
        if ended.is_some() {
            // The cancel is on its way: its target's own completion is what has to be waited for now.
            scheduler.park_running(Cause::Network, None);
            return;
        }
        let why = || match () {
            () if listed.is_closed() => Some(Ended::Closed),
            () if cancelled() => Some(Ended::Cancelled),
            () => None,
        };
        ended = why().or_else(|| {
            let late = scheduler.park_running(Cause::Network, limit).then(|| out_of_time(deadline));
            why().or(late)
        });
        if ended.is_some() {
            pending.cancel();
        }
    });
    // What was ready under an old number says nothing about its new owner.
    if listed.is_closed() {
        return Err(Ended::Closed);
    }
    if ended == Some(Ended::Deadline) && outcome.is_err() {
        expiry::note_operation(op, until);
    }
    outcome
        .map(drop)
        .map_err(|error| ended.unwrap_or_else(|| Ended::Failed(error.raw_os_error().unwrap_or(EDEADLK))))
}

/// Tells whoever waits for a descriptor that its number is about to be closed, or given to another.
///
/// Takes no lock that a waiter keeps, allocates nothing, and does nothing while nobody waits: fit for a signal handler.
pub fn closing(fd: RawFd) {
    if LISTED.load(Ordering::Acquire) == 0 || fd < 0 {
        return;
    }
    let shard = shard(fd);
    let Some(mut waits) = (0..CLOSER_TRIES).find_map(|_| shard.try_lock()) else { return };
    for wait in waits.iter_mut().filter(|wait| wait.fd == fd) {
        wait.closed = true;
        remote::wake(wait.fiber);
    }
}

/// As [`closing`], for all numbers from `first` to `last`.
pub fn closing_range(first: u32, last: u32) {
    if LISTED.load(Ordering::Acquire) == 0 {
        return;
    }
    for shard in &WAITS {
        let Some(mut waits) = (0..CLOSER_TRIES).find_map(|_| shard.try_lock()) else { continue };
        for wait in waits.iter_mut().filter(|wait| (first..=last).contains(&(wait.fd as u32))) {
            wait.closed = true;
            remote::wake(wait.fiber);
        }
    }
}

/// Parks the running fiber until `until`. When the task is cancelled or out of time it wakes early, but not before it has
/// slept 10 ms.
pub fn sleep_until(until: Instant) -> Ended {
    let Some(scheduler) = loop_that_may_park() else { return Ended::Failed(EDEADLK) };
    let began = Instant::now();
    let deadline = scheduler.with_running(|record| record.task.deadline).flatten();
    loop {
        let ended = match scheduler.park_current(Cause::Sleep, Some(until)) {
            park::Unparked::Woken => continue,
            park::Unparked::TimedOut if Instant::now() >= until => return Ended::TimedOut,
            park::Unparked::TimedOut => {
                expiry::note_park(Cause::Sleep, Some(until));
                out_of_time(deadline)
            }
            park::Unparked::Cancelled => Ended::Cancelled,
        };
        let least = until.min(began + NAP_MIN);
        while Instant::now() < least {
            scheduler.park_running(Cause::Sleep, Some(least));
        }
        return ended;
    }
}

fn out_of_time(deadline: Option<Instant>) -> Ended {
    match deadline {
        Some(deadline) if deadline <= Instant::now() => Ended::Deadline,
        _ => Ended::TimedOut,
    }
}

fn shard(fd: RawFd) -> &'static spin::Mutex<Vec<Wait>> {
    &WAITS[fd as usize % SHARDS]
}

/// A wait that a closer can find.
struct Listed {
    fd: RawFd,
    fiber: WakeId,
}

impl Listed {
    fn enter(fd: RawFd, fiber: WakeId, parked: Parked) -> Listed {
        LISTED.fetch_add(1, Ordering::AcqRel);
        shard(fd).lock().push(Wait { fd, fiber, closed: false, parked });
        Listed { fd, fiber }
    }

    fn is_closed(&self) -> bool {
        shard(self.fd).lock().iter().any(|wait| wait.fiber == self.fiber && wait.closed)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut waits = shard(self.fd).lock();
        if let Some(place) = waits.iter().position(|wait| wait.fiber == self.fiber) {
            waits.swap_remove(place);
        }
        drop(waits);
        LISTED.fetch_sub(1, Ordering::AcqRel);
    }
}
