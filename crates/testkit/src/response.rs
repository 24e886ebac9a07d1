//! Reading one response off a connection, strictly: whatever a server gets wrong here is a failed test.

use std::fmt;

/// A response as it was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestResponse {
    /// The status code.
    pub status: u16,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Names in lower case and values, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl TestResponse {
    /// The value of a header that comes at most once.
    ///
    /// # Panics
    /// When it comes more than once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes twice in {self}");
        value
    }

    /// The body as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the response says that the connection ends with it (RFC 9112 section 9.6).
    pub fn closes(&self) -> bool {
        let says = |word: &str| {
            self.header("connection")
                .is_some_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
        };
        says("close") || (self.version == "HTTP/1.0" && !says("keep-alive"))
    }

    /// Checks the status.
    ///
    /// # Panics
    /// With the whole response when the status is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> TestResponse {
        assert_eq!(self.status, status, "in {self}");
        self
    }

    /// Checks the status and the body.
    ///
    /// # Panics
    /// With the whole response when either is another one.
    #[track_caller]
    pub fn expect_text(self, status: u16, text: &str) -> TestResponse {
        assert_eq!((self.status, self.text().as_str()), (status, text), "in {self}");
        self
    }

    /// Parses the head; `bytes` ends with its empty line.
    pub(crate) fn parse_head(bytes: &[u8]) -> Result<TestResponse, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "a head that is not UTF-8".to_owned())?;
        let text = text.strip_suffix("\r\n\r\n").ok_or("a head without an end")?;
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let mut words = status_line.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().unwrap_or_default();
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || status.len() != 3 || words.next().is_none() {
            return Err(format!("a wrong status line {status_line:?}"));
        }
        let status = status.parse().map_err(|_| format!("a wrong status line {status_line:?}"))?;
        let headers = lines.map(field).collect::<Result<_, _>>()?;
        Ok(TestResponse { status, version: version.into(), headers, ..TestResponse::default() })
    }
}

impl fmt::Display for TestResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.version, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        let shown = &self.body[..self.body.len().min(512)];
        write!(f, "\n{} ({} bytes)", shown.escape_ascii(), self.body.len())
    }
}

/// A `name: value` line.
pub(crate) fn field(line: &str) -> Result<(String, String), String> {
    if line.contains(['\r', '\n', '\0']) {
        return Err(format!("a stray control character in {line:?}"));
    }
    let (name, value) = line.split_once(':').ok_or_else(|| format!("a line without a colon {line:?}"))?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("a wrong field name in {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

/// How far a body is known to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// Reads a body as its head announces it (RFC 9112 section 6.3), piece by piece: bodies need not fit in memory.
///
/// It does no input of its own: [`ResponseReader::feed`] gets what was received and says how much of it was used.
#[derive(Debug)]
pub struct ResponseReader {
    framing: Framing,
    /// What is left of the body with a length, or of the current chunk with its CRLF.
    left: u64,
    state: State,
    trailers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ChunkSize,
    Data,
    ChunkEnd,
    Trailers,
    End,
}

impl ResponseReader {
    /// For the body of a response to a request that was, or was not, a HEAD.
    ///
    /// # Errors
    /// What is wrong with the framing.
    pub fn new(head: &TestResponse, to_head: bool) -> Result<ResponseReader, String> {
        let length = head.header("content-length");
        let coding = head.header("transfer-encoding");
        if length.is_some() && coding.is_some() {
            return Err("both Content-Length and Transfer-Encoding".into());
        }
        let no_body = to_head || head.status < 200 || matches!(head.status, 204 | 304);
        let framing = match (length, coding) {
            _ if no_body => Framing::Length(0),
            (Some(length), _) => {
                Framing::Length(length.parse().map_err(|_| format!("a wrong Content-Length {length:?}"))?)
            }
            (_, Some("chunked")) => Framing::Chunked,
            (_, Some(other)) => return Err(format!("a strange Transfer-Encoding {other:?}")),
            (None, None) => Framing::UntilClose,
        };
        let (left, state) = match framing {
            Framing::Length(0) => (0, State::End),
            Framing::Length(left) => (left, State::Data),
            Framing::Chunked => (0, State::ChunkSize),
            Framing::UntilClose => (u64::MAX, State::Data),
        };
        Ok(ResponseReader { framing, left, state, trailers: Vec::new() })
    }

    /// Whether the body is over.
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Takes what it can from `bytes`, gives content to `sink`, and returns how many bytes were used. 0 with
    /// [`ResponseReader::is_end`] false means that more are needed.
    ///
    /// # Errors
    /// What is wrong with the chunks.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, String> {
        let mut used = 0;
        while !self.is_end() && used < bytes.len() {
            let count = self.step(&bytes[used..], sink)?;
            if count == 0 {
                break;
            }
            used += count;
        }
        Ok(used)
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// When the body had not.
    pub fn finish(&mut self) -> Result<(), String> {
        if self.framing == Framing::UntilClose {
            self.state = State::End;
        }
        if self.is_end() { Ok(()) } else { Err("the connection ended within the body".into()) }
    }

    pub(crate) fn take_trailers(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.trailers)
    }

    fn step(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, String> {
        match self.state {
            State::Data => {
                let count = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                sink(&bytes[..count]);
                if self.framing != Framing::UntilClose {
                    self.left -= count as u64;
                }
                if self.left == 0 {
                    self.state = if self.framing == Framing::Chunked { State::ChunkEnd } else { State::End };
                }
                Ok(count)
            }
            State::ChunkSize => self.line(bytes, |reader, line| {
                reader.left =
                    u64::from_str_radix(line, 16).map_err(|_| format!("a wrong chunk size {line:?}"))?;
                reader.state = if reader.left == 0 { State::Trailers } else { State::Data };
                Ok(())
            }),
            State::ChunkEnd => self.line(bytes, |reader, line| {
                reader.state = State::ChunkSize;
                if line.is_empty() { Ok(()) } else { Err(format!("a chunk is followed by {line:?}")) }
            }),
            State::Trailers => self.line(bytes, |reader, line| {
                match line {
                    "" => reader.state = State::End,
                    line => reader.trailers.push(field(line)?),
                }
                Ok(())
            }),
            State::End => Ok(0),
        }
    }

    fn line(
        &mut self,
        bytes: &[u8],
        then: impl FnOnce(&mut Self, &str) -> Result<(), String>,
    ) -> Result<usize, String> {
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(0) };
        let line = std::str::from_utf8(&bytes[..end]).map_err(|_| "a line that is not UTF-8".to_owned())?;
        then(self, line)?;
        Ok(end + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(response: &str, pieces: usize) -> Result<(String, TestResponse), String> {
        let end = response.find("\r\n\r\n").unwrap() + 4;
        let mut head = TestResponse::parse_head(&response.as_bytes()[..end])?;
        let mut reader = ResponseReader::new(&head, false)?;
        let mut body = Vec::new();
        let mut waiting = Vec::new();
        for piece in response.as_bytes()[end..].chunks(pieces) {
            waiting.extend_from_slice(piece);
            let used = reader.feed(&waiting, &mut |bytes| body.extend_from_slice(bytes))?;
            waiting.drain(..used);
        }
        reader.finish()?;
        head.trailers = reader.take_trailers();
        Ok((String::from_utf8(body).unwrap(), head))
    }

    #[test]
    fn bodies_are_read_whatever_their_framing_and_their_pieces() {
        for pieces in [1, 2, 7, 100] {
            for (response, body) in [
                ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
                (
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
                    "hello",
                ),
                ("HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
                ("HTTP/1.1 204 No Content\r\n\r\n", ""),
            ] {
                assert_eq!(read(response, pieces).unwrap().0, body, "{response:?} in pieces of {pieces}");
            }
        }
    }

    #[test]
    fn trailers_are_kept() {
        let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 7\r\n\r\n";
        assert_eq!(read(response, 1).unwrap().1.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    }

    #[test]
    fn wrong_framing_is_an_error() {
        for response in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 99 \r\n\r\n",
        ] {
            assert!(read(response, 3).is_err(), "{response:?}");
        }
    }

    #[test]
    fn a_connection_closes_as_its_version_and_its_header_say() {
        let closes = |head: &str| TestResponse::parse_head(head.as_bytes()).unwrap().closes();
        assert!(closes("HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n"));
        assert!(closes("HTTP/1.0 200 OK\r\n\r\n"));
        assert!(!closes("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!closes("HTTP/1.1 200 OK\r\n\r\n"));
    }
}
