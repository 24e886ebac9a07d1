//! Statuses one after another, and what follows from two of them: rates.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use serde_json::Value;

/// Looks that are kept for the curve.
const KEPT: usize = 240;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) status: Value,
    at: Option<Instant>,
    /// Requests a second, the latest last.
    pub(super) rates: VecDeque<u64>,
    /// By slot and process: requests a second, share of a processor.
    workers: HashMap<(u64, u64), (f64, f64)>,
    /// Why there is no news.
    pub(super) lost: Option<String>,
}

impl History {
    pub(super) fn add(&mut self, status: Value, now: Instant) {
        self.lost = None;
        if let Some(before) = self.at {
            let seconds = now.duration_since(before).as_secs_f64().max(1e-3);
            let done = |status: &Value| status["counters"]["requests"].as_u64();
            if let (Some(now), Some(then)) = (done(&status), done(&self.status)) {
                if self.rates.len() == KEPT {
                    self.rates.pop_front();
                }
                self.rates.push_back((now.saturating_sub(then) as f64 / seconds) as u64);
            }
            let then = by_process(&self.status);
            let rates = by_process(&status).into_iter().filter_map(|(process, (requests, cpu_ms))| {
                let (requests_then, cpu_then) = then.get(&process)?;
                let less = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
                Some((process, (less(requests, *requests_then), less(cpu_ms, *cpu_then) / 1e3)))
            });
            self.workers = rates.collect();
        }
        self.at = Some(now);
        self.status = status;
    }

    pub(super) fn lost(&mut self, reason: String) {
        self.lost = Some(reason);
    }

    /// Requests a second and share of a processor of a worker, once it was seen twice.
    pub(super) fn worker(&self, worker: &Value) -> Option<(f64, f64)> {
        self.workers.get(&process(worker)?).copied()
    }

    /// Requests in flight that are known by name.
    pub(super) fn requests_max(&self) -> usize {
        self.status["requests"].as_array().map_or(0, Vec::len)
    }
}

fn process(worker: &Value) -> Option<(u64, u64)> {
    Some((worker["slot"].as_u64()?, worker["pid"].as_u64()?))
}

fn by_process(status: &Value) -> HashMap<(u64, u64), (u64, u64)> {
    let workers = status["workers"].as_array().into_iter().flatten();
    let number = |worker: &Value, name: &str| worker[name].as_u64().unwrap_or(0);
    workers.filter_map(|it| Some((process(it)?, (number(it, "requests"), number(it, "cpu_ms"))))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn two_looks_make_rates_and_a_new_process_has_none_yet() {
        let status = |requests: u64, pid: u64| {
            json!({ "counters": { "requests": requests },
                    "workers": [{ "slot": 0, "pid": pid, "requests": requests, "cpu_ms": requests * 2 }] })
        };
        let (mut history, start) = (History::default(), Instant::now());
        history.add(status(100, 7), start);
        assert!(history.rates.is_empty());
        history.add(status(600, 7), start + Duration::from_secs(2));
        assert_eq!(history.rates, [250]);
        assert_eq!(history.worker(&history.status["workers"][0]), Some((250.0, 0.5)));
        history.add(status(700, 8), start + Duration::from_secs(3));
        assert_eq!(history.worker(&history.status["workers"][0]), None);
    }
}
