//! The properties of WebSocket's parsers.

use crate::websocket::extension::{Extension, extensions};
use crate::websocket::{
    Agreement, Decoder, Deflater, Event, Inflater, Message, MessageLimits, Role, WebSocketError, Window,
};

/// WebSocket frames that come in pieces say what they say as a whole, nothing is longer than the limit, and what was said
/// survives being sent again. The first byte chooses the pieces.
pub fn websocket_messages(data: &[u8]) {
    const LIMITS: MessageLimits = MessageLimits { message_bytes_max: 300 };
    let Some((&seed, data)) = data.split_first() else { return };
    let role = if seed & 1 == 0 { Role::Server } else { Role::Client };
    let deflate = seed & 2 == 0;
    let step = usize::from(seed >> 2) + 1;
    let mut inflater = Inflater::new();
    let mut whole = decode_messages(data, data.len().max(1), (role, deflate), &LIMITS, &mut inflater);
    let mut pieces = decode_messages(data, step, (role, deflate), &LIMITS, &mut inflater);
    // A wrong text is seen earlier in pieces; what came before it is the same.
    if whole.1.is_some() {
        pieces.0.truncate(whole.0.len());
        whole.0.truncate(pieces.0.len());
        assert!(pieces.1.is_some());
    }
    assert_eq!(whole.0, pieces.0);
    for event in whole.0 {
        match event {
            Event::Message(Message::Text(text)) => assert!(text.len() <= LIMITS.message_bytes_max),
            Event::Message(Message::Binary(bytes)) => assert!(bytes.len() <= LIMITS.message_bytes_max),
            Event::Ping(bytes) | Event::Pong(bytes) => assert!(bytes.len() <= 125),
            Event::Close(Some(close)) => assert!(close.code.may_be_sent() && close.reason.len() <= 123),
            Event::Close(None) => {}
        }
    }
}

fn decode_messages(
    data: &[u8],
    step: usize,
    (role, deflate): (Role, bool),
    limits: &MessageLimits,
    inflater: &mut Inflater,
) -> (Vec<Event>, Option<WebSocketError>) {
    let mut decoder = Decoder::new(role, deflate);
    let (mut events, mut kept) = (Vec::new(), Vec::new());
    for piece in data.chunks(step) {
        kept.extend_from_slice(piece);
        loop {
            match decoder.decode(&kept, limits, inflater) {
                Ok((used, event)) => {
                    kept.drain(..used);
                    let is_idle = used == 0 && event.is_none();
                    events.extend(event);
                    if is_idle {
                        break;
                    }
                }
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(kept.len() < 14, "only the head of a frame waits");
    }
    (events, None)
}

/// A message of any window is read back, and is too long by its last byte. The first byte chooses the window.
pub fn websocket_deflate(data: &[u8]) {
    let Some((&seed, message)) = data.split_first() else { return };
    let window = Window::ALL[usize::from(seed) % Window::ALL.len()];
    let payload = Deflater::new(window).deflate(message);
    let mut inflater = Inflater::new();
    assert_eq!(inflater.inflate(&payload, message.len()).as_deref(), Ok(message));
    if let Some(bytes_max) = message.len().checked_sub(1) {
        let refused = inflater.inflate(&payload, bytes_max);
        assert_eq!(refused, Err(WebSocketError::TooBig(bytes_max)));
    }
}

/// An extension that is written out again says the same, nothing is read behind what is malformed, and what an offer is answered
/// would be agreed on as an offer too.
pub fn websocket_extensions(data: &[u8]) {
    let read: Vec<_> = extensions(data).collect();
    assert!(read.iter().rev().skip(1).all(Result::is_ok));
    for extension in read.into_iter().flatten() {
        let written = write(&extension);
        assert_eq!(extensions(written.as_bytes()).collect::<Vec<_>>(), [Ok(extension.clone())]);
        if let Some(agreement) = Agreement::on(&extension) {
            let answer = agreement.answer();
            let answered =
                extensions(answer.as_bytes()).next().expect("it is one").expect("it is well formed");
            assert_eq!(Agreement::on(&answered), Some(agreement));
        }
    }
}

fn write(extension: &Extension<'_>) -> String {
    let mut out = extension.name.to_owned();
    for (name, value) in &extension.parameters {
        out.push_str("; ");
        out.push_str(name);
        if let Some(value) = value {
            // Each byte of a quoted value may be quoted by itself.
            out.push_str("=\"");
            value.chars().for_each(|one| out.extend(['\\', one]));
            out.push('"');
        }
    }
    out
}
