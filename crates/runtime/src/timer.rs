//! `after` and `every`: functions that this process runs later, and can take back.
//!
//! In scope: a time by this process's clock, in its memory. Out of scope: what has to happen although the process dies, or once for
//! all of them: that is a job, or a schedule.
//!
//! They run on a thread of their own with a loop, the same for all, whatever the caller is: a fiber, a thread, a request of any
//! model. Each run is a fiber there, so one that waits holds up no other; one that computes for long does.
//!
//! ```text
//!   after, every ─► board: by time ─► thread `timers`: waits for the first ─► a fiber ─► every: back to the board
//!   Timer::cancel ─► takes it off the board
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::main_loop::{Runtime, RuntimeConfig};
use crate::park;
use crate::spawn::spawn_detached;
use crate::sync::Semaphore;

/// Most timers of a process at a time.
const TIMERS_MAX: usize = 4_000_000;
/// Most runs at a time; more are late.
const RUNS_MAX: usize = 10_000;
/// Timers that are taken off the board in one go, so that others get at it in between.
const TAKE_MAX: usize = 1_000;

/// A function that is to run later. Dropping it changes nothing.
///
/// ```
/// use std::time::Duration;
/// use tenfold_runtime::timer;
///
/// let timer = timer::after(Duration::from_secs(3600), || println!("an hour has passed"))?;
/// assert!(timer.cancel(), "it has not run");
/// assert!(!timer.cancel());
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Timer {
    number: u64,
    /// Its place on the board; moves with each period. `None` while it runs, and once it is over.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    at: Option<Instant>,
    cancelled: bool,
}

/// Runs `f` once, not before `delay` has passed.
///
/// Costs a lock and a place in a tree of all timers. They are the process's: begin them after the fork (`App::state_with`, a
/// handler), and what has not run when it ends does not run.
///
/// # Errors
/// `QuotaExceeded` beyond 4,000,000 timers at a time; whatever keeps their thread from starting.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::{Duration, Instant};
/// use tenfold_runtime::timer;
///
/// let (sender, receiver) = mpsc::channel();
/// let begun = Instant::now();
/// timer::after(Duration::from_millis(5), move || sender.send(Instant::now()).unwrap())?;
/// assert!(receiver.recv().unwrap() - begun >= Duration::from_millis(5));
/// # std::io::Result::Ok(())
/// ```
pub fn after(delay: Duration, f: impl FnOnce() + Send + 'static) -> io::Result<Timer> {
    let mut f = Some(f);
    add(park::after(delay), None, Box::new(move || f.take().into_iter().for_each(|f| f())))
}

/// Runs `f` again and again, each time a whole number of periods after now and never earlier: a run that is late, or takes long,
/// moves none of the later ones. The next one begins after the last one has ended; times that have passed meanwhile are left out.
/// A panic is logged and ends only its own run.
///
/// # Errors
/// As [`after`]; `InvalidInput` for a period of zero.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use tenfold_runtime::timer;
///
/// let (sender, receiver) = mpsc::channel();
/// let ticks = timer::every(Duration::from_millis(2), move || drop(sender.send(())))?;
/// assert_eq!(receiver.iter().take(3).count(), 3);
/// ticks.cancel();
/// # std::io::Result::Ok(())
/// ```
pub fn every(period: Duration, f: impl FnMut() + Send + 'static) -> io::Result<Timer> {
    if period.is_zero() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a period is longer than nothing"));
    }
    add(park::after(period), Some(period), Box::new(f))
}

impl Timer {
    /// Takes it back: it does not run any more. A run that has begun goes on to its end.
    ///
    /// Whether that has changed anything: `false` once a function of [`after`] has begun, and the second time.
    pub fn cancel(&self) -> bool {
        let Some(timers) = TIMERS.get().and_then(|timers| timers.as_ref().ok()) else { return false };
        let mut board = timers.board();
        let mut state = lock(&self.state);
        let was_live = !state.cancelled && (state.at.is_some() || board.repeats.contains(&self.number));
        state.cancelled = true;
        let task = state.at.take().and_then(|at| board.waiting.remove(&(at, self.number)));
        board.repeats.remove(&self.number);
        drop((state, board));
        // What it has captured may do anything when it is dropped.
        drop(task);
        was_live
    }
}

/// When it is due, and its number: one after another where the time is the same.
type Key = (Instant, u64);

/// One function, and when it is due again.
struct Task {
    f: Box<dyn FnMut() + Send>,
    period: Option<Duration>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct Board {
    waiting: BTreeMap<Key, Task>,
    /// Those of [`every`] that run at the moment.
    repeats: BTreeSet<u64>,
    next_number: u64,
}

struct Timers {
    board: Mutex<Board>,
    /// Something is due before what is waited for.
    bell: Semaphore,
}

static TIMERS: OnceLock<Result<Timers, String>> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(at: Instant, period: Option<Duration>, f: Box<dyn FnMut() + Send>) -> io::Result<Timer> {
    let timers = TIMERS.get_or_init(start).as_ref().map_err(|error| io::Error::other(error.as_str()))?;
    let state = Arc::new(Mutex::new(State { at: Some(at), cancelled: false }));
    let mut board = timers.board();
    if board.waiting.len() + board.repeats.len() >= TIMERS_MAX {
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many timers"));
    }
    board.next_number += 1;
    let number = board.next_number;
    let task = Task { f, period, state: state.clone() };
    timers.put(board, (at, number), task);
    Ok(Timer { number, state })
}

/// Starts the thread, at the first timer of a process.
fn start() -> Result<Timers, String> {
    let run = || {
        let timers = match TIMERS.wait() {
            Ok(timers) => timers,
            Err(_) => return,
        };
        let outcome =
            Runtime::new(&RuntimeConfig::default()).and_then(|runtime| runtime.run(|| timers.run()));
        if let Err(error) = outcome {
            tracing::error!(%error, "the thread of the timers has ended");
        }
    };
    let thread = std::thread::Builder::new().name("timers".into()).spawn(run);
    thread.map_err(|error| format!("cannot start the thread of the timers: {error}"))?;
    Ok(Timers { board: Mutex::default(), bell: Semaphore::new(0) })
}

impl Timers {
    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    fn put(&self, mut board: MutexGuard<'_, Board>, key: Key, task: Task) {
        let is_first = board.waiting.first_key_value().is_none_or(|(first, _)| key < *first);
        board.waiting.insert(key, task);
        drop(board);
        if is_first {
            self.bell.release(1);
        }
    }

    /// The thread `timers`, on its loop's first fiber.
    fn run(&'static self) {
        let places = Arc::new(Semaphore::new(RUNS_MAX));
        loop {
            let (due, next) = self.take_due(Instant::now());
            for (key, task) in due {
                // Nobody ends this semaphore, and this fiber has no deadline.
                let Ok(place) = places.acquire_owned(1, None) else { return };
                let run = move || {
                    self.run_one(key, task);
                    drop(place);
                };
                if let Err((error, run)) = spawn_detached("timer", run) {
                    tracing::warn!(%error, "no fiber for a timer: it runs between the others");
                    run();
                }
            }
            if let Ok(permit) = self.bell.acquire_many_until(1, next) {
                permit.forget();
            }
        }
    }

    /// Takes off the board what is due, and says when to look again.
    fn take_due(&self, now: Instant) -> (Vec<(Key, Task)>, Option<Instant>) {
        let mut board = self.board();
        let mut due = Vec::new();
        while due.len() < TAKE_MAX
            && let Some(first) = board.waiting.first_entry()
            && first.key().0 <= now
        {
            let (key, task) = first.remove_entry();
            lock(&task.state).at = None;
            if task.period.is_some() {
                board.repeats.insert(key.1);
            }
            due.push((key, task));
        }
        (due, board.waiting.first_key_value().map(|((at, _), _)| *at))
    }

    fn run_one(&self, (at, number): Key, mut task: Task) {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (task.f)())).is_err() {
            tracing::error!("a timer's function panicked");
        }
        let Some(period) = task.period else { return };
        let mut board = self.board();
        if !board.repeats.remove(&number) {
            // It was cancelled while it ran.
            return;
        }
        let at = next_time(at, period, Instant::now());
        lock(&task.state).at = Some(at);
        self.put(board, (at, number), task);
    }
}

/// The first whole number of periods after `at` that is later than `now`.
fn next_time(at: Instant, period: Duration, now: Instant) -> Instant {
    let missed = now.saturating_duration_since(at).as_nanos() / period.as_nanos();
    let nanos = (missed + 1).saturating_mul(period.as_nanos());
    let step = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    at.checked_add(step).unwrap_or_else(|| park::after(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_run_moves_none_of_the_later_ones() {
        let (at, ms) = (Instant::now(), Duration::from_millis);
        assert_eq!(next_time(at, ms(10), at), at + ms(10));
        assert_eq!(next_time(at, ms(10), at + ms(3)), at + ms(10));
        assert_eq!(next_time(at, ms(10), at + ms(10)), at + ms(20), "what is due now has passed");
        assert_eq!(next_time(at, ms(10), at + ms(57)), at + ms(60));
    }
}
