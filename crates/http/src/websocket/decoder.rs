//! `Decoder`: bytes to messages.

use std::fmt;

use super::close::CloseFrame;
use super::deflate::Inflater;
use super::error::WebSocketError;
use super::frame::{self, FrameHead};
use super::utf8;

/// Which side decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What comes has to be masked.
    Server,
    /// What comes must not be.
    Client,
}

/// How much a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Most bytes of a message, of all its fragments together, and after decompression. Default 64 KiB: generous for chat,
    /// and a thousand senders at a time hold 64 MiB. More is close code 1009. On its way a compressed message may have an
    /// eighth more: what cannot be compressed gets longer.
    pub message_bytes_max: usize,
}

impl Default for MessageLimits {
    fn default() -> MessageLimits {
        MessageLimits { message_bytes_max: 64 << 10 }
    }
}

impl MessageLimits {
    /// Most bytes of the payloads of a message's frames. Deflate's fixed codes have 9 bits for a byte at most (RFC 1951 section
    /// 3.2.6), and a sender may begin a block every so often; what comes of it is measured as it is made.
    fn payload_bytes_max(&self, compressed: bool) -> usize {
        if !compressed {
            return self.message_bytes_max;
        }
        self.message_bytes_max.saturating_add(self.message_bytes_max / 8).saturating_add(64)
    }
}

/// A whole message.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8, checked.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// What the bytes have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message is whole.
    Message(Message),
    /// The peer wants this back in a Pong.
    Ping(Vec<u8>),
    /// The peer is there.
    Pong(Vec<u8>),
    /// The peer ends the connection.
    Close(Option<CloseFrame>),
}

/// Decodes one side of a connection. Two words while no message is on its way.
///
/// ```
/// use tenfold_http::websocket::{Decoder, Event, Inflater, Message, MessageLimits, Role};
///
/// // RFC 6455 section 5.7: a masked "Hello", and the beginning of something else.
/// let input = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89";
/// let mut decoder = Decoder::new(Role::Server, false);
/// let (used, event) = decoder.decode(input, &MessageLimits::default(), &mut Inflater::new()).unwrap();
/// assert_eq!(event, Some(Event::Message(Message::Text("Hello".into()))));
/// assert_eq!(used, 11); // what is left is kept by the caller until more comes
/// ```
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    deflate: bool,
    /// What has begun. Most connections have nothing of it most of the time.
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// The message whose fragments are coming.
    message: Option<Fragments>,
    /// The payload of the control frame that is coming: it may come between fragments (RFC 6455 section 5.4).
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    head: FrameHead,
    done: u64,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    compressed: bool,
    payload: Vec<u8>,
    /// So many bytes of a text are checked.
    valid: usize,
}

impl Decoder {
    /// A decoder at the beginning of a connection; `deflate` if permessage-deflate was agreed on.
    pub fn new(role: Role, deflate: bool) -> Decoder {
        Decoder { role, deflate, partial: None }
    }

    /// Whether messages may come compressed: if not, the inflater that it is given is never used.
    pub fn deflate(&self) -> bool {
        self.deflate
    }

    /// Whether a message has begun and is not whole.
    pub fn is_within_message(&self) -> bool {
        self.partial.is_some()
    }

    /// Decodes up to the next event. Gives how many bytes of `input` were used; the rest belongs to the next call, which has
    /// to be made until there is no event and no progress. A partial frame head is not used until it is whole.
    ///
    /// # Errors
    /// The peer's mistake, after which nothing can be decoded.
    pub fn decode(
        &mut self,
        input: &[u8],
        limits: &MessageLimits,
        inflater: &mut Inflater,
    ) -> Result<(usize, Option<Event>), WebSocketError> {
        let mut used = 0;
        loop {
            let Some(frame) = self.partial.as_ref().and_then(|partial| partial.frame) else {
                let Some((head, length)) = FrameHead::parse(&input[used..])? else { return Ok((used, None)) };
                self.check(head)?;
                self.partial.get_or_insert_default().begin(head, limits)?;
                used += length;
                continue;
            };
            let partial = self.partial.as_mut().expect("a frame has begun");
            let (count, is_whole) = partial.take(frame, &input[used..])?;
            used += count;
            if !is_whole {
                return Ok((used, None));
            }
            partial.frame = None;
            let event = if frame.head.is_control() {
                Some(control_event(frame.head.opcode, std::mem::take(&mut partial.control))?)
            } else if frame.head.fin {
                let message = partial.message.take().expect("`begin` has made it");
                Some(Event::Message(message.finish(limits, inflater)?))
            } else {
                None
            };
            if partial.message.is_none() {
                self.partial = None;
            }
            if event.is_some() {
                return Ok((used, event));
            }
        }
    }

    /// What this side cannot take, whatever has come before.
    fn check(&self, head: FrameHead) -> Result<(), WebSocketError> {
        if head.mask.is_some() != (self.role == Role::Server) {
            return Err(WebSocketError::Mask);
        }
        if head.compressed && !(self.deflate && is_first(head)) {
            return Err(WebSocketError::ReservedBit);
        }
        Ok(())
    }
}

/// Whether it begins a message.
fn is_first(head: FrameHead) -> bool {
    matches!(head.opcode, frame::TEXT | frame::BINARY)
}

fn control_event(opcode: u8, payload: Vec<u8>) -> Result<Event, WebSocketError> {
    Ok(match opcode {
        frame::PING => Event::Ping(payload),
        frame::PONG => Event::Pong(payload),
        _ => Event::Close(CloseFrame::parse(&payload)?),
    })
}

impl Partial {
    fn begin(&mut self, head: FrameHead, limits: &MessageLimits) -> Result<(), WebSocketError> {
        if head.is_control() {
            self.control = Vec::with_capacity(head.length as usize);
        } else {
            match (&self.message, is_first(head)) {
                (None, false) => return Err(WebSocketError::LoneContinuation),
                (Some(_), true) => return Err(WebSocketError::Interleaved),
                (Some(_), false) => {}
                (None, true) => {
                    let (text, compressed) = (head.opcode == frame::TEXT, head.compressed);
                    self.message = Some(Fragments { text, compressed, payload: Vec::new(), valid: 0 });
                }
            }
            let message = self.message.as_ref().expect("it has begun");
            let bytes_max = limits.payload_bytes_max(message.compressed);
            if head.length > bytes_max.saturating_sub(message.payload.len()) as u64 {
                return Err(WebSocketError::TooBig(limits.message_bytes_max));
            }
        }
        self.frame = Some(Frame { head, done: 0 });
        Ok(())
    }

    /// Takes what there is of a frame's payload: how many bytes, and whether that was all.
    fn take(&mut self, Frame { head, done }: Frame, input: &[u8]) -> Result<(usize, bool), WebSocketError> {
        let count = input.len().min(usize::try_from(head.length - done).unwrap_or(usize::MAX));
        let into = if head.is_control() {
            &mut self.control
        } else {
            &mut self.message.as_mut().expect("`begin` has made it").payload
        };
        let begin = into.len();
        into.extend_from_slice(&input[..count]);
        if let Some(key) = head.mask {
            frame::mask(&mut into[begin..], key, done);
        }
        let done = done + count as u64;
        self.frame = Some(Frame { head, done });
        let is_whole = done == head.length;
        if !head.is_control() {
            self.check_text(is_whole && head.fin)?;
        }
        Ok((count, is_whole))
    }

    /// Text is checked as it comes; what is compressed, when it is whole.
    fn check_text(&mut self, is_end: bool) -> Result<(), WebSocketError> {
        let Some(message) = &mut self.message else { return Ok(()) };
        if message.text && !message.compressed {
            message.valid = utf8::check_on(&message.payload, message.valid).ok_or(WebSocketError::NotUtf8)?;
            if is_end && message.valid < message.payload.len() {
                return Err(WebSocketError::NotUtf8);
            }
        }
        Ok(())
    }
}

impl Fragments {
    fn finish(self, limits: &MessageLimits, inflater: &mut Inflater) -> Result<Message, WebSocketError> {
        let payload = if self.compressed {
            inflater.inflate(&self.payload, limits.message_bytes_max)?
        } else {
            self.payload
        };
        if self.text {
            return String::from_utf8(payload).map(Message::Text).map_err(|_| WebSocketError::NotUtf8);
        }
        Ok(Message::Binary(payload))
    }
}

impl Message {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The bytes of either kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }
}

/// Without the content: that is the users' own.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Message::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}
