//! The status listener: `/status` (JSON), `/status.txt` and `/metrics`, in a small process of its own under the master.
//!
//! Not in the master, which starts no thread and parses nothing that a stranger sends; not in a worker, which may be
//! stuck when somebody wants to know why. A reload does not replace it. It asks the master over the control socket for
//! what only that knows, and does without when the master is silent for [`MASTER_TIMEOUT`].

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tenfold_runtime::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tenfold_runtime::sync::Semaphore;
use tenfold_runtime::{Runtime, RuntimeConfig, deadline, park, sleep, spawn, spawn_detached};
use tenfold_supervisor::{ExitReason, Group, Order, OrderReader, Report, Reporter, Worker};

use super::picture::Picture;
use super::{metrics, text};

/// How long the master may take to answer. It is never busy for long; while it takes a new generation over, the rest of the
/// picture is worth more than its part.
const MASTER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a client may take, altogether.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Clients at a time; the next one waits.
const CLIENTS_MAX: usize = 16;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 4096;
/// Between two attempts to bind: an old master's process has the address until an upgrade is finished.
const REBIND: Duration = Duration::from_millis(200);
/// Requests in flight that `/status.txt` lists.
const REQUESTS_MAX: usize = 50;

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    /// Only addresses of this machine: what requests ask for is nobody else's business.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(path.into()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Address::Tcp(address)),
            Ok(_) => {
                Err(format!("status = {text:?}: expected an address of this machine, as 127.0.0.1:9101"))
            }
            Err(_) => Err(format!("status = {text:?}: expected 127.0.0.1:9101, [::1]:9101 or unix:/path")),
        }
    }
}

/// The process, as a group of one.
pub(crate) fn group(address: Address, picture: Picture) -> Group {
    Group::new("status", 1, move |worker| match run(worker, &address, &picture) {
        Ok(()) => ExitReason::Done,
        Err(reason) => ExitReason::Failed(reason),
    })
}

fn run(worker: &Worker, address: &Address, picture: &Picture) -> Result<(), String> {
    let orders = worker.order_reader().map_err(|error| error.to_string())?;
    let reporter = worker.reporter().clone();
    let (address, picture) = (address.clone(), Arc::new(picture.clone()));
    let runtime = Runtime::new(&RuntimeConfig { fibers_max: 64, ..RuntimeConfig::default() })
        .map_err(|error| error.to_string())?;
    // What is bound or not is no reason to hold up the workers.
    worker.ready();
    runtime
        .run(move || {
            let listener = spawn(move || listen(&address, &picture));
            obey(&orders, &reporter);
            listener.cancel();
            if let Ok(Some(file)) = listener.join() {
                file.remove();
            }
        })
        .map_err(|error| error.to_string())
}

/// Returns at the order to stop.
fn obey(orders: &OrderReader, reporter: &Reporter) {
    while park::wait_readable(orders).is_ok() {
        while let Some(order) = orders.try_order() {
            match order {
                Order::Graceful | Order::Fast => return,
                Order::ReopenLogs => reporter.say(&Report::Logs(crate::logs::reopen_error_log())),
                Order::Log(level) => drop(crate::logs::set_level(level)),
                _ => {}
            }
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(address: &Address) -> io::Result<Listener> {
        match address {
            Address::Tcp(address) => TcpListener::bind(address).map(Listener::Tcp),
            Address::Unix(path) => bind_private(path).map(Listener::Unix),
        }
    }

    fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Listener::Tcp(listener) => listener.accept(),
            Listener::Unix(listener) => listener.accept().map(UnixStream::into_stream),
        }
    }
}

/// A socket for its user only, in place of one that is there: a new master's takes over in one step.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&beside);
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(&beside);
    rustix::process::umask(umask);
    let listener = bound?;
    let placed = fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&beside, path));
    placed.inspect_err(|_| drop(fs::remove_file(&beside)))?;
    Ok(listener)
}

/// A socket's file, told apart from one that another process has put in its place.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> Option<SocketFile> {
        let file = fs::symlink_metadata(path).ok()?;
        Some(SocketFile { path: path.into(), identity: (file.dev(), file.ino()) })
    }

    fn remove(self) {
        if SocketFile::of(&self.path).is_some_and(|now| now.identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A fiber: binds, accepts, and gives each client a fiber. Returns the socket's file, which is in the way of nobody.
fn listen(address: &Address, picture: &Arc<Picture>) -> Option<SocketFile> {
    let mut warned = false;
    let listener = loop {
        match Listener::bind(address) {
            Ok(listener) => break listener,
            Err(error) if !warned => {
                warned = true;
                tracing::warn!(%error, ?address, "the status listener cannot bind, and tries again");
            }
            Err(_) => {}
        }
        if tenfold_runtime::try_sleep(REBIND).is_err() {
            return None;
        }
    };
    if let Listener::Tcp(tcp) = &listener {
        tracing::info!(address = ?tcp.local_addr().ok(), "status listens");
    }
    let file = match address {
        Address::Unix(path) => SocketFile::of(path),
        Address::Tcp(_) => None,
    };
    let room = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = room.acquire_owned(1, None) else { return file };
        match listener.accept() {
            Ok(stream) => {
                let picture = picture.clone();
                let serve = move || {
                    let _permit = permit;
                    // A client that is too slow, or gone, is nobody's trouble but its own.
                    let _ = deadline(CLIENT_TIMEOUT, || serve(stream, &picture));
                };
                drop(spawn_detached("status", serve));
            }
            Err(error) if park::is_cancellation(&error) => return file,
            Err(_) => sleep(REBIND),
        }
    }
}

fn serve(mut stream: TcpStream, picture: &Picture) -> io::Result<()> {
    let head = read_head(&mut stream)?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let is_head = method == "HEAD";
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/status" | "/status/" | "/") => {
            ("200 OK", "application/json", format!("{:#}\n", gather(picture)))
        }
        ("GET" | "HEAD", "/status.txt") => {
            ("200 OK", "text/plain; charset=utf-8", text(&gather(picture), REQUESTS_MAX))
        }
        ("GET" | "HEAD", "/metrics") => {
            let page = metrics::metrics(&gather(picture), picture.board);
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", page)
        }
        ("GET" | "HEAD", _) => {
            ("404 Not Found", "text/plain", "There are /status, /status.txt and /metrics.\n".into())
        }
        ("", _) => ("400 Bad Request", "text/plain", "This is no request.\n".into()),
        _ => ("405 Method Not Allowed", "text/plain", "Only GET and HEAD.\n".into()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if !is_head {
        stream.write_all(body.as_bytes())?;
    }
    Ok(())
}

/// The request line; the other lines say nothing that matters here, and are read so that closing resets nothing.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut reader = BufReader::new(stream.take(HEAD_BYTES_MAX as u64));
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(first.trim_end().to_owned())
}

/// The master's word, or what can be known without it.
fn gather(picture: &Picture) -> Value {
    let asked = picture.settings.control.as_deref().filter(|path| *path != "off");
    let answer = asked.and_then(|path| deadline(MASTER_TIMEOUT, || ask(path)).ok());
    Value::Object(answer.unwrap_or_else(|| picture.alone()))
}

fn ask(control: &str) -> io::Result<Map<String, Value>> {
    let mut stream = UnixStream::connect(control)?;
    let until = Some(Instant::now() + MASTER_TIMEOUT);
    stream.write_all(b"status\n")?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    while !bytes.ends_with(b"\n") {
        match stream.read_until(&mut chunk, until)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
    match serde_json::from_slice(&bytes)? {
        Value::Object(answer) if answer.get("ok") == Some(&Value::Bool(true)) => Ok(answer),
        _ => Err(io::Error::other("the master does not say how it is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_taken() {
        let parse = |text: &str| text.parse::<Address>();
        assert!(matches!(parse("127.0.0.1:9101"), Ok(Address::Tcp(_))));
        assert!(matches!(parse("[::1]:0"), Ok(Address::Tcp(_))));
        assert_eq!(parse("unix:/run/x.sock"), Ok(Address::Unix("/run/x.sock".into())));
        for wrong in ["0.0.0.0:9101", "10.0.0.1:80", "[::]:1", "unix:", "9101", ""] {
            let line = parse(wrong).unwrap_err();
            assert!(line.contains("status = ") && !line.contains('\n'), "{line}");
        }
    }
}
