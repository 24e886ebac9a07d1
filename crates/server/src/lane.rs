//! A bounded class of requests: where its handlers run, how many at once, how many may queue and for how long.

use std::time::Duration;

/// A class of requests and its bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    place: Place,
    at_once_max: Option<usize>,
    queue_max: Option<usize>,
    wait_max: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Model,
    Inline,
    Fiber,
    Pool(usize),
    Worker(usize),
}

impl Lane {
    /// Handlers run on the loop itself.
    pub fn inline() -> Lane {
        Lane { place: Place::Inline, ..Lane::default() }
    }

    /// Handlers run on fibers.
    pub fn fiber() -> Lane {
        Lane { place: Place::Fiber, ..Lane::default() }
    }

    /// Handlers run on `n` threads.
    pub fn pool(n: usize) -> Lane {
        Lane { place: Place::Pool(n), ..Lane::default() }
    }

    /// Handlers run in `n` processes.
    pub fn worker(n: usize) -> Lane {
        Lane { place: Place::Worker(n), ..Lane::default() }
    }

    /// At most `n` requests wait.
    #[must_use]
    pub fn queue(mut self, n: usize) -> Lane {
        self.queue_max = Some(n);
        self
    }

    /// No request waits longer than this.
    #[must_use]
    pub fn wait(mut self, longest: Duration) -> Lane {
        self.wait_max = Some(longest);
        self
    }

    /// At most `n` handlers run at once.
    #[must_use]
    pub fn at_once(mut self, n: usize) -> Lane {
        self.at_once_max = Some(n);
        self
    }
}
