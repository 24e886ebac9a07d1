//! A fixed number of threads; each accepts a connection and owns it to its end.
//!
//! **Use it when** the number of clients is known and small, or a proxy in front keeps the connections. **Costs** as many
//! threads as configured, used or not. **Refuses** lanes on loops. **Compared with** `thread` it is bounded: an idle
//! keep-alive connection holds one of the N threads until somebody waits for it, and more clients than threads take turns.

use std::sync::Arc;

use tenfold_scoreboard::Slot;
use tenfold_supervisor::{ExitReason, Worker};

use super::{Facts, Model, place_on_threads};
use crate::drive::blocking;
use crate::guard::{Overrun, sentry};
use crate::lane::{Lane, Placement};
use crate::plan::Plan;
use crate::service::Service;
use crate::services::{Work, receive_on_thread, serve_blocking};
use crate::settings::Settings;

pub(super) struct Pool;

const THREADS: usize = 64;

impl Model for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn layers(&self) -> (&'static str, &'static str) {
        ("blocking, N threads, each accepts and owns a connection", "that thread")
    }

    fn known_from(&self) -> &'static str {
        "Apache worker, Rainbows! ThreadPool, Puma"
    }

    fn facts(&self, settings: &Settings) -> Facts {
        let threads = settings.threads.unwrap_or(THREADS);
        Facts {
            evented: false,
            threads_max: threads + 2,
            processes: 0,
            at_once: Some(threads),
            // Each thread keeps the descriptor that it is woken by while it watches its client.
            descriptors_max: 2 * threads + 32,
            parallel_handlers: true,
            overrun: Overrun::Replace,
        }
    }

    fn cannot_cancel(&self) -> &'static str {
        "a thread that computes or blocks outside of Tenfold"
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        settings.refuse_loop_options(self.name())?;
        settings.refuse_pool_threads(self.name())?;
        settings.refuse_handlers(self.name())
    }

    fn place(&self, lane: &Lane, _settings: &Settings) -> Result<Placement, String> {
        place_on_threads(self.name(), lane)
    }

    fn is_spare(&self) -> fn(&Slot) -> bool {
        |slot| slot.connections_open.get() == 0
    }

    fn run(&self, worker: &Worker, plan: &Plan) -> ExitReason {
        let threads = plan.settings.threads.unwrap_or(THREADS);
        run_blocking(self, worker, plan, (threads, threads), |work| work())
    }
}

/// The worker of the models with threads: `acceptors` threads for each listener accept and call `each` with what is to be
/// done for a connection, `at_once` of them at a time, while this one waits for orders. Datagrams are answered by the threads that take them.
pub(super) fn run_blocking(
    model: &dyn Model,
    worker: &Worker,
    plan: &Plan,
    (acceptors, at_once): (usize, usize),
    each: impl Fn(Work) + Send + Sync + 'static,
) -> ExitReason {
    match start_acceptors(model, worker, plan, (acceptors, at_once), each) {
        Ok((service, threads)) => {
            worker.ready();
            super::loops::wait_for_stop(worker, &service);
            if let Some(crowd) = service.crowd() {
                crowd.disperse();
            }
            super::loops::wait_until_empty(worker, &service, &threads);
            service.lingering.wait(worker, &service);
            ExitReason::Done
        }
        Err(reason) => ExitReason::Failed(reason),
    }
}

type Started = (Arc<Service>, Vec<std::thread::JoinHandle<()>>);

fn start_acceptors(
    model: &dyn Model,
    worker: &Worker,
    plan: &Plan,
    (acceptors, at_once): (usize, usize),
    each: impl Fn(Work) + Send + Sync + 'static,
) -> Result<Started, String> {
    let service = Service::open(plan, model)?;
    sentry::start(&service, worker, Overrun::Replace, plan.settings.graceful_timeout())?;
    let each = Arc::new(each);
    let listening = plan.open_listeners(worker)?;
    service.share_threads(&listening, acceptors, at_once);
    let mut threads = Vec::new();
    let mut start = |index: usize, accept: Work| {
        let thread = std::thread::Builder::new().name(format!("acceptor-{index}")).spawn(accept);
        threads.push(thread.map_err(|error| format!("cannot start thread {index} of {acceptors}: {error}"))?);
        Ok::<(), String>(())
    };
    for index in 0..acceptors {
        for listener in listening.web.clone() {
            let (service, each, tenure) = (service.clone(), each.clone(), listening.tenure.clone());
            let each = move |conn| each(Box::new(move || blocking::serve_connection(conn)));
            let accept = move || {
                blocking::accept(&listener, &service, each);
                drop((listener, tenure));
            };
            start(index, Box::new(accept))?;
        }
        for (tcp, listener) in listening.tcp.clone() {
            let (service, each, tenure) = (service.clone(), each.clone(), listening.tenure.clone());
            let accept = move || {
                serve_blocking(&tcp, &listener, &service, |work| each(work));
                drop((listener, tenure));
            };
            start(index, Box::new(accept))?;
        }
        for (udp, socket) in listening.udp.clone() {
            let (service, tenure) = (service.clone(), listening.tenure.clone());
            let receive = move || {
                receive_on_thread(&udp, &socket, &service);
                drop((socket, tenure));
            };
            start(index, Box::new(receive))?;
        }
    }
    Ok((service, threads))
}
