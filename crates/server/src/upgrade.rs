//! Leaving HTTP: a handler answers 101 and gets the connection.

use std::io::{self, Read, Write};

use http::{HeaderValue, StatusCode, header};
use tenfold_runtime::net::TcpStream;

use crate::drive::connection::Connection;
use crate::drive::workspace::ReadBuffer;
use crate::respond::Response;

/// A connection that has left HTTP. Reads first what the client sent behind its request.
#[derive(Debug)]
pub struct Upgraded {
    stream: TcpStream,
    early: Vec<u8>,
}

/// What runs on the connection after the 101 is out.
#[derive(Clone)]
pub(crate) struct Upgrade(std::sync::Arc<std::sync::Mutex<Option<Run>>>);

type Run = Box<dyn FnOnce(Upgraded) + Send>;

/// Answers 101 and runs `run` with the connection, on the fiber or thread that has run the handler.
///
/// ```
/// use std::io::Write;
/// use tenfold_server::upgrade_to;
/// let response = upgrade_to("echo", |mut stream| {
///     let mut copy = stream.try_clone().unwrap();
///     let _ = std::io::copy(&mut stream, &mut copy);
/// });
/// assert_eq!(response.status(), 101);
/// ```
pub fn upgrade_to(protocol: &'static str, run: impl FnOnce(Upgraded) + Send + 'static) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(protocol));
    let run: Run = Box::new(run);
    response.extensions_mut().insert(Upgrade(std::sync::Arc::new(std::sync::Mutex::new(Some(run)))));
    response
}

/// Takes the closure out of a response that has one.
pub(crate) fn take_from(response: &mut Response) -> Option<Upgrade> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    response.extensions_mut().remove::<Upgrade>()
}

impl Upgrade {
    /// Runs the closure with the connection, and with what the client has sent already.
    pub(crate) fn hand_over(&self, conn: &mut Connection, input: &mut ReadBuffer) -> io::Result<()> {
        let mut early = input.filled().to_vec();
        input.clear();
        early.extend(conn.detach()?);
        let run = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(run) = run {
            let upgraded = Upgraded { stream: conn.stream.clone(), early };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(upgraded)));
            if outcome.is_err() {
                tenfold_scoreboard::current().panics.add(1);
            }
        }
        Ok(())
    }
}

impl Upgraded {
    /// The stream below. What the client sent early is only in `self`.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// A second handle on the same connection, for writing; early bytes stay with the first.
    ///
    /// # Errors
    /// None at present; the signature is std's.
    pub fn try_clone(&self) -> io::Result<Upgraded> {
        Ok(Upgraded { stream: self.stream.clone(), early: Vec::new() })
    }
}

impl Read for Upgraded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.early.is_empty() {
            return self.stream.read(buf);
        }
        let count = self.early.len().min(buf.len());
        buf[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        Ok(count)
    }
}

impl Write for Upgraded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
