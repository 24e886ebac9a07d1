//! The head of a request, parsed into reusable storage of offsets. `head_view` reads it.
//!
//! The driver owns one `Head` per connection that is being read (an idle one needs none) and calls `parse` with
//! everything it has received since the end of the last message. httparse splits the lines; what it tolerates and a
//! strict reader must not is checked here.

use std::mem::MaybeUninit;

use crate::error::HeadError;
use crate::h1::fields::{Fields, Parse, Span};
use crate::h1::framing::{self, Framing};
use crate::h1::head_view::HeadView;
use crate::h1::resume::{Resume, Step, field_error};
use crate::h1::semantics::Semantics;
use crate::h1::syntax;
use crate::h1::target::{Path, Target};
use crate::limits::HeadLimits;

/// Field lines that are parsed on the stack, 32 bytes each. Browsers send about 15, servers fewer. A head with more is parsed a
/// second time with slots on the heap; one array for all of `headers_max` would be 3 KiB of every fiber's stack.
pub(super) const STACK_SLOTS: usize = 32;

/// Empty lines that may precede a request line (RFC 9112 section 2.2 asks for at least one).
const EMPTY_LINES_MAX: usize = 2;

/// Heads of up to this many bytes are kept to be compared with the next one: a bound on what a copy costs in time and memory.
const KEPT_BYTES_MAX: usize = 512;

/// The head of one request, as offsets into the caller's buffer.
///
/// It allocates when it first meets a longer head, or more field lines, than ever before, and never again.
///
/// Who asks again and again (a poll, a health check, another service) sends the same head each time. The last short one is
/// kept, and a head that repeats it byte for byte is not parsed a second time: parsing looks at nothing else.
///
/// # Examples
///
/// A head that comes in two pieces:
///
/// ```
/// use tenfold_http::h1::{Head, Parse};
/// use tenfold_http::limits::HeadLimits;
///
/// let limits = HeadLimits::default();
/// let mut head = Head::new();
/// let mut buffer = b"GET / HTTP/1.1\r\nHo".to_vec();
/// assert_eq!(head.parse(&buffer, &limits), Ok(Parse::Partial));
/// buffer.extend_from_slice(b"st: a\r\n\r\nnext");
/// assert_eq!(head.parse(&buffer, &limits), Ok(Parse::Complete { bytes: 27 }));
/// assert_eq!(head.view(&buffer).host(), "a");
/// ```
#[derive(Clone, Debug)]
pub struct Head {
    pub(super) fields: Fields,
    pub(super) method: Span,
    pub(super) target: Target,
    /// 0 or 1.
    pub(super) minor_version: u8,
    pub(super) semantics: Semantics,
    pub(super) framing: Framing,
    /// Length of the whole head; 0 until one has been parsed.
    bytes: u32,
    resume: Resume,
    /// The bytes that all of the above was read from, if they were few; else empty. Says nothing about `bytes`.
    kept: Vec<u8>,
    /// The limits that they were found to be within.
    kept_limits: HeadLimits,
}

impl Head {
    /// An empty head. Allocates nothing.
    pub const fn new() -> Self {
        Head {
            fields: Fields::new(),
            method: Span { at: 0, len: 0 },
            target: Target {
                whole: Span { at: 0, len: 0 },
                path: Path::Nothing,
                query: None,
                authority: None,
            },
            minor_version: 1,
            semantics: Semantics::NOTHING,
            framing: Framing::None,
            bytes: 0,
            resume: Resume::FRESH,
            kept: Vec::new(),
            kept_limits: HeadLimits::NOTHING,
        }
    }

    /// Forgets that something was parsed, and half a head that will not be continued. The storage stays, and what a
    /// repetition is known by.
    ///
    /// Not needed between two requests of one connection.
    pub fn clear(&mut self) {
        self.bytes = 0;
        self.resume = Resume::FRESH;
    }

    /// Parses the head at the start of `input`.
    ///
    /// After `Partial`, call again with the same bytes and more behind them; they may have moved. After `Complete` or an
    /// error the next call starts a new head. About 60 ns for a small request, less for one that repeats the last; linear
    /// in the head's length in total, however it is cut.
    ///
    /// # Errors
    /// As soon as it is certain that no continuation makes the head acceptable; `HeadError::status` says what to answer.
    /// A head that is larger than the limits is refused before it is whole.
    #[inline]
    pub fn parse(&mut self, input: &[u8], limits: &HeadLimits) -> Result<Parse, HeadError> {
        let window = &input[..input.len().min(limits.head_bytes())];
        self.bytes = 0;
        if !self.resume.is_fresh() {
            return self.parse_more(window, limits);
        }
        if self.repeats(window, limits) {
            self.bytes = self.kept.len() as u32;
            return Ok(Parse::Complete { bytes: self.kept.len() });
        }
        let start = if matches!(window.first(), Some(b'\r' | b'\n')) { skip_empty_lines(window)? } else { 0 };
        self.parse_from(start, window, limits)
    }

    /// The head together with the bytes it was parsed from, which may have moved since.
    ///
    /// # Panics
    /// If no head has been parsed, or `input` is shorter than it. Given other bytes than those, the accessors answer
    /// nonsense or panic.
    #[inline]
    pub fn view<'a>(&'a self, input: &'a [u8]) -> HeadView<'a> {
        assert!(self.bytes > 0, "no head has been parsed");
        HeadView::new(self, &input[..self.bytes as usize])
    }

    /// Whether the head at the start of `window` is the last one again. A whole head ends at the same byte whatever follows.
    #[inline]
    fn repeats(&self, window: &[u8], limits: &HeadLimits) -> bool {
        !self.kept.is_empty() && window.starts_with(&self.kept) && self.kept_limits == *limits
    }

    /// Goes on with a head that was `Partial`.
    #[cold]
    fn parse_more(&mut self, window: &[u8], limits: &HeadLimits) -> Result<Parse, HeadError> {
        let mut resume = std::mem::replace(&mut self.resume, Resume::FRESH);
        let step = resume.advance(window, limits)?;
        if step == Step::Parse {
            return self.parse_from(resume.start(), window, limits);
        }
        if resume.in_start_line() {
            check_start_line(&window[resume.start()..], limits)?;
        }
        self.wait(resume, window, limits)
    }

    #[inline]
    fn parse_from(&mut self, start: usize, window: &[u8], limits: &HeadLimits) -> Result<Parse, HeadError> {
        let mut slots = [const { MaybeUninit::uninit() }; STACK_SLOTS];
        let slots_max = limits.headers().min(STACK_SLOTS);
        match self.parse_with(&mut slots[..slots_max], start, window, limits) {
            Ok(Some(bytes)) => Ok(Parse::Complete { bytes }),
            Ok(None) => self.pause(start, window, limits),
            Err(HeadError::TooManyHeaders) if limits.headers() > STACK_SLOTS => {
                self.parse_long(start, window, limits)
            }
            Err(error) => Err(error),
        }
    }

    /// Parses a head with more field lines than the stack has slots for.
    #[cold]
    fn parse_long(&mut self, start: usize, window: &[u8], limits: &HeadLimits) -> Result<Parse, HeadError> {
        // Every field line has at least four bytes, so short input cannot make us allocate much.
        let slots_max = limits.headers().min(window.len() / 4 + 1);
        let mut slots = vec![MaybeUninit::uninit(); slots_max];
        match self.parse_with(&mut slots, start, window, limits)? {
            Some(bytes) => Ok(Parse::Complete { bytes }),
            None => self.pause(start, window, limits),
        }
    }

    #[cold]
    fn pause(&mut self, start: usize, window: &[u8], limits: &HeadLimits) -> Result<Parse, HeadError> {
        let mut resume = Resume::FRESH;
        if window.len() > start {
            resume.pause(window, start, limits)?;
            check_start_line(&window[start..], limits)?;
        }
        self.wait(resume, window, limits)
    }

    fn wait(&mut self, resume: Resume, window: &[u8], limits: &HeadLimits) -> Result<Parse, HeadError> {
        if window.len() >= limits.head_bytes() {
            return Err(HeadError::HeadTooLarge);
        }
        self.resume = resume;
        Ok(Parse::Partial)
    }

    /// One pass over a head that is hoped to be whole: `None` if it is not.
    #[inline]
    fn parse_with<'b>(
        &mut self,
        slots: &mut [MaybeUninit<httparse::Header<'b>>],
        start: usize,
        window: &'b [u8],
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HeadError> {
        let mut request = httparse::Request::new(&mut []);
        let bytes = match request.parse_with_uninit_headers(&window[start..], slots) {
            Ok(httparse::Status::Complete(bytes)) => start + bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(classify(error, &request, &window[start..])),
        };
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
        else {
            return Err(HeadError::InvalidStartLine);
        };
        if method.len() > HeadLimits::METHOD_BYTES_MAX {
            return Err(HeadError::MethodTooLong);
        }
        if target.len() > limits.target_bytes_max {
            return Err(HeadError::TargetTooLong);
        }
        self.kept.clear();
        self.method = Span::of(method.as_bytes(), window);
        self.target.read(Span::of(target.as_bytes(), window), window, method.as_bytes())?;
        self.minor_version = minor;
        self.semantics = Semantics::NOTHING;
        let note = |index, name: &[u8], value: &[u8]| self.semantics.note(index, name, value);
        self.fields.collect(request.headers, window, bytes, note)?;
        self.finish(window)?;
        self.bytes = bytes as u32;
        if bytes <= KEPT_BYTES_MAX {
            self.kept.extend_from_slice(&window[..bytes]);
            self.kept_limits = *limits;
        }
        Ok(Some(bytes))
    }

    /// Checks what only the whole head can tell.
    #[inline]
    fn finish(&mut self, window: &[u8]) -> Result<(), HeadError> {
        match self.semantics.host() {
            Some(index) => {
                if !syntax::is_host(self.fields.value(index, window).unwrap_or_default()) {
                    return Err(HeadError::InvalidHost);
                }
            }
            None if self.minor_version == 0 => {}
            None => return Err(HeadError::MissingHost),
        }
        self.framing =
            framing::of_request(self.semantics.length, self.semantics.transfer, self.minor_version)?;
        Ok(())
    }
}

impl Default for Head {
    fn default() -> Self {
        Head::new()
    }
}

/// The number of bytes before the request line. httparse would skip any number of empty lines, and bare LFs.
#[cold]
fn skip_empty_lines(window: &[u8]) -> Result<usize, HeadError> {
    let mut start = 0;
    for _ in 0..EMPTY_LINES_MAX {
        match &window[start..] {
            [b'\r'] => return Ok(window.len()),
            [b'\r', b'\n', ..] => start += 2,
            _ => break,
        }
    }
    match window.get(start) {
        Some(b'\r' | b'\n') => Err(HeadError::InvalidLineEnd),
        _ => Ok(start),
    }
}

/// Refuses an unfinished head whose request line is too long, before that line has ended or the head has.
fn check_start_line(line: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    let method_len = memchr::memchr(b' ', line).unwrap_or(line.len());
    if method_len > HeadLimits::METHOD_BYTES_MAX {
        return Err(HeadError::MethodTooLong);
    }
    let rest = line.get(method_len + 1..).unwrap_or_default();
    let target_len = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    if target_len > limits.target_bytes_max { Err(HeadError::TargetTooLong) } else { Ok(()) }
}

/// What httparse says about a request, in our words.
#[cold]
fn classify(error: httparse::Error, request: &httparse::Request<'_, '_>, line: &[u8]) -> HeadError {
    match (request.method, request.path, error) {
        (None, ..) => HeadError::InvalidMethod,
        (Some(_), None, _) => HeadError::InvalidTarget,
        (_, Some(target), httparse::Error::Version) => {
            let at = Span::of(target.as_bytes(), line);
            version_error(&line[(at.at + at.len) as usize + 1..])
        }
        (.., error) => field_error(error),
    }
}

/// `HTTP-version = "HTTP/" DIGIT "." DIGIT`: well-formed but not ours is 505, as the preface of HTTP/2 is; else 400.
fn version_error(version: &[u8]) -> HeadError {
    let well_formed = match version {
        [b'H', b'T', b'T', b'P', b'/', major, rest @ ..] if major.is_ascii_digit() => {
            matches!(rest, [] | [b'.'] | [b'\r', ..])
                || matches!(rest, [b'.', minor, ..] if minor.is_ascii_digit())
        }
        _ => false,
    };
    if well_formed { HeadError::UnsupportedVersion } else { HeadError::InvalidStartLine }
}
