//! `Facts`: what the keeper tells the master about its hub, for `status`: once a second while that changes, at once when its server
//! is gone or there again. Numbers that grow are on the scoreboard, where nobody has to tell them.

use std::time::{Duration, Instant};

use tenfold_server::scoreboard;
use tenfold_server::supervisor::{Report, Worker};

use super::hub::Health;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What the master was told last.
#[derive(Default)]
pub(super) struct Facts {
    told: String,
    looked: Option<(Instant, bool)>,
}

impl Facts {
    pub(super) fn tell(&mut self, worker: &Worker, health: Health) {
        let is_due = self.looked.is_none_or(|(at, was_up)| was_up != health.is_up || at.elapsed() >= EVERY);
        if !is_due {
            return;
        }
        self.looked = Some((Instant::now(), health.is_up));
        scoreboard::current().rooms.rooms.set(health.rooms as u64);
        let state = if health.is_up { "up" } else { "down" };
        let json = serde_json::json!({
            "hub": health.kind, "state": state, "lag_ms": health.lag.as_millis() as u64,
        });
        let json = json.to_string();
        if json != self.told {
            worker.reporter().say(&Report::Facts { name: "rooms".into(), json: json.clone() });
            self.told = json;
        }
    }
}
