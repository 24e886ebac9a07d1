//! A client that sends exactly the bytes that a test gives it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::response::{ResponseReader, TestResponse};

/// How long an operation may take before it fails the test. Far longer than anything takes on a slow machine; only a hang
/// is longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Received bytes that a failure shows.
const SHOWN_BYTES_MAX: usize = 2048;

/// One connection to a server.
///
/// All methods panic, and so fail the test, when the connection breaks or [`PATIENCE`] is over; the message has what was
/// received and not yet read. Those that expect a failure return it.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Received and not yet read.
    received: Vec<u8>,
    patience: Duration,
    /// The server has ended its half.
    ended: bool,
}

impl Client {
    /// Connects to `address`, as `127.0.0.1:8080`.
    #[track_caller]
    pub fn connect(address: &str) -> Client {
        Client::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects, where the server may refuse.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn try_connect(address: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        // Each `send` is a segment of its own: what a test sends in pieces has to arrive in pieces.
        stream.set_nodelay(true)?;
        Ok(Client { stream, received: Vec::new(), patience: PATIENCE, ended: false })
    }

    /// The same client with other patience.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Client {
        self.patience = patience;
        self
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        if let Err(error) = self.try_send(bytes) {
            panic!("cannot send: {error}; {}", self.shown());
        }
        self
    }

    /// Sends these bytes, where the server may have closed.
    ///
    /// # Errors
    /// Those of write(2); `WouldBlock` when the patience is over.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.patience))?;
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends the bytes one by one, with a pause between two of them, and stops when the server has ended the connection.
    /// The pause is what is tested: a slow client.
    pub fn trickle(&mut self, bytes: &[u8], pause: Duration) -> &mut Client {
        for byte in bytes {
            if self.try_send([*byte]).is_err() {
                break;
            }
            std::thread::sleep(pause);
        }
        self
    }

    /// Sends a GET that keeps the connection.
    #[track_caller]
    pub fn send_get(&mut self, target: &str) -> &mut Client {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// Sends a GET and reads the response.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> TestResponse {
        self.send_get(target).read_response()
    }

    /// Sends a POST with a length and reads the response.
    #[track_caller]
    pub fn post(&mut self, target: &str, body: impl AsRef<[u8]>) -> TestResponse {
        let body = body.as_ref();
        let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat()).read_response()
    }

    /// Ends the sending half (FIN); the server can still answer.
    #[track_caller]
    pub fn half_close(&mut self) -> &mut Client {
        self.stream.shutdown(Shutdown::Write).unwrap_or_else(|error| panic!("cannot half-close: {error}"));
        self
    }

    /// Resets the connection: the server learns that nobody reads its answer.
    #[track_caller]
    pub fn reset(self) {
        // A close with a time to linger of zero sends RST (RFC 9293 section 3.10.4, tcp(7)).
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .unwrap_or_else(|error| panic!("cannot reset: {error}"));
    }

    /// Reads a response, with its body.
    #[track_caller]
    pub fn read_response(&mut self) -> TestResponse {
        let mut body = Vec::new();
        let mut response = self.read_response_into(&mut |bytes| body.extend_from_slice(bytes));
        response.body = body;
        response
    }

    /// Reads a response to a HEAD, which has no body whatever its head says.
    #[track_caller]
    pub fn read_response_to_head(&mut self) -> TestResponse {
        self.read_head()
    }

    /// Reads a response whose body goes to `sink` piece by piece.
    #[track_caller]
    pub fn read_response_into(&mut self, sink: &mut dyn FnMut(&[u8])) -> TestResponse {
        let mut response = self.read_head();
        self.read_body_into(&mut response, sink);
        response
    }

    /// Reads the body that follows a head which [`Client::read_head`] has read.
    #[track_caller]
    pub fn read_body_into(&mut self, head: &mut TestResponse, sink: &mut dyn FnMut(&[u8])) {
        let until = Instant::now() + self.patience;
        let outcome = ResponseReader::new(head, false).and_then(|mut reader| {
            loop {
                let used = reader.feed(&self.received, sink)?;
                self.received.drain(..used);
                if reader.is_end() {
                    head.trailers = reader.take_trailers();
                    return Ok(());
                }
                match self.receive(until).map_err(|error| error.to_string())? {
                    0 => reader.finish()?,
                    _ => continue,
                }
            }
        });
        if let Err(reason) = outcome {
            panic!("{reason}, in the body of {head}; {}", self.shown());
        }
    }

    /// Reads the head of a response only.
    #[track_caller]
    pub fn read_head(&mut self) -> TestResponse {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                return TestResponse::parse_head(&head)
                    .unwrap_or_else(|reason| panic!("{reason} in {}", head.escape_ascii()));
            }
            match self.receive(until) {
                Ok(0) => panic!("the connection ended before a response; {}", self.shown()),
                Ok(_) => {}
                Err(error) => panic!("no response: {error}; {}", self.shown()),
            }
        }
    }

    /// Reads exactly these bytes.
    #[track_caller]
    pub fn read_exactly(&mut self, expected: impl AsRef<[u8]>) -> &mut Client {
        let expected = expected.as_ref();
        let until = Instant::now() + self.patience;
        while self.received.len() < expected.len() {
            match self.receive(until) {
                Ok(0) => panic!("the connection ended; {}", self.shown()),
                Ok(_) => {}
                Err(error) => panic!("{error}; {}", self.shown()),
            }
        }
        let got: Vec<u8> = self.received.drain(..expected.len()).collect();
        assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
        self
    }

    /// Reads as many bytes as there is room for, whatever they are.
    #[track_caller]
    pub fn read_into(&mut self, into: &mut [u8]) -> &mut Client {
        let count = into.len();
        self.wait_for_bytes(count);
        into.copy_from_slice(&self.received[..count]);
        self.received.drain(..count);
        self
    }

    /// Everything that comes until the server ends the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let until = Instant::now() + self.patience;
        loop {
            match self.receive(until) {
                Ok(0) => return std::mem::take(&mut self.received),
                Ok(_) => {}
                Err(error) => panic!("the connection does not end: {error}; {}", self.shown()),
            }
        }
    }

    /// As [`Client::read_to_end`], where the server may not end the connection or reset it.
    ///
    /// # Errors
    /// `TimedOut` when the patience is over; those of recv(2).
    pub fn try_read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let until = Instant::now() + self.patience;
        while self.receive(until)? > 0 {}
        Ok(std::mem::take(&mut self.received))
    }

    /// Reads and throws away what comes until the server ends or resets the connection; how many bytes that were.
    #[track_caller]
    pub fn read_to_end_or_reset(&mut self) -> usize {
        let until = Instant::now() + self.patience;
        let mut bytes = std::mem::take(&mut self.received).len();
        loop {
            match self.receive(until) {
                Ok(0) => return bytes,
                Ok(count) => {
                    bytes += count;
                    self.received.clear();
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return bytes,
                Err(error) => panic!("the connection does not end: {error}; {bytes} bytes came"),
            }
        }
    }

    /// Receives once, at most `bytes_max` bytes, and throws them away; how many came, 0 at the end. For a client that takes
    /// its answer slowly.
    ///
    /// # Errors
    /// `TimedOut` when the patience is over; those of recv(2).
    pub fn try_take(&mut self, bytes_max: usize) -> io::Result<usize> {
        let pending = self.received.len().min(bytes_max);
        if pending > 0 {
            self.received.drain(..pending);
            return Ok(pending);
        }
        self.stream.set_read_timeout(Some(self.patience))?;
        self.stream.read(&mut vec![0; bytes_max])
    }

    /// Expects that the server ends the connection and says nothing more. A reset counts as an end.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let until = Instant::now() + self.patience;
        loop {
            match self.receive(until) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the connection does not end: {error}; {}", self.shown()),
            }
        }
        assert!(self.received.is_empty(), "more came than expected; {}", self.shown());
    }

    /// Whether the server has said nothing so far that was not read. Waits for nothing, so it only tells something when the
    /// test knows that what it would see has been sent.
    #[track_caller]
    pub fn is_quiet(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket can be made non-blocking");
        let mut byte = [0];
        let peeked = self.stream.peek(&mut byte);
        self.stream.set_nonblocking(false).expect("a socket can be made blocking");
        self.received.is_empty() && matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Receives until at least `count` bytes are there; they stay unread.
    #[track_caller]
    pub fn wait_for_bytes(&mut self, count: usize) -> &mut Client {
        let until = Instant::now() + self.patience;
        while self.received.len() < count {
            match self.receive(until) {
                Ok(0) => panic!("the connection ended; {}", self.shown()),
                Ok(_) => {}
                Err(error) => panic!("{error}; {}", self.shown()),
            }
        }
        self
    }

    /// Takes what has been received and was not read.
    pub fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// The same connection for a second thread: one sends, the other one reads.
    #[track_caller]
    pub fn second_half(&self) -> Client {
        let stream =
            self.stream.try_clone().unwrap_or_else(|error| panic!("cannot share the connection: {error}"));
        Client { stream, received: Vec::new(), patience: self.patience, ended: self.ended }
    }

    /// The client's own address, as the server sees it.
    pub fn local_address(&self) -> String {
        self.stream.local_addr().map_or_else(|_| "?".into(), |address| address.to_string())
    }

    /// Receives something; 0 is the end.
    fn receive(&mut self, until: Instant) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let mut buf = [0; 16 * 1024];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("nothing for {:?}", self.patience),
                ));
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buf) {
                Ok(count) => {
                    self.ended = count == 0;
                    self.received.extend_from_slice(&buf[..count]);
                    return Ok(count);
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn shown(&self) -> String {
        let shown = &self.received[..self.received.len().min(SHOWN_BYTES_MAX)];
        format!(
            "received and not read: {:?} ({} bytes)",
            shown.escape_ascii().to_string(),
            self.received.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A connection whose other end a closure plays.
    fn against(play: impl FnOnce(TcpStream) + Send + 'static) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = Client::connect(&address);
        let (stream, _) = listener.accept().unwrap();
        std::thread::spawn(move || play(stream));
        client.patience(Duration::from_secs(5))
    }

    #[test]
    fn responses_are_read_one_by_one() {
        let mut client = against(|mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nb")
                .unwrap();
        });
        client.read_response().expect_text(200, "a");
        assert!(client.read_response().expect_text(404, "b").closes());
        client.expect_end();
    }

    #[test]
    fn what_was_received_is_in_the_failure() {
        let mut client = against(|mut stream| stream.write_all(b"HTTP/1.1 2").unwrap());
        let panic =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.read_response())).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("HTTP/1.1 2") && message.contains("(10 bytes)"), "{message}");
    }

    #[test]
    fn a_hang_is_a_failure() {
        let mut client = against(std::mem::forget).patience(Duration::from_millis(50));
        assert!(client.is_quiet());
        let panic =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(client.read_head()))).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("nothing for"), "{panic:?}");
    }
}
