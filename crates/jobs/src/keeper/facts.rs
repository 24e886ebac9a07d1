//! `Facts`: what the keeper tells the master about its queues, for `status`: once a second while that changes.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tenfold_server::supervisor::{Report, Worker};

/// How often the numbers of the queues are told.
const EVERY: Duration = Duration::from_secs(1);
/// Queues that are told.
const QUEUES_MAX: usize = 200;

/// What the master was told last.
#[derive(Default)]
pub(super) struct Facts {
    told: String,
    told_at: Option<Instant>,
    /// Jobs done of each queue.
    done: HashMap<String, u64>,
}

impl Facts {
    pub(super) fn is_due(&self) -> bool {
        self.told_at.is_none_or(|at| at.elapsed() >= EVERY)
    }

    /// Tells the master, if there is something new; `jobs` is what [`crate::Ask::Queues`] answers.
    pub(super) fn tell(&mut self, worker: &Worker, socket: &Path, mut jobs: Value) {
        self.add_rates(&mut jobs);
        // Whoever asks may be somewhere else.
        let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
        jobs["socket"] = socket.display().to_string().into();
        let json = jobs.to_string();
        self.told_at = Some(Instant::now());
        if json != self.told {
            worker.reporter().say(&Report::Facts { name: "jobs".into(), json: json.clone() });
            self.told = json;
        }
    }

    /// Adds what was done a second since the last time.
    fn add_rates(&mut self, jobs: &mut Value) {
        let Some(queues) = jobs["queues"].as_array_mut() else { return };
        queues.truncate(QUEUES_MAX);
        for queue in queues {
            let (name, done) =
                (queue["name"].as_str().unwrap_or_default(), queue["done"].as_u64().unwrap_or(0));
            let before = self.done.insert(name.to_owned(), done).unwrap_or(0);
            let seconds = self.told_at.map_or(1.0, |at| at.elapsed().as_secs_f64().max(0.001));
            queue["per_second"] = (((done.saturating_sub(before)) as f64 / seconds).round() as u64).into();
        }
    }
}
