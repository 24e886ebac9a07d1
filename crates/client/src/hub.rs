//! `Hub`: the shared connections of a client, one for each loop and one for all plain threads.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use tenfold_runtime::net::TcpStream;
use tenfold_runtime::{current_loop, sync};

use crate::error::{Error, Phase};
use crate::link::{Bounds, Link, Protocol};

/// A shared connection that was not used for so long is looked at before it is used.
const LOOK_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Hub<P: Protocol> {
    pub(crate) bounds: Bounds,
    /// By the thread of a loop, `None` for all plain threads: a socket has one loop. As many as there are loops.
    stations: Mutex<HashMap<Option<ThreadId>, Arc<Station<P>>>>,
}

/// Where the users of one shared connection meet.
struct Station<P: Protocol> {
    link: Mutex<Option<Arc<Link<P>>>>,
    /// Held while somebody connects, so that the others wait for that one.
    connecting: sync::Mutex<()>,
}

impl<P: Protocol> Hub<P> {
    pub(crate) fn new(bounds: Bounds) -> Hub<P> {
        Hub { bounds, stations: Mutex::default() }
    }

    /// The shared connection of this loop; `open` makes one where there is none that works.
    pub(crate) fn link(
        &self,
        open: impl FnOnce() -> Result<TcpStream, Error>,
    ) -> Result<Arc<Link<P>>, Error> {
        let station = self.station();
        if let Some(link) = station.alive() {
            return Ok(link);
        }
        let _connecting =
            station.connecting.lock().map_err(|error| Error::io(Phase::Connecting, error.into()))?;
        if let Some(link) = station.alive() {
            return Ok(link);
        }
        let link = Arc::new(Link::new(open()?, self.bounds));
        *station.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link.clone());
        Ok(link)
    }

    fn station(&self) -> Arc<Station<P>> {
        let key = current_loop().is_some().then(|| std::thread::current().id());
        let mut stations = self.stations.lock().unwrap_or_else(PoisonError::into_inner);
        stations
            .entry(key)
            .or_insert_with(|| {
                Arc::new(Station { link: Mutex::default(), connecting: sync::Mutex::default() })
            })
            .clone()
    }
}

impl<P: Protocol> Station<P> {
    fn alive(&self) -> Option<Arc<Link<P>>> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner).clone();
        link.filter(|link| link.is_alive(LOOK_AFTER))
    }
}

impl<P: Protocol> fmt::Debug for Hub<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
