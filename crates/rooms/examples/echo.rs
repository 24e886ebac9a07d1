//! A WebSocket that says back what it is told, at `/`: for suites that test the protocol.
//!
//! ```text
//! echo 'model = "fiber"'
//! ```
//!
//! The argument is the settings in TOML. Prints the address.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use tenfold_rooms::{AppRooms, Message, MessageLimits, Resting, Result, Socket, SocketOptions, WebSocket};
use tenfold_server::{App, Serving, Settings, serve};

/// The longest message of Autobahn's suite has 16 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> std::result::Result<ExitCode, Box<dyn std::error::Error>> {
    let mut settings: Settings = toml::from_str(&std::env::args().nth(1).unwrap_or_default())?;
    settings.listen = vec!["127.0.0.1:0".into()];
    let limits = MessageLimits { message_bytes_max: MESSAGE_BYTES_MAX };
    let options = SocketOptions { limits, ..SocketOptions::default() };
    let app = App::new().websocket_with("/", options, echo);
    let ready = |serving: &Serving| println!("{}", serving.addresses[0]);
    Ok(serve(app, &settings, Vec::new(), ready)?)
}

fn echo(ws: WebSocket) -> Resting {
    ws.on_message(|socket: &Socket, message| -> Result<()> {
        match message {
            Message::Text(text) => socket.send(&text),
            Message::Binary(bytes) => socket.send_binary(&bytes),
        }
    })
}
