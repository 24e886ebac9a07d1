//! `WsClient`: a WebSocket client that sends exactly what a test says. All methods panic, and so fail the test, when something
//! takes longer than [`PATIENCE`].

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::PATIENCE;
use serde_json::Value;
use tenfold_http::websocket::{
    CloseFrame, Decoder, Event, Inflater, Message, MessageLimits, Opcode, Role, encode_close, encode_masked,
};

/// The key of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One WebSocket.
pub struct WsClient {
    /// The connection below.
    pub stream: TcpStream,
    input: Vec<u8>,
    decoder: Decoder,
    events: VecDeque<Event>,
    /// The head of the answer.
    pub head: String,
}

impl WsClient {
    /// Opens; panics unless it is a WebSocket.
    #[track_caller]
    pub fn open(address: &str, path: &str) -> WsClient {
        WsClient::open_with(address, path, "")
    }

    /// As [`WsClient::open`]; `headers` are whole lines.
    #[track_caller]
    pub fn open_with(address: &str, path: &str, headers: &str) -> WsClient {
        let (head, client) = WsClient::try_open(address, path, headers);
        client.unwrap_or_else(|| panic!("no WebSocket: {head}"))
    }

    /// The answer's head, and the client if it is a 101.
    #[track_caller]
    pub fn try_open(address: &str, path: &str, headers: &str) -> (String, Option<WsClient>) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut input = Vec::new();
        let end = loop {
            if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the answer ends: {}", String::from_utf8_lossy(&input));
            input.extend_from_slice(&chunk[..count]);
        };
        let head = String::from_utf8(input[..end].to_vec()).unwrap();
        if !head.starts_with("HTTP/1.1 101 ") {
            return (head, None);
        }
        assert!(
            head.to_ascii_lowercase()
                .contains(&format!("sec-websocket-accept: {}", ACCEPT.to_ascii_lowercase())),
            "{head}"
        );
        let deflate = head.to_ascii_lowercase().contains("permessage-deflate");
        let decoder = Decoder::new(Role::Client, deflate);
        let client = WsClient {
            stream,
            input: input[end..].to_vec(),
            decoder,
            events: VecDeque::new(),
            head: head.clone(),
        };
        (head, Some(client))
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a text.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.send_raw(&frame(Opcode::Text, text.as_bytes()));
    }

    /// Sends JSON.
    #[track_caller]
    pub fn send_json(&mut self, value: &Value) {
        self.send(&value.to_string());
    }

    /// Sends a Close frame.
    #[track_caller]
    pub fn close(&mut self, close: Option<&CloseFrame>) {
        let mut out = Vec::new();
        encode_close(&mut out, close, Some(MASK));
        self.send_raw(&out);
    }

    /// The next event; `None` when the server has closed the connection.
    #[track_caller]
    pub fn try_event(&mut self) -> Option<Event> {
        let limits = MessageLimits { message_bytes_max: 64 << 20 };
        let mut inflater = Inflater::new();
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            loop {
                let (used, event) = self.decoder.decode(&self.input, &limits, &mut inflater).unwrap();
                self.input.drain(..used);
                let is_idle = used == 0 && event.is_none();
                self.events.extend(event);
                if is_idle {
                    break;
                }
            }
            if !self.events.is_empty() {
                continue;
            }
            let mut chunk = vec![0; 64 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing comes: {error}"),
            }
        }
    }

    /// The next event.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        self.try_event().expect("the server has closed the connection")
    }

    /// The next message, as text.
    #[track_caller]
    pub fn text(&mut self) -> String {
        match self.event() {
            Event::Message(Message::Text(text)) => text,
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// The next message, as JSON.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// The next message with this field.
    #[track_caller]
    pub fn json_with(&mut self, field: &str) -> Value {
        loop {
            let json = self.json();
            if json.get(field).is_some() {
                return json;
            }
        }
    }

    /// The close frame, and then the end of the connection.
    #[track_caller]
    pub fn expect_close(&mut self) -> (u16, String) {
        match self.event() {
            Event::Close(close) => {
                let close = close.map_or((0, String::new()), |close| (close.code.0, close.reason));
                self.close(None);
                assert_eq!(self.try_event(), None, "nothing follows a close");
                close
            }
            other => panic!("expected the end, got {other:?}"),
        }
    }

    /// The payload of the next frame, which has to be a whole compressed text; for [`crate::inflate_within`].
    #[track_caller]
    pub fn compressed_payload(&mut self) -> Vec<u8> {
        assert!(self.events.is_empty(), "events that were read already: {:?}", self.events);
        let head = self.take_bytes(2);
        assert_eq!(head[0], 0xc1, "a whole text with RSV1, by which RFC 7692 section 6 marks it");
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.take_bytes(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.take_bytes(8).try_into().unwrap()).try_into().unwrap(),
            length => usize::from(length),
        };
        self.take_bytes(length)
    }

    fn take_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() < count {
            let mut chunk = vec![0; 64 << 10];
            let read = self.stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the server has closed the connection");
            self.input.extend_from_slice(&chunk[..read]);
        }
        self.input.drain(..count).collect()
    }

    /// Whether nothing comes for a while.
    pub fn is_quiet(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut byte = [0];
        let quiet = self.events.is_empty() && self.input.is_empty() && self.stream.peek(&mut byte).is_err();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        quiet
    }

    /// Whether the server has not closed the connection.
    pub fn is_open(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let mut chunk = [0; 4096];
        let is_open = loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break false,
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        is_open
    }

    /// Joins over the rooms endpoint, and waits for the word.
    #[track_caller]
    pub fn join(&mut self, room: &str, since: Option<&str>) -> Value {
        self.send_json(&serde_json::json!({ "join": room, "since": since }));
        loop {
            let json = self.json();
            if json.get("joined").is_some() || json.get("error").is_some() {
                return json;
            }
        }
    }
}

/// A masked frame.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_masked(&mut out, opcode, payload, MASK);
    out
}

impl std::fmt::Debug for WsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsClient").field("stream", &self.stream).finish_non_exhaustive()
    }
}
