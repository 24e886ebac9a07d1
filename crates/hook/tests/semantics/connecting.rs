//! `connect`, `accept` and names.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::everywhere;
use crate::{flags_of, while_waiting};

#[test]
fn connect_and_accept_wait_and_leave_the_flags_alone() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = while_waiting(
            || listener.accept().unwrap().0,
            || {
                let client = TcpStream::connect(address).unwrap();
                assert_eq!(flags_of(client.as_raw_fd()) & libc::O_NONBLOCK, 0);
            },
        );
        assert_eq!(flags_of(client.as_raw_fd()) & libc::O_NONBLOCK, 0);
        assert_eq!(flags_of(listener.as_raw_fd()) & libc::O_NONBLOCK, 0);
        drop(listener);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let refused = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_connect_to_a_full_backlog_waits_for_room() {
    everywhere(|| {
        let directory = std::env::temp_dir().join(format!(
            "tenfold-hook-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        let _ = std::fs::remove_file(&path);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        // SAFETY: listen(2) takes numbers only; a second call changes the backlog.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let first = UnixStream::connect(&path).unwrap();
        let second =
            while_waiting(|| UnixStream::connect(&path).unwrap(), || drop(listener.accept().unwrap()));
        drop((first, second));
        std::fs::remove_dir_all(&directory).unwrap();
    });
}

#[test]
fn names_resolve_and_failures_are_told() {
    everywhere(|| {
        use std::net::ToSocketAddrs;
        let found: Vec<_> = ("localhost", 80).to_socket_addrs().unwrap().collect();
        assert!(found.iter().any(|address| address.ip().is_loopback()), "{found:?}");
        assert!(found.iter().all(|address| address.port() == 80));
        assert!(("a name with spaces", 80).to_socket_addrs().is_err());
    });
}
