//! `Order`: what a worker is told, and the byte that stands for it.
//!
//! An order is one byte on a pipe. Where a signal means the same, the byte is the signal's number: so the master writes
//! exactly what the worker's own signal handler writes. Orders that have no signal use bytes above all signals.

use std::{
    fmt,
    os::fd::{AsFd, OwnedFd},
    str::FromStr,
    sync::Arc,
};

use rustix::{io::Errno, process::Signal};

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// Take no new work, finish what there is, then end. There is a time limit.
    Graceful,
    /// End now; what is in flight is lost.
    Fast,
    /// A stop is near: go on serving, and answer readiness checks with "no".
    Unready,
    /// Open the log files again, and report that it is done.
    ReopenLogs,
    /// Report what every request in flight is doing.
    Dump,
    /// Log from this level on.
    Log(LogLevel),
}

/// The least severe messages that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const LEVELS: [(LogLevel, &str); 6] = [
    (LogLevel::Off, "off"),
    (LogLevel::Error, "error"),
    (LogLevel::Warn, "warn"),
    (LogLevel::Info, "info"),
    (LogLevel::Debug, "debug"),
    (LogLevel::Trace, "trace"),
];

/// Above SIGRTMAX (64): no signal has these numbers.
const UNREADY: u8 = 100;
const DUMP: u8 = 101;
const LOG: u8 = 110;

/// Gives orders to one worker; cheap to clone, may go to any thread.
#[derive(Clone, Debug)]
pub struct Orders {
    pub(crate) pipe: Arc<OwnedFd>,
}

impl Orders {
    /// Tells the worker. An order that finds the pipe full (65,536 unread
    /// orders) is dropped: the worker has one to read.
    pub fn send(&self, order: Order) {
        send(&*self.pipe, order);
    }
}

impl Order {
    /// Whether the worker takes no new work after it.
    pub fn is_stop(self) -> bool {
        matches!(self, Self::Graceful | Self::Fast)
    }

    fn byte(self) -> u8 {
        match self {
            Self::Graceful => Signal::TERM.as_raw() as u8,
            Self::Fast => Signal::INT.as_raw() as u8,
            Self::ReopenLogs => Signal::USR1.as_raw() as u8,
            Self::Unready => UNREADY,
            Self::Dump => DUMP,
            Self::Log(level) => LOG + LEVELS.iter().position(|(it, _)| *it == level).unwrap_or(0) as u8,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            UNREADY => return Some(Self::Unready),
            DUMP => return Some(Self::Dump),
            LOG.. => return LEVELS.get(usize::from(byte - LOG)).map(|(level, _)| Self::Log(*level)),
            _ => {}
        }
        match Signal::from_named_raw(byte.into())? {
            Signal::TERM | Signal::QUIT => Some(Self::Graceful),
            Signal::INT => Some(Self::Fast),
            Signal::USR1 => Some(Self::ReopenLogs),
            _ => None,
        }
    }
}

/// Writes one order. A worker that is gone (EPIPE) needs none.
pub(crate) fn send(pipe: impl AsFd, order: Order) {
    let _ = rustix::io::write(pipe, &[order.byte()]);
}

/// The next order of a pipe; `None` when there is none at the moment.
pub(crate) fn read(orders: impl AsFd) -> Option<Order> {
    loop {
        let mut byte = [0];
        match rustix::io::read(&orders, &mut byte) {
            Ok(1) => {}
            Err(Errno::INTR) => continue,
            // EAGAIN. End of file cannot be: this process has the other end, too.
            _ => return None,
        }
        if let Some(order) = Order::from_byte(byte[0]) {
            return Some(order);
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = LEVELS.iter().find(|(_, name)| *name == text);
        found.map(|(level, _)| *level).ok_or_else(|| {
            format!("unknown log level {text:?}: expected off, error, warn, info, debug or trace")
        })
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LEVELS.iter().find(|(level, _)| level == self).map_or("", |(_, name)| *name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_back_from_its_byte() {
        let levels = LEVELS.map(|(level, _)| Order::Log(level));
        let others = [Order::Graceful, Order::Fast, Order::Unready, Order::ReopenLogs, Order::Dump];
        for order in others.into_iter().chain(levels) {
            assert_eq!(Order::from_byte(order.byte()), Some(order));
        }
        assert_eq!(Order::from_byte(Signal::QUIT.as_raw() as u8), Some(Order::Graceful));
        assert_eq!(Order::from_byte(255), None);
    }

    #[test]
    fn a_level_is_read_by_its_name() {
        assert_eq!("warn".parse(), Ok(LogLevel::Warn));
        assert_eq!(LogLevel::Warn.to_string(), "warn");
        assert!("loud".parse::<LogLevel>().is_err());
    }
}
