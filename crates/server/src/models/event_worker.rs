//! Event loops in a front process; handlers run in separate processes behind it.
//!
//! **Use it when** handlers are not thread-safe, leak, or crash, and there are more clients than processes: the front
//! keeps the connections, and a handler process has one request at a time. **Costs** the handler processes, and a
//! descriptor passed to and fro for each request. **Refuses** `pool_threads`. **Compared with** `serial` an idle or new
//! connection holds no process; a handler that dies takes one request with it, which is answered with 502.
//!
//! What the front has not read ahead of a body is read by the handler process itself; a client that sends it slowly holds
//! one, within the body's time limits, and such clients together at most half of them (`Lane::uploads`).

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tenfold_http::h1::After;
use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{ProcessShare, park, sleep, spawn_detached};
use tenfold_supervisor::{ExitReason, Group, Worker};

use super::{Facts, Model, loops, place_on_loops};
use crate::drive::connection::Connection;
use crate::drive::evented;
use crate::drive::exchange::{Next, serve_until};
use crate::drive::held;
use crate::drive::sight::Dawn;
use crate::drive::workspace::Workspace;
use crate::guard::{Overrun, sentry};
use crate::lane::crew::{Channel, Given};
use crate::lane::{Lane, Placement};
use crate::peer::Peer;
use crate::plan::Plan;
use crate::service::Service;
use crate::settings::{Settings, refuse};
use crate::sight::title;

pub(super) struct EventWorker;

const HANDLERS: usize = 4;
/// How long a handler process waits before it tries again to reach a front that is being replaced.
const RECONNECT: Duration = Duration::from_millis(20);

fn handlers(settings: &Settings) -> usize {
    settings.handlers.unwrap_or(HANDLERS)
}

impl Model for EventWorker {
    fn name(&self) -> &'static str {
        "event-worker"
    }

    fn layers(&self) -> (&'static str, &'static str) {
        ("event loops in a front process", "separate worker processes behind it")
    }

    fn known_from(&self) -> &'static str {
        "nginx + PHP-FPM, Swoole PROCESS mode"
    }

    fn facts(&self, settings: &Settings) -> Facts {
        let handlers = handlers(settings);
        let facts = loops::facts(settings);
        Facts {
            processes: handlers,
            at_once: Some(handlers),
            parallel_handlers: false,
            overrun: Overrun::Kill,
            ..facts
        }
    }

    fn cannot_cancel(&self) -> &'static str {
        "a process that computes or blocks outside of Tenfold"
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        let name = self.name();
        refuse(name, "spawning", settings.spawning != "static", "handler processes belong to their front")?;
        refuse(name, "recycle_*", settings.recycles(), "handler processes belong to their front")?;
        settings.refuse_pool_threads(name)
    }

    fn place(&self, lane: &Lane, settings: &Settings) -> Result<Placement, String> {
        place_on_loops(self.name(), lane, Placement::Worker(handlers(settings)))
    }

    /// For each worker a front, and for each lane with handler processes as many of those. Fronts come last: they rely on
    /// the others, and a graceful stop begins with them.
    fn groups(&'static self, plan: &Arc<Plan>) -> Result<Vec<Group>, String> {
        let fronts = plan.settings.workers();
        let doors: Arc<Vec<Door>> = Arc::new((0..fronts).map(|_| Door::open()).collect::<Result<_, _>>()?);
        let mut groups = Vec::new();
        // Handlers run in the fronts as well (lanes without processes), so all of them share what the machine has.
        let mut processes = fronts + plan.blueprint.aside_processes(&plan.settings);
        for (_, lane) in plan.blueprint.lanes() {
            if let Placement::Worker(each) = self.place(lane, &plan.settings)? {
                processes += fronts * each;
            }
        }
        let mut first = fronts;
        for (index, (name, lane)) in plan.blueprint.lanes().iter().enumerate() {
            let Placement::Worker(each) = self.place(lane, &plan.settings)? else { continue };
            let (for_run, doors) = (plan.clone(), doors.clone());
            let before = first;
            first += fronts * each;
            let run = plan.process(
                move |worker| ProcessShare::new(before + worker.index(), processes),
                move |worker| match handle(worker, &for_run, &doors[worker.index() % fronts], index) {
                    Ok(()) => ExitReason::Done,
                    Err(reason) => ExitReason::Failed(reason),
                },
            );
            let group = Group::new(format!("handler {name}"), fronts * each, run);
            groups.push(group.identity(plan.identity.clone()));
        }
        let for_run = plan.clone();
        let run = plan.process(
            move |worker| ProcessShare::new(worker.index(), processes),
            move |worker| {
                let door = &doors[worker.index()];
                loops::run(self, worker, &for_run, evented::begin, |service, handles| {
                    let listener = door.listener.try_clone().map_err(|error| error.to_string())?;
                    let service = service.clone();
                    handles[0].spawn("door", move || welcome(TcpListener::from_fd(listener), service));
                    Ok(())
                })
            },
        );
        // Handler processes belong to a front by its number: another number of fronts is another generation.
        let fronts = Group::new("worker", fronts, run);
        groups.push(fronts.accepting().identity(plan.identity.clone()));
        Ok(groups)
    }

    fn run(&self, _worker: &Worker, _plan: &Plan) -> ExitReason {
        ExitReason::Failed("event-worker runs as the groups that it makes".into())
    }
}

/// Where a front's handler processes knock: made by the master, so that either side can be replaced.
struct Door {
    listener: OwnedFd,
    address: SocketAddrUnix,
}

impl Door {
    /// Binds without a name: the kernel chooses an abstract one (unix(7), "Autobind feature"), so no file is left behind.
    fn open() -> Result<Door, String> {
        let open = || -> rustix::io::Result<Door> {
            let listener = socket()?;
            rustix::net::bind(&listener, &SocketAddrUnix::new_unnamed())?;
            rustix::net::listen(&listener, 256)?;
            let address = SocketAddrUnix::try_from(rustix::net::getsockname(&listener)?)?;
            Ok(Door { listener, address })
        };
        open().map_err(|error| format!("cannot make the handlers' socket: {error}"))
    }
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// A fiber of the front: takes handler processes in.
fn welcome(listener: TcpListener, service: Arc<Service>) {
    loop {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            Err(error) if park::is_cancellation(&error) => return,
            // Without descriptors a handler process waits as clients do; who stopped here would never have it back.
            Err(error) => {
                service.shortage.failed(&error);
                sleep(RECONNECT);
                continue;
            }
        };
        let service = service.clone();
        let greet = move || match Channel::greet(stream) {
            Ok((lane, channel)) => {
                if let Some(crew) = service.lanes.get(lane).and_then(|lane| lane.crew.as_ref()) {
                    crew.join(channel);
                }
            }
            Err(error) => tracing::debug!(%error, "a handler process did not say who it is"),
        };
        if let Err((error, _)) = spawn_detached("door", greet) {
            tracing::warn!(%error, "no fiber to take a handler process in");
        }
    }
}

/// A handler process: one request after another, on its only thread.
fn handle(worker: &Worker, plan: &Plan, door: &Door, lane: usize) -> Result<(), String> {
    plan.listeners.close();
    title::begin(worker);
    let service = Service::open_behind_front(plan)?;
    sentry::start(&service, worker, Overrun::Kill, plan.settings.graceful_timeout())?;
    let orders = worker.orders_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let orders = Arc::new(orders);
    worker.ready();
    while !service.hear(worker) {
        let Ok(channel) = knock(door, lane, worker.slot_index()) else {
            if worker.wait_order(Some(RECONNECT)).is_some_and(|order| service.obey(order, worker.reporter()))
            {
                break;
            }
            continue;
        };
        // An order that is no stop leaves the channel as it is: the front knows it as free.
        while !service.hear(worker) {
            match park::interruptible(&orders, || channel.wait_given()) {
                Ok(()) => {}
                Err(error) if park::is_cancellation(&error) => continue,
                Err(_) => break,
            }
            let Ok(Some(given)) = channel.given() else { break };
            let (after, bytes) = serve_given(given, &service);
            if channel.reply(after, &bytes).is_err() {
                break;
            }
        }
    }
    Ok(())
}

fn knock(door: &Door, lane: usize, slot: usize) -> std::io::Result<Channel> {
    let fd = socket()?;
    rustix::net::connect(&fd, &door.address)?;
    Channel::hello(fd, lane, slot)
}

fn serve_given(given: Given, service: &Arc<Service>) -> (After, Vec<u8>) {
    let Given { client, last, age, bytes, peer, handed } = given;
    let mut conn = Connection::new(TcpStream::from_fd(client), Peer::from_text(&peer), service);
    conn.behind_front = true;
    conn.last = last;
    conn.arrived = std::time::Instant::now().checked_sub(age);
    conn.dawn = Dawn::handed(handed);
    let slot = tenfold_scoreboard::current();
    slot.answer_started.store(0, std::sync::atomic::Ordering::Release);
    let mut work = Workspace::take();
    work.input.append(&bytes);
    let next = serve_until(&mut conn, &mut work, &mut 0, 1);
    if next == Next::TakenOver {
        // The front waits for it as for any answer; routes that know that they keep connections are not passed on.
        if let Some((held, begin)) = work.hand_over(conn) {
            held::begin_on_thread(held, begin, &service.stop.eventfd);
        }
        return (After::Close, Vec::new());
    }
    let rest = work.input.filled().to_vec();
    work.put();
    let after = match next {
        Next::Idle => After::KeepAlive,
        Next::TakenOver | Next::Close => After::Close,
        Next::Linger => After::Linger,
    };
    (after, rest)
}
