//! `Resolver`: names to addresses, remembered for a while.
//!
//! The system's resolver is asked on the runtime's thread pool, which is the dearest part of a new connection. It does not say
//! how long an answer holds, so a time of our own bounds that. All clients of this crate share [`Resolver::shared`].

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tenfold_runtime::{dns, sync};

/// Asks for names and remembers what came.
///
/// - An answer holds for `lifetime` (30 s in the shared one), "no such name" for a sixth of that.
/// - Callers that ask for one name at the same time share one question.
/// - While the resolver is out of order, the last answer goes on to hold: old addresses are better than none.
///
/// ```
/// use std::time::Duration;
/// use tenfold_client::dns::Resolver;
/// let resolver = Resolver::new(Duration::from_secs(30), 1_024);
/// assert!(resolver.lookup("localhost", 80)?.iter().all(|address| address.ip().is_loopback()));
/// assert_eq!(resolver.lookup("127.0.0.1", 80)?, ["127.0.0.1:80".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Resolver {
    lifetime: Duration,
    names_max: usize,
    ask: Ask,
    names: Mutex<HashMap<String, Arc<Name>>>,
}

/// How a name is asked for.
type Ask = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

#[derive(Default)]
struct Name {
    known: Mutex<Option<Known>>,
    /// Held while somebody asks.
    asking: sync::Mutex<()>,
}

#[derive(Clone)]
struct Known {
    /// Empty for a name that is known to have none.
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Resolver {
    /// One that remembers answers for `lifetime`, of at most `names_max` names; with more, what does not hold any more is
    /// forgotten, and then all.
    pub fn new(lifetime: Duration, names_max: usize) -> Resolver {
        let ask = |host: &str| Ok(dns::lookup(host, 0)?.into_iter().map(|address| address.ip()).collect());
        Resolver::asking(lifetime, names_max, Box::new(ask))
    }

    fn asking(lifetime: Duration, names_max: usize, ask: Ask) -> Resolver {
        Resolver { lifetime, names_max: names_max.max(1), ask, names: Mutex::default() }
    }

    /// The one of this process: 30 s, 1,024 names.
    pub fn shared() -> &'static Resolver {
        static SHARED: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(Duration::from_secs(30), 1_024));
        &SHARED
    }

    /// A host's addresses, in the resolver's order. A literal address asks nobody.
    ///
    /// # Errors
    /// The resolver's; `NotFound` for a name without an address; `TimedOut` and `ECANCELED` with the task.
    pub fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let name = self.name(host);
        let known = match name.holds() {
            Some(known) => known,
            None => {
                let _asking = name.asking.lock().map_err(io::Error::from)?;
                // Somebody else may have asked meanwhile.
                match name.holds() {
                    Some(known) => known,
                    None => self.ask(host, &name)?,
                }
            }
        };
        if known.addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(known.addresses.iter().map(|address| SocketAddr::new(*address, port)).collect())
    }

    fn ask(&self, host: &str, name: &Name) -> io::Result<Known> {
        let addresses = match (self.ask)(host) {
            Ok(addresses) => addresses,
            Err(error) if tenfold_runtime::park::is_cancellation(&error) => return Err(error),
            Err(error) => {
                // Asked again soon, and not by everybody at once.
                let mut known = lock(&name.known);
                let Some(last) = known.as_mut().filter(|last| !last.addresses.is_empty()) else {
                    return Err(error);
                };
                last.until = Instant::now() + self.lifetime / 6;
                return Ok(last.clone());
            }
        };
        let lifetime = if addresses.is_empty() { self.lifetime / 6 } else { self.lifetime };
        let known = Known { addresses, until: Instant::now() + lifetime };
        *lock(&name.known) = Some(known.clone());
        Ok(known)
    }

    fn name(&self, host: &str) -> Arc<Name> {
        let mut names = lock(&self.names);
        if let Some(name) = names.get(host) {
            return name.clone();
        }
        if names.len() >= self.names_max {
            names.retain(|_, name| name.holds().is_some());
            if names.len() >= self.names_max {
                names.clear();
            }
        }
        names.entry(host.into()).or_default().clone()
    }
}

impl Name {
    fn holds(&self) -> Option<Known> {
        lock(&self.known).clone().filter(|known| known.until > Instant::now())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A resolver that answers by a script, and counts how often it is asked.
    fn scripted(lifetime: Duration, names_max: usize) -> (Resolver, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let ask = move |host: &str| {
            let times = count.fetch_add(1, Ordering::SeqCst);
            match host {
                "missing" => Ok(Vec::new()),
                "flaky" if times > 0 => Err(io::ErrorKind::Other.into()),
                _ => Ok(vec![IpAddr::from([127, 0, 0, 9])]),
            }
        };
        (Resolver::asking(lifetime, names_max, Box::new(ask)), asked)
    }

    #[test]
    fn an_answer_holds_and_callers_at_the_same_time_ask_once() {
        let (resolver, asked) = scripted(Duration::from_secs(60), 8);
        std::thread::scope(|scope| {
            (0..8).for_each(|_| {
                scope.spawn(|| assert_eq!(resolver.lookup("a", 7).unwrap()[0].to_string(), "127.0.0.9:7"));
            });
        });
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        (0..2).for_each(|_| {
            assert_eq!(resolver.lookup("missing", 7).unwrap_err().kind(), io::ErrorKind::NotFound);
        });
        assert_eq!(asked.load(Ordering::SeqCst), 2, "that there is none holds too");
    }

    #[test]
    fn the_last_answer_holds_while_the_resolver_is_out_of_order() {
        let (resolver, asked) = scripted(Duration::ZERO, 8);
        (0..3).for_each(|_| assert!(resolver.lookup("flaky", 1).is_ok()));
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn names_are_bounded() {
        let (resolver, _) = scripted(Duration::from_secs(60), 4);
        (0..50).for_each(|number| drop(resolver.lookup(&format!("name{number}"), 1)));
        assert!(lock(&resolver.names).len() <= 4);
    }
}
