//! What the evented models share: a worker of one or more threads, each with a loop, and the way it stops.
//!
//! ```text
//!   main thread    loop 0: control fiber (orders) + acceptors
//!   loop-1 …       loop n: acceptors
//!   stop:  control says it → every loop's watcher fiber is readable → acceptors end, idle connections close,
//!          requests in flight finish, the loop ends when the worker has no connection left
//! ```

use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tenfold_runtime::net::TcpStream;
use tenfold_runtime::{
    BackendChoice, Interest, LoopHandle, ReactorConfig, Runtime, RuntimeConfig, feed, park, sleep, spawn,
};
use tenfold_supervisor::{ExitReason, OrderReader, Reporter, Worker};

use super::{Facts, Model};
use crate::drive::evented::{Begin, spawn_acceptor};
use crate::guard::{Overrun, sentry};
use crate::plan::Plan;
use crate::service::Service;
use crate::services::{Listening, rouse_idle, spawn_evented};
use crate::settings::Settings;

/// Enough for templates, a C library such as SQLite, and a panic's backtrace; only what is touched takes memory.
const STACK_BYTES: usize = 256 << 10;
const FIBERS_MAX: usize = 100_000;
/// How often a stopping worker looks whether its last connection is gone.
const LOOK: Duration = Duration::from_millis(5);

/// Facts that the evented models have in common.
pub(super) fn facts(settings: &Settings) -> Facts {
    let threads = settings.threads.unwrap_or(1);
    Facts {
        evented: true,
        threads_max: threads + 3,
        processes: 0,
        at_once: None,
        descriptors_max: settings.limits.connections_max + 4 * threads + 64,
        parallel_handlers: threads > 1,
        overrun: Overrun::Replace,
    }
}

/// Serves with `begin` on every loop of the worker until it is ordered to stop.
///
/// `prepare` runs once all loops exist and before they serve: for what the model keeps beside them.
pub(super) fn run(
    model: &'static dyn Model,
    worker: &Worker,
    plan: &Plan,
    begin: Begin,
    prepare: impl FnOnce(&Arc<Service>, &[LoopHandle]) -> Result<(), String>,
) -> ExitReason {
    match serve(model, worker, plan, begin, prepare) {
        Ok(()) => ExitReason::Done,
        Err(reason) => ExitReason::Failed(reason),
    }
}

fn serve(
    model: &'static dyn Model,
    worker: &Worker,
    plan: &Plan,
    begin: Begin,
    prepare: impl FnOnce(&Arc<Service>, &[LoopHandle]) -> Result<(), String>,
) -> Result<(), String> {
    let service = Service::open(plan, model)?;
    sentry::start(&service, worker, Overrun::Replace, plan.settings.graceful_timeout())?;
    let listeners = plan.open_listeners(worker)?;
    let config = runtime_config(&plan.settings)?;
    let watchdog = Duration::from_millis(plan.settings.watchdog_ms);
    let watchdog = (!watchdog.is_zero()).then(|| tenfold_runtime::Watchdog::start(watchdog));
    let _watchdog = watchdog.transpose().map_err(|error| format!("cannot start the watchdog: {error}"))?;

    let mut threads = Vec::new();
    let mut handles = Vec::new();
    for index in 1..plan.settings.threads.unwrap_or(1) {
        let (service, listeners, config) = (service.clone(), listeners.clone(), config.clone());
        let (made, is_made) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("loop-{index}"));
        let thread = thread.spawn(move || {
            let runtime = match Runtime::new(&config) {
                Ok(runtime) => runtime,
                Err(error) => return drop(made.send(Err(error.to_string()))),
            };
            let _ = made.send(Ok(runtime.handle()));
            if let Err(error) = runtime.run(move || serve_loop(&service, listeners, begin)) {
                tracing::error!(%error, "a loop has ended");
            }
        });
        threads.push(thread.map_err(|error| format!("cannot start loop {index}: {error}"))?);
        handles.push(is_made.recv().map_err(|_| format!("loop {index} did not start"))??);
    }

    let runtime = Runtime::new(&config).map_err(|error| error.to_string())?;
    handles.insert(0, runtime.handle());
    prepare(&service, &handles)?;
    let orders = worker.order_reader().map_err(|error| error.to_string())?;
    worker.ready();
    let reporter = worker.reporter().clone();
    let for_loop = service.clone();
    runtime
        .run(move || {
            let control = for_loop.clone();
            spawn(move || obey(&orders, &reporter, &control));
            serve_loop(&for_loop, listeners, begin);
        })
        .map_err(|error| error.to_string())?;
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

/// The control fiber: a graceful order is said to all loops; a fast one ends the process, with whatever it was doing.
fn obey(orders: &OrderReader, reporter: &Reporter, service: &Service) {
    while park::wait_readable(orders).is_ok() {
        while let Some(order) = orders.try_order() {
            service.obey(order, reporter);
        }
    }
}

/// One loop's life.
fn serve_loop(service: &Arc<Service>, listening: Listening, begin: Begin) {
    let web = listening.web.iter();
    let mut acceptors: Vec<_> =
        web.map(|listener| spawn_acceptor(listener.clone(), service.clone(), begin)).collect();
    acceptors.extend(spawn_evented(&listening, service));
    let stop = service.stop.eventfd.as_fd().try_clone_to_owned().map(TcpStream::from_fd);
    match stop {
        Ok(stop) => drop(stop.wait_ready(Interest::READ, None)),
        Err(error) => tracing::error!(%error, "cannot watch for the word to stop"),
    }
    for acceptor in acceptors {
        acceptor.cancel();
        let _ = acceptor.join();
    }
    // Closed as soon as they are empty: who comes now is refused at once, or goes to another worker.
    drop(listening);
    let grace = Instant::now() + service.idle_grace;
    while service.connections() > 0 || service.services.is_busy() {
        if Instant::now() >= grace {
            feed::stop_resting();
            rouse_idle();
        }
        sleep(LOOK);
    }
}

fn runtime_config(settings: &Settings) -> Result<RuntimeConfig, String> {
    let backend: BackendChoice =
        settings.backend.as_deref().unwrap_or("auto").parse().map_err(|error| format!("{error}"))?;
    Ok(RuntimeConfig {
        reactor: ReactorConfig { backend, ..ReactorConfig::default() },
        stack_bytes: settings.stack_bytes.unwrap_or(STACK_BYTES),
        fibers_max: settings.fibers_max.unwrap_or(FIBERS_MAX),
    })
}

/// For models whose main thread has nothing else to do: obeys until it is told to stop.
pub(super) fn wait_for_stop(worker: &Worker, service: &Service) {
    while !worker.wait_order(None).is_some_and(|order| service.obey(order, worker.reporter())) {}
}

/// Waits until the acceptors have ended and the last connection is gone; obeys meanwhile.
pub(super) fn wait_until_empty(worker: &Worker, service: &Service, acceptors: &[JoinHandle<()>]) {
    while service.connections() > 0 || acceptors.iter().any(|thread| !thread.is_finished()) {
        if let Some(order) = worker.wait_order(Some(LOOK)) {
            service.obey(order, worker.reporter());
        }
    }
}
