//! `Hosts`: a pool of connections for each host and port, within one bound on idle connections.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Phase};
use crate::pool::{IdleBound, Manager, Pool, PoolOptions};

use super::connection::{Connection, Trust};
use super::origin::{Origin, Plain, Url};

/// How often pools of hosts that nobody asks any more are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// As many services as one program talks to at a time, nearly always.
const RECENT_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Hosts {
    options: PoolOptions,
    connect_timeout: Duration,
    trust: Trust,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    /// A host is here as long as it has a connection, within a second: so the map needs no bound of its own.
    pools: HashMap<Arc<Origin>, Pool<OriginManager>>,
    swept_at: Instant,
    /// The hosts that were new last, at most [`RECENT_MAX`]: the next request for one makes no origin of its own.
    recent: VecDeque<Arc<Origin>>,
}

/// Connects to one host and port.
#[derive(Debug)]
pub(crate) struct OriginManager {
    origin: Arc<Origin>,
    connect_timeout: Duration,
    trust: Trust,
}

impl Hosts {
    pub(crate) fn new(
        options: PoolOptions,
        idle_max: usize,
        connect_timeout: Duration,
        trust: Trust,
    ) -> Hosts {
        let options = options.idle_bound(Arc::new(IdleBound::new(idle_max)));
        let inside = Inside { pools: HashMap::new(), swept_at: Instant::now(), recent: VecDeque::new() };
        Hosts { options, connect_timeout, trust, inside: Mutex::new(inside) }
    }

    /// Takes a URL apart.
    pub(crate) fn url(&self, text: &str) -> Result<Url, Error> {
        let Some(plain) = Plain::of(text) else { return Url::parse_any(text) };
        let recent = &mut self.lock().recent;
        if let Some(origin) = recent.iter().find(|origin| plain.is_of(origin)) {
            return Ok(plain.url(origin.clone()));
        }
        recent.truncate(RECENT_MAX - 1);
        let origin = Arc::new(plain.origin());
        recent.push_front(origin.clone());
        Ok(plain.url(origin))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool of a host. The lock is held for a few instructions.
    pub(crate) fn pool(&self, origin: &Arc<Origin>) -> Pool<OriginManager> {
        let now = Instant::now();
        let mut inside = self.lock();
        let swept = self.sweep(&mut inside, now);
        let pool = match inside.pools.get(origin) {
            Some(pool) => pool.clone(),
            None => {
                let manager = OriginManager {
                    origin: origin.clone(),
                    connect_timeout: self.connect_timeout,
                    trust: self.trust.clone(),
                };
                let pool = self.options.clone().build(manager);
                inside.pools.insert(origin.clone(), pool.clone());
                pool
            }
        };
        drop(inside);
        swept.iter().for_each(|pool| pool.sweep(now));
        pool
    }

    /// Forgets hosts without connections. Returns the others once a second: what has idled there for too long is closed
    /// after the lock is gone.
    fn sweep(&self, inside: &mut Inside, now: Instant) -> Vec<Pool<OriginManager>> {
        if now.saturating_duration_since(inside.swept_at) < SWEEP_EVERY {
            return Vec::new();
        }
        inside.swept_at = now;
        inside.pools.retain(|_, pool| !pool.is_unused());
        inside.pools.values().cloned().collect()
    }
}

impl Manager for OriginManager {
    type Connection = Connection;
    type Error = Error;

    fn name(&self) -> &str {
        &self.origin.authority
    }

    fn connect(&self) -> Result<Connection, Error> {
        Connection::open(&self.origin, self.connect_timeout, &self.trust)
    }

    /// Asked where the connection has idled for a while, or where the request cannot be repeated: a peer closes when it likes,
    /// and one system call is less than a request that is lost.
    fn check(&self, connection: &mut Connection) -> Result<(), Error> {
        if connection.is_quiet() { Ok(()) } else { Err(Error::Closed) }
    }

    fn reset(&self, connection: &mut Connection) -> Result<(), Error> {
        if connection.in_exchange {
            return Err(Error::Io {
                phase: Phase::ReceivingBody,
                source: std::io::ErrorKind::ResourceBusy.into(),
            });
        }
        connection.rest();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Url;
    use super::*;

    #[test]
    fn requests_to_the_same_host_share_its_origin_whatever_else_is_asked_for() {
        let hosts = Hosts::new(PoolOptions::new(), 8, Duration::from_secs(1), Default::default());
        let origin = |text: &str| hosts.url(text).unwrap().origin;
        let first = origin("http://127.0.0.1:8080/a");
        assert!(Arc::ptr_eq(&first, &origin("http://127.0.0.1:8080/b?c")));
        for other in ["http://127.0.0.1/", "http://127.0.0.1:8081/", "http://127.0.0.10:8080/"] {
            assert_ne!(first, origin(other), "{other}");
        }
        (0..1000).for_each(|number| drop(origin(&format!("http://host-{number}/"))));
        assert_eq!(hosts.lock().recent.len(), RECENT_MAX);
        assert_eq!(first, origin("http://127.0.0.1:8080/a"));
    }

    #[test]
    fn a_host_without_connections_takes_no_memory() {
        let hosts = Hosts::new(PoolOptions::new(), 8, Duration::from_secs(1), Default::default());
        let url = Url::parse("http://127.0.0.1:1/").unwrap();
        let pool = hosts.pool(&url.origin);
        let later = Instant::now() + SWEEP_EVERY;
        let mut inside = hosts.inside.lock().unwrap();
        assert_eq!(hosts.sweep(&mut inside, later).len(), 1, "somebody has a handle to it");
        drop(pool);
        assert!(hosts.sweep(&mut inside, later + SWEEP_EVERY).is_empty());
        assert!(inside.pools.is_empty());
    }
}
