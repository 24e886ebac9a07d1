//! What the threads of one worker share: the opened application, its lanes, the limits, and the word to stop.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tenfold_scoreboard::{self as scoreboard, Scoreboard};
use tenfold_supervisor::{Order, OrderReader, Report, Reporter, Worker};

use crate::access_log::{AccessLog, LogFormat, LogTarget};
use crate::app::Opened;
use crate::drive::balance::Balance;
use crate::drive::crowd::Crowd;
use crate::drive::linger::Lingering;
use crate::drive::shortage::Shortage;
use crate::guard::addresses::Addresses;
use crate::guard::memory;
use crate::guard::request_start::RequestStart;
use crate::lane::{Lane, OpenLane};
use crate::limits::Bounds;
use crate::models::Model;
use crate::part::Companions;
use crate::plan::Plan;
use crate::router::Router;
use crate::services::{Listening, Services};
use crate::settings::Settings;
use crate::sight::title;
use crate::state::StateMap;

pub(crate) struct Service {
    pub(crate) router: Arc<Router>,
    pub(crate) state: Arc<StateMap>,
    /// What runs beside the requests.
    companions: Companions,
    /// What is served beside HTTP.
    pub(crate) services: Services,
    /// By the index that a route carries.
    pub(crate) lanes: Vec<OpenLane>,
    pub(crate) bounds: Bounds,
    pub(crate) server_header: Option<String>,
    pub(crate) access_log: AccessLog,
    /// Whether accounts are kept.
    pub(crate) sight: bool,
    /// Whether one thread of this process reads and answers all requests, wherever their handlers run.
    pub(crate) is_single: bool,
    /// What one client address may have, where that is bounded.
    pub(crate) addresses: Option<Arc<Addresses>>,
    /// Who is believed when a request began.
    pub(crate) request_start: RequestStart,
    /// Descriptors that could not be had.
    pub(crate) shortage: Shortage,
    /// Clients that close at their leisure, once the worker stops.
    pub(crate) lingering: Lingering,
    pub(crate) stop: Stop,
    /// How long an idle connection may still send a request after the word to stop.
    pub(crate) idle_grace: Duration,
    /// A stop is near: health checks are answered with 503, everything else goes on.
    unready: AtomicBool,
    /// Where orders come in, in a worker that has no second thread to hear them.
    orders: OnceLock<(OrderReader, Reporter)>,
    /// Who waits for a thread, in the models where a connection holds one.
    crowd: OnceLock<Crowd>,
    /// The board of all processes, where there is a master.
    board: Option<Scoreboard>,
    /// Whether other workers accept from the same sockets.
    is_shared: bool,
    open: AtomicUsize,
}

impl Service {
    /// Opens the application for this worker: called after the fork, before the worker says that it is ready.
    pub(crate) fn open(plan: &Plan, model: &dyn Model) -> Result<Arc<Service>, String> {
        let addresses = Addresses::new(plan.settings.limits.addresses());
        let facts = model.facts(&plan.settings);
        let is_single = facts.threads_max == 1 || facts.evented && plan.settings.threads.unwrap_or(1) == 1;
        let own = model.place(&Lane::default(), &plan.settings)?;
        let services = Services::open(plan.blueprint.services(), own, facts.evented)?;
        let service = Self::open_with(plan, addresses, is_single, services, |name, lane| {
            let placement = model.place(lane, &plan.settings)?;
            OpenLane::open(name, lane, placement).map_err(|error| format!("lane {name:?}: {error}"))
        })?;
        let companions = plan.blueprint.companions(&plan.settings);
        service.companions.start(companions, plan.blueprint.last_words(), &service.state)?;
        Ok(service)
    }

    /// Opens the application for a handler process, whose requests a front has admitted.
    pub(crate) fn open_behind_front(plan: &Plan) -> Result<Arc<Service>, String> {
        let service = Self::open_with(plan, None, true, Services::none(), |name, lane| {
            Ok(OpenLane::behind_front(name, lane))
        })?;
        service.companions.start([], plan.blueprint.last_words(), &service.state)?;
        Ok(service)
    }

    fn open_with(
        plan: &Plan,
        addresses: Option<Arc<Addresses>>,
        is_single: bool,
        services: Services,
        open: impl Fn(&str, &Lane) -> Result<OpenLane, String>,
    ) -> Result<Arc<Service>, String> {
        let settings = &plan.settings;
        let Opened { router, state, lanes } = plan.blueprint.open().map_err(|error| error.to_string())?;
        let lanes =
            lanes.into_iter().map(|(name, lane)| open(&name, &lane)).collect::<Result<_, String>>()?;
        Ok(Arc::new(Service {
            router,
            state: Arc::new(state),
            companions: plan.companions.clone(),
            services,
            lanes,
            bounds: settings.limits.bounds(),
            server_header: Some(settings.server_header.clone()).filter(|name| !name.is_empty()),
            sight: settings.sight == "on",
            is_single,
            access_log: open_access_log(settings).map_err(|error| format!("access log: {error}"))?,
            addresses,
            request_start: RequestStart::new(&settings.limits.request_start_from)?,
            shortage: Shortage::default(),
            lingering: Lingering::default(),
            stop: Stop::new().map_err(|error| format!("cannot create an eventfd: {error}"))?,
            idle_grace: Duration::from_secs_f64(settings.keepalive_min_grace_secs),
            unready: AtomicBool::new(false),
            orders: OnceLock::new(),
            crowd: OnceLock::new(),
            board: plan.board,
            is_shared: !plan.listen.reuseport,
            open: AtomicUsize::new(0),
        }))
    }

    /// Connections of this worker at the moment.
    pub(crate) fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether the word to stop was said. In a worker with one thread this looks for orders, which costs a system call.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        if !self.stop.was_said()
            && let Some((orders, reporter)) = self.orders.get()
        {
            while let Some(order) = orders.try_order() {
                self.obey(order, reporter);
            }
        }
        self.stop.was_said()
    }

    /// Whether the word to stop was said. Looks for no orders.
    pub(crate) fn was_told_to_stop(&self) -> bool {
        self.stop.was_said()
    }

    /// Whether health checks are to say "no".
    #[inline]
    pub(crate) fn is_unready(&self) -> bool {
        self.unready.load(Ordering::Relaxed)
    }

    /// From now on [`Service::is_stopping`] looks for orders.
    pub(crate) fn listen(&self, worker: &Worker) -> Result<(), String> {
        let reader = worker.order_reader().map_err(|error| error.to_string())?;
        let _ = self.orders.set((reader, worker.reporter().clone()));
        Ok(())
    }

    /// From now on connections make room for those who wait for a thread, of which there are `at_once`;
    /// so many accept from each socket.
    pub(crate) fn share_threads(&self, listening: &Listening, acceptors: usize, at_once: usize) {
        let _ = self.crowd.set(Crowd::new(listening.clone(), acceptors, at_once));
    }

    /// Who waits for a thread, if connections hold one each.
    #[inline]
    pub(crate) fn crowd(&self) -> Option<&Crowd> {
        self.crowd.get()
    }

    /// Obeys all orders that are there. Whether one of them was to stop.
    pub(crate) fn hear(&self, worker: &Worker) -> bool {
        while let Some(order) = worker.try_order() {
            self.obey(order, worker.reporter());
        }
        self.stop.was_said()
    }

    /// Does what the master says. Whether it was to stop; a fast stop ends the process here, with whatever it was doing.
    pub(crate) fn obey(&self, order: Order, reporter: &Reporter) -> bool {
        match order {
            Order::Graceful => {
                self.stop.say();
                // Whoever reads the title may rely on it.
                title::state("draining");
                self.companions.stop();
            }
            Order::Fast => {
                self.companions.abandon();
                std::process::exit(0)
            }
            Order::Unready => self.unready.store(true, Ordering::Relaxed),
            Order::ReopenLogs => {
                let access = self.access_log.reopen().map_err(|error| format!("access log: {error}"));
                reporter.say(&Report::Logs(access.and(crate::logs::reopen_error_log())));
            }
            Order::Log(level) => drop(crate::logs::set_level(level)),
            Order::Dump => reporter.say(&Report::Dump(crate::dump::text())),
            // A newer master's order: this program does not know it.
            _ => {}
        }
        self.stop.was_said()
    }

    /// Whether the handler process in that slot has begun to answer the request that it has.
    pub(crate) fn has_answer_started(&self, slot: usize) -> bool {
        self.board.is_none_or(|board| board.slot(slot).answer_started.load(Ordering::Acquire) != 0)
    }

    /// For an acceptor, where several workers take their connections from one queue.
    pub(crate) fn balance(&self) -> Option<Balance> {
        self.is_shared.then(|| Balance::new(self.board, scoreboard::current()))?
    }

    /// Whether one more connection may be accepted.
    pub(crate) fn has_room(&self) -> bool {
        self.connections() < self.bounds.connections_max && memory::has_room(self.bounds.buffers_bytes_max)
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

impl Open {
    /// The same connection in other hands: it is not accepted twice.
    pub(crate) fn hand_on(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        scoreboard::current().connections_open.add(1);
        Open(self.0.clone())
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
}

impl Stop {
    fn new() -> io::Result<Stop> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Stop { said: AtomicBool::new(false), eventfd: Arc::new(eventfd) })
    }

    pub(crate) fn say(&self) {
        self.said.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    #[inline]
    fn was_said(&self) -> bool {
        self.said.load(Ordering::Acquire)
    }
}
