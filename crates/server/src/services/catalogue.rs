//! `Catalogue`: the services of an app, checked in the master; `Services`: what a worker has beside them; `Listening`: its
//! sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tenfold_runtime::net::{TcpListener, UdpSocket};
use tenfold_supervisor::{Bound, ListenSpec, Listener, Report, Reporter, Worker};

use crate::lane::Placement;
use crate::lane::pool::Pool;
use crate::services::complaint::Complaints;
use crate::services::datagram::{ErasedUdp, Run};
use crate::services::handler::{Erased, Kind};
use crate::services::limits::ServiceLimits;
use crate::state::Need;

/// Most services of an app.
const SERVICES_MAX: usize = 64;

/// All services of an app.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    tcp: Vec<Arc<TcpService>>,
    udp: Vec<Arc<UdpService>>,
}

/// A service for connections.
pub(crate) struct TcpService {
    pub(crate) name: &'static str,
    address: String,
    pub(super) kind: Kind,
    needs: Vec<Need>,
    pub(super) limits: ServiceLimits,
    /// Its connections in this process.
    pub(super) open: AtomicUsize,
    pub(super) complaints: Complaints,
}

/// A service for datagrams.
pub(crate) struct UdpService {
    pub(crate) name: &'static str,
    address: String,
    pub(super) run: Box<Run>,
    needs: Vec<Need>,
    pub(super) limits: ServiceLimits,
    pub(super) complaints: Complaints,
}

impl TcpService {
    /// Counts one more connection, unless there are as many as may be.
    pub(super) fn try_open(&self) -> bool {
        let most = self.limits.connections_max.unwrap_or(usize::MAX);
        let more = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

impl Catalogue {
    pub(crate) fn add_tcp(&mut self, name: &str, address: &str, handler: Erased) {
        let Erased { kind, needs, limits } = handler;
        let (name, address) = (leak(name), address.into());
        let (open, complaints) = (AtomicUsize::new(0), Complaints::default());
        self.tcp.push(Arc::new(TcpService { name, address, kind, needs, limits, open, complaints }));
    }

    pub(crate) fn add_udp(&mut self, name: &str, address: &str, handler: ErasedUdp) {
        let ErasedUdp { run, needs, limits } = handler;
        let (name, address, complaints) = (leak(name), address.into(), Complaints::default());
        self.udp.push(Arc::new(UdpService { name, address, run, needs, limits, complaints }));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    /// What each service needs from the app, by its name.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (&'static str, &[Need])> {
        let tcp = self.tcp.iter().map(|service| (service.name, &service.needs[..]));
        tcp.chain(self.udp.iter().map(|service| (service.name, &service.needs[..])))
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &str, &ServiceLimits, bool)> {
        let tcp = self.tcp.iter().map(|it| (it.name, &it.address[..], &it.limits, false));
        tcp.chain(self.udp.iter().map(|it| (it.name, &it.address[..], &it.limits, true)))
    }

    /// Says what is wrong with the services themselves, as one line.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _, limits, _) in self.all() {
            if !ListenSpec::is_name(name) {
                return Err(format!("the service {name:?}: a name consists of letters, digits, - and _"));
            }
            if names.contains(&name) {
                return Err(format!("there are two services of the name {name:?}"));
            }
            limits.check().map_err(|error| format!("the service {name:?}: {error}"))?;
            names.push(name);
        }
        match names.len() > SERVICES_MAX {
            true => Err(format!("there are more than {SERVICES_MAX} services")),
            false => Ok(()),
        }
    }

    /// Where they listen: where the app says, or the settings.
    pub(crate) fn addresses(&self, wished: &BTreeMap<String, String>) -> Result<Vec<ListenSpec>, String> {
        if let Some(unknown) = wished.keys().find(|name| !self.all().any(|it| it.0 == **name)) {
            return Err(format!("services.{unknown}: the app has no service of this name"));
        }
        self.all()
            .map(|(name, address, _, takes_datagrams)| {
                let text = wished.get(name).map_or(address, String::as_str);
                let wrong = |error: String| format!("the service {name:?}: {error}");
                let spec: ListenSpec =
                    text.parse().map_err(|error: tenfold_supervisor::Error| wrong(error.to_string()))?;
                let address = match (takes_datagrams, spec) {
                    (true, spec) => {
                        spec.for_datagrams().ok_or_else(|| wrong(format!("{text} takes no datagrams")))?
                    }
                    (false, ListenSpec::Named(..) | ListenSpec::Udp(_) | ListenSpec::AnyUdp(_)) => {
                        return Err(wrong(format!("{text} takes no connections")));
                    }
                    (false, spec) => spec,
                };
                Ok(ListenSpec::Named(name.into(), Box::new(address)))
            })
            .collect()
    }

    /// What a model cannot honour: `own` is where it runs handlers.
    pub(crate) fn check_placement(&self, model: &str, own: Placement) -> Result<(), String> {
        match own {
            Placement::Worker(_) if !self.is_empty() => Err(format!(
                "the model {model} cannot honour TCP and UDP services: its handlers run in processes that have no \
                 connections"
            )),
            _ => Ok(()),
        }
    }
}

/// There are few services, and they are as old as the process; a name is on fibers and in logs.
fn leak(name: &str) -> &'static str {
    Box::leak(name.into())
}

/// What a worker has for its services.
pub(crate) struct Services {
    /// Where the model runs handlers.
    pub(crate) placement: Placement,
    /// Threads for them, where they run on such.
    pub(crate) pool: Option<Pool>,
    /// Datagrams whose handlers run on fibers.
    pub(crate) datagrams: AtomicUsize,
}

impl Services {
    pub(crate) fn open(
        catalogue: &Catalogue,
        placement: Placement,
        evented: bool,
    ) -> Result<Services, String> {
        let pool = match placement {
            Placement::Pool(threads) if evented && !catalogue.is_empty() => {
                let pool = Pool::start("service", threads);
                Some(pool.map_err(|error| format!("cannot start the threads of the services: {error}"))?)
            }
            _ => None,
        };
        Ok(Services { placement, pool, datagrams: AtomicUsize::new(0) })
    }

    /// For a process that has none.
    pub(crate) fn none() -> Services {
        Services { placement: Placement::Model, pool: None, datagrams: AtomicUsize::new(0) }
    }

    /// Whether a datagram is being answered.
    pub(crate) fn is_busy(&self) -> bool {
        self.datagrams.load(Ordering::Acquire) > 0
    }
}

/// The listening sockets of a worker, as its own descriptors, non-blocking.
#[derive(Clone, Default)]
pub(crate) struct Listening {
    /// Of HTTP.
    pub(crate) web: Vec<TcpListener>,
    pub(crate) tcp: Vec<(Arc<TcpService>, TcpListener)>,
    pub(crate) udp: Vec<(Arc<UdpService>, UdpSocket)>,
    /// Held by whoever holds sockets, and let go of after them.
    pub(crate) tenure: Option<Arc<Tenure>>,
}

/// When the last of its holders lets go, the worker accepts no more, and its master is told: of a server that ends, nobody is
/// to wait in a queue that is never looked at again.
pub(crate) struct Tenure(Reporter);

impl Drop for Tenure {
    fn drop(&mut self) {
        self.0.say(&Report::Closed);
    }
}

impl Listening {
    /// No socket yet; the end of the last one is told to the master.
    pub(crate) fn of(worker: &Worker) -> Listening {
        Listening { tenure: Some(Arc::new(Tenure(worker.reporter().clone()))), ..Listening::default() }
    }

    /// Adds a socket of the master's, for whoever `spec` names.
    pub(crate) fn add(
        &mut self,
        catalogue: &Catalogue,
        spec: &ListenSpec,
        bound: &Bound,
    ) -> std::io::Result<()> {
        let fd = bound.listener().as_fd().try_clone_to_owned()?;
        // The flag belongs to the open file, which all workers share; all of them want it.
        rustix::io::ioctl_fionbio(&fd, true)?;
        let takes_datagrams = matches!(bound.listener(), Listener::Udp(_));
        let tcp = catalogue.tcp.iter().find(|service| spec.name() == Some(service.name));
        let udp = catalogue.udp.iter().find(|service| spec.name() == Some(service.name));
        match (tcp, udp, takes_datagrams) {
            (Some(service), _, false) => self.tcp.push((service.clone(), TcpListener::from_fd(fd))),
            (_, Some(service), true) => {
                self.udp.push((service.clone(), std::net::UdpSocket::from(fd).into()));
            }
            (None, None, false) => self.web.push(TcpListener::from_fd(fd)),
            _ => return Err(std::io::Error::other(format!("{spec} is a socket of another kind"))),
        }
        Ok(())
    }
}

impl fmt::Debug for TcpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpService({} at {})", self.name, self.address)
    }
}

impl fmt::Debug for UdpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UdpService({} at {})", self.name, self.address)
    }
}
