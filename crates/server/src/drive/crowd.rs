//! `Crowd`: who waits for a thread that a kept connection holds.
//!
//! In the models where a connection has a thread from its beginning to its end, a client that sends on and on, or says nothing
//! at all, would keep those out who wait in the kernel's queue. So a connection has its thread to itself for a slice of time
//! only: after that it ends with its next answer, or when it was idle for a while, as soon as somebody waits. Where others can
//! be served beside it nobody looks, and that costs one load of an atomic for each answer.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tenfold_runtime::park;
use tenfold_scoreboard::now_ns;

use crate::service::Service;
use crate::services::Listening;

/// How long a connection need not care: enough for some hundred short requests, and short beside any time-out of a client.
const SLICE: Duration = Duration::from_millis(100);
/// Time between two looks. Both have to find somebody, since another worker may be about to take who is there.
const LOOK: Duration = Duration::from_millis(10);
/// Idle connections that may look once in each slice.
const IDLE_LOOKERS: usize = 64;

/// The sockets that this worker's threads take their connections from.
pub(crate) struct Crowd {
    listening: Mutex<Listening>,
    /// With fewer connections there is a thread for one more.
    at_once: usize,
    /// With more some are accepted and have no thread.
    threads_max: usize,
}

impl Crowd {
    /// Each socket has `acceptors` threads that accept, and `at_once` connections are served at a time.
    pub(crate) fn new(listening: Listening, acceptors: usize, at_once: usize) -> Crowd {
        let sockets = listening.web.len() + listening.tcp.len();
        Crowd { listening: Mutex::new(listening), at_once, threads_max: at_once.max(acceptors * sockets) }
    }

    /// Lets go of the sockets, so that an address on which nobody accepts any more is free.
    pub(crate) fn disperse(&self) {
        *self.lock() = Listening::default();
    }

    /// How often an idle connection looks: all of them together some hundred times a second.
    pub(crate) fn idle_look(&self) -> Duration {
        SLICE * u32::try_from(self.at_once.div_ceil(IDLE_LOOKERS)).unwrap_or(u32::MAX)
    }

    /// Whether somebody waits whom no free thread of this worker will take.
    fn is_waiting(&self, service: &Service) -> bool {
        let open = service.connections();
        if open < self.at_once || open > self.threads_max {
            return open > self.threads_max;
        }
        let listening = self.lock();
        let web = listening.web.iter().map(AsFd::as_fd);
        let tcp = listening.tcp.iter().map(|(_, listener)| listener.as_fd());
        let udp = listening.udp.iter().map(|(_, socket)| socket.as_fd());
        park::is_any_readable(&web.chain(tcp).chain(udp).collect::<Vec<_>>())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a connection looks whether somebody waits. Atomics, because its answers may be made on a lane's threads.
#[derive(Debug, Default)]
pub(crate) struct Courtesy {
    /// The next look, on the clock of [`now_ns`]; 0 before the slice has begun.
    next_look: AtomicU64,
    /// The last look found somebody.
    seen: AtomicBool,
}

impl Courtesy {
    /// Whether the connection is to make room; to be asked now and then.
    #[inline]
    pub(crate) fn is_due(&self, service: &Service) -> bool {
        service.crowd().is_some_and(|crowd| self.look(crowd, service))
    }

    fn look(&self, crowd: &Crowd, service: &Service) -> bool {
        let now = now_ns();
        match self.next_look.load(Ordering::Relaxed) {
            0 => self.look_again(now, SLICE),
            next if now < next => {}
            _ if !crowd.is_waiting(service) => {
                self.seen.store(false, Ordering::Relaxed);
                self.look_again(now, LOOK);
            }
            _ if self.seen.swap(true, Ordering::Relaxed) => return true,
            _ => self.look_again(now, LOOK),
        }
        false
    }

    fn look_again(&self, now: u64, after: Duration) {
        self.next_look.store(now + after.as_nanos() as u64, Ordering::Relaxed);
    }
}
