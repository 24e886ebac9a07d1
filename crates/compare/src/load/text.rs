//! An outcome as text, for people.

use std::fmt::Write;

use super::outcome::{Errors, EventCounts, GeneratorOutcome, LoadOutcome, TargetOutcome};
use crate::units;

/// Columns of a bar of the timeline.
const BAR: usize = 48;

/// Most requests whose times are drawn.
const BARS_MAX: usize = 32;

impl LoadOutcome {
    /// A short text: what was answered, how fast, what went wrong, and what the generator has cost.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for target in &self.targets {
            target.write(&mut text);
            text.push('\n');
        }
        self.generator.write(&mut text);
        if self.interrupted {
            text.push_str("Interrupted: this is what was measured until then.\n");
        }
        text
    }
}

/// One aligned line. Writing to a string cannot fail.
fn line(text: &mut String, label: &str, value: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "  {label:<12} {value}");
}

impl TargetOutcome {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "{}", self.name);
        let errors = self.errors.total();
        line(
            text,
            "answers",
            format_args!(
                "{} in {:.2} s  ·  {} requests/s",
                units::count(self.successes as f64),
                self.seconds,
                units::count(self.requests_per_second.round()),
            ),
        );
        line(
            text,
            "traffic",
            format_args!(
                "{} in, {} out  ·  {} opened, {} in flight at most",
                units::bytes(self.bytes_in),
                units::bytes(self.bytes_out),
                counted(self.connections_opened, "connection"),
                units::count(self.in_flight_max as f64),
            ),
        );
        if self.latency.count() > 0 {
            self.write_latency(text);
        }
        if let Some(events) = &self.events {
            events.write(text, self.seconds);
        }
        self.write_timeline(text);
        if errors > 0 {
            self.errors.write(text, errors, &self.error_examples);
        }
        if self.unfinished > 0 {
            line(text, "unfinished", format_args!("{}", units::count(self.unfinished as f64)));
        }
    }

    fn write_latency(&self, text: &mut String) {
        let latency = &self.latency;
        let _ = write!(text, "  {:<12}", "latency");
        for name in ["min", "mean", "p50", "p90", "p99", "p99.9", "max"] {
            let _ = write!(text, " {name:>8}");
        }
        let _ = write!(text, "\n  {:<12}", "");
        for value in [
            latency.min(),
            latency.mean(),
            latency.p50(),
            latency.p90(),
            latency.p99(),
            latency.p999(),
            latency.max(),
        ] {
            let _ = write!(text, " {:>8}", units::duration(value));
        }
        text.push('\n');
    }

    /// `at_once`: a bar for each request, from its first byte to its end.
    fn write_timeline(&self, text: &mut String) {
        let Some(last) = self.timeline.last() else { return };
        let scale = BAR as f64 / last.end_us.max(1.0);
        for span in self.timeline.iter().take(BARS_MAX) {
            let end = ((span.end_us * scale) as usize).clamp(1, BAR);
            let bar: String = "━".repeat(end);
            let mark = if span.success { "" } else { "  failed" };
            let took = units::duration(std::time::Duration::from_secs_f64(span.end_us / 1e6));
            line(text, "", format_args!("{bar:<BAR$}  {took}{mark}"));
        }
        if self.timeline.len() > BARS_MAX {
            line(text, "", format_args!("and {} more", self.timeline.len() - BARS_MAX));
        }
    }
}

impl EventCounts {
    fn write(&self, text: &mut String, seconds: f64) {
        line(
            text,
            "events",
            format_args!(
                "{}  ·  {} events/s  ·  {} to {} on a connection",
                units::count(self.events as f64),
                units::count((self.events as f64 / seconds.max(1e-9)).round()),
                units::count(self.per_connection_min as f64),
                units::count(self.per_connection_max as f64),
            ),
        );
        line(
            text,
            "gaps",
            format_args!(
                "p50 {}, p99 {}, max {}",
                units::duration(self.gaps.p50()),
                units::duration(self.gaps.p99()),
                units::duration(self.gaps.max()),
            ),
        );
    }
}

impl Errors {
    fn write(&self, text: &mut String, total: u64, examples: &[String]) {
        let kinds: Vec<String> = self
            .by_kind()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| format!("{kind} {}", units::count(*count as f64)))
            .collect();
        line(text, "errors", format_args!("{}  ·  {}", units::count(total as f64), kinds.join(", ")));
        for example in examples {
            line(text, "", format_args!("{example}"));
        }
    }
}

impl GeneratorOutcome {
    fn write(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "The generator used {:.2} s of CPU in {:.2} s ({:.0} % of its busiest processor), with {} on {}.",
            self.cpu_seconds,
            self.wall_seconds,
            self.busiest_thread_share * 100.0,
            counted(self.threads as u64, "thread"),
            self.backend,
        );
        if self.lateness.count() > 0 {
            let _ = writeln!(
                text,
                "Requests left {} late (p50), {} (p99), {} (max).",
                units::duration(self.lateness.p50()),
                units::duration(self.lateness.p99()),
                units::duration(self.lateness.max()),
            );
        }
        if self.saturated {
            text.push_str(
                "SATURATED: the generator was the bottleneck, or close to it; do not trust these figures.\n",
            );
        }
    }
}

fn counted(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", units::count(count as f64), if count == 1 { "" } else { "s" })
}
