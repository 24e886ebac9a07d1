//! Tells a service manager how this server is: sd_notify(3), by one datagram each.
//!
//! Written here and not taken from libsystemd: the protocol is a datagram of lines, and the library's way of clearing the
//! environment is not safe in a process that forks.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::OnceLock,
};

use rustix::time::{ClockId, clock_gettime};

/// All workers serve. `MAINPID` says which process is the master.
pub(crate) fn ready(master: u32) {
    send(&format!("MAINPID={master}\nREADY=1\nSTATUS=serving"));
}

/// A reload or an upgrade has begun; `READY=1` has to follow. systemd 253 and later (Type=notify-reload) compare the time.
pub(crate) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"));
}

/// Serves on, after a reload or an upgrade that may have failed.
pub(crate) fn serving(status: &str) {
    send(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
}

/// Ends.
pub(crate) fn stopping() {
    send("STOPPING=1\nSTATUS=stopping");
}

/// A service manager that does not listen is its own problem: nothing here fails.
fn send(state: &str) {
    let Some((socket, address)) = target() else { return };
    if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
        tracing::debug!(target: "supervisor", %error, "the service manager was not notified");
    }
}

/// Made once; a worker never sends.
fn target() -> Option<&'static (UnixDatagram, SocketAddr)> {
    static TARGET: OnceLock<Option<(UnixDatagram, SocketAddr)>> = OnceLock::new();
    TARGET
        .get_or_init(|| {
            let name = std::env::var("NOTIFY_SOCKET").ok()?;
            let address = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&name),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address.ok()?))
        })
        .as_ref()
}
