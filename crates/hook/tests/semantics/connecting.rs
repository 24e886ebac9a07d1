//! `connect`, `accept` and names.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenfold_runtime::BackendChoice;

use crate::common::{everywhere, on_fibers, on_fibers_of};
use crate::{SHORT, errno, flags_of, while_waiting};

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

/// A socket by name whose queue of connections is full: the one connection in it is the last part.
fn full_backlog() -> (UnixListener, PathBuf, UnixStream) {
    let name = format!("tenfold-hook-{}-{:?}", std::process::id(), std::thread::current().id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: listen(2) takes numbers only; a second call changes the backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let first = UnixStream::connect(&path).unwrap();
    (listener, path, first)
}

#[test]
fn a_connect_to_a_full_backlog_waits_for_room() {
    everywhere(|| {
        let (listener, path, first) = full_backlog();
        let second =
            while_waiting(|| UnixStream::connect(&path).unwrap(), || drop(listener.accept().unwrap()));
        drop((first, second));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    });
}

#[test]
fn a_connect_ends_with_its_deadline_or_when_it_is_cancelled() {
    on_fibers(|| {
        let (_listener, path, _first) = full_backlog();
        let late = tenfold_runtime::deadline(SHORT, || UnixStream::connect(&path));
        assert_eq!(errno(late), libc::ETIMEDOUT);
        let cancelled = tenfold_runtime::scope(|scope| {
            let connecting = scope.spawn(|| UnixStream::connect(&path));
            tenfold_runtime::sleep(SHORT);
            connecting.cancel();
            connecting.join().unwrap()
        });
        assert_eq!(errno(cancelled), libc::ECANCELED);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    });
}

/// Whoever shares a socket must not find it non-blocking because somebody connects it.
#[test]
fn with_io_uring_nobody_sees_a_flag_change_during_a_connect() {
    on_fibers_of(BackendChoice::IoUring, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: listener.local_addr().unwrap().port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        // Held over each look, and before a socket is closed: its number may be another test's a moment later.
        let (shared, is_over) = (Mutex::new(-1), AtomicBool::new(false));
        std::thread::scope(|threads| {
            let watcher = threads.spawn(|| {
                let mut changes = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let number = shared.lock().unwrap();
                    let flags = flags_of(*number);
                    drop(number);
                    changes += u32::from(flags >= 0 && flags & libc::O_NONBLOCK != 0);
                }
                changes
            });
            for _ in 0..2000 {
                // SAFETY: takes numbers, and an address that is ours.
                let socket =
                    unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
                *shared.lock().unwrap() = socket.as_raw_fd();
                let len = size_of_val(&address) as libc::socklen_t;
                // SAFETY: as above.
                let connected =
                    unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) };
                assert_eq!(connected, 0, "{}", std::io::Error::last_os_error());
                drop(listener.accept().unwrap());
                *shared.lock().unwrap() = -1;
            }
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(watcher.join().unwrap(), 0, "the socket was non-blocking for a moment");
        });
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
