//! `ListenerSet`: all listening sockets of a master, over all its generations.
//!
//! A socket is opened once and stays open for as long as its address is listened on, whoever serves it at the moment: so a
//! connection in its queue survives reloads, upgrades, recycling, and the death of workers. With SO_REUSEPORT there is a
//! socket for each worker's number; when there are fewer workers than sockets, the workers share what is left over,
//! because closing one would reset its queue (the kernel moves nothing to the others unless
//! `net.ipv4.tcp_migrate_req` is set).
//!
//! ```text
//!   slot    0   1   2   3        sockets of one address, reuseport
//!   worker  0   1   0   1        with two workers left
//! ```
//!
//! Lives in the master. A worker that was forked takes what is its own and closes the rest ([`ListenerSet::take`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fd::AsFd;

use crate::{
    accept_queue::accept_queue,
    error::Error,
    listen_spec::ListenSpec,
    listener::{Bound, Listener},
    takeover::Passed,
};

/// The sockets. A clone is the same set.
#[derive(Clone, Debug, Default)]
pub struct ListenerSet {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    kept: Vec<Kept>,
    /// From an old master or a service manager, and not asked for yet.
    offered: Vec<Offered>,
}

#[derive(Debug)]
struct Kept {
    spec: ListenSpec,
    /// Its number among the sockets of the address, with SO_REUSEPORT.
    slot: Option<usize>,
    bound: Bound,
    /// Opened for a generation that does not serve yet.
    fresh: bool,
}

/// A socket that was passed to this process.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) spec: ListenSpec,
    pub(crate) slot: Option<usize>,
    pub(crate) bound: Bound,
}

impl Offered {
    /// Whether it is what is asked for: by its name, by what its giver called it, or by its address.
    fn fits(&self, spec: &ListenSpec) -> bool {
        if self.spec == *spec {
            return true;
        }
        let address = spec.address();
        let is_datagram = matches!(self.bound.listener(), Listener::Udp(_));
        let wants_datagrams = matches!(address, ListenSpec::Udp(_) | ListenSpec::AnyUdp(_));
        let same_address = address.to_string().trim_start_matches("udp:") == self.bound.address();
        // What had a name is somebody else's, whatever its address.
        self.spec.name().is_none()
            && (self.spec == *address || same_address && is_datagram == wants_datagrams)
    }
}

/// What a generation listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The addresses.
    pub specs: Vec<ListenSpec>,
    /// A socket of its own for each worker (SO_REUSEPORT), where the address is one of the network; else they share one.
    pub reuseport: bool,
    /// Workers.
    pub workers: usize,
}

impl ListenerSet {
    /// A set that begins with what this process has inherited: from the master that it is to replace, or from a service
    /// manager (`LISTEN_FDS`, sd_listen_fds(3)).
    ///
    /// # Errors
    /// [`Error::Takeover`] when what the old master says cannot be understood.
    pub fn inherited() -> Result<Self, Error> {
        let set = Self::default();
        let mut offered = crate::takeover::offered()?;
        offered.extend(crate::activation::offered());
        set.lock().offered = offered;
        Ok(set)
    }

    /// Opens what is missing for `listen`. Nothing is closed: see [`ListenerSet::commit`].
    ///
    /// # Errors
    /// Those of [`Bound::bind`], [`Error::Reuseport`], [`Error::NotActivated`]; what was opened by this call is closed again.
    pub fn open(&self, listen: &Listen) -> Result<(), Error> {
        let mut inner = self.lock();
        let outcome = listen.specs.iter().try_for_each(|spec| inner.open(spec, listen));
        if outcome.is_err() {
            inner.kept.retain(|kept| !kept.fresh);
        }
        outcome
    }

    /// `listen` is served: closes the sockets of all other addresses, and what was inherited and not asked for.
    ///
    /// Their queues were emptied by the workers that have them, which close them after this.
    pub fn commit(&self, listen: &Listen) {
        let mut inner = self.lock();
        inner.kept.retain(|kept| listen.specs.contains(&kept.spec));
        inner.kept.iter_mut().for_each(|kept| kept.fresh = false);
        for unused in std::mem::take(&mut inner.offered) {
            tracing::warn!(target: "supervisor", address = unused.bound.address(), "an inherited socket is not used");
        }
    }

    /// What was opened is not to be served after all.
    pub fn abandon(&self) {
        self.lock().kept.retain(|kept| !kept.fresh);
    }

    /// The addresses as they are bound, each once; what has a name as `NAME=ADDRESS`.
    pub fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> = Vec::new();
        for kept in &self.lock().kept {
            let address = match kept.spec.name() {
                Some(name) => format!("{name}={}", kept.bound.address()),
                None => kept.bound.address().to_owned(),
            };
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// The queue of each socket that accepts: its address, connections that nobody has accepted yet, and how many those may be. With
    /// SO_REUSEPORT an address has several.
    pub(crate) fn queues(&self) -> Vec<(String, u32, u32)> {
        let inner = self.lock();
        let queue = |kept: &Kept| {
            let (waiting, most) = accept_queue(kept.bound.listener())?;
            Some((kept.bound.address().to_owned(), waiting, most))
        };
        inner.kept.iter().filter_map(queue).collect()
    }

    /// In a worker: its own sockets, each with what was asked for; all others are closed in this process. Worker `index` of
    /// `listen.workers`.
    pub fn take(&self, listen: &Listen, index: usize) -> Vec<(ListenSpec, Bound)> {
        let mut inner = self.lock();
        let (kept, _) = (std::mem::take(&mut inner.kept), std::mem::take(&mut inner.offered));
        let mine = |kept: &Kept| kept.slot.is_none_or(|slot| slot % listen.workers.max(1) == index);
        kept.into_iter()
            .filter(|kept| listen.specs.contains(&kept.spec) && mine(kept))
            .map(|kept| (kept.spec, kept.bound))
            .collect()
    }

    /// In a worker that does not accept, and in a master that ends: closes all in this process.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.kept.clear();
        inner.offered.clear();
    }

    /// Whether a connection waits in one of the queues: a worker is needed.
    pub(crate) fn poll_fds<R>(&self, look: impl FnOnce(&[rustix::fd::BorrowedFd<'_>]) -> R) -> R {
        let inner = self.lock();
        let fds: Vec<_> = inner.kept.iter().map(|kept| kept.bound.listener().as_fd()).collect();
        look(&fds)
    }

    /// What the next master gets. The descriptors stay here.
    pub(crate) fn pass<R>(&self, send: impl FnOnce(&[(Passed, rustix::fd::BorrowedFd<'_>)]) -> R) -> R {
        let inner = self.lock();
        let all: Vec<_> = inner
            .kept
            .iter()
            .map(|kept| {
                let fd = kept.bound.listener().as_fd();
                (Passed { spec: kept.spec.to_string(), slot: kept.slot }, fd)
            })
            .collect();
        send(&all)
    }

    /// The socket files are this process's to remove from now on, or somebody else's.
    pub(crate) fn own_files(&self, own: bool) {
        self.lock().kept.iter_mut().for_each(|kept| if own { kept.bound.own() } else { kept.bound.disown() });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn open(&mut self, spec: &ListenSpec, listen: &Listen) -> Result<(), Error> {
        let slots: Vec<Option<usize>> = match listen.reuseport && spec.can_be_shared() {
            true => (0..listen.workers.max(1)).map(Some).collect(),
            false => vec![None],
        };
        let is_other = |kept: &Kept| kept.spec == *spec && kept.slot.is_some() != slots[0].is_some();
        if self.kept.iter().any(is_other) {
            return Err(Error::Reuseport { address: spec.to_string() });
        }
        self.adopt(spec);
        for slot in slots {
            if self.kept.iter().any(|kept| kept.spec == *spec && (kept.slot == slot || slot.is_none())) {
                continue;
            }
            let bound = match slot {
                None => Bound::bind(spec)?,
                Some(_) => Bound::bind_reuseport(&self.chosen(spec))?,
            };
            self.kept.push(Kept { spec: spec.clone(), slot, bound, fresh: true });
        }
        Ok(())
    }

    /// Takes what was offered for `spec`: under its name, or with its address.
    fn adopt(&mut self, spec: &ListenSpec) {
        let offered = std::mem::take(&mut self.offered);
        for it in offered {
            if it.fits(spec) {
                let Offered { slot, bound, .. } = it;
                self.kept.push(Kept { spec: spec.clone(), slot, bound, fresh: true });
            } else {
                self.offered.push(it);
            }
        }
    }

    /// `spec` with the port that the kernel has chosen for its first socket.
    fn chosen(&self, spec: &ListenSpec) -> ListenSpec {
        let first = self.kept.iter().find(|kept| kept.spec == *spec);
        match (first.and_then(|kept| kept.bound.socket_addr()), spec.address()) {
            (Some(address), ListenSpec::AnyTcp(_)) => ListenSpec::AnyTcp(address.port()),
            (Some(address), ListenSpec::Tcp(_)) => ListenSpec::Tcp(address),
            (Some(address), ListenSpec::AnyUdp(_)) => ListenSpec::AnyUdp(address.port()),
            (Some(address), ListenSpec::Udp(_)) => ListenSpec::Udp(address),
            (_, spec) => spec.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(specs: &[&str], reuseport: bool, workers: usize) -> Listen {
        Listen { specs: specs.iter().map(|spec| spec.parse().unwrap()).collect(), reuseport, workers }
    }

    #[test]
    fn a_socket_is_opened_once_and_closed_when_its_address_is_dropped() {
        let set = ListenerSet::default();
        let one = listen(&["127.0.0.1:0"], false, 2);
        set.open(&one).unwrap();
        set.commit(&one);
        let address = set.addresses();
        let two = listen(&["127.0.0.1:0", "[::1]:0"], false, 2);
        set.open(&two).unwrap();
        set.commit(&two);
        assert_eq!(set.addresses()[..1], address[..]);
        assert_eq!(set.addresses().len(), 2);
        set.commit(&one);
        assert_eq!(set.addresses(), address);
    }

    #[test]
    fn a_name_makes_an_address_another_one_and_datagrams_have_sockets_of_their_own() {
        let set = ListenerSet::default();
        let three = listen(&["127.0.0.1:0", "echo=127.0.0.1:0", "time=udp:127.0.0.1:0"], false, 1);
        set.open(&three).unwrap();
        set.commit(&three);
        let addresses = set.addresses();
        assert!(addresses[1].starts_with("echo=127.0.0.1:") && addresses[2].starts_with("time=127.0.0.1:"));
        let taken = set.take(&three, 0);
        assert!(matches!(taken[1].1.listener(), Listener::Tcp(_)) && taken[1].0.name() == Some("echo"));
        assert!(matches!(taken[2].1.listener(), Listener::Udp(_)));
    }

    #[test]
    fn with_reuseport_a_datagram_address_has_a_socket_for_each_worker() {
        let set = ListenerSet::default();
        let two = listen(&["time=udp:127.0.0.1:0"], true, 2);
        set.open(&two).unwrap();
        set.commit(&two);
        assert_eq!(set.addresses().len(), 1, "both have the same port");
        assert_eq!(set.take(&two, 0).len(), 1);
    }

    #[test]
    fn with_reuseport_fewer_workers_share_all_sockets() {
        let set = ListenerSet::default();
        set.open(&listen(&["127.0.0.1:0"], true, 4)).unwrap();
        set.commit(&listen(&["127.0.0.1:0"], true, 4));
        assert_eq!(set.addresses().len(), 1, "all have the same port");
        let less = listen(&["127.0.0.1:0"], true, 3);
        set.open(&less).unwrap();
        set.commit(&less);
        assert_eq!(set.take(&less, 0).len(), 2);
        assert!(set.addresses().is_empty(), "a worker closes the others");
    }

    #[test]
    fn an_address_that_fails_leaves_the_others_as_they_were() {
        let set = ListenerSet::default();
        let one = listen(&["127.0.0.1:0"], false, 1);
        set.open(&one).unwrap();
        set.commit(&one);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap().to_string();
        assert!(set.open(&listen(&["127.0.0.1:0", "[::1]:0", &taken], false, 1)).is_err());
        assert_eq!(set.addresses().len(), 1);
        let other = set.open(&listen(&["127.0.0.1:0"], true, 1)).unwrap_err().to_string();
        assert!(other.contains("restart"), "{other}");
        assert!(matches!(set.open(&listen(&["systemd:web"], false, 1)), Err(Error::NotActivated { .. })));
    }
}
