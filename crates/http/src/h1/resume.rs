//! How a head that comes in pieces is taken up again without reading it from the start each time.
//!
//! ```text
//! buffer: [empty lines][start line CRLF][field CRLF][field CRLF][fie...
//!         0            start                        line        seen
//! ```
//!
//! Everything before `line` is known to be well-formed; `seen` is how far the search for line ends has come. A call costs
//! as much as the new bytes plus the line they are in; a client that sends byte by byte makes no call quadratic. When the
//! empty line is there, the head is parsed once, as if it had come whole.
//!
//! The verdict on a whole head is the same however it was cut. An error may be reported earlier when more bytes come at
//! once, since a line that is not finished is looked at only then.

use httparse::EMPTY_HEADER;

use crate::error::HeadError;
use crate::limits::HeadLimits;

/// How far an unfinished head has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    /// Where the start line begins.
    start: u32,
    /// Where the first line begins that is not finished.
    line: u32,
    /// Bytes searched for line ends. Zero: nothing is remembered.
    seen: u32,
    /// Number of finished lines.
    lines: u32,
}

/// What to do with the new bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: more is needed.
    Wait,
    /// Parse from the start: the head is whole, or its start line has become so.
    Parse,
}

impl Resume {
    pub(crate) const FRESH: Resume = Resume { start: 0, line: 0, seen: 0, lines: 0 };

    /// Whether nothing is remembered, so that the head is to be parsed from the start.
    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen == 0
    }

    /// Remembers that `window`, parsed from `start`, is well-formed and unfinished.
    ///
    /// # Errors
    /// `InvalidLineEnd`, `TooManyHeaders`: see `advance`.
    pub(crate) fn pause(
        &mut self,
        window: &[u8],
        start: usize,
        limits: &HeadLimits,
    ) -> Result<(), HeadError> {
        *self = Resume { start: start as u32, line: start as u32, seen: start as u32, lines: 0 };
        self.search(window, limits).map(drop)
    }

    /// Looks at the bytes of `window` that are new.
    ///
    /// # Errors
    /// `InvalidLineEnd` for a bare LF; `TooManyHeaders`; and whatever is wrong with a finished field line.
    pub(crate) fn advance(&mut self, window: &[u8], limits: &HeadLimits) -> Result<Step, HeadError> {
        let (line, lines) = (self.line as usize, self.lines);
        if self.search(window, limits)? {
            return Ok(Step::Parse);
        }
        if self.lines == lines {
            return Ok(Step::Wait);
        }
        if lines == 0 {
            return Ok(Step::Parse);
        }
        // A finished line and one slot more, so that the unfinished one cannot be one too many.
        let mut slots = vec![EMPTY_HEADER; (self.lines - lines) as usize + 1];
        match httparse::parse_headers(&window[line..], &mut slots) {
            Ok(_) => Ok(Step::Wait),
            Err(error) => Err(field_error(error)),
        }
    }

    /// Where the start line begins.
    pub(crate) fn start(&self) -> usize {
        self.start as usize
    }

    /// Whether the start line is still unfinished.
    pub(crate) fn in_start_line(&self) -> bool {
        self.lines == 0
    }

    /// Counts the line ends among the new bytes; true if the last of them ends the head.
    fn search(&mut self, window: &[u8], limits: &HeadLimits) -> Result<bool, HeadError> {
        let from = self.seen as usize;
        for at in memchr::memchr_iter(b'\n', &window[from..]).map(|at| from + at) {
            if at == 0 || window[at - 1] != b'\r' {
                return Err(HeadError::InvalidLineEnd);
            }
            if self.lines > 0 && self.line as usize == at - 1 {
                return Ok(true);
            }
            self.line = at as u32 + 1;
            self.lines += 1;
            if self.lines as usize > limits.headers() + 1 {
                return Err(HeadError::TooManyHeaders);
            }
        }
        self.seen = window.len() as u32;
        Ok(false)
    }
}

/// What httparse says about field lines, in our words.
pub(crate) fn field_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::HeaderValue => HeadError::InvalidHeaderValue,
        httparse::Error::NewLine => HeadError::InvalidLineEnd,
        _ => HeadError::InvalidHeaderName,
    }
}
