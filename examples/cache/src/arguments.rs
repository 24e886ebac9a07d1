//! The command line, with memcached's letters.

use std::time::Duration;

use clap::Parser;
use tenfold::{Limits, ServiceLimits, Settings};
use tracing_subscriber::filter::LevelFilter;

use crate::protocol::LINE_BYTES_MAX;
use crate::store::StoreConfig;

/// Descriptors of the process that are no connections.
const CONNECTIONS_MORE: usize = 16;

/// A cache that speaks memcached's text protocol.
#[derive(Clone, Debug, Parser)]
#[command(name = "cache", version)]
pub struct Arguments {
    /// TCP port; 0 for any that is free.
    #[arg(short, long, default_value_t = 11211)]
    pub port: u16,
    /// Address to listen on.
    #[arg(short, long, default_value = "127.0.0.1")]
    pub listen: String,
    /// Socket file to listen on instead.
    #[arg(short = 's', long)]
    pub unix_socket: Option<String>,
    /// MiB of items; the least recently used ones give way.
    #[arg(short, long, default_value_t = 64)]
    pub memory_limit: usize,
    /// Event loops.
    #[arg(short, long, default_value_t = 4)]
    pub threads: usize,
    /// Connections at a time; more wait.
    #[arg(short, long, default_value_t = 1024)]
    pub conn_limit: usize,
    /// Largest value, in bytes or with k or m behind the number.
    #[arg(short = 'I', long, default_value = "1m", value_parser = bytes)]
    pub max_item_size: usize,
    /// `auto`, `io_uring` or `epoll`.
    #[arg(long, default_value = "auto")]
    pub backend: String,
    /// Keep no account of where the time of requests goes.
    #[arg(long)]
    pub no_sight: bool,
    /// More of the log: -v, -vv.
    #[arg(short, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `1048576`, `1024k` or `1m`.
fn bytes(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.trim_end_matches(['k', 'K', 'm', 'M']) {
        digits if digits.len() == text.len() => (digits, 1),
        digits if text.ends_with(['k', 'K']) => (digits, 1 << 10),
        digits => (digits, 1 << 20),
    };
    let count: usize = digits.parse().map_err(|_| "a number, or one with k or m behind it".to_owned())?;
    match count.checked_mul(unit).filter(|bytes| (1 << 10..=1 << 30).contains(bytes)) {
        Some(bytes) => Ok(bytes),
        None => Err("1k to 1024m".into()),
    }
}

impl Arguments {
    /// Where the service listens.
    pub fn address(&self) -> String {
        match &self.unix_socket {
            Some(path) => format!("unix:{path}"),
            None if self.listen.contains(':') => format!("[{}]:{}", self.listen, self.port),
            None => format!("{}:{}", self.listen, self.port),
        }
    }

    /// What the store is made of.
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            bytes_max: self.memory_limit << 20,
            item_bytes_max: self.max_item_size,
            threads: self.threads,
        }
    }

    /// The bounds of its connections: they may be idle for as long as they like.
    pub fn limits(&self) -> ServiceLimits {
        ServiceLimits {
            frame_bytes_max: LINE_BYTES_MAX + self.max_item_size + 2,
            connections_max: Some(self.conn_limit),
            idle_timeout: Some(Duration::MAX),
            ..ServiceLimits::default()
        }
    }

    /// How the server runs: one worker, since another process would be another cache; a loop for each thread, on which
    /// commands run at once: none of them waits.
    pub fn settings(&self) -> Settings {
        Settings {
            model: "event".into(),
            listen: Vec::new(),
            workers: Some(1),
            threads: Some(self.threads),
            backend: Some(self.backend.clone()),
            sight: if self.no_sight { "off" } else { "on" }.into(),
            limits: Limits { connections_max: self.conn_limit + CONNECTIONS_MORE, ..Limits::default() },
            ..Settings::default()
        }
    }

    /// What is logged.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_of_memcached() {
        let line = ["cache", "-p", "0", "-m", "100", "-t", "2", "-c", "50", "-l", "::1", "-I", "2m"];
        let arguments = Arguments::parse_from(line);
        assert_eq!((arguments.address(), arguments.max_item_size), ("[::1]:0".into(), 2 << 20));
        assert_eq!((arguments.store().bytes_max, arguments.settings().threads), (100 << 20, Some(2)));
        assert_eq!(
            (bytes("512k"), bytes("2000").is_err(), bytes("2g").is_err()),
            (Ok(512 << 10), false, true)
        );
        assert!(bytes("10").is_err());
    }
}
