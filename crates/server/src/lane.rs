//! Lanes: bounded classes of requests (the field also says bulkheads).
//!
//! A lane says where its handlers run, how many run at once, how many may queue, for how long, and what an overflow gets:
//! 503 with `Retry-After`, written before the request's body is read. A lane that is full of slow reports does not delay
//! a short request in another lane.
//!
//! The requests of a lane queue in one line per worker, first come first served; health routes pass by.

use std::sync::Arc;
use std::time::Duration;

use tenfold_scoreboard as scoreboard;

use crate::lane::codel::CodelConfig;
use crate::lane::crew::Crew;
use crate::lane::gate::{Gate, GateConfig};
use crate::lane::gradient::GradientConfig;
use crate::lane::pool::Pool;

pub(crate) mod codel;
pub(crate) mod crew;
pub(crate) mod gate;
pub(crate) mod gradient;
pub(crate) mod pool;
mod priority;

pub use priority::Priority;

/// Where a lane's handlers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// As the model does it.
    #[default]
    Model,
    /// On the loop, holding it until the handler returns. Evented models only.
    Inline,
    /// On a fiber. Evented models only.
    Fiber,
    /// On a pool of this many threads, in every worker. The blocking models run the handler on the connection's own
    /// thread and honour the number as "most at once".
    Pool(usize),
    /// In this many separate processes for each worker. Model `event-worker` only.
    Worker(usize),
}

/// A lane's settings.
///
/// ```
/// use std::time::Duration;
/// use tenfold_server::Lane;
/// let reports = Lane::pool(4).queue(64).wait(Duration::from_secs(2));
/// assert_eq!(reports.placement(), tenfold_server::Placement::Pool(4));
/// ```
#[derive(Clone, Debug)]
pub struct Lane {
    placement: Placement,
    at_once: Option<usize>,
    uploads: Option<usize>,
    queue: usize,
    wait: Duration,
    target: Duration,
    interval: Duration,
    adaptive: Option<(usize, usize)>,
    timeout: Option<Duration>,
    overrun: Option<Duration>,
}

impl Default for Lane {
    /// Handlers run as the model does it, and as many at once as there are connections.
    fn default() -> Self {
        Lane {
            placement: Placement::Model,
            at_once: None,
            uploads: None,
            queue: 1024,
            wait: Duration::from_secs(5),
            target: Duration::from_millis(100),
            interval: Duration::from_secs(1),
            adaptive: None,
            timeout: None,
            overrun: None,
        }
    }
}

impl Lane {
    /// Handlers run on the loop.
    pub fn inline() -> Lane {
        Lane { placement: Placement::Inline, ..Lane::default() }
    }

    /// Handlers run on fibers.
    pub fn fiber() -> Lane {
        Lane { placement: Placement::Fiber, ..Lane::default() }
    }

    /// Handlers run on a pool of `threads`, which is also how many run at once.
    pub fn pool(threads: usize) -> Lane {
        Lane { placement: Placement::Pool(threads), at_once: Some(threads), ..Lane::default() }
    }

    /// Handlers run in `processes` of their own, which is also how many run at once.
    pub fn worker(processes: usize) -> Lane {
        Lane { placement: Placement::Worker(processes), at_once: Some(processes), ..Lane::default() }
    }

    /// Most requests that run at once, in each worker; default without bound, or the number of threads or processes.
    #[must_use]
    pub fn at_once(mut self, requests: usize) -> Lane {
        self.at_once = Some(requests);
        self
    }

    /// Most of those at once whose bodies are still on their way when they get their place; default half of
    /// [`Lane::at_once`], rounded up. Short bodies come before the place (`limits.body_ahead_bytes_max`), so this is for
    /// long ones and for those that are asked for with `100 Continue`: a client that sends slowly holds its handler, and
    /// must not hold all.
    #[must_use]
    pub fn uploads(mut self, requests: usize) -> Lane {
        self.uploads = Some(requests);
        self
    }

    /// Most requests that wait for their turn; default 1,024. One more gets 503.
    #[must_use]
    pub fn queue(mut self, requests: usize) -> Lane {
        self.queue = requests;
        self
    }

    /// What the wait for a turn is held to when the lane is overloaded, that is when it was longer for a whole
    /// [`Lane::interval`]; default 100 ms. Who would wait for longer then gets 503 at once. A tenth of the interval or
    /// less, as RFC 8289 section 4.3 has it.
    #[must_use]
    pub fn target(mut self, wait: Duration) -> Lane {
        self.target = wait;
        self
    }

    /// How long waits may stay above the target before that is an overload and no burst; default 1 s.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Lane {
        self.interval = interval;
        self
    }

    /// Finds how many requests run at once by itself, between `min` and `max`: as many as do not make each other slow. In
    /// each worker; a pool's threads or processes bound it as well.
    #[must_use]
    pub fn adaptive(mut self, min: usize, max: usize) -> Lane {
        self.adaptive = Some((min, max));
        self
    }

    /// Longest wait for a turn, then 503; default 5 s. Who is not going to get it in that time gets the 503 at once.
    #[must_use]
    pub fn wait(mut self, longest: Duration) -> Lane {
        self.wait = longest;
        self
    }

    /// How long after its arrival a request's waits fail with `TimedOut`, the wait for its turn included; default the
    /// limits' `request_timeout_secs`. [`Duration::MAX`] is never.
    #[must_use]
    pub fn timeout(mut self, longest: Duration) -> Lane {
        self.timeout = Some(longest);
        self
    }

    /// How long a request may run on after that before its process is replaced; default the limits'
    /// `request_overrun_secs`. [`Duration::MAX`] is never.
    #[must_use]
    pub fn overrun(mut self, longest: Duration) -> Lane {
        self.overrun = Some(longest);
        self
    }

    /// Where its handlers run.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    pub(crate) fn check(&self, name: &str) -> Result<(), String> {
        let zero = matches!(self.placement, Placement::Pool(0) | Placement::Worker(0))
            || self.at_once == Some(0)
            || self.uploads == Some(0);
        if let Some((min, max)) = self.adaptive
            && (min == 0 || max < min)
        {
            return Err(format!(
                "lane {name:?}: adaptive({min}, {max}): expected at least 1, and no less than that"
            ));
        }
        if zero { Err(format!("lane {name:?}: 0 at once would never run a request")) } else { Ok(()) }
    }
}

/// A lane of a running worker.
#[derive(Debug)]
pub(crate) struct OpenLane {
    pub(crate) name: String,
    pub(crate) placement: Placement,
    /// `None` where nothing bounds it: then a request pays nothing for the lane.
    pub(crate) gate: Option<Gate>,
    /// The door before that one, for requests whose bodies are still on their way; `None` where they may take all places.
    pub(crate) uploads: Option<Gate>,
    pub(crate) pool: Option<Arc<Pool>>,
    pub(crate) crew: Option<Crew>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) overrun: Option<Duration>,
}

impl OpenLane {
    /// Whether handlers run where the loop cannot read the connection for them.
    pub(crate) fn leaves_the_loop(&self) -> bool {
        self.pool.is_some() || self.crew.is_some()
    }

    /// A lane of a handler process: the front has admitted the request.
    pub(crate) fn behind_front(name: &str, lane: &Lane) -> OpenLane {
        OpenLane {
            name: name.into(),
            placement: Placement::Model,
            gate: None,
            uploads: None,
            pool: None,
            crew: None,
            timeout: lane.timeout,
            overrun: lane.overrun,
        }
    }

    pub(crate) fn open(name: &str, lane: &Lane, placement: Placement) -> std::io::Result<OpenLane> {
        let pool = match placement {
            Placement::Pool(threads) => Some(Arc::new(Pool::start(name, threads)?)),
            _ => None,
        };
        let crew = matches!(placement, Placement::Worker(_)).then(Crew::default);
        let places = match placement {
            Placement::Pool(count) | Placement::Worker(count) => Some(count),
            _ => None,
        };
        // Threads or processes that run one request each bound a lane, whatever else it says.
        let at_once = lane.at_once.into_iter().chain(places).min();
        let adaptive = lane.adaptive.map(|(min, max)| {
            let max = at_once.map_or(max, |at_once| max.min(at_once));
            GradientConfig { min: min.min(max), max }
        });
        let at_once = at_once.or(adaptive.map(|config| config.max));
        let door = |at_once, adaptive, is_for_uploads| {
            let config = GateConfig {
                at_once,
                queue_max: lane.queue,
                wait_max: lane.wait,
                codel: CodelConfig { target: lane.target, interval: lane.interval },
                adaptive,
            };
            Gate::new(config, scoreboard::current().lane(name, is_for_uploads))
        };
        let gate = at_once.map(|at_once| door(at_once, adaptive, false));
        let uploads = at_once.and_then(|at_once| {
            let uploads = lane.uploads.unwrap_or(at_once.div_ceil(2));
            (uploads < at_once).then(|| door(uploads, None, true))
        });
        let (timeout, overrun) = (lane.timeout, lane.overrun);
        Ok(OpenLane { name: name.into(), placement, gate, uploads, pool, crew, timeout, overrun })
    }
}
