//! How everything ends: drain, graceful, fast.
//!
//! ```text
//!   TERM ─▶ announced (drain_delay: accepts, "not ready") ─▶ graceful ─▶ lasting groups ─▶ over
//!                                  2nd TERM, INT (^C: the 2nd): fast ─▶ killed
//! ```

use std::time::Instant;

use serde_json::{Value, json};

use super::{Crew, upgrade::Upgrade};
use crate::{generation::Generation, notify, order::Order, source::Source};

/// Whether the master ends, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stop {
    No,
    /// Load balancers are being told.
    Announced {
        until: Instant,
    },
    Graceful {
        until: Instant,
    },
    Fast {
        until: Instant,
    },
}

impl Stop {
    /// Whether nobody is started any more.
    pub(super) fn forbids_starts(self) -> bool {
        matches!(self, Self::Graceful { .. } | Self::Fast { .. })
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Announced { until } => Some(*until),
            _ => None,
        }
    }
}

impl Crew {
    pub(super) fn stop_gracefully(&mut self) {
        let delay = self.config.drain_delay;
        notify::stopping();
        if delay.is_zero() || self.drained {
            return self.drain_all();
        }
        tracing::info!(target: "supervisor", delay_ms = delay.as_millis(), "stopping soon: readiness checks are told");
        self.generations.iter().for_each(|generation| generation.order(Order::Unready));
        self.stop = Stop::Announced { until: Instant::now() + delay };
    }

    /// The end of the serving generations; the lasting one follows when they are gone.
    pub(super) fn drain_all(&mut self) {
        let until = self.graceful_until();
        tracing::info!(target: "supervisor", bound_ms = self.config.graceful_timeout.as_millis(), "stopping gracefully");
        self.give_up_changes("the server stops");
        self.stop = Stop::Graceful { until };
        for generation in self.generations.iter_mut().filter(|generation| !generation.lasting) {
            if !generation.is_draining() {
                generation.drain(until);
            }
        }
    }

    /// The second call kills at once.
    pub(super) fn stop_fast(&mut self) {
        let again = matches!(self.stop, Stop::Fast { .. });
        let now = Instant::now();
        tracing::info!(target: "supervisor", "{}", if again { "killing all workers" } else { "stopping fast" });
        notify::stopping();
        self.give_up_changes("the server stops");
        let until = if again { now } else { now + self.config.fast_timeout };
        self.stop = Stop::Fast { until };
        self.generations.iter_mut().for_each(|generation| generation.cut(until));
    }

    /// Ends all workers that are no lasting ones, and keeps the listeners: connections wait in their queues.
    pub(super) fn drain(&mut self) -> Result<Value, String> {
        if self.drained {
            return Err("the workers are drained already; reload starts new ones".into());
        }
        self.give_up_changes("the workers are drained");
        let until = self.graceful_until();
        if let Some(generation) = self.current_mut() {
            generation.drain(until);
        }
        self.drained = true;
        tracing::info!(target: "supervisor", "draining all workers; the listeners stay, a reload starts new workers");
        Ok(json!({ "said": "draining; reload starts new workers" }))
    }

    /// Does what time demands: next stage of a stop, and kills.
    pub(super) fn enforce(&mut self) {
        let now = Instant::now();
        if matches!(self.stop, Stop::Announced { until } if now >= until) {
            self.drain_all();
        }
        self.kill_late_starters(now);
        self.generations.iter_mut().for_each(|generation| generation.enforce(now));
        if let Stop::Graceful { until } = self.stop
            && self.generations.iter().all(|generation| generation.lasting || generation.is_gone())
        {
            let lasting = self.generations.iter_mut().filter(|generation| !generation.is_draining());
            lasting.for_each(|generation| generation.drain(until));
        }
        self.close_listeners();
        self.generations.retain(|generation| generation.lasting || !forgotten(generation));
        self.waiting_over(now);
    }

    /// The master keeps all sockets open, so that nothing in their queues is lost while workers come and go. At the end nobody
    /// comes: once all workers have emptied the queues and closed theirs, a client had better be refused than wait for the
    /// last request of somebody else, and be reset then. A handshake that is completed between a worker's last look and this
    /// is lost in either case: no call takes a listener's last connection and closes it in one.
    fn close_listeners(&self) {
        if matches!(self.stop, Stop::Graceful { .. })
            && self.generations.iter().all(Generation::is_closed)
            && let Some(listeners) = self.options.source.as_deref().and_then(Source::listeners)
        {
            listeners.close();
        }
    }

    fn give_up_changes(&mut self, why: &str) {
        self.next_reload = None;
        if self.reload.is_some() {
            self.fail_reload(why);
        }
        if self.upgrade.as_ref().is_some_and(|upgrade| !Upgrade::is_committed(upgrade)) {
            self.fail_upgrade(why);
        }
    }
}

fn forgotten(generation: &Generation) -> bool {
    generation.is_draining() && generation.is_gone()
}
