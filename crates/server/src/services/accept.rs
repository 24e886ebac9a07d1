//! Who takes the connections of the services: fibers of each loop, or threads.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{JoinHandle, park, spawn};

use crate::drive::acceptor::accept_each;
use crate::service::Service;
use crate::services::catalogue::{Listening, TcpService};
use crate::services::link::{self, Link};
use crate::services::receive;

/// One more connection of this service is within the worker's bounds and its own.
fn has_room(tcp: &TcpService, service: &Service) -> bool {
    let most = tcp.limits.connections_max.unwrap_or(usize::MAX);
    service.has_room() && tcp.open.load(Ordering::Relaxed) < most
}

/// Starts the fibers that serve the services on the running loop, until they are cancelled.
pub(crate) fn spawn_evented(listening: &Listening, service: &Arc<Service>) -> Vec<JoinHandle<()>> {
    let mut fibers = Vec::new();
    for (tcp, listener) in listening.tcp.clone() {
        let service = service.clone();
        fibers.push(spawn(move || accept_evented(&tcp, &listener, &service)));
    }
    for (udp, socket) in listening.udp.clone() {
        let service = service.clone();
        fibers.push(spawn(move || receive::on_loop(&udp, &socket, &service)));
    }
    fibers
}

fn accept_evented(tcp: &Arc<TcpService>, listener: &TcpListener, service: &Arc<Service>) {
    let room = || has_room(tcp, service);
    let begin = |stream, address| {
        if let Some(link) = Link::admit(stream, address, tcp, service) {
            link::begin(link);
        }
    };
    match service.balance() {
        Some(mut balance) => accept_each(listener, service, room, |listener| balance.accept(listener), begin),
        None => accept_each(listener, service, room, |listener| listener.accept_from_until(None), begin),
    }
}

/// What is to be done for a connection, on whatever thread.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Accepts on this thread until the worker stops; `each` gets what is to be done for a connection.
pub(crate) fn serve_blocking(
    tcp: &Arc<TcpService>,
    listener: &TcpListener,
    service: &Arc<Service>,
    each: impl Fn(Work),
) {
    let stop = &service.stop.eventfd;
    accept_each(
        listener,
        service,
        || has_room(tcp, service),
        |listener| park::interruptible(stop, || listener.accept_from_until(None)),
        |stream, address| {
            if let Some(link) = Link::admit(stream, address, tcp, service) {
                let stop = stop.clone();
                each(Box::new(move || link::to_the_end(link, &stop)));
            }
        },
    );
}

/// Serves a connection that was accepted, to its end, on this thread.
pub(crate) fn serve_one(
    tcp: &Arc<TcpService>,
    stream: TcpStream,
    address: Option<SocketAddr>,
    service: &Arc<Service>,
    stop: &Arc<OwnedFd>,
) {
    if let Some(link) = Link::admit(stream, address, tcp, service) {
        link::to_the_end(link, stop);
    }
}
