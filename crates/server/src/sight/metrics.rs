//! What goes on, for a collector: Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! Written by hand: the format is a few lines, and every number is on the board already, so a registry beside it would hold
//! each of them twice.

use std::fmt::{Display, Write};

use serde_json::Value;
use tenfold_scoreboard::{Cause, HistogramReading, MessageStage, Scoreboard, Stage};

/// The text, from a status and the board behind it.
pub(crate) fn metrics(status: &Value, board: Scoreboard) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    page.server(status);
    page.workers(status);
    page.lanes(&status["lanes"]);
    page.jobs(&status["jobs"]);
    page.rooms(&status["rooms"], board);
    page.times(board);
    page.0
}

/// Numbers of the same kind that several things have: the field of a status, the end of the family's name, its type, what the field
/// is multiplied by, and what it is.
type Family = (&'static str, &'static str, &'static str, f64, &'static str);

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let value = value.to_string();
        // What is not known is left out.
        if value == "null" {
            return;
        }
        let label = |(name, value): &(&str, &str)| {
            // The format's own escapes.
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        };
        let labels: Vec<String> = labels.iter().map(label).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{braces} {value}");
    }

    /// A socket each: an address that is shared by SO_REUSEPORT has several.
    fn accept_queues(&mut self, queues: &Value) {
        for (name, field, help) in [
            ("tenfold_accept_queue", "waiting", "Connections that no worker has accepted yet."),
            (
                "tenfold_accept_queue_max",
                "max",
                "How many those may be; more are not answered by the kernel.",
            ),
        ] {
            self.family(name, "gauge", help);
            for (number, queue) in queues.as_array().into_iter().flatten().enumerate() {
                let (number, address) = (number.to_string(), queue["address"].as_str().unwrap_or_default());
                self.sample(name, &[("socket", &number), ("address", address)], &queue[field]);
            }
        }
    }

    fn accept_overflows(&mut self, status: &Value) {
        for (field, help) in [
            (
                "accept_overflows",
                "Connections for which some listener's queue was full, of the network namespace.",
            ),
            ("accept_drops", "Those, and others that some listener dropped, of the network namespace."),
        ] {
            let full = format!("tenfold_{field}_total");
            self.family(&full, "counter", help);
            self.sample(&full, &[], &status[field]);
        }
    }

    fn server(&mut self, status: &Value) {
        let counters = &status["counters"];
        self.family("tenfold_responses_total", "counter", "Answers by the class of their status.");
        for class in ["2xx", "3xx", "4xx", "5xx"] {
            let value = &counters[format!("responses_{class}")];
            self.sample("tenfold_responses_total", &[("class", class)], value);
        }
        for (name, help) in [
            ("connections_accepted", "Connections accepted."),
            ("bad_requests", "Requests that could not be parsed or broke a limit."),
            ("panics", "Handlers that panicked."),
            ("loop_holds", "Times that a handler held its loop for too long."),
        ] {
            let full = format!("tenfold_{name}_total");
            self.family(&full, "counter", help);
            self.sample(&full, &[], &counters[name]);
        }
        for (name, label, help) in [
            ("rejections", "reason", "Requests and connections that were shed, by reason."),
            ("timeouts", "phase", "Connections and requests ended by a time-out, by what took too long."),
        ] {
            let full = format!("tenfold_{name}_total");
            self.family(&full, "counter", help);
            for (reason, count) in counters[format!("{name}_by")].as_object().into_iter().flatten() {
                self.sample(&full, &[(label, reason)], count);
            }
        }
        self.family("tenfold_restarts_total", "counter", "Workers that were started again, by reason.");
        for (reason, count) in status["restarts"].as_object().into_iter().flatten() {
            self.sample("tenfold_restarts_total", &[("reason", reason)], count);
        }
        self.family("tenfold_connections", "gauge", "Open connections with and without a request in flight.");
        for (state, count) in status["connections"].as_object().into_iter().flatten() {
            self.sample("tenfold_connections", &[("state", state)], count);
        }
        self.accept_queues(&status["accept_queues"]);
        self.accept_overflows(status);
        let limits = &status["limits"];
        for (name, value, help) in [
            ("generation", &status["generation"], "The generation that serves."),
            ("uptime_seconds", &status["uptime_secs"], "Age of the master."),
            ("workers_max", &limits["workers"], "Configured workers."),
            ("connections_max", &limits["connections_max"], "Configured connections of all workers."),
            ("requests_in_flight_max", &limits["in_flight_max"], "Requests that the model does at once."),
        ] {
            if let Some(value) = value.as_u64() {
                self.family(&format!("tenfold_{name}"), "gauge", help);
                self.sample(&format!("tenfold_{name}"), &[], value);
            }
        }
        let ok = status["last_reload"]["ok"].as_bool();
        if let Some(ok) = ok {
            self.family("tenfold_last_reload_ok", "gauge", "Whether the last reload went through.");
            self.sample("tenfold_last_reload_ok", &[], u8::from(ok));
        }
    }

    fn workers(&mut self, status: &Value) {
        let families = [
            ("requests", "requests_total", "counter", 1.0, "Request heads parsed."),
            ("connections_open", "connections_open", "gauge", 1.0, "Connections open now."),
            ("in_flight", "requests_in_flight", "gauge", 1.0, "Requests that are being served now."),
            ("fibers", "fibers", "gauge", 1.0, "Fibers that hold a stack now."),
            ("memory_bytes", "memory_bytes", "gauge", 1.0, "Proportional share of memory."),
            ("cpu_ms", "cpu_seconds_total", "counter", 1e-3, "Processor time of the process."),
            ("lag_ms", "lag_seconds", "gauge", 1e-3, "Longest that a ready request waits to run, until now."),
        ];
        let labels = |worker: &Value| {
            let (slot, group) = (worker["slot"].as_u64()?, worker["group"].as_str().unwrap_or(""));
            Some(vec![
                ("slot", slot.to_string()),
                ("group", group.to_owned()),
                ("pid", worker["pid"].to_string()),
            ])
        };
        self.of_each("tenfold_worker", &families, list(&status["workers"]), labels);
    }

    /// The doors of the lanes, in all workers together.
    fn lanes(&mut self, lanes: &Value) {
        let lanes = list(lanes);
        if lanes.is_empty() {
            return;
        }
        let families = [
            ("in_use", "in_use", "gauge", 1.0, "Requests that have a place."),
            ("at_once", "at_once", "gauge", 1.0, "Places at the moment, as found where that is adaptive."),
            ("at_once_max", "at_once_max", "gauge", 1.0, "Most places that there can be."),
            ("queued", "queued", "gauge", 1.0, "Requests that wait for a place."),
            ("queue_max", "queue_max", "gauge", 1.0, "Most requests that may wait."),
            (
                "oldest_ms",
                "oldest_seconds",
                "gauge",
                1e-3,
                "For how long the one has waited that came first.",
            ),
            ("shed", "shed_total", "counter", 1.0, "Requests that were refused here."),
        ];
        let labels = |lane: &Value| {
            let label = |name: &str| lane[name].as_str().map(str::to_owned);
            Some(vec![("lane", label("lane")?), ("door", label("door")?)])
        };
        self.of_each("tenfold_lane", &families, lanes, labels);
    }

    /// What the keeper of the jobs says, if there is one.
    fn jobs(&mut self, jobs: &Value) {
        let Some(queues) = jobs["queues"].as_array() else { return };
        let families = [
            ("live", "live", "gauge", 1.0, "Jobs that have not ended."),
            ("ready", "ready", "gauge", 1.0, "Jobs that could start."),
            ("delayed", "delayed", "gauge", 1.0, "Jobs whose time has not come."),
            ("running", "running", "gauge", 1.0, "Jobs that run."),
            ("dead", "dead", "gauge", 1.0, "Jobs that failed for good and are kept."),
            ("bytes", "bytes", "gauge", 1.0, "Payloads of jobs that have not ended."),
            ("capacity", "capacity", "gauge", 1.0, "Most jobs that may be live."),
            ("oldest_ms", "oldest_seconds", "gauge", 1e-3, "Age of the oldest job that could start."),
            ("taken", "taken_total", "counter", 1.0, "Jobs taken in."),
            ("done", "done_total", "counter", 1.0, "Jobs done."),
            ("retried", "retried_total", "counter", 1.0, "Runs that failed and are repeated."),
            ("died", "died_total", "counter", 1.0, "Jobs that failed for good."),
            ("crashed", "crashed_total", "counter", 1.0, "Runs that ended with their worker."),
            ("refused", "refused_total", "counter", 1.0, "Jobs that had no room."),
            ("dropped", "dropped_total", "counter", 1.0, "Jobs that were dropped to make room."),
            ("cancelled", "cancelled_total", "counter", 1.0, "Jobs taken back."),
        ];
        let labels = |queue: &Value| Some(vec![("queue", queue["name"].as_str()?.to_owned())]);
        self.of_each("tenfold_jobs", &families, queues, labels);
    }

    /// Numbers that each of several things has: their families, and in them one sample of each thing that has the number and
    /// `labels`.
    fn of_each(
        &mut self,
        prefix: &str,
        families: &[Family],
        things: &[Value],
        labels: impl Fn(&Value) -> Option<Vec<(&'static str, String)>>,
    ) {
        for (field, name, kind, scale, help) in families {
            let full = format!("{prefix}_{name}");
            self.family(&full, kind, help);
            for thing in things {
                if let (Some(value), Some(labels)) = (thing[field].as_f64(), labels(thing)) {
                    let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    self.sample(&full, &labels, value * scale);
                }
            }
        }
    }

    /// What the rooms' keeper and the workers have counted, if there are rooms.
    fn rooms(&mut self, rooms: &Value, board: Scoreboard) {
        if !rooms.is_object() {
            return;
        }
        for (field, name, kind, help) in [
            ("rooms", "rooms", "gauge", "Rooms that their keeper knows."),
            ("members", "rooms_members", "gauge", "Members of all rooms."),
            ("connections", "rooms_connections", "gauge", "WebSockets and event streams."),
            ("bytes_held", "rooms_held_bytes", "gauge", "Kept messages, in the keeper and in all workers."),
            ("published", "rooms_published_total", "counter", "Messages that have got their places."),
            ("delivered", "rooms_delivered_total", "counter", "Messages that members were given."),
            (
                "coalesced",
                "rooms_coalesced_total",
                "counter",
                "Messages that gave way to newer ones of their keys.",
            ),
            (
                "resets",
                "rooms_resets_total",
                "counter",
                "Times that a member was told that it missed something.",
            ),
            (
                "disconnected",
                "rooms_disconnected_total",
                "counter",
                "Clients that were ended for being too slow.",
            ),
        ] {
            let full = format!("tenfold_{name}");
            self.family(&full, kind, help);
            self.sample(&full, &[], &rooms[field]);
        }
        if let Some(hub) = rooms["hub"].as_str() {
            self.family("tenfold_rooms_hub_up", "gauge", "Whether who gives messages their places is heard.");
            self.sample("tenfold_rooms_hub_up", &[("hub", hub)], u8::from(rooms["state"] == "up"));
            self.family(
                "tenfold_rooms_hub_lag_seconds",
                "gauge",
                "For how long the oldest call has waited for it.",
            );
            let lag = rooms["lag_ms"].as_f64().unwrap_or(0.0) * 1e-3;
            self.sample("tenfold_rooms_hub_lag_seconds", &[("hub", hub)], lag);
        }
        self.family(
            "tenfold_rooms_message_seconds",
            "histogram",
            "Where the time of a message goes, by stage.",
        );
        for stage in MessageStage::ALL {
            let (times, sum_ns) = super::rooms::stage(&board, stage);
            self.histogram("tenfold_rooms_message_seconds", &[("stage", stage.name())], &times, sum_ns);
        }
    }

    fn times(&mut self, board: Scoreboard) {
        let times = board.times();
        self.family("tenfold_stage_seconds_total", "counter", "What finished requests have spent, by stage.");
        for stage in Stage::ALL {
            let value = seconds(times.stage_ns(stage));
            self.sample("tenfold_stage_seconds_total", &[("stage", stage.name())], value);
        }
        for (name, help, histogram, ns) in [
            ("request", "From arrival to the last byte.", times.total(), times.total_ns()),
            ("queue", "Ready and not running.", times.queue(), times.stage_ns(Stage::Queue)),
            ("run", "In the handler, on a processor.", times.run(), times.stage_ns(Stage::Run)),
        ] {
            let full = format!("tenfold_{name}_seconds");
            self.family(&full, "histogram", help);
            self.histogram(&full, &[], histogram, ns);
        }
        self.family("tenfold_wait_seconds", "histogram", "Waits of requests that have waited, by cause.");
        for cause in Cause::ALL {
            if times.wait(cause).count() > 0 {
                let labels = [("cause", cause.name())];
                self.histogram("tenfold_wait_seconds", &labels, times.wait(cause), times.wait_ns(cause));
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &HistogramReading, sum_ns: u64) {
        let (bucket, mut below) = (format!("{name}_bucket"), 0);
        for (upper_ns, count) in histogram.buckets() {
            below += count;
            // Powers of two will do: half as many series.
            if upper_ns.is_power_of_two() {
                let bound = seconds(upper_ns).to_string();
                self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), below);
            }
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), below);
        self.sample(&format!("{name}_sum"), labels, seconds(sum_ns));
        self.sample(&format!("{name}_count"), labels, below);
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn histograms_add_up_and_labels_are_escaped() {
        let board = Scoreboard::private(1);
        board.slot(0).occupy(1, 1);
        let account = board.slot(0).account(0).unwrap();
        for run in [2_000, 3_000_000] {
            account.begin(0, 0, Stage::Run);
            account.finish(&board.slot(0).times, run);
        }
        let status = json!({
            "accept_overflows": 5, "accept_drops": null, "counters": { "panics": 3 }, "restarts": { "a \"reason\"": 2 },
            "accept_queues": [{ "address": "127.0.0.1:80", "waiting": 7, "max": 1024 }],
            "workers": [{ "slot": 0, "pid": 9, "group": "worker", "cpu_ms": 1_500 }],
            "lanes": [{ "lane": "reports", "door": "uploads", "queued": 3, "oldest_ms": 250 }],
            "rooms": { "hub": "nats", "state": "down", "lag_ms": 1_500, "members": 9 },
        });
        board.slot(0).rooms.record(MessageStage::Carry, 1_500);
        let page = metrics(&status, board);
        let samples: HashMap<&str, &str> = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').expect("a sample is a name and a value"))
            .collect();
        let value = |name: &str| samples.get(name).unwrap_or_else(|| panic!("{name} in:\n{page}"));
        assert_eq!(*value("tenfold_panics_total"), "3");
        assert_eq!(*value("tenfold_restarts_total{reason=\"a \\\"reason\\\"\"}"), "2");
        assert_eq!(*value("tenfold_accept_queue{socket=\"0\",address=\"127.0.0.1:80\"}"), "7");
        assert_eq!(*value("tenfold_accept_overflows_total"), "5");
        assert!(!samples.contains_key("tenfold_accept_drops_total"), "what is not known is left out");
        assert_eq!(*value("tenfold_accept_queue_max{socket=\"0\",address=\"127.0.0.1:80\"}"), "1024");
        let cpu = "tenfold_worker_cpu_seconds_total{slot=\"0\",group=\"worker\",pid=\"9\"}";
        assert_eq!(*value(cpu), "1.5");
        assert_eq!(*value("tenfold_lane_queued{lane=\"reports\",door=\"uploads\"}"), "3");
        assert_eq!(*value("tenfold_lane_oldest_seconds{lane=\"reports\",door=\"uploads\"}"), "0.25");
        assert_eq!(*value("tenfold_rooms_members"), "9");
        assert_eq!(*value("tenfold_rooms_hub_up{hub=\"nats\"}"), "0");
        assert_eq!(*value("tenfold_rooms_hub_lag_seconds{hub=\"nats\"}"), "1.5");
        assert_eq!(*value("tenfold_rooms_message_seconds_count{stage=\"carry\"}"), "1");
        assert_eq!(*value("tenfold_rooms_message_seconds_count{stage=\"place\"}"), "0");
        assert_eq!(*value("tenfold_request_seconds_count"), "2");
        assert_eq!(*value("tenfold_request_seconds_bucket{le=\"0.000002048\"}"), "1");
        assert_eq!(*value("tenfold_request_seconds_bucket{le=\"+Inf\"}"), "2");
        assert_eq!(*value("tenfold_request_seconds_sum"), "0.003002");
    }
}
