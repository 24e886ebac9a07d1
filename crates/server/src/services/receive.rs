//! Takes datagrams and has them answered.
//!
//! All workers and threads receive from one socket, or with `reuseport` each worker from its own. A datagram belongs to
//! whoever takes it first; one that nobody has taken when a worker ends is still in the socket's queue, for the next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenfold_runtime::net::UdpSocket;
use tenfold_runtime::{account, park, reserve, sleep, yield_now};
use tenfold_scoreboard::{self as scoreboard, Claim, Stage, now_ns};

use crate::lane::Placement;
use crate::panic::guard;
use crate::service::Service;
use crate::services::catalogue::UdpService;
use crate::services::datagram::Datagram;

/// Datagrams taken in one go before others on the loop have their turn.
const BATCH: usize = 16;
/// Datagrams that a worker that stops still takes from the queue: others may receive from it as well.
const DRAIN_MAX: usize = 1024;
/// Pause while as many datagrams are handled as may be.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// Pause after an error that is no datagram's.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Receives on a fiber of a loop until it is cancelled. Each datagram has a fiber of its own, so that one that waits does not
/// hold up the others.
pub(super) fn on_loop(udp: &Arc<UdpService>, socket: &UdpSocket, service: &Arc<Service>) {
    let mut buf = vec![0; udp.limits.datagram_bytes_max];
    let mut in_batch = 0;
    while !service.is_stopping() {
        if service.services.datagrams.load(Ordering::Relaxed) >= udp.limits.datagrams_max {
            sleep(FULL_PAUSE);
            continue;
        }
        match socket.recv_from(&mut buf) {
            Ok((count, from)) => spawn(udp, socket, service, &buf[..count], from),
            Err(error) if park::is_cancellation(&error) => break,
            Err(error) => note(udp, &error),
        }
        in_batch += 1;
        if in_batch % BATCH == 0 {
            yield_now();
        }
    }
    for _ in 0..DRAIN_MAX {
        let Ok((count, from)) = socket.try_recv_from(&mut buf) else { break };
        spawn(udp, socket, service, &buf[..count], from);
    }
}

fn spawn(udp: &Arc<UdpService>, socket: &UdpSocket, service: &Arc<Service>, bytes: &[u8], from: SocketAddr) {
    let stack = match reserve() {
        Ok(stack) => stack,
        Err(error) => {
            scoreboard::current().rejections.add(scoreboard::Shed::Resources);
            return tracing::warn!(target: "tenfold::services", %error, "no fiber for a datagram");
        }
    };
    service.services.datagrams.fetch_add(1, Ordering::Relaxed);
    let busy = Busy(service.clone());
    let (udp, socket, bytes) = (udp.clone(), socket.clone(), bytes.to_vec());
    stack.spawn(udp.name, move || {
        let service = &busy.0;
        let answer = || answer(&udp, &socket, service, &bytes, from);
        match (&service.services.pool, service.services.placement) {
            (Some(pool), _) => pool.run(answer),
            (None, Placement::Inline) => park::inline(answer),
            (None, _) => answer(),
        }
    });
}

/// One datagram in the worker's count.
struct Busy(Arc<Service>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.services.datagrams.fetch_sub(1, Ordering::Release);
    }
}

/// Receives and answers on this thread until the worker stops.
pub(crate) fn receive_on_thread(udp: &UdpService, socket: &UdpSocket, service: &Arc<Service>) {
    let mut buf = vec![0; udp.limits.datagram_bytes_max];
    while !service.is_stopping() {
        let stop = &service.stop.eventfd;
        match park::interruptible(stop, || socket.recv_from(&mut buf)) {
            Ok((count, from)) => answer(udp, socket, service, &buf[..count], from),
            Err(error) if park::is_cancellation(&error) => {}
            Err(error) => note(udp, &error),
        }
    }
    for _ in 0..DRAIN_MAX {
        if !take_datagram(udp, socket, service, &mut buf) {
            break;
        }
    }
}

/// Answers a datagram that is there; false when there is none. For a worker with one thread, which waits elsewhere.
pub(crate) fn take_datagram(
    udp: &UdpService,
    socket: &UdpSocket,
    service: &Service,
    buf: &mut Vec<u8>,
) -> bool {
    buf.resize(udp.limits.datagram_bytes_max, 0);
    match socket.try_recv_from(buf) {
        Ok((count, from)) => {
            answer(udp, socket, service, &buf[..count], from);
            true
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => {
            note(udp, &error);
            false
        }
    }
}

/// An error here is mostly about an answer that could not be delivered (udp(7)).
fn note(udp: &UdpService, error: &io::Error) {
    tracing::debug!(target: "tenfold::services", service = udp.name, %error, "cannot receive");
    if error.kind() != io::ErrorKind::ConnectionRefused {
        sleep(ERROR_PAUSE);
    }
}

fn answer(udp: &UdpService, socket: &UdpSocket, service: &Service, bytes: &[u8], from: SocketAddr) {
    let datagram = Datagram { bytes, from, socket };
    let call = || guard(udp.name, || (udp.run)(&datagram, &service.state));
    let outcome = match service.sight {
        false => call(),
        true => {
            let claim = Claim::take();
            let (account, now) = (claim.account(), now_ns());
            account.begin_with(now, now, Stage::Run, ("UDP", udp.name));
            let outcome = account::with(Some(account), call);
            account.finish(&scoreboard::current().times, now_ns());
            outcome
        }
    };
    scoreboard::current().requests.add(1);
    if let Ok(Err(reason)) = outcome {
        udp.complaints.bad_input(udp.name, from.into(), &reason);
    }
}
