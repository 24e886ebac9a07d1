//! Sockets that a service manager has bound: `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` (sd_listen_fds(3)).
//!
//! Such a socket serves the listen address `systemd:NAME`, and any address that it has itself. Its queue is kept while the
//! server restarts, because the service manager has it, too.

use crate::{listen_spec::ListenSpec, listener::Bound, listeners::Offered, sys};

/// The first descriptor that is passed (SD_LISTEN_FDS_START).
const FIRST: i32 = 3;

/// What was passed to this very process. Called once, before anything else opens descriptors that could be taken for them.
pub(crate) fn offered() -> Vec<Offered> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    // The variables are inherited by children as well, to whom the descriptors do not belong.
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(1024);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut offered = Vec::new();
    for fd in (FIRST..).take(count as usize) {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        match sys::inherited(fd).and_then(Bound::adopt) {
            Some(bound) => offered.push(Offered { spec: ListenSpec::Activated(name), slot: None, bound }),
            None => {
                tracing::warn!(target: "supervisor", fd, name, "a passed descriptor is no listening stream socket");
            }
        }
    }
    offered
}
