//! Leaving HTTP: a handler's answer gives the connection to somebody else.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderValue, StatusCode, header};
use tenfold_http::h1::HeadView;
use tenfold_runtime::net::TcpStream;

use crate::body::{Body, BodyKind};
use crate::drive::held::{Begin, Held, Pause, Stay};
use crate::respond::Response;

/// A connection that has left HTTP. Reads first what the client sent behind its request.
#[derive(Debug)]
pub struct Upgraded {
    stream: TcpStream,
    early: Vec<u8>,
}

/// Who gets the connection once the answer's head is out.
#[derive(Clone)]
pub(crate) struct TakeOver(Arc<Mutex<Option<Begin>>>);

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
    take_over(response, move |mut held| {
        if let Ok((stream, early)) = held.detach() {
            run(Upgraded { stream, early });
        }
        Stay::Over(held, Pause::Close)
    })
}

/// Answers with the head of `response`, and gives the connection to `begin` then. Of another status than 101, what follows the
/// head is the rest of the connection: a body that ends with it. The response's own body is not sent.
///
/// A 101 to a client that has not asked for the protocol of the response's `Upgrade` field becomes 426.
pub fn take_over(mut response: Response, begin: impl FnOnce(Held) -> Stay + Send + 'static) -> Response {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        *response.body_mut() = Body::from(BodyKind::TakenOver);
    }
    let begin: Begin = Box::new(begin);
    response.extensions_mut().insert(TakeOver(Arc::new(Mutex::new(Some(begin)))));
    response
}

/// Takes the closure out of a response that has one, if the client has asked for its protocol.
///
/// A server must not switch to a protocol that the client has not named (RFC 9110 section 7.8): such a response becomes 426,
/// which names it (section 15.5.22).
pub(crate) fn take_from(response: &mut Response, view: &HeadView<'_>) -> Option<TakeOver> {
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if !switches && !matches!(response.body().kind(), BodyKind::TakenOver) {
        return None;
    }
    let take_over = response.extensions_mut().remove::<TakeOver>();
    if !switches {
        return take_over.filter(|_| !view.is_head());
    }
    let protocol = response.headers().get(header::UPGRADE).and_then(|protocol| protocol.to_str().ok());
    let asked = view.upgrade().unwrap_or_default().split(',').map(str::trim);
    let is_asked =
        protocol.is_some_and(|protocol| asked.into_iter().any(|one| one.eq_ignore_ascii_case(protocol)));
    if take_over.is_some() && is_asked {
        return take_over;
    }
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    *response.body_mut() = Body::from("the client has not asked for this protocol");
    None
}

impl TakeOver {
    /// What to run; once.
    pub(crate) fn begin(&self) -> Option<Begin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
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
