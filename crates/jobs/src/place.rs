//! `Place`: where an app's jobs are kept, as the settings say it: a file, or the address of an engine.
//!
//! ```text
//!   jobs.db                                              a file of the keeper's
//!   redis://[[user]:password@]host[:port][/database]     an engine; after it, as ?name=value&…:
//!   nats://[user:password@ | token@]host[:port]
//!     prefix=tenfold       services that share an engine differ in it
//!     spool=jobs.db        the file that takes jobs in while the engine is away
//!     durability=disk      what the engine must promise: disk, process, memory; unchecked takes it as it is
//!     lease_secs=15        how long a machine may be silent before its jobs run elsewhere
//!     replicas=1           servers of a NATS cluster that have each entry
//!     stream_mib=1024      most MiB of the log in NATS, and of the images, which it reserves
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where jobs, or the spool of an engine, are kept if nobody says otherwise.
pub const DEFAULT_FILE: &str = "jobs.db";
/// Shortest and longest lease: a busy machine is no dead one, and a dead one is to be noticed.
const LEASE_SECS: std::ops::RangeInclusive<f64> = 1.0..=3600.0;

/// Where jobs are kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// In a file.
    File(PathBuf),
    /// In an engine.
    Engine(EngineSettings),
}

/// An engine, and what is asked of it.
#[derive(Clone, PartialEq)]
pub(crate) struct EngineSettings {
    pub(crate) kind: EngineKind,
    /// The address without what follows `?`. It may have a password in it.
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) spool: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) lease: Duration,
    pub(crate) replicas: u8,
    pub(crate) stream_mib: u32,
}

/// The engines that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineKind {
    Redis,
    Nats,
}

/// What must be promised about what was taken in: by an engine, or about one job ([`crate::Draft::durability`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// A power failure loses nothing: each answer comes after fsync.
    #[default]
    Disk,
    /// The death of processes loses nothing.
    Process,
    /// It may lose everything. About a job: as `Process`, there is nothing less.
    Memory,
    /// Nobody looks. About a job: as `Process`.
    Unchecked,
}

impl Place {
    /// Reads what the settings say.
    ///
    /// # Errors
    /// One line: there is no such engine, or no such parameter.
    pub(crate) fn parse(text: &str) -> Result<Place, String> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Place::File(text.into())) };
        let kind = match scheme {
            "redis" => EngineKind::Redis,
            "nats" => EngineKind::Nats,
            other => {
                return Err(format!(
                    "jobs: there is no engine {other:?}; it is a file, redis://HOST:PORT or nats://HOST:PORT"
                ));
            }
        };
        let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let mut settings = EngineSettings {
            kind,
            url: format!("{scheme}://{address}"),
            prefix: "tenfold".into(),
            spool: DEFAULT_FILE.into(),
            durability: Durability::Disk,
            lease: Duration::from_secs(15),
            replicas: 1,
            stream_mib: 1024,
        };
        for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            settings.set(name, value)?;
        }
        if kind == EngineKind::Nats && settings.prefix.contains('.') {
            return Err("jobs: the prefix of a NATS engine has no '.': it is part of a stream's name".into());
        }
        Ok(Place::Engine(settings))
    }

    /// The file beside which the keeper listens.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Place::File(file) => file,
            Place::Engine(engine) => &engine.spool,
        }
    }
}

impl EngineSettings {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = |expected: &str| Err(format!("jobs: {name}={value}: {expected} is expected"));
        match name {
            "prefix" => {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if value.is_empty() || value.len() > 64 || !value.bytes().all(is_plain) {
                    return wrong("a word of at most 64 letters, digits, '-', '_' and '.'");
                }
                self.prefix = value.into();
            }
            "spool" if value.is_empty() => return wrong("a file"),
            "spool" => self.spool = value.into(),
            "durability" => {
                self.durability = match value {
                    "disk" => Durability::Disk,
                    "process" => Durability::Process,
                    "memory" => Durability::Memory,
                    "unchecked" => Durability::Unchecked,
                    _ => return wrong("disk, process, memory or unchecked"),
                }
            }
            "lease_secs" => match value.parse::<f64>() {
                Ok(secs) if LEASE_SECS.contains(&secs) => self.lease = Duration::from_secs_f64(secs),
                _ => return wrong("a number of seconds from 1 to 3600"),
            },
            "replicas" if self.kind == EngineKind::Nats => match value.parse() {
                Ok(replicas @ 1..=5) => self.replicas = replicas,
                _ => return wrong("a number from 1 to 5"),
            },
            "stream_mib" if self.kind == EngineKind::Nats => match value.parse() {
                Ok(mib @ 16..=1_048_576) => self.stream_mib = mib,
                _ => return wrong("a number of MiB from 16"),
            },
            _ => {
                return Err(format!(
                    "jobs: there is no parameter {name:?}: prefix, spool, durability, lease_secs and, for NATS, replicas and stream_mib are possible"
                ));
            }
        }
        Ok(())
    }

    /// Its address as it may be shown: without a password.
    pub(crate) fn shown(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
        format!("{scheme}://{}", address.trim_end_matches('/'))
    }
}

// A password must not get into a log.
impl std::fmt::Debug for EngineSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineSettings")
            .field("url", &self.shown())
            .field("prefix", &self.prefix)
            .field("spool", &self.spool)
            .field("durability", &self.durability)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl Durability {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Durability::Disk => "disk",
            Durability::Process => "process",
            Durability::Memory => "memory",
            Durability::Unchecked => "unchecked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_an_engine_are_told_apart() {
        assert_eq!(Place::parse("data/jobs.db"), Ok(Place::File("data/jobs.db".into())));
        let text = "redis://:secret@db:6380/2?prefix=shop&spool=/var/x.db&durability=process&lease_secs=2.5";
        let Ok(Place::Engine(engine)) = Place::parse(text) else { panic!("{text}") };
        assert_eq!(engine.url, "redis://:secret@db:6380/2");
        assert_eq!((engine.prefix.as_str(), engine.spool.as_path()), ("shop", Path::new("/var/x.db")));
        assert_eq!((engine.durability, engine.lease), (Durability::Process, Duration::from_millis(2500)));
        assert_eq!(engine.shown(), "redis://db:6380/2");
        assert!(!format!("{engine:?}").contains("secret"));
    }

    #[test]
    fn what_nobody_knows_is_refused_in_one_line() {
        for (text, word) in [
            ("kafka://x", "no engine \"kafka\""),
            ("redis://x?prefix=a%20b", "prefix"),
            ("redis://x?durability=some", "disk, process, memory or unchecked"),
            ("redis://x?lease_secs=0", "from 1 to 3600"),
            ("redis://x?spool=", "a file"),
            ("redis://x?maxlen=5", "no parameter \"maxlen\""),
            ("redis://x?replicas=3", "no parameter \"replicas\""),
            ("nats://x?replicas=9", "from 1 to 5"),
            ("nats://x?prefix=a.b", "no '.'"),
        ] {
            let line = Place::parse(text).unwrap_err();
            assert!(line.contains(word) && !line.contains('\n'), "{line}");
        }
    }
}
