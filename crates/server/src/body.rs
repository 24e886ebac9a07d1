//! The body of a request or a response: nothing, bytes, a file, or something that yields bytes when it is read.
//!
//! A body is pulled: whoever sends it (the driver) or reads it (a handler) asks for the next piece, so a slow receiver
//! slows the sender and nothing is collected in between. The one push-style kind, [`Body::producer`], is given a writer
//! that waits while the receiver is slow. This file does no I/O of its own and knows no protocol.

mod error;
mod incoming;
mod read;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;

pub use error::BodyReadError;
pub use incoming::{Incoming, Inlet, Reclaim};

/// Yields a body piece by piece.
pub trait BodySource {
    /// The next piece, `None` at the end; empty pieces are allowed and skipped. It may wait.
    ///
    /// # Errors
    /// Ends the response: the connection is closed, since the status has been sent already.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>>;

    /// Bytes that are still to come, if they are known: then the response has a Content-Length, else it is chunked.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// Writes a whole body; see [`Body::producer`].
pub type Producer = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// What a [`Body`] consists of; the driver chooses by it how to send.
#[derive(Default)]
#[non_exhaustive]
pub enum BodyKind {
    /// No bytes.
    #[default]
    Empty,
    /// Bytes of the program.
    Static(&'static [u8]),
    /// Bytes in memory, shared.
    Bytes(Bytes),
    /// The body of the request that is being handled, read from its connection.
    Incoming(Incoming),
    /// Whatever a reader yields, and its length if that is known. A reader that yields fewer bytes is an error, bytes
    /// beyond the length are not read.
    Reader(Box<dyn Read + Send>, Option<u64>),
    /// Pieces made on demand.
    Source(Box<dyn BodySource + Send>),
    /// Pieces pushed by a closure.
    Producer(Producer),
    /// Whatever the new owner of the connection writes; see [`crate::take_over`]. Read, it is empty.
    TakenOver,
    /// Part of a file, sent by `sendfile` where the connection allows it.
    File {
        /// The file; its own position is neither used nor moved.
        file: File,
        /// Where the part begins, in bytes.
        offset: u64,
        /// Length of the part in bytes.
        len: u64,
    },
}

/// The body of a request or a response.
///
/// ```
/// use tenfold_server::Body;
/// let body = Body::from("Hello, world!");
/// assert_eq!(body.length(), Some(13));
/// assert_eq!(body.content_type(), Some("text/plain; charset=utf-8"));
/// assert_eq!(&body.collect(1024)?[..], b"Hello, world!");
/// # Ok::<(), tenfold_server::BodyReadError>(())
/// ```
#[derive(Default)]
pub struct Body {
    kind: BodyKind,
    /// Sent unless the response's headers name one: text and JSON need no header map this way.
    content_type: Option<&'static str>,
}

/// The content type of text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// The content type of a page.
pub const HTML: &str = "text/html; charset=utf-8";
/// The content type of JSON (RFC 8259 section 11: it has no charset parameter).
pub const JSON: &str = "application/json";
/// The content type of bytes that nothing is known about.
pub const BINARY: &str = "application/octet-stream";

impl Body {
    /// A body of no bytes and no content type.
    #[inline]
    pub const fn empty() -> Body {
        Body { kind: BodyKind::Empty, content_type: None }
    }

    /// Bytes of the program, without a content type. Copies nothing.
    #[inline]
    pub const fn from_static(bytes: &'static [u8]) -> Body {
        Body { kind: BodyKind::Static(bytes), content_type: None }
    }

    /// Whatever `reader` yields until its end; sent in chunks, since the length is unknown.
    pub fn from_reader(reader: impl Read + Send + 'static) -> Body {
        BodyKind::Reader(Box::new(reader), None).into()
    }

    /// The first `length` bytes of `reader`. If it ends earlier the connection is closed, so that the client does not
    /// take the piece for the whole.
    pub fn from_sized_reader(reader: impl Read + Send + 'static, length: u64) -> Body {
        BodyKind::Reader(Box::new(reader), Some(length)).into()
    }

    /// The pieces of `source`.
    pub fn from_source(source: impl BodySource + Send + 'static) -> Body {
        BodyKind::Source(Box::new(source)).into()
    }

    /// The items of an iterator, in chunks. The iterator may wait between them.
    ///
    /// ```
    /// use tenfold_server::Body;
    /// let body = Body::from_iter(["one ", "two"]);
    /// assert_eq!(&body.collect(16)?[..], b"one two");
    /// # Ok::<(), tenfold_server::BodyReadError>(())
    /// ```
    #[expect(
        clippy::should_implement_trait,
        reason = "FromIterator would have to take borrowed iterators too"
    )]
    pub fn from_iter<I>(items: I) -> Body
    where
        I: IntoIterator<IntoIter: Send + 'static>,
        I::Item: Into<Bytes>,
    {
        Body::from_source(Items(items.into_iter()))
    }

    /// Whatever `write` writes, in chunks. Its writes wait while the client is slow, and fail once it is gone.
    ///
    /// ```
    /// use std::io::Write;
    /// use tenfold_server::Body;
    /// let body = Body::producer(|out| (1..=3).try_for_each(|n| writeln!(out, "{n}")));
    /// assert_eq!(&body.collect(16)?[..], b"1\n2\n3\n");
    /// # Ok::<(), tenfold_server::BodyReadError>(())
    /// ```
    pub fn producer(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Body {
        BodyKind::Producer(Box::new(write)).into()
    }

    /// A whole file, from its beginning to its present end.
    ///
    /// # Errors
    /// When the file's length cannot be had, or it is a directory.
    pub fn file(file: File) -> io::Result<Body> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Body::file_part(file, 0, metadata.len()))
    }

    /// `len` bytes of a file from `offset` on. If the file is shorter the connection is closed.
    pub fn file_part(file: File, offset: u64, len: u64) -> Body {
        BodyKind::File { file, offset, len }.into()
    }

    /// The same body with another content type; a Content-Type in the response's headers wins over it.
    #[must_use]
    #[inline]
    pub fn with_content_type(mut self, content_type: &'static str) -> Body {
        self.content_type = Some(content_type);
        self
    }

    /// What to send as Content-Type if the headers name none.
    #[inline]
    pub fn content_type(&self) -> Option<&'static str> {
        self.content_type
    }

    /// Bytes that are still to come, if they are known.
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            BodyKind::Empty => Some(0),
            BodyKind::Static(bytes) => Some(bytes.len() as u64),
            BodyKind::Bytes(bytes) => Some(bytes.len() as u64),
            BodyKind::Incoming(incoming) => incoming.remaining_hint(),
            BodyKind::Reader(_, length) => *length,
            BodyKind::Source(source) => source.length(),
            BodyKind::Producer(_) => None,
            BodyKind::File { len, .. } => Some(*len),
            BodyKind::TakenOver => None,
        }
    }

    /// What it consists of.
    #[inline]
    pub fn kind(&self) -> &BodyKind {
        &self.kind
    }

    /// Takes it apart, for the driver.
    #[inline]
    pub fn into_kind(self) -> BodyKind {
        self.kind
    }
}

struct Items<I>(I);

impl<I: Iterator<Item: Into<Bytes>>> BodySource for Items<I> {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.next().map(Into::into))
    }
}

impl From<BodyKind> for Body {
    #[inline]
    fn from(kind: BodyKind) -> Body {
        Body { kind, content_type: None }
    }
}

impl From<&'static str> for Body {
    #[inline]
    fn from(text: &'static str) -> Body {
        Body { kind: BodyKind::Static(text.as_bytes()), content_type: Some(TEXT) }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body { kind: BodyKind::Bytes(text.into()), content_type: Some(TEXT) }
    }
}

impl From<std::borrow::Cow<'static, str>> for Body {
    fn from(text: std::borrow::Cow<'static, str>) -> Body {
        match text {
            std::borrow::Cow::Borrowed(text) => text.into(),
            std::borrow::Cow::Owned(text) => text.into(),
        }
    }
}

impl From<&'static [u8]> for Body {
    #[inline]
    fn from(bytes: &'static [u8]) -> Body {
        Body { kind: BodyKind::Static(bytes), content_type: Some(BINARY) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Bytes::from(bytes).into()
    }
}

impl From<Bytes> for Body {
    #[inline]
    fn from(bytes: Bytes) -> Body {
        Body { kind: BodyKind::Bytes(bytes), content_type: Some(BINARY) }
    }
}

impl From<()> for Body {
    #[inline]
    fn from((): ()) -> Body {
        Body::empty()
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Body {
        BodyKind::Incoming(incoming).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            BodyKind::Empty => "Empty",
            BodyKind::Static(_) => "Static",
            BodyKind::Bytes(_) => "Bytes",
            BodyKind::Incoming(_) => "Incoming",
            BodyKind::Reader(..) => "Reader",
            BodyKind::Source(_) => "Source",
            BodyKind::Producer(_) => "Producer",
            BodyKind::TakenOver => "TakenOver",
            BodyKind::File { .. } => "File",
        };
        f.debug_struct("Body").field("kind", &kind).field("length", &self.length()).finish()
    }
}
