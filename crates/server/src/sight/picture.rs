//! `Picture`: what goes on, as JSON.
//!
//! The master knows its workers; this adds what the scoreboard knows of them, and what is configured: each gauge beside
//! its bound, so that nobody has to look up whether 900 connections are many.

use std::fs;

use serde_json::{Map, Value, json};
use tenfold_scoreboard::{
    AccountReading, Cause, HistogramReading, Phase, Reason, Scoreboard, Shed, Slot, Stage, State, now_ns,
};

use super::advice::{Situation, advice};
use super::overflows::Overflows;
use crate::lane::{Lane, Placement};
use crate::models;
use crate::settings::Settings;

/// Most requests that are listed, the oldest first; the number of all is told apart.
const LISTED_MAX: usize = 256;

/// Draws what goes on; cheap to clone, and reads only.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) board: Scoreboard,
    pub(crate) settings: Settings,
}

impl Picture {
    /// Adds to what a master says of itself and its workers. Cost: some microseconds for each worker, and one for each
    /// request in flight.
    pub(crate) fn add_to(&self, status: &mut Map<String, Value>) {
        let now = now_ns();
        let mut requests: Vec<(usize, AccountReading)> = Vec::new();
        for worker in status.get_mut("workers").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(slot) = worker["slot"].as_u64().map(|slot| slot as usize) else { continue };
            if slot >= self.board.len() || worker["pid"].is_null() {
                continue;
            }
            let in_flight = self.board.slot(slot).in_flight();
            self.add_to_worker(worker, slot, &in_flight, now);
            requests.extend(in_flight.into_iter().map(|reading| (slot, reading)));
        }
        requests.sort_by_key(|(_, reading)| reading.arrived_ns);
        status.insert("model".into(), self.settings.model.as_str().into());
        status.insert("sight".into(), self.settings.sight.as_str().into());
        status.insert("limits".into(), self.limits());
        status.insert("counters".into(), self.counters());
        let overflows = Overflows::read();
        status.insert("accept_overflows".into(), overflows.map(|it| it.overflows).into());
        status.insert("accept_drops".into(), overflows.map(|it| it.drops).into());
        status.insert("in_flight".into(), requests.len().into());
        status.insert("connections".into(), self.connections(requests.len() as u64));
        let listed = requests.iter().take(LISTED_MAX);
        status
            .insert("requests".into(), listed.map(|(slot, reading)| request(*slot, reading, now)).collect());
        super::lanes::add_to(status, &self.board, now);
        super::rooms::add_to(status, &self.board);
        let times = self.board.times();
        status.insert("advice".into(), advice(&times, &self.situation()).into());
        let share = times.share_of_waiting();
        let stages = Stage::ALL.map(|stage| (stage.name(), times.stage_ns(stage), None));
        let wait = |cause: Cause| (cause.name(), times.wait_ns(cause), Some(times.wait(cause)));
        let ms = |ns: u64| ns as f64 / 1e6;
        let row = |(name, ns, histogram): (&str, u64, Option<&HistogramReading>)| {
            let mean = if times.finished() == 0 { 0.0 } else { ms(ns) / times.finished() as f64 };
            let own = match name {
                "queue" => Some(times.queue()),
                "run" => Some(times.run()),
                "total" => Some(times.total()),
                _ => histogram,
            };
            let quantile = |share: f64| own.and_then(|own| own.quantile(share)).map(ms);
            json!({ "name": name, "mean_ms": mean, "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
                    "share": ns as f64 / times.total_ns().max(1) as f64 })
        };
        let waits: Vec<Value> =
            Cause::ALL.into_iter().map(wait).filter(|(_, ns, _)| *ns > 0).map(row).collect();
        status.insert(
            "times".into(),
            json!({ "requests": times.finished(), "share_of_waiting": share, "stages": stages.map(row), "waits": waits,
                    "total": row(("total", times.total_ns(), None)) }),
        );
    }

    /// The same for want of a master's word: only what the scoreboard and the system know.
    pub(crate) fn alone(&self) -> Map<String, Value> {
        let workers = self.board.slots().iter().enumerate().filter(|(_, slot)| slot.pid() != 0);
        let worker = |(index, slot): (usize, &Slot)| {
            json!({
                "slot": index, "pid": slot.pid(), "generation": slot.generation(), "state": state(slot),
                "requests": slot.requests.get(), "connections_open": slot.connections_open.get(),
                "memory_bytes": memory_bytes(slot.pid()), "group": Value::Null,
            })
        };
        let mut status = Map::new();
        status.insert("state".into(), "unknown: the master does not answer".into());
        status.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        status.insert("workers".into(), workers.map(worker).collect());
        self.add_to(&mut status);
        status
    }

    /// What the requests in one slot are doing, a line each, the oldest first.
    pub(crate) fn lines(&self, slot: usize) -> String {
        let now = now_ns();
        let mut requests = match slot < self.board.len() {
            true => self.board.slot(slot).in_flight(),
            false => Vec::new(),
        };
        requests.sort_by_key(|reading| reading.arrived_ns);
        let mut text = format!("{} requests in flight\n", requests.len());
        for reading in &requests {
            text += &super::text::request(&request(slot, reading, now));
            text.push('\n');
        }
        text
    }

    fn add_to_worker(&self, worker: &mut Value, slot: usize, in_flight: &[AccountReading], now: u64) {
        let slot = self.board.slot(slot);
        let queued = in_flight.iter().filter(|reading| reading.stage == Stage::Queue);
        let lag = queued.map(|reading| now.saturating_sub(reading.since_ns)).max().unwrap_or(0);
        let running = in_flight.iter().filter(|reading| reading.stage == Stage::Run);
        let held = running.map(|reading| now.saturating_sub(reading.since_ns)).max().unwrap_or(0);
        worker["in_flight"] = in_flight.len().into();
        worker["fibers"] = slot.fibers_in_use.get().into();
        worker["starts"] = slot.starts().into();
        // The longest that a request which could go on has been waiting for the processor, or for a place, until now.
        worker["lag_ms"] = (lag / 1_000_000).into();
        worker["running_ms"] = (held / 1_000_000).into();
        worker["loop_holds"] = slot.loop_holds.get().into();
        worker["cpu_ms"] = worker["pid"].as_u64().and_then(|pid| cpu_ms(pid as u32)).into();
    }

    fn limits(&self) -> Value {
        let settings = &self.settings;
        let facts = models::find(&settings.model).map(|model| model.facts(settings)).ok();
        json!({
            "workers": settings.workers(),
            "connections_max": settings.limits.connections_max * settings.workers(),
            "in_flight_max": self.situation().at_once,
            "threads_max": facts.map(|facts| facts.threads_max * settings.workers()),
            "graceful_timeout_secs": settings.graceful_timeout_secs,
        })
    }

    fn counters(&self) -> Value {
        let sum = |number: fn(&Slot) -> u64| self.board.sum(number);
        json!({
            "requests": sum(|slot| slot.requests.get()),
            "connections_open": sum(|slot| slot.connections_open.get()),
            "connections_accepted": sum(|slot| slot.connections_accepted.get()),
            "responses_2xx": sum(|slot| slot.responses_2xx.get()),
            "responses_3xx": sum(|slot| slot.responses_3xx.get()),
            "responses_4xx": sum(|slot| slot.responses_4xx.get()),
            "responses_5xx": sum(|slot| slot.responses_5xx.get()),
            "bad_requests": sum(|slot| slot.bad_requests.get()),
            "rejections": sum(|slot| slot.rejections.get()),
            "rejections_by": self.by(|slot, why: Shed| slot.rejections.of(why)),
            "timeouts": sum(|slot| slot.timeouts.get()),
            "timeouts_by": self.by(|slot, phase: Phase| slot.timeouts.of(phase)),
            "panics": sum(|slot| slot.panics.get()),
            "loop_holds": sum(|slot| slot.loop_holds.get()),
        })
    }

    /// Open connections by what they do. HTTP/1.1 answers one request of a connection after another, so those with a request in
    /// flight are as many as those requests.
    fn connections(&self, in_flight: u64) -> Value {
        let open = self.board.sum(|slot| slot.connections_open.get());
        match self.settings.sight == "on" {
            true => json!({ "busy": in_flight.min(open), "idle": open.saturating_sub(in_flight) }),
            false => Value::Null,
        }
    }

    /// Sums of all slots, by reason.
    fn by<R: Reason>(&self, count: impl Fn(&Slot, R) -> u64) -> Value {
        let sum = |reason: R| self.board.sum(|slot| count(slot, reason));
        R::ALL.iter().map(|reason| (reason.name().to_owned(), Value::from(sum(*reason)))).collect()
    }

    fn situation(&self) -> Situation<'_> {
        let settings = &self.settings;
        let model = models::find(&settings.model).ok();
        let at_once = model.and_then(|model| model.facts(settings).at_once);
        let place = model.and_then(|model| model.place(&Lane::default(), settings).ok());
        Situation {
            model: &settings.model,
            waits_are_free: at_once.is_none() && place == Some(Placement::Fiber),
            at_once: at_once.map(|each| each * settings.workers()),
        }
    }
}

fn request(slot: usize, reading: &AccountReading, now: u64) -> Value {
    json!({
        "slot": slot, "method": reading.method, "path": reading.path,
        "id": Some(&reading.id).filter(|id| !id.is_empty()),
        "age_ms": now.saturating_sub(reading.arrived_ns) / 1_000_000,
        "state": reading.stage.name(),
        "waits_for": reading.cause.map(Cause::name),
        "what": Some(&reading.what).filter(|what| !what.is_empty()),
        "since_ms": now.saturating_sub(reading.since_ns) / 1_000_000,
    })
}

fn state(slot: &Slot) -> &'static str {
    match slot.state() {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Draining => "draining",
        _ => "gone",
    }
}

/// User and system time of a process (proc(5), `stat`), which the kernel counts in hundredths of a second.
fn cpu_ms(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) * 10)
}

/// The proportional share of memory, or what is resident where the kernel does not tell.
fn memory_bytes(pid: u32) -> Option<u64> {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    field("smaps_rollup", "Pss:").or_else(|| field("status", "VmRSS:"))
}
