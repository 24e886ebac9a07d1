//! `Control`: the control socket, by which people and programs tell the master what to do and hear what came of it.
//!
//! A request is a line of words (`scale 3`), an answer a line of JSON (`{"ok":true,…}`): so `socat` is a client. The socket
//! file has mode 0600. Served from the master's loop without a thread: nothing here ever blocks, a client has bounded
//! buffers and bounded time, and there are at most [`CLIENTS_MAX`] of them, so that no client can hold the master up.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{
        AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
        socket_with,
    },
};
use serde_json::{Value, json};

use crate::error::Error;

/// Clients at a time; one more is closed at once.
const CLIENTS_MAX: usize = 32;
/// Bytes of a request line.
const REQUEST_BYTES_MAX: usize = 4096;
/// Bytes of answers that wait for a client to read them.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How long a client may take to send a request or to read an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Names a client; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(u64);

#[derive(Debug)]
pub(crate) struct Control {
    listener: OwnedFd,
    path: PathBuf,
    /// Of the socket file, and who made it.
    identity: (u64, u64),
    owner: u32,
    clients: Vec<Client>,
    next: u64,
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    fd: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// It has asked, and the answer is not there yet: nothing more is read, and its time does not run.
    waits: bool,
    until: Instant,
    /// It has ended its side: close when the answers are out.
    ended: bool,
}

impl Control {
    /// Binds `path`; a socket file that is there is replaced in one step, so that a new master takes over from an old one
    /// without a moment in which nobody answers.
    ///
    /// # Errors
    /// [`Error::Control`].
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        let control = |source| Error::Control { path: path.to_owned(), source };
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let open = || -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let _ = fs::remove_file(&beside);
            // Nobody else may connect, not even between bind and chmod.
            let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
            let bound = bind(&socket, &SocketAddrUnix::new(&beside)?);
            rustix::process::umask(umask);
            bound?;
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
            listen(&socket, 64)?;
            fs::rename(&beside, path)?;
            Ok(socket)
        };
        let listener = open().map_err(|source| {
            let _ = fs::remove_file(&beside);
            control(source)
        })?;
        let file = fs::symlink_metadata(path).map_err(control)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: (file.dev(), file.ino()),
            owner: std::process::id(),
            clients: Vec::new(),
            next: 0,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let clients = self.clients.iter().map(|client| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !client.waits && !client.ended);
            flags.set(PollFlags::OUT, !client.output.is_empty());
            (client.fd.as_fd(), flags)
        });
        std::iter::once((self.listener.as_fd(), PollFlags::IN)).chain(clients)
    }

    /// When the next client has used up its time.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.clients.iter().filter(|client| !client.waits).map(|client| client.until).min()
    }

    /// Takes what has come; each request must be answered with [`Control::answer`].
    pub(crate) fn turn(&mut self) -> Vec<(ClientId, String)> {
        self.accept();
        let mut requests = Vec::new();
        for client in &mut self.clients {
            client.write();
            client.read();
            if let Some(line) = client.next_line() {
                requests.push((client.id, line));
            }
        }
        let now = Instant::now();
        self.clients.retain(|client| client.waits || (!client.is_done() && client.until > now));
        requests
    }

    /// Sends a success with more fields, or a failure with its reason.
    pub(crate) fn answer(&mut self, id: ClientId, outcome: Result<Value, String>) {
        // A client that is gone is not told.
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { return };
        let answer = match outcome {
            Ok(Value::Object(mut fields)) => {
                fields.insert("ok".into(), true.into());
                Value::Object(fields)
            }
            Ok(said) => json!({ "ok": true, "said": said }),
            Err(error) => json!({ "ok": false, "error": error }),
        };
        client.waits = false;
        client.until = Instant::now() + CLIENT_TIMEOUT;
        let text = format!("{answer}\n");
        if client.output.len() + text.len() <= ANSWER_BYTES_MAX {
            client.output.extend_from_slice(text.as_bytes());
        }
        client.write();
    }

    /// Binds the path again, if another process has it by now. Clients that are here stay.
    ///
    /// # Errors
    /// [`Error::Control`].
    pub(crate) fn retake(&mut self) -> Result<(), Error> {
        let is_own =
            fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if is_own {
            return Ok(());
        }
        let mut again = Self::bind(&self.path)?;
        std::mem::swap(&mut self.listener, &mut again.listener);
        (self.identity, self.owner) = (again.identity, again.owner);
        // What is left of it is the lost socket.
        again.disown();
        Ok(())
    }

    /// The path belongs to another master from now on; clients that are here stay.
    pub(crate) fn disown(&mut self) {
        self.owner = 0;
    }

    fn accept(&mut self) {
        // Without descriptors (EMFILE) clients wait in the queue, and the loop goes on after a while.
        while let Ok(fd) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            if self.clients.len() >= CLIENTS_MAX {
                continue;
            }
            self.next += 1;
            self.clients.push(Client {
                id: ClientId(self.next),
                fd,
                input: Vec::new(),
                output: Vec::new(),
                waits: false,
                until: Instant::now() + CLIENT_TIMEOUT,
                ended: false,
            });
        }
    }
}

impl Client {
    fn read(&mut self) {
        let mut chunk = [0; 1024];
        while !self.waits && !self.ended && self.input.len() < REQUEST_BYTES_MAX {
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(0) => self.ended = true,
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.ended = true;
                    self.output.clear();
                }
            }
        }
    }

    fn next_line(&mut self) -> Option<String> {
        if self.waits {
            return None;
        }
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            if self.input.len() >= REQUEST_BYTES_MAX {
                self.input.clear();
                self.ended = true;
                self.output.extend_from_slice(b"{\"ok\":false,\"error\":\"the request is too long\"}\n");
            }
            return None;
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        self.waits = true;
        Some(String::from_utf8_lossy(&line).trim().to_owned())
    }

    fn write(&mut self) {
        while !self.output.is_empty() {
            match rustix::net::send(&self.fd, &self.output, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.ended = true;
                    self.output.clear();
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.ended && self.output.is_empty() && !self.input.contains(&b'\n')
    }
}

impl Drop for Control {
    /// Removes the file while it is still this master's own.
    fn drop(&mut self) {
        let is_own = self.owner == std::process::id()
            && fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if is_own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn control(name: &str) -> Control {
        let path = std::env::temp_dir().join(format!("tenfold-control-{}-{name}.sock", std::process::id()));
        Control::bind(&path).unwrap()
    }

    fn until_asked(control: &mut Control) -> (ClientId, String) {
        loop {
            if let Some(request) = control.turn().pop() {
                return request;
            }
        }
    }

    #[test]
    fn a_line_is_answered_by_a_line_and_the_file_is_private() {
        let mut control = control("line");
        let mode = fs::metadata(control.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = UnixStream::connect(control.path()).unwrap();
        client.write_all(b"sca").unwrap();
        assert!(control.turn().is_empty());
        client.write_all(b"le 3\nstatus\n").unwrap();
        let (id, line) = until_asked(&mut control);
        assert_eq!(line, "scale 3");
        assert!(control.turn().is_empty(), "the next request waits for the answer to this one");
        control.answer(id, Err("no".into()));
        let mut reader = BufReader::new(client);
        let mut answer = String::new();
        reader.read_line(&mut answer).unwrap();
        assert_eq!(answer, "{\"error\":\"no\",\"ok\":false}\n");
        let (id, line) = until_asked(&mut control);
        assert_eq!(line, "status");
        control.answer(id, Ok(json!({ "generation": 1 })));
        answer.clear();
        reader.read_line(&mut answer).unwrap();
        assert_eq!(answer, "{\"generation\":1,\"ok\":true}\n");
        let path = control.path().to_owned();
        drop(control);
        assert!(!path.exists());
    }

    #[test]
    fn a_request_without_an_end_is_refused_and_its_client_let_go() {
        let mut control = control("long");
        let mut client = UnixStream::connect(control.path()).unwrap();
        client.write_all(&[b'x'; 2 * REQUEST_BYTES_MAX]).unwrap();
        while control.clients.is_empty() {
            control.turn();
        }
        while !control.clients.is_empty() {
            control.turn();
        }
        let mut said = [0; 4096];
        let count = client.read(&mut said).unwrap();
        assert!(said[..count].starts_with(b"{\"ok\":false"));
    }

    #[test]
    fn a_new_master_takes_the_path_and_the_old_one_leaves_it() {
        let old = control("takeover");
        let new = Control::bind(old.path()).unwrap();
        drop(old);
        assert!(UnixStream::connect(new.path()).is_ok());
    }

    #[test]
    fn more_clients_than_the_bound_are_let_go() {
        let mut control = control("many");
        let clients: Vec<_> =
            (0..CLIENTS_MAX + 5).map(|_| UnixStream::connect(control.path()).unwrap()).collect();
        control.turn();
        assert_eq!(control.clients.len(), CLIENTS_MAX);
        drop(clients);
        while !control.clients.is_empty() {
            control.turn();
        }
    }
}
