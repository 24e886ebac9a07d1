//! `Bound`: a socket that listens.
//!
//! The master binds before it forks, and all workers accept from the same
//! sockets: a connection in the backlog belongs to whoever comes first, also
//! after a worker died. Who accepts, and how, is not decided here.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt},
};

use crate::error::Error;
use crate::listen_spec::ListenSpec;

/// Connections the kernel may queue per listener before a worker accepts them
/// (listen(2)); what unicorn and puma use. `net.core.somaxconn` caps it.
pub const BACKLOG: i32 = 1024;

/// A listening socket and the address it has.
///
/// Dropping it closes the socket, and removes the socket file if this process
/// made it and it is still the same file. A worker ends without destructors,
/// so it never removes the master's.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    address: String,
    file: Option<SocketFile>,
}

/// A listening socket of either kind. It blocks; O_NONBLOCK belongs to the
/// socket and not to the process, so all workers that share it must agree.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// TCP. TCP_NODELAY is set, and accepted sockets inherit it on Linux (tcp(7)).
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixListener),
    /// Datagrams: it is bound, and nothing is accepted from it.
    Udp(UdpSocket),
}

/// A socket file this process made, and what tells it from a later one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    owner: u32,
    identity: (u64, u64),
}

impl Bound {
    /// Binds and listens, with a backlog of [`BACKLOG`].
    ///
    /// The sockets are closed on exec. A socket file that a dead server left
    /// behind is replaced; one where somebody answers is not, and neither is a
    /// file of another kind.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::SocketFileInUse`], [`Error::NotASocketFile`].
    pub fn bind(spec: &ListenSpec) -> Result<Self, Error> {
        Self::bind_with_backlog(spec, BACKLOG)
    }

    /// [`Bound::bind`] with SO_REUSEPORT (socket(7)): several sockets may have
    /// the address, and each gets its part of the connections. Not for socket
    /// files.
    ///
    /// # Errors
    /// As [`Bound::bind`].
    pub fn bind_reuseport(spec: &ListenSpec) -> Result<Self, Error> {
        warn_of_small_somaxconn(BACKLOG);
        let errno = |errno| listen_error(spec, errno);
        let bind = |address| bind_inet(address, Port::Shared, BACKLOG).map_err(errno);
        bind(spec.address()).and_then(|bound| bound.ok_or_else(|| errno(Errno::OPNOTSUPP)))
    }

    /// Takes a socket that listens already: inherited from an old master or a
    /// service manager. `None` when it is neither a stream socket that listens
    /// nor one for datagrams of the network.
    ///
    /// A socket file stays when it is dropped, until [`Bound::own`].
    pub(crate) fn adopt(fd: OwnedFd) -> Option<Self> {
        let listens = sockopt::socket_acceptconn(&fd).unwrap_or(false);
        let kind = sockopt::socket_type(&fd).ok()?;
        let family = sockopt::socket_domain(&fd).ok()?;
        if kind == SocketType::DGRAM && matches!(family, AddressFamily::INET | AddressFamily::INET6) {
            let socket = UdpSocket::from(fd);
            let address = socket.local_addr().ok()?.to_string();
            return Some(Self { listener: Listener::Udp(socket), address, file: None });
        }
        if !(listens && kind == SocketType::STREAM) {
            return None;
        }
        match family {
            AddressFamily::UNIX => {
                let listener = UnixListener::from(fd);
                let path = listener.local_addr().ok()?.as_pathname()?.to_owned();
                let address = ListenSpec::Unix(path).to_string();
                Some(Self { listener: Listener::Unix(listener), address, file: None })
            }
            _ => {
                let _ = sockopt::set_tcp_nodelay(&fd, true);
                let listener = TcpListener::from(fd);
                let address = listener.local_addr().ok()?.to_string();
                Some(Self { listener: Listener::Tcp(listener), address, file: None })
            }
        }
    }

    /// From now on dropping it here removes its socket file.
    pub(crate) fn own(&mut self) {
        if let Some(path) = self.address.strip_prefix("unix:").map(PathBuf::from)
            && let Ok(identity) = identity(&path)
        {
            self.file = Some(SocketFile { path, owner: std::process::id(), identity });
        }
    }

    /// From now on dropping it leaves its socket file alone: somebody else has it.
    pub(crate) fn disown(&mut self) {
        self.file = None;
    }

    /// [`Bound::bind`] with a backlog of its own.
    ///
    /// # Errors
    /// As [`Bound::bind`].
    pub fn bind_with_backlog(spec: &ListenSpec, backlog: i32) -> Result<Self, Error> {
        warn_of_small_somaxconn(backlog);
        match spec.address() {
            ListenSpec::Unix(path) => bind_unix(path, backlog),
            ListenSpec::Activated(name) => Err(Error::NotActivated { name: name.clone() }),
            other => {
                let errno = |errno| listen_error(spec, errno);
                let bound = bind_inet(other, Port::Own, backlog).map_err(errno)?;
                bound.ok_or_else(|| errno(Errno::OPNOTSUPP))
            }
        }
    }

    /// The address for people and logs: `127.0.0.1:8080` with the port that the
    /// kernel chose, or `unix:/PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The socket.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// The socket, if it is TCP.
    pub fn tcp(&self) -> Option<&TcpListener> {
        match &self.listener {
            Listener::Tcp(listener) => Some(listener),
            Listener::Unix(_) | Listener::Udp(_) => None,
        }
    }

    /// The address with its port, if it is one of the network.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Udp(socket) => socket.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(file) = self.file.take()
            && file.owner == std::process::id()
            && identity(&file.path).is_ok_and(|identity| identity == file.identity)
        {
            let _ = fs::remove_file(&file.path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

/// `Only` keeps `[::]:80` and `0.0.0.0:80` apart, so that both may be given.
#[derive(Clone, Copy, PartialEq)]
enum Ipv6 {
    Only,
    AndIpv4,
}

/// Whether other sockets may have the same address.
#[derive(Clone, Copy, PartialEq)]
enum Port {
    Own,
    Shared,
}

/// `None` where the address is none of the network's.
fn bind_inet(address: &ListenSpec, port: Port, backlog: i32) -> Result<Option<Bound>, Errno> {
    let tcp = |address, ipv6| bind_tcp(address, ipv6, port, backlog);
    let udp = |address, ipv6| bind_udp(address, ipv6, port);
    match address {
        ListenSpec::Tcp(address) => tcp(*address, Ipv6::Only).map(Some),
        ListenSpec::AnyTcp(number) => bind_any(*number, tcp).map(Some),
        ListenSpec::Udp(address) => udp(*address, Ipv6::Only).map(Some),
        ListenSpec::AnyUdp(number) => bind_any(*number, udp).map(Some),
        ListenSpec::Unix(_) | ListenSpec::Activated(_) | ListenSpec::Named(..) => Ok(None),
    }
}

fn bind_any(port: u16, bind: impl Fn(SocketAddr, Ipv6) -> Result<Bound, Errno>) -> Result<Bound, Errno> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into(), Ipv6::AndIpv4) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            bind((Ipv4Addr::UNSPECIFIED, port).into(), Ipv6::Only)
        }
        answer => answer,
    }
}

/// SO_REUSEADDR is left out: for datagrams it would let another program take the address (socket(7)).
fn bind_udp(address: SocketAddr, ipv6: Ipv6, port: Port) -> Result<Bound, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    if port == Port::Shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, ipv6 == Ipv6::Only)?;
    }
    bind(&socket, &address)?;
    let socket = UdpSocket::from(socket);
    let address = socket.local_addr().map_or_else(|_| address.to_string(), |bound| bound.to_string());
    Ok(Bound { listener: Listener::Udp(socket), address, file: None })
}

fn bind_tcp(address: SocketAddr, ipv6: Ipv6, port: Port, backlog: i32) -> Result<Bound, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // So that a restart does not wait for connections in TIME_WAIT (socket(7)).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if port == Port::Shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, ipv6 == Ipv6::Only)?;
    }
    bind(&socket, &address)?;
    listen(&socket, backlog)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().map_or_else(|_| address.to_string(), |bound| bound.to_string());
    Ok(Bound { listener: Listener::Tcp(listener), address, file: None })
}

fn bind_unix(path: &Path, backlog: i32) -> Result<Bound, Error> {
    let spec = ListenSpec::Unix(path.to_owned());
    let listener = match listen_unix(path, backlog) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path)?;
            listen_unix(path, backlog)
        }
        answer => answer,
    }
    .map_err(|errno| listen_error(&spec, errno))?;
    let identity = identity(path).map_err(|source| Error::Listen { address: spec.to_string(), source })?;
    Ok(Bound {
        listener: Listener::Unix(UnixListener::from(listener)),
        address: spec.to_string(),
        file: Some(SocketFile { path: path.to_owned(), owner: std::process::id(), identity }),
    })
}

fn listen_unix(path: &Path, backlog: i32) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &address)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// Removes a socket file where nobody listens any more.
///
/// Asking the socket is the only way to know: a process id in a file may be
/// somebody else's by now. Only "refused" means that nobody listens (unix(7));
/// a full backlog or a missing permission means that somebody does.
fn remove_stale(path: &Path) -> Result<(), Error> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Err(Error::NotASocketFile { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(target: "supervisor", path = %path.display(), "removing a stale socket file");
            fs::remove_file(path)
                .map_err(|source| Error::Listen { address: format!("unix:{}", path.display()), source })
        }
        _ => Err(Error::SocketFileInUse { path: path.to_owned() }),
    }
}

/// What tells a file from another one with the same path.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn listen_error(spec: &ListenSpec, errno: Errno) -> Error {
    Error::Listen { address: spec.to_string(), source: errno.into() }
}

/// listen(2) cuts a backlog beyond somaxconn without a word; then bursts are
/// lost, and nobody knows why.
fn warn_of_small_somaxconn(backlog: i32) {
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    if let Some(max) = somaxconn.and_then(|text| text.trim().parse::<i32>().ok())
        && max < backlog
    {
        tracing::warn!(target: "supervisor", backlog, somaxconn = max, "the kernel cuts the listen backlog");
    }
}
