//! What the threads of one worker share: the opened application, its lanes, the limits, and the word to stop.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tenfold_scoreboard::{self as scoreboard, Scoreboard};

use crate::access_log::{AccessLog, LogFormat, LogTarget};
use crate::app::Opened;
use crate::lane::{Lane, OpenLane};
use crate::limits::Bounds;
use crate::models::Model;
use crate::plan::Plan;
use crate::router::Router;
use crate::settings::Settings;
use crate::state::StateMap;

pub(crate) struct Service {
    pub(crate) router: Arc<Router>,
    pub(crate) state: StateMap,
    /// By the index that a route carries.
    pub(crate) lanes: Vec<OpenLane>,
    pub(crate) bounds: Bounds,
    pub(crate) server_header: Option<String>,
    pub(crate) access_log: AccessLog,
    pub(crate) stop: Stop,
    /// The board of all processes, where there is a master.
    board: Option<Scoreboard>,
    open: AtomicUsize,
}

impl Service {
    /// Opens the application for this worker: called after the fork, before the worker says that it is ready.
    pub(crate) fn open(plan: &Plan, model: &dyn Model) -> Result<Arc<Service>, String> {
        Self::open_with(plan, |name, lane| {
            let placement = model.place(lane, &plan.settings)?;
            OpenLane::open(name, lane, placement).map_err(|error| format!("lane {name:?}: {error}"))
        })
    }

    /// Opens the application for a handler process, whose requests a front has admitted.
    pub(crate) fn open_behind_front(plan: &Plan) -> Result<Arc<Service>, String> {
        Self::open_with(plan, |name, _| Ok(OpenLane::behind_front(name)))
    }

    fn open_with(
        plan: &Plan,
        open: impl Fn(&str, &Lane) -> Result<OpenLane, String>,
    ) -> Result<Arc<Service>, String> {
        let settings = &plan.settings;
        let Opened { router, state, lanes } = plan.blueprint.open().map_err(|error| error.to_string())?;
        let lanes =
            lanes.into_iter().map(|(name, lane)| open(&name, &lane)).collect::<Result<_, String>>()?;
        Ok(Arc::new(Service {
            router,
            state,
            lanes,
            bounds: settings.limits.bounds(),
            server_header: Some(settings.server_header.clone()).filter(|name| !name.is_empty()),
            access_log: open_access_log(settings).map_err(|error| format!("access log: {error}"))?,
            stop: Stop::new().map_err(|error| format!("cannot create an eventfd: {error}"))?,
            board: plan.board,
            open: AtomicUsize::new(0),
        }))
    }

    /// Connections of this worker at the moment.
    pub(crate) fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether the handler process in that slot has begun to answer the request that it has.
    pub(crate) fn has_answer_started(&self, slot: usize) -> bool {
        self.board.is_none_or(|board| board.slot(slot).answer_started.load(Ordering::Acquire) != 0)
    }

    /// Whether one more connection may be accepted.
    pub(crate) fn has_room(&self) -> bool {
        self.connections() < self.bounds.connections_max
    }
}

fn open_access_log(settings: &Settings) -> io::Result<AccessLog> {
    let format = match settings.access_log.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => LogFormat::Off,
    };
    let target = settings.access_log_file.clone().map_or(LogTarget::Stdout, LogTarget::File);
    AccessLog::open(format, &target)
}

/// One connection in the worker's count.
pub(crate) struct Open(Arc<Service>);

impl Open {
    pub(crate) fn count(service: &Arc<Service>) -> Open {
        service.open.fetch_add(1, Ordering::Relaxed);
        scoreboard::current().connections_accepted.add(1);
        scoreboard::current().connections_open.add(1);
        Open(service.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        scoreboard::current().connections_open.sub(1);
    }
}

/// The word to stop, for all threads of a worker.
pub(crate) struct Stop {
    said: AtomicBool,
    /// Readable once said, and never read: blocking waits poll it beside their own descriptor.
    pub(crate) eventfd: Arc<OwnedFd>,
    /// Where orders come in, in a worker that has no second thread to hear them.
    orders: OnceLock<Arc<OwnedFd>>,
}

fn has_order(orders: &OwnedFd) -> bool {
    let now = Timespec::default();
    poll(&mut [PollFd::new(orders, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

impl Stop {
    fn new() -> io::Result<Stop> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Stop { said: AtomicBool::new(false), eventfd: Arc::new(eventfd), orders: OnceLock::new() })
    }

    pub(crate) fn say(&self) {
        self.said.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    /// An order on `orders` counts as the word from now on: looking costs a system call for each request.
    pub(crate) fn listen(&self, orders: &Arc<OwnedFd>) {
        let _ = self.orders.set(orders.clone());
    }

    #[inline]
    pub(crate) fn was_said(&self) -> bool {
        self.said.load(Ordering::Acquire) || self.orders.get().is_some_and(|orders| has_order(orders))
    }
}
