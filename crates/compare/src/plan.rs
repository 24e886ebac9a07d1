//! The arithmetic of capacity: how many requests fit through, and what that takes.
//!
//! All of it follows from three laws, none of which knows anything about servers:
//!
//! - **Little's law** (Little, "A Proof for the Queuing Formula L = λW", Operations Research 9, 1961): on average, requests in the
//!   system = their rate × their time in it. With N places for requests, the rate is at most N / time.
//! - **The utilization law** (Denning and Buzen, "The Operational Analysis of Queueing Network Models", Computing Surveys 10,
//!   1978): how busy a processor is = rate × its time for each request. At most all processors are busy all the time.
//! - A place costs memory, whether its request runs or waits.
//!
//! Blocking workers run into the first, since their places are few and dear. Waits that overlap take the first away, and what
//! is left is the second.

pub mod measured;

use std::fmt::Write;
use std::time::Duration;

use crate::error::Error;
use crate::units;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// How busy processors are planned to be: with random arrivals the line before a server grows with 1/(1 - busy), so it is three
/// times a request at this, and ten times at 90 %.
const BUSY_MAX: f64 = 0.7;

/// What is known about a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Time of one request when nothing is in its way.
    pub latency: Duration,
    /// Worker processes.
    pub workers: u64,
    /// Requests that a worker runs at the same time: its threads. Default 1.
    pub threads: u64,
    /// Processor time of a request; unknown by default.
    pub cpu_per_request: Option<Duration>,
    /// Processors. Default 1.
    pub cores: u64,
    /// Memory of a worker process. Default 40 MiB, a small application with its libraries.
    pub memory_per_worker: u64,
    /// Memory of a thread that waits. Default 64 KiB: what it has touched of its stack, and the kernel's side of it.
    pub memory_per_thread: u64,
    /// Memory of a fiber that waits, with its connection. Default 16 KiB.
    pub memory_per_fiber: u64,
    /// Requests a second that are wanted; as many as possible by default.
    pub rate: Option<f64>,
}

impl Plan {
    /// A service with the defaults for everything else.
    pub fn new(latency: Duration, workers: u64) -> Plan {
        Plan {
            latency,
            workers,
            threads: 1,
            cpu_per_request: None,
            cores: 1,
            memory_per_worker: 40 << 20,
            memory_per_thread: 64 << 10,
            memory_per_fiber: 16 << 10,
            rate: None,
        }
    }

    /// Whether the values can be.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`] for the first that cannot.
    pub fn check(&self) -> Result<(), Error> {
        for (field, value) in [("workers", self.workers), ("threads", self.threads), ("cores", self.cores)] {
            if !(1..=1_000_000).contains(&value) {
                return Err(Error::invalid(field, format!("{value} is not within 1 and 1000000")));
            }
        }
        if self.latency.is_zero() {
            return Err(Error::invalid("latency", "a request takes some time"));
        }
        if self.cpu_per_request.is_some_and(|cpu| cpu.is_zero() || cpu > self.latency) {
            return Err(Error::invalid(
                "cpu-per-request",
                "it is part of the latency: more than nothing and not more than all of it",
            ));
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e9)) {
            return Err(Error::invalid("rate", "it is not above 0 and at most 1000000000"));
        }
        Ok(())
    }

    /// Requests that can be under way at the same time while each holds a process or a thread.
    pub fn places(&self) -> u64 {
        self.workers * self.threads
    }

    /// The rate that the places allow: Little's law.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold_compare::plan::Plan;
    /// let plan = Plan::new(Duration::from_millis(200), 40);
    /// assert_eq!(plan.rate_of_places(), 200.0);
    /// ```
    pub fn rate_of_places(&self) -> f64 {
        self.places() as f64 / self.latency.as_secs_f64()
    }

    /// The rate that the processors allow, if a request's processor time is known: the utilization law.
    pub fn rate_of_processors(&self) -> Option<f64> {
        self.cpu_per_request.map(|cpu| self.cores as f64 / cpu.as_secs_f64())
    }

    /// The rate that is reached while each request holds a place.
    pub fn rate_blocking(&self) -> f64 {
        self.rate_of_processors().map_or(self.rate_of_places(), |most| most.min(self.rate_of_places()))
    }

    /// The share of its time that a request waits, 0 to 1, if that is known.
    pub fn share_of_waiting(&self) -> Option<f64> {
        self.cpu_per_request.map(|cpu| 1.0 - cpu.as_secs_f64() / self.latency.as_secs_f64())
    }

    /// Requests under way at the same time at this rate: Little's law. Longer latency under load makes it more.
    pub fn concurrency(&self, rate: f64) -> f64 {
        rate * self.latency.as_secs_f64()
    }

    /// Processors for this rate, with a reserve for random arrivals, if a request's processor time is known.
    pub fn cores_for(&self, rate: f64) -> Option<u64> {
        self.cpu_per_request.map(|cpu| whole(rate * cpu.as_secs_f64() / BUSY_MAX))
    }

    /// Memory when each request holds a process; a thread; a fiber. Threads and fibers live in one process for each processor,
    /// or in as many as there are workers, if those are fewer.
    pub fn memory(&self, concurrency: f64) -> [u64; 3] {
        let count = whole(concurrency);
        let base = self.workers.min(self.cores) * self.memory_per_worker;
        [
            count.saturating_mul(self.memory_per_worker),
            base.saturating_add(count.saturating_mul(self.memory_per_thread)),
            base.saturating_add(count.saturating_mul(self.memory_per_fiber)),
        ]
    }

    /// The plan as text, for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_blocking(&mut text);
        self.write_overlapping(&mut text);
        if let Some(rate) = self.rate {
            self.write_wanted(&mut text, rate);
        }
        let [worker, thread, fiber] =
            [self.memory_per_worker, self.memory_per_thread, self.memory_per_fiber].map(units::bytes);
        let _ = writeln!(
            text,
            "\nReckoned with {worker} a worker, {thread} a waiting thread, {fiber} a waiting fiber: measure yours with `compare`.",
        );
        text
    }

    fn write_blocking(&self, text: &mut String) {
        let rate = self.rate_blocking();
        let _ = writeln!(text, "Each request holds a place while it runs and while it waits");
        let threads = match self.threads {
            1 => String::new(),
            threads => format!(" × {}", counted(threads, "thread")),
        };
        let place = format!("{}{threads}", counted(self.workers, "worker"));
        line(text, "places", format!("{place} = {}", units::count(self.places() as f64)));
        let latency = units::duration(self.latency);
        let of_places = units::count(self.rate_of_places());
        line(
            text,
            "their limit",
            format!("{} / {latency} = {of_places} requests/s  (Little's law)", self.places()),
        );
        if let Some(most) = self.rate_of_processors() {
            let cpu = units::duration(self.cpu_per_request.unwrap_or_default());
            let cores = counted(self.cores, "processor");
            let most = units::count(most);
            line(text, "processors", format!("{cores} / {cpu} = {most} requests/s"));
            let busy = rate / self.rate_of_processors().unwrap_or(rate) * 100.0;
            line(text, "busy", format!("{busy:.0} % at {} requests/s", units::count(rate)));
        }
        line(text, "a day", format!("{} requests", units::count(rate * DAY)));
        let threads = if self.threads > 1 { self.places() * self.memory_per_thread } else { 0 };
        let memory = self.workers.saturating_mul(self.memory_per_worker).saturating_add(threads);
        line(text, "memory", units::bytes(memory));
    }

    fn write_overlapping(&self, text: &mut String) {
        let _ = writeln!(text, "\nThe waits overlap, and only running needs a processor");
        let (Some(most), Some(waiting)) = (self.rate_of_processors(), self.share_of_waiting()) else {
            line(text, "limit", "the processors: give --cpu-per-request to know it".into());
            let example = self.latency / 100;
            let rate = units::count(self.cores as f64 / example.as_secs_f64());
            let of = units::duration(example);
            line(text, "for example", format!("{of} of CPU in each request: {rate} requests/s"));
            return;
        };
        line(text, "waiting", format!("{:.0} % of each request", waiting * 100.0));
        let gain = most / self.rate_blocking();
        line(text, "limit", format!("{} requests/s, {gain:.1} times as many", units::count(most)));
        line(text, "a day", format!("{} requests", units::count(most * DAY)));
        self.write_concurrency(text, most);
    }

    fn write_wanted(&self, text: &mut String, rate: f64) {
        let _ = writeln!(text, "\nFor {} requests/s", units::count(rate));
        line(text, "a day", format!("{} requests", units::count(rate * DAY)));
        self.write_concurrency(text, rate);
        let concurrency = self.concurrency(rate);
        let workers = whole(concurrency / self.threads as f64);
        line(
            text,
            "blocking",
            format!("{} of {}", counted(workers, "worker"), counted(self.threads, "thread")),
        );
        if let (Some(cores), Some(cpu)) = (self.cores_for(rate), self.cpu_per_request) {
            let busy = rate * cpu.as_secs_f64() / self.cores as f64 * 100.0;
            let have = counted(self.cores, "processor");
            let verdict = if busy < 100.0 { "" } else { ": impossible" };
            line(text, "processors", format!("{have} would be {busy:.0} % busy{verdict}"));
            line(
                text,
                "advised",
                format!("{}, to be {:.0} % busy at most", counted(cores, "processor"), BUSY_MAX * 100.0),
            );
        }
    }

    fn write_concurrency(&self, text: &mut String, rate: f64) {
        let concurrency = self.concurrency(rate);
        let latency = units::duration(self.latency);
        let shown = units::count(concurrency.ceil());
        line(text, "under way", format!("{} × {latency} = {shown} requests", units::count(rate)));
        let [processes, threads, fibers] = self.memory(concurrency).map(units::bytes);
        line(text, "memory", format!("{processes} in processes, {threads} in threads, {fibers} in fibers"));
    }
}

fn line(text: &mut String, label: &str, value: String) {
    let _ = writeln!(text, "  {label:<12} {value}");
}

fn counted(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", units::count(count as f64), if count == 1 { "" } else { "s" })
}

/// At least one, and rounded up; what is above a whole number by rounding only does not count.
fn whole(number: f64) -> u64 {
    (number - 1e-9).ceil().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { cpu_per_request: Some(Duration::from_millis(20)), ..Plan::new(Duration::from_millis(200), 40) }
    }

    #[test]
    fn forty_workers_of_200_ms_make_200_requests_a_second() {
        let plan = Plan::new(Duration::from_millis(200), 40);
        assert_eq!((plan.rate_of_places(), plan.rate_blocking()), (200.0, 200.0));
        let text = plan.text();
        for part in ["200 requests/s", "17,280,000 requests", "1.56 GiB", "--cpu-per-request"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn processors_bound_what_places_allow() {
        // 20 ms of CPU: one processor does 50 a second, whatever the workers are.
        assert_eq!((plan().rate_of_processors(), plan().rate_blocking()), (Some(50.0), 50.0));
        let more = Plan { cores: 8, ..plan() };
        assert_eq!((more.rate_of_processors(), more.rate_blocking()), (Some(400.0), 200.0));
        assert!((more.share_of_waiting().unwrap() - 0.9).abs() < 1e-9);
        assert!(more.text().contains("2.0 times as many"), "{}", more.text());
    }

    #[test]
    fn sixty_calls_of_100_ms_at_1000_a_second_are_6000_places() {
        let plan = Plan { memory_per_worker: 1 << 20, ..Plan::new(Duration::from_millis(100), 1) };
        assert_eq!(plan.concurrency(60_000.0), 6_000.0);
        let [processes, threads, fibers] = plan.memory(6_000.0);
        assert_eq!(processes, 6_000 << 20);
        assert_eq!(threads, (1 << 20) + 6_000 * (64 << 10));
        assert_eq!(fibers, (1 << 20) + 6_000 * (16 << 10));
    }

    #[test]
    fn a_wanted_rate_says_what_it_takes_and_whether_it_can_be() {
        let wanted = Plan { rate: Some(100.0), cores: 1, ..plan() };
        assert_eq!(wanted.cores_for(100.0), Some(3));
        let text = wanted.text();
        assert!(text.contains("200 % busy: impossible") && text.contains("20 workers"), "{text}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let ms = Duration::from_millis;
        for wrong in [
            Plan { workers: 0, ..plan() },
            Plan { latency: Duration::ZERO, ..plan() },
            Plan { cpu_per_request: Some(ms(201)), ..plan() },
            Plan { rate: Some(f64::INFINITY), ..plan() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        plan().check().unwrap();
    }
}
