//! One connection at a time, on the worker's only thread.
//!
//! **Use it when** the code is not thread-safe, or a request must not share a process with another one. **Costs** a
//! process for each request that runs, and for each idle keep-alive connection while nobody waits for it: put a buffering
//! proxy in front, or set a short keep-alive time-out. **Refuses** more than one thread, and lanes on loops. **Compared with** `thread` it
//! shares nothing, so a crash takes one request with it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::park;
use tenfold_scoreboard::Slot;
use tenfold_supervisor::{ExitReason, Worker};

use super::{Facts, Model, place_on_threads};
use crate::drive::acceptor::{accept_each, accept_loop, admit};
use crate::drive::blocking;
use crate::guard::{Overrun, sentry};
use crate::lane::{Lane, Placement};
use crate::plan::Plan;
use crate::service::Service;
use crate::services::{Listening, receive_on_thread, serve_one, take_datagram};
use crate::settings::{Settings, refuse};

pub(super) struct Serial;

impl Model for Serial {
    fn name(&self) -> &'static str {
        "serial"
    }

    fn layers(&self) -> (&'static str, &'static str) {
        ("blocking, one connection at a time", "the worker's only thread")
    }

    fn known_from(&self) -> &'static str {
        "PHP-FPM, Unicorn, Apache prefork"
    }

    fn facts(&self, _settings: &Settings) -> Facts {
        Facts {
            evented: false,
            threads_max: 2,
            processes: 0,
            at_once: Some(1),
            descriptors_max: 32,
            parallel_handlers: false,
            overrun: Overrun::Kill,
        }
    }

    fn cannot_cancel(&self) -> &'static str {
        "a thread that computes or blocks outside of Tenfold"
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        let name = self.name();
        let several = settings.threads.is_some_and(|threads| threads != 1);
        refuse(name, "threads", several, "it serves on one thread")?;
        settings.refuse_loop_options(name)?;
        settings.refuse_pool_threads(name)?;
        settings.refuse_handlers(name)
    }

    fn place(&self, lane: &Lane, _settings: &Settings) -> Result<Placement, String> {
        place_on_threads(self.name(), lane)
    }

    fn is_spare(&self) -> fn(&Slot) -> bool {
        |slot| slot.connections_open.get() == 0
    }

    fn run(&self, worker: &Worker, plan: &Plan) -> ExitReason {
        match self.serve(worker, plan) {
            Ok(()) => ExitReason::Done,
            Err(reason) => ExitReason::Failed(reason),
        }
    }
}

impl Serial {
    /// There is no second thread to hear orders, so every idle wait watches for them as well.
    fn serve(&self, worker: &Worker, plan: &Plan) -> Result<(), String> {
        let service = Service::open(plan, self)?;
        sentry::start(&service, worker, Overrun::Kill, plan.settings.graceful_timeout())?;
        let listening = plan.open_listeners(worker)?;
        service.share_threads(&listening, 1, 1);
        let mut datagram = Vec::new();
        let orders = Arc::new(
            worker
                .orders_fd()
                .try_clone_to_owned()
                .map_err(|error| format!("cannot watch for orders: {error}"))?,
        );
        // An answer that is made after the order has to say that the connection ends.
        service.listen(worker)?;
        worker.ready();
        while !service.is_stopping() {
            let Some(mut index) = park::interruptible(&orders, || first_ready(&listening)) else { continue };
            if let Some(listener) = listening.web.get(index) {
                take(listener, &service, |stream, address| {
                    if let Some(conn) = admit(stream, address, &service) {
                        blocking::serve_connection_until(conn, &orders);
                    }
                });
                continue;
            }
            index -= listening.web.len();
            if let Some((tcp, listener)) = listening.tcp.get(index) {
                take(listener, &service, |stream, address| {
                    serve_one(tcp, stream, address, &service, &orders);
                });
                continue;
            }
            if let Some((udp, socket)) = listening.udp.get(index - listening.tcp.len()) {
                take_datagram(udp, socket, &service, &mut datagram);
            }
        }
        if let Some(crowd) = service.crowd() {
            crowd.disperse();
        }
        let nobody = |_: &_| Err(park::cancelled());
        for listener in &listening.web {
            accept_loop(listener, &service, nobody, |conn| blocking::serve_connection_until(conn, &orders));
        }
        for (tcp, listener) in &listening.tcp {
            let serve = |stream, address| serve_one(tcp, stream, address, &service, &orders);
            accept_each(listener, &service, || true, nobody, serve);
        }
        for (udp, socket) in &listening.udp {
            receive_on_thread(udp, socket, &service);
        }
        drop(listening);
        service.lingering.wait(worker, &service);
        Ok(())
    }
}

/// Takes a connection that is there, if no other worker was faster.
fn take(listener: &TcpListener, service: &Service, serve: impl FnOnce(TcpStream, Option<SocketAddr>)) {
    match listener.try_accept_from() {
        Ok((stream, address)) => {
            service.shortage.accepted();
            serve(stream, address);
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => service.shortage.failed(&error),
    }
}

/// The first socket that has something, counted over all kinds in their order; `None` when interrupted.
fn first_ready(listening: &Listening) -> Option<usize> {
    let web = listening.web.iter().map(AsFd::as_fd);
    let tcp = listening.tcp.iter().map(|(_, listener)| listener.as_fd());
    let udp = listening.udp.iter().map(|(_, socket)| socket.as_fd());
    let fds: Vec<_> = web.chain(tcp).chain(udp).collect();
    park::wait_any_readable(&fds).ok()
}
