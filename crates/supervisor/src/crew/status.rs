//! The answer to `status`: how the master and each of its workers are.
//!
//! Basic facts only; the [`Source`](crate::Source) adds what it knows.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use tenfold_scoreboard::State;

use super::{Crew, Stop, reload::LastChange};
use crate::{
    generation::{Generation, Phase},
    seat::{Process, Seat},
};

impl Crew {
    pub(super) fn status(&self) -> Value {
        let now = Instant::now();
        let mut status = Map::new();
        let mut put = |name: &str, value: Value| status.insert(name.into(), value);
        put("state", self.state().into());
        put("pid", std::process::id().into());
        put("version", self.options.version.as_str().into());
        put("generation", self.current().map(|generation| generation.number).into());
        put("uptime_secs", now.duration_since(self.started).as_secs().into());
        put("started_at_unix_ms", unix_ms(self.started_at).into());
        put("last_reload", change(self.last_reload.as_ref(), "generation"));
        put("last_upgrade", change(self.last_upgrade.as_ref(), "pid"));
        put("listeners", self.listeners().map(|listeners| listeners.addresses()).into());
        let queues = self.listeners().map(|listeners| listeners.queues()).unwrap_or_default();
        let queue = |(address, waiting, most)| json!({ "address": address, "waiting": waiting, "max": most });
        put("accept_queues", queues.into_iter().map(queue).collect());
        put("workers_wanted", self.workers_wanted().into());
        put("draining_generations", self.generations.iter().filter(|it| it.is_draining()).count().into());
        put("restarts", json!(self.restarts));
        put(
            "workers",
            self.generations.iter().flat_map(|generation| self.workers(generation, now)).collect(),
        );
        for (name, value) in &self.facts {
            // None of ours is replaced by what a worker says.
            status.entry(name.as_str()).or_insert_with(|| value.clone());
        }
        if let Some(source) = &self.options.source {
            source.describe(&mut status);
        }
        Value::Object(status)
    }

    /// One word.
    fn state(&self) -> &'static str {
        let failing = |seat: &Seat| seat.backoff.failures() >= self.config.failing_after && !seat.is_ready();
        let mut seats = self.generations.iter().flat_map(|generation| &generation.seats);
        match self.stop {
            Stop::No => {}
            _ => return "stopping",
        }
        match (&self.upgrade, &self.reload) {
            (Some(upgrade), _) if upgrade.is_held() => "held",
            (Some(_), _) => "upgrading",
            (_, Some(_)) => "reloading",
            _ if self.drained => "drained",
            _ if seats.any(failing) => "degraded",
            _ if !self.announced => "starting",
            _ => "serving",
        }
    }

    fn workers(&self, generation: &Generation, now: Instant) -> Vec<Value> {
        let mut workers = Vec::new();
        for seat in &generation.seats {
            let group = &generation.groups[seat.group].name;
            let facts = |process: &Process| {
                let mut facts = self.worker(generation, group, process, now);
                facts["index"] = seat.index.into();
                facts["restarts"] = json!(seat.restarts);
                facts
            };
            workers.extend([&seat.process, &seat.successor].into_iter().flatten().map(facts));
            if seat.process.is_none() && !generation.is_draining() {
                let wait = seat.start_at.map(|at| at.saturating_duration_since(now).as_millis());
                workers.push(json!({
                    "slot": seat.slot_wish, "group": group, "index": seat.index, "generation": generation.number,
                    "state": "down", "next_start_ms": wait.map(|ms| ms as u64), "restarts": seat.restarts,
                    "failures": seat.backoff.failures(), "reason": seat.last_death,
                }));
            }
        }
        for (group, process) in &generation.leaving {
            workers.push(self.worker(generation, &generation.groups[*group].name, process, now));
        }
        workers
    }

    fn worker(&self, generation: &Generation, group: &str, process: &Process, now: Instant) -> Value {
        let state = match (process.slot.state(), generation.phase) {
            _ if process.killed => "killed",
            _ if process.condemned => "condemned",
            (_, Phase::Draining { .. }) | (State::Draining, _) => "draining",
            (State::Starting, _) => "starting",
            (State::Ready, _) => "ready",
            _ => "gone",
        };
        json!({
            "slot": process.slot_index, "group": group, "pid": process.pid.as_raw_pid(),
            "generation": generation.number, "state": state,
            "age_secs": now.duration_since(process.started).as_secs(),
            "requests": process.requests(),
            "connections_open": process.slot.connections_open.get(),
            "memory_bytes": super::scale::memory_bytes(process.pid.as_raw_pid()),
        })
    }
}

fn change(change: Option<&LastChange>, what: &str) -> Value {
    let Some(LastChange { at, outcome }) = change else { return Value::Null };
    match outcome {
        Ok(number) => json!({ "ok": true, "at_unix_ms": unix_ms(*at), what: number }),
        Err(reason) => json!({ "ok": false, "at_unix_ms": unix_ms(*at), "reason": reason }),
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
