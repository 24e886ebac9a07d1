//! How many connections the kernel has turned away because a listener's queue was full.
//!
//! The kernel counts them for a whole network namespace, not for each socket: on a machine with several servers, and outside of
//! containers, all of them are in one number. It is still the only trace that such a connection leaves.

use std::fs;

/// Counts since the namespace was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflows {
    /// Handshakes that were complete, or nearly, when the queue was full: `ListenOverflows`.
    pub(crate) overflows: u64,
    /// Those, and whatever else a listener had to drop, for want of memory for instance: `ListenDrops`.
    pub(crate) drops: u64,
}

impl Overflows {
    /// Of this process's namespace. `None` where the kernel does not tell. Cost: some 20 µs.
    pub(crate) fn read() -> Option<Overflows> {
        Overflows::parse(&fs::read_to_string("/proc/self/net/netstat").ok()?)
    }

    /// The file has two lines for each group: names, and their values in the same order (Linux' net/ipv4/proc.c).
    fn parse(text: &str) -> Option<Overflows> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let (names, values) = (lines.next()?, lines.next()?);
        let pairs = || names.split_whitespace().zip(values.split_whitespace());
        let value = |name: &str| pairs().find(|(own, _)| *own == name)?.1.parse().ok();
        Some(Overflows { overflows: value("ListenOverflows")?, drops: value("ListenDrops")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_are_found_by_their_names() {
        let text =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops X\nTcpExt: 1 22 333 4\nIpExt: A\nIpExt: 5\n";
        assert_eq!(Overflows::parse(text), Some(Overflows { overflows: 22, drops: 333 }));
        for text in [
            "",
            "TcpExt: ListenOverflows ListenDrops\n",
            "TcpExt: A\nTcpExt: 1\n",
            "TcpExt: ListenOverflows ListenDrops\nTcpExt: 1 x\n",
        ] {
            assert_eq!(Overflows::parse(text), None, "{text:?}");
        }
        assert!(Overflows::read().is_some(), "this kernel tells");
    }
}
