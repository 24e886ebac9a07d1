//! As `fiber`, and a request that has not started may be taken by an idle thread.
//!
//! **Use it when** requests differ much in cost and a worker has several threads: a request does not wait behind a long one
//! while another thread is idle. **Costs** one submission and one receive more for each request than `fiber`, since the
//! connection has to be free to move. **Refuses** what `fiber` refuses; handlers run on several threads at once.
//! **Compared with** Go a request that has started stays where it is: what waits on a stack cannot move (thread-locals,
//! lock guards), and so nothing of it has to be `Send`.
//!
//! ```text
//!   loop A: request came ─▶ queue A ─▶ a fiber of A takes the oldest
//!                              │
//!                              └─ a second one waits and loop B sleeps: B is woken and takes the newest half
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tenfold_runtime::feed::{self, Dormant, FeedId, News};
use tenfold_runtime::{LoopHandle, reserve};
use tenfold_supervisor::{ExitReason, Worker};

use super::{Facts, Model, loops, place_on_loops};
use crate::drive::connection::Connection;
use crate::drive::evented::turn_away;
use crate::drive::exchange::{Next, serve};
use crate::drive::held;
use crate::drive::linger::linger;
use crate::drive::workspace::Workspace;
use crate::lane::{Lane, Placement};
use crate::plan::Plan;
use crate::service::Service;
use crate::settings::Settings;

pub(super) struct Steal;

/// Requests that have come and not started, of one loop. Bounded by the worker's connections.
type Queue = Arc<Mutex<VecDeque<Box<Connection>>>>;

/// The loops of this worker process, in the order of their handles. Set once, before any of them serves.
static LOOPS: OnceLock<Vec<Victim>> = OnceLock::new();

struct Victim {
    handle: LoopHandle,
    queue: Queue,
}

thread_local! {
    /// This loop's index in `LOOPS`.
    static MINE: std::cell::OnceCell<usize> = const { std::cell::OnceCell::new() };
}

impl Model for Steal {
    fn name(&self) -> &'static str {
        "steal"
    }

    fn layers(&self) -> (&'static str, &'static str) {
        ("as fiber", "as fiber, and a request that has not started yet may be taken by an idle thread")
    }

    fn known_from(&self) -> &'static str {
        "Go, Java virtual threads"
    }

    fn facts(&self, settings: &Settings) -> Facts {
        loops::facts(settings)
    }

    fn cannot_cancel(&self) -> &'static str {
        "a loop that is held by a handler that computes or blocks outside of Tenfold"
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        settings.refuse_pool_threads(self.name())?;
        settings.refuse_handlers(self.name())
    }

    fn place(&self, lane: &Lane, _settings: &Settings) -> Result<Placement, String> {
        place_on_loops(self.name(), lane, Placement::Fiber)
    }

    fn run(&self, worker: &Worker, plan: &Plan) -> ExitReason {
        loops::run(&Steal, worker, plan, begin, |_: &Arc<Service>, handles| {
            let victims =
                handles.iter().map(|handle| Victim { handle: handle.clone(), queue: Queue::default() });
            let _ = LOOPS.set(victims.collect());
            for (index, handle) in handles.iter().enumerate() {
                handle.spawn("steal", move || MINE.with(|mine| mine.set(index).unwrap_or(())));
            }
            Ok(())
        })
    }
}

fn begin(mut conn: Connection) {
    // From here on it is the client who is waited for.
    conn.dawn.looked();
    let idle_max = conn.service.bounds.header_timeout;
    rest(Box::new(Movable(conn)), idle_max);
}

fn rest(conn: Box<Movable>, idle_max: Duration) {
    let socket = conn.0.stream.socket().clone();
    feed::rest_once(&socket, conn, idle_max);
}

/// A connection at rest that any loop of the worker may serve next.
struct Movable(Connection);

impl Dormant for Movable {
    fn rouse(self: Box<Self>, _feed: FeedId, news: News<'_>) {
        if !matches!(news, News::Bytes(_)) {
            return;
        }
        let mut conn = self.0;
        conn.roused();
        let Some((mine, loops)) = MINE.with(|mine| mine.get().copied()).zip(LOOPS.get()) else {
            return start(Box::new(conn));
        };
        let waiting = {
            let mut queue = loops[mine].queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.push_back(Box::new(conn));
            queue.len()
        };
        start_next(mine);
        if waiting > 1
            && let Some(thief) = loops.iter().position(|other| other.handle.is_sleeping())
        {
            loops[thief].handle.spawn("steal", move || steal(mine));
        }
    }
}

/// Starts a fiber that takes this loop's oldest request, if nobody else has taken it by then.
fn start_next(mine: usize) {
    let take = move || {
        let queue = &LOOPS.get().expect("set before any loop serves")[mine].queue;
        let oldest = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(conn) = oldest {
            run(conn);
        }
    };
    match reserve() {
        Ok(stack) => stack.spawn("connection", take),
        Err(error) => {
            let queue = &LOOPS.get().expect("set before any loop serves")[mine].queue;
            let oldest = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(conn) = oldest {
                turn_away(&conn, &error);
            }
        }
    }
}

/// Runs on a fiber of an idle loop: takes the newest half of what waits at `victim`.
fn steal(victim: usize) {
    let taken = {
        let queue = &LOOPS.get().expect("set before any loop serves")[victim].queue;
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = queue.len() / 2;
        queue.split_off(keep)
    };
    taken.into_iter().for_each(start);
}

fn start(conn: Box<Connection>) {
    match reserve() {
        Ok(stack) => stack.spawn("connection", move || run(conn)),
        Err(error) => turn_away(&conn, &error),
    }
}

/// Serves what the connection has to offer on this loop, which is its loop until it rests again.
fn run(mut conn: Box<Connection>) {
    let mut work = Workspace::take();
    let mut next = match conn.stream.try_read(work.input.spare()) {
        Ok(0) => Next::Close,
        Ok(count) => {
            work.input.commit(count);
            serve(&mut conn, &mut work)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Next::Idle,
        Err(_) => Next::Close,
    };
    while next == Next::Idle && conn.service.is_stopping() {
        // Its last answer has promised to stay, before the word to stop came.
        let until = Instant::now() + conn.service.idle_grace;
        next = match conn.read(work.input.spare(), Some(until)) {
            Ok(0) | Err(_) => Next::Close,
            Ok(count) => {
                work.input.commit(count);
                serve(&mut conn, &mut work)
            }
        };
    }
    if next == Next::TakenOver {
        if let Some((held, begin)) = work.hand_over(*conn) {
            held::begin_on_loop(held, begin);
        }
        return;
    }
    work.put();
    match next {
        Next::TakenOver => {}
        Next::Idle => {
            let idle_max = conn.service.bounds.keepalive;
            conn.stream.socket().leave();
            rest(Box::new(Movable(*conn)), idle_max);
        }
        Next::Close => {}
        Next::Linger => linger(*conn),
    }
}
