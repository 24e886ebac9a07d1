//! Leaving HTTP: a handler answers 101 and gets the connection.

use std::io::{self, Read, Write};

use http::{HeaderValue, StatusCode, header};
use tenfold_http::h1::HeadView;
use tenfold_runtime::net::TcpStream;

use crate::body::Body;
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

/// Answers 101 and runs `run` with the connection, on the fiber or thread that has run the handler. A client that has not
/// asked for `protocol` gets 426.
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

/// Takes the closure out of a response that has one, if the client has asked for its protocol.
///
/// A server must not switch to a protocol that the client has not named (RFC 9110 section 7.8): such a response becomes 426,
/// which names it (section 15.5.22).
pub(crate) fn take_from(response: &mut Response, view: &HeadView<'_>) -> Option<Upgrade> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let upgrade = response.extensions_mut().remove::<Upgrade>();
    let protocol = response.headers().get(header::UPGRADE).and_then(|protocol| protocol.to_str().ok());
    let asked = view.upgrade().unwrap_or_default().split(',').map(str::trim);
    let is_asked =
        protocol.is_some_and(|protocol| asked.into_iter().any(|one| one.eq_ignore_ascii_case(protocol)));
    if upgrade.is_some() && is_asked {
        return upgrade;
    }
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    *response.body_mut() = Body::from("the client has not asked for this protocol");
    None
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
