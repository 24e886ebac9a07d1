//! What a load generator is asked to do: targets, each with its own shape of load, and how long.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A run of the load generator: one or more targets at the same time.
///
/// ```
/// use tenfold_compare::load::LoadSpec;
/// let spec = LoadSpec::from_json(r#"{
///     "targets": [{ "url": "http://127.0.0.1:8080/hello", "shape": { "closed": { "connections": 64 } } }],
///     "duration_ms": 5000
/// }"#)?;
/// assert_eq!(spec.targets.len(), 1);
/// # Ok::<(), tenfold_compare::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSpec {
    /// At least one, at most [`LoadSpec::TARGETS_MAX`]. A mix of requests is several targets, each with its own rate and its
    /// own result.
    pub targets: Vec<TargetSpec>,
    /// Load that is driven before the measurement, and left out of it. Default 0.
    #[serde(default)]
    pub warm_up_ms: u64,
    /// How long requests are begun, after the warm-up. Default 10 s, at most [`LoadSpec::DURATION_MS_MAX`]. Requests that are
    /// under way at its end are waited for, until their own time-out.
    #[serde(default = "default_duration_ms")]
    pub duration_ms: u64,
    /// Longest time from when a request was due to the end of its answer, and for connecting. Default 10 s.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Threads of the generator, each with a loop of its own; connections and rates are divided. Default 1, at most
    /// [`LoadSpec::THREADS_MAX`].
    #[serde(default = "default_threads")]
    pub threads: usize,
    /// The processors that the threads are bound to, in turn; none by default.
    #[serde(default)]
    pub cpus: Vec<usize>,
    /// Into how many intervals the latency over time is divided. Default 60, at most [`LoadSpec::INTERVALS_MAX`].
    #[serde(default = "default_intervals")]
    pub intervals: usize,
    /// What the generator waits with: `auto`, `io_uring` or `epoll`.
    #[serde(default = "default_backend")]
    pub backend: String,
}

/// Where requests go, what they are, how they come, and what has to come back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// What the result is called. Default the URL.
    #[serde(default)]
    pub name: String,
    /// `http://host:port/path?query`, or `unix:/path/of/socket:/path?query`.
    pub url: String,
    /// Default `GET`.
    #[serde(default = "default_method")]
    pub method: String,
    /// Header fields beside Host, Content-Length and Connection, which follow from the rest. At most
    /// [`TargetSpec::HEADERS_MAX`].
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Content; none by default, at most [`TargetSpec::BODY_BYTES_MAX`].
    #[serde(default)]
    pub body: String,
    /// How requests come.
    pub shape: Shape,
    /// What an answer has to be to count as a success.
    #[serde(default)]
    pub expect: Expect,
}

/// How requests come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Each connection sends its next request when the answer to the last one is there: the rate follows the server.
    Closed {
        /// Connections, at most [`LoadSpec::CONNECTIONS_MAX`].
        connections: usize,
        /// Requests under way on a connection at the same time. Default 1, at most [`Shape::PIPELINE_MAX`].
        #[serde(default = "one")]
        pipeline: usize,
        /// Whether every request gets a new connection (`Connection: close`).
        #[serde(default)]
        close: bool,
    },
    /// Requests come at their times whatever the server does, and their latency counts from then: a server that stalls makes
    /// all the requests late that were due meanwhile, not one on each connection.
    Open {
        /// Requests a second, at most [`Shape::RATE_MAX`].
        rate: f64,
        /// Most connections. A request that is due when all are in use is not sent and counts as an error of its own kind
        /// ([`crate::load::Errors::overflow`]). Default 10,000.
        #[serde(default = "default_connections_max")]
        connections_max: usize,
        /// The times between requests.
        #[serde(default)]
        arrivals: Arrivals,
    },
    /// This many requests at the same instant, each on a connection that is open already; the warm-up is only the time to
    /// open them. The run ends with the last answer.
    AtOnce {
        /// Requests, at most [`LoadSpec::CONNECTIONS_MAX`].
        requests: usize,
    },
    /// Connections that are open and mostly idle: requests are made on one after another, in turn.
    Idle {
        /// Connections, at most [`LoadSpec::CONNECTIONS_MAX`]. They are opened before the warm-up begins.
        connections: usize,
        /// Requests a second over all connections; evenly spaced.
        active_per_second: f64,
    },
    /// Clients that send their request in small pieces. Latency counts from the last piece: what the server owes. Normal
    /// requests beside them are another target.
    Trickle {
        /// Connections, at most [`LoadSpec::CONNECTIONS_MAX`].
        connections: usize,
        /// Bytes of a piece. Default 1.
        #[serde(default = "one")]
        bytes_per_step: usize,
        /// Time between pieces.
        every_ms: u64,
    },
    /// Long answers of server-sent events, read until the end of the run. Latency is the time to the head of the answer.
    Stream {
        /// Connections, at most [`LoadSpec::CONNECTIONS_MAX`].
        connections: usize,
    },
}

/// The times between requests of an open loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Always the same.
    #[default]
    Uniform,
    /// Exponentially distributed, as of many independent users; the same sequence in every run.
    Poisson,
}

/// What an answer has to be to count as a success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The status; any of 2xx unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The content, byte by byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The number of content bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
}

impl LoadSpec {
    /// Most targets.
    pub const TARGETS_MAX: usize = 64;
    /// Most connections of a target, and of all together: what 20,000 descriptors leave room for.
    pub const CONNECTIONS_MAX: usize = 19_000;
    /// Most threads.
    pub const THREADS_MAX: usize = 64;
    /// Most intervals of the latency over time.
    pub const INTERVALS_MAX: usize = 1_000;
    /// Longest run: an hour.
    pub const DURATION_MS_MAX: u64 = 3_600_000;
    /// Most bytes of a specification as JSON.
    pub const JSON_BYTES_MAX: u64 = 16 << 20;

    /// A run with these targets and the defaults.
    pub fn new(targets: Vec<TargetSpec>) -> LoadSpec {
        LoadSpec {
            targets,
            warm_up_ms: 0,
            duration_ms: default_duration_ms(),
            timeout_ms: default_timeout_ms(),
            threads: default_threads(),
            cpus: Vec::new(),
            intervals: default_intervals(),
            backend: default_backend(),
        }
    }

    /// Reads JSON and validates it.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::InvalidSpec`].
    pub fn from_json(text: &str) -> Result<LoadSpec, Error> {
        let spec: LoadSpec = serde_json::from_str(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// Whether everything is within its bounds.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`] for the first value that is not.
    pub fn check(&self) -> Result<(), Error> {
        within("targets", self.targets.len(), 1, LoadSpec::TARGETS_MAX)?;
        within("warm_up_ms", self.warm_up_ms, 0, LoadSpec::DURATION_MS_MAX)?;
        within("duration_ms", self.duration_ms, 1, LoadSpec::DURATION_MS_MAX)?;
        within("timeout_ms", self.timeout_ms, 1, LoadSpec::DURATION_MS_MAX)?;
        within("threads", self.threads, 1, LoadSpec::THREADS_MAX)?;
        within("intervals", self.intervals, 1, LoadSpec::INTERVALS_MAX)?;
        self.backend
            .parse::<tenfold_runtime::BackendChoice>()
            .map_err(|error| Error::invalid("backend", error.to_string()))?;
        if let Some(cpu) = self.cpus.iter().find(|cpu| **cpu >= rustix::thread::CpuSet::MAX_CPU) {
            return Err(Error::invalid("cpus", format!("there is no processor {cpu}")));
        }
        for (index, target) in self.targets.iter().enumerate() {
            target.check(&format!("targets[{index}]"))?;
        }
        // The default bound of an open loop is meant for one target: only fixed numbers of connections add up.
        let fixed = self.targets.iter().map(|target| target.shape.connections_held()).sum();
        within("connections of all targets", fixed, 0, LoadSpec::CONNECTIONS_MAX)
    }
}

impl TargetSpec {
    /// Most header fields.
    pub const HEADERS_MAX: usize = 100;
    /// Most content bytes of a request.
    pub const BODY_BYTES_MAX: usize = 8 << 20;

    /// `GET url` in this shape; any 2xx is a success.
    pub fn get(url: impl Into<String>, shape: Shape) -> TargetSpec {
        TargetSpec {
            name: String::new(),
            url: url.into(),
            method: default_method(),
            headers: Vec::new(),
            body: String::new(),
            shape,
            expect: Expect::default(),
        }
    }

    /// The name of the result.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { &self.url } else { &self.name }
    }

    fn check(&self, place: &str) -> Result<(), Error> {
        let field = |name: &str| format!("{place}.{name}");
        within(&field("headers"), self.headers.len(), 0, TargetSpec::HEADERS_MAX)?;
        within(&field("body"), self.body.len(), 0, TargetSpec::BODY_BYTES_MAX)?;
        if let Some(status) = self.expect.status {
            within(&field("expect.status"), status, 200, 599)?;
        }
        self.shape.check(&field("shape"))
    }
}

impl Shape {
    /// Most connections of an open loop unless given.
    pub const CONNECTIONS_MAX_DEFAULT: usize = 10_000;
    /// Most requests under way on one connection.
    pub const PIPELINE_MAX: usize = 1_024;
    /// Most requests a second.
    pub const RATE_MAX: f64 = 10_000_000.0;
    /// Longest pause between the pieces of a slow client: a minute.
    pub const EVERY_MS_MAX: u64 = 60_000;

    /// Connections that the shape opens in any case.
    pub fn connections_held(&self) -> usize {
        match *self {
            Shape::Closed { connections, .. }
            | Shape::Idle { connections, .. }
            | Shape::Trickle { connections, .. }
            | Shape::Stream { connections } => connections,
            Shape::AtOnce { requests } => requests,
            Shape::Open { .. } => 0,
        }
    }

    fn check(&self, place: &str) -> Result<(), Error> {
        let field = |name: &str| format!("{place}.{name}");
        let connections = |name: &str, count| within(&field(name), count, 1, LoadSpec::CONNECTIONS_MAX);
        match *self {
            Shape::Closed { connections: count, pipeline, close } => {
                connections("connections", count)?;
                within(&field("pipeline"), pipeline, 1, Shape::PIPELINE_MAX)?;
                if close && pipeline > 1 {
                    return Err(Error::invalid(
                        field("pipeline"),
                        "nothing can follow a request that closes its connection",
                    ));
                }
                Ok(())
            }
            Shape::Open { rate, connections_max, .. } => {
                connections("connections_max", connections_max)?;
                rate_within(&field("rate"), rate)
            }
            Shape::AtOnce { requests } => connections("requests", requests),
            Shape::Idle { connections: count, active_per_second } => {
                connections("connections", count)?;
                rate_within(&field("active_per_second"), active_per_second)
            }
            Shape::Trickle { connections: count, bytes_per_step, every_ms } => {
                connections("connections", count)?;
                within(&field("bytes_per_step"), bytes_per_step, 1, TargetSpec::BODY_BYTES_MAX)?;
                within(&field("every_ms"), every_ms, 1, Shape::EVERY_MS_MAX)
            }
            Shape::Stream { connections: count } => connections("connections", count),
        }
    }
}

fn within<T: PartialOrd + std::fmt::Display>(field: &str, value: T, least: T, most: T) -> Result<(), Error> {
    match value >= least && value <= most {
        true => Ok(()),
        false => Err(Error::invalid(field, format!("{value} is not within {least} and {most}"))),
    }
}

fn rate_within(field: &str, rate: f64) -> Result<(), Error> {
    match rate > 0.0 && rate <= Shape::RATE_MAX {
        true => Ok(()),
        false => Err(Error::invalid(
            field,
            format!("{rate} is not above 0 and at most {} requests a second", Shape::RATE_MAX),
        )),
    }
}

fn default_duration_ms() -> u64 {
    10_000
}

fn default_timeout_ms() -> u64 {
    10_000
}

fn default_threads() -> usize {
    1
}

fn default_intervals() -> usize {
    60
}

fn default_backend() -> String {
    "auto".into()
}

fn default_method() -> String {
    "GET".into()
}

fn default_connections_max() -> usize {
    Shape::CONNECTIONS_MAX_DEFAULT
}

fn one() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(connections: usize) -> LoadSpec {
        let shape = Shape::Closed { connections, pipeline: 1, close: false };
        LoadSpec::new(vec![TargetSpec::get("http://127.0.0.1:1/", shape)])
    }

    #[test]
    fn a_value_out_of_its_bounds_is_one_line_that_names_it() {
        let shape = |shape| LoadSpec::new(vec![TargetSpec::get("http://a/", shape)]);
        for (spec, word) in [
            (LoadSpec { targets: Vec::new(), ..closed(1) }, "targets: "),
            (closed(0), "targets[0].shape.connections: "),
            (closed(1_000_000), "targets[0].shape.connections: "),
            (
                shape(Shape::Closed { connections: 1, pipeline: 2, close: true }),
                "targets[0].shape.pipeline: ",
            ),
            (
                shape(Shape::Open { rate: 0.0, connections_max: 1, arrivals: Arrivals::Uniform }),
                "targets[0].shape.rate: ",
            ),
            (
                shape(Shape::Idle { connections: 1, active_per_second: f64::NAN }),
                "targets[0].shape.active_per_second: ",
            ),
            (
                shape(Shape::Trickle { connections: 1, bytes_per_step: 0, every_ms: 1 }),
                "targets[0].shape.bytes_per_step: ",
            ),
            (LoadSpec { duration_ms: 0, ..closed(1) }, "duration_ms: "),
            (LoadSpec { threads: 1000, ..closed(1) }, "threads: "),
            (LoadSpec { backend: "kqueue".into(), ..closed(1) }, "backend: "),
            (LoadSpec { cpus: vec![9999], ..closed(1) }, "cpus: "),
        ] {
            let error = spec.check().unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(word) && !text.contains('\n') && error.is_usage(), "{text}");
        }
    }

    #[test]
    fn connections_of_all_targets_count_together() {
        let half = closed(LoadSpec::CONNECTIONS_MAX / 2 + 1);
        half.check().unwrap();
        let both = LoadSpec { targets: [half.targets.clone(), half.targets].concat(), ..closed(1) };
        assert!(both.check().unwrap_err().to_string().starts_with("connections of all targets: "));
    }

    #[test]
    fn json_goes_to_and_fro_and_an_unknown_name_is_an_error() {
        let spec = closed(7);
        assert_eq!(LoadSpec::from_json(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
        let unknown = r#"{"targets": [], "seconds": 1}"#;
        assert!(LoadSpec::from_json(unknown).unwrap_err().to_string().contains("seconds"));
    }
}
