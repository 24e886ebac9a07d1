//! `WebSocket`: a client's connection in the hands of its handler.
//!
//! Two ways, both in blocking style:
//!
//! - the handler stays: it calls [`WebSocket::recv`] until there is nothing more. It keeps its fiber or thread all the time;
//! - the handler leaves a function behind, by [`WebSocket::on_message`]. Between messages the connection rests: in the evented
//!   models it has no stack then, and each message borrows a fiber.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tenfold_http::websocket::{self, CloseCode, CloseFrame, Event, Message, Opcode};
use tenfold_server::{Held, Pause, Resident, Roused, Stay};

use crate::error::Result;
use crate::input::Input;
use crate::socket::{Shared, Socket};

/// A client that says nothing for so long is asked whether it is there, and gone if it says nothing for as long again. Below the
/// 60 s after which nginx and most load balancers close a silent connection.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(25);

/// A client's connection, for the handler of a route that was made by [`crate::AppRooms::websocket`].
///
/// It sends, joins and leaves by the methods of [`Socket`]. When the handler returns, the connection ends: with code 1000, or
/// with 1011 after an error or a panic.
///
/// ```no_run
/// use tenfold_rooms::{AppRooms, Result, Resting, WebSocket};
/// use tenfold_server::{App, Path};
///
/// /// Stays.
/// fn echo(mut ws: WebSocket) -> Result<()> {
///     while let Some(message) = ws.recv()? {
///         ws.send(message.as_text().unwrap_or("bytes"))?;
///     }
///     Ok(())
/// }
///
/// /// Leaves a function behind.
/// fn chat(ws: WebSocket, Path(room): Path<String>) -> Result<Resting> {
///     ws.join(&room)?;
///     Ok(ws.on_message(move |ws, message| ws.publish(&room, &message.as_text()).map(drop)))
/// }
///
/// App::new().websocket("/echo", echo).websocket("/chat/{room}", chat);
/// ```
pub struct WebSocket {
    socket: Socket,
    reader: Option<Reader>,
    /// Gives the connection back to whoever closes it in good order.
    back: Back,
}

/// Where a connection goes that its handler lets go.
#[derive(Clone, Default)]
struct Back(Arc<Mutex<Option<Held>>>);

/// The connection and what is known of its input.
struct Reader {
    held: Held,
    input: Input,
    events: VecDeque<Event>,
}

/// A connection that rests, with the function that its messages are given to; what a handler returns.
pub struct Resting {
    held: Held,
    resident: Box<SocketResident>,
    events: VecDeque<Event>,
}

/// What may become of a connection after its handler. Of a `Result`, the error is logged and ends the connection with 1011.
pub trait IntoSession {
    /// The rest of it, if it goes on.
    fn into_session(self) -> std::result::Result<Option<Resting>, String>;
}

impl IntoSession for () {
    fn into_session(self) -> std::result::Result<Option<Resting>, String> {
        Ok(None)
    }
}

impl IntoSession for Resting {
    fn into_session(self) -> std::result::Result<Option<Resting>, String> {
        Ok(Some(self))
    }
}

impl<T: IntoSession, E: fmt::Display> IntoSession for std::result::Result<T, E> {
    fn into_session(self) -> std::result::Result<Option<Resting>, String> {
        self.map_err(|error| error.to_string())?.into_session()
    }
}

impl WebSocket {
    /// The next message; `None` when the client has ended the connection, or the server has. Waits, and answers pings
    /// meanwhile. A client that says nothing for 25 seconds is asked whether it is there.
    ///
    /// # Errors
    /// [`crate::Error::Protocol`] after the client was told; `TimedOut` when it says nothing, or at a deadline; the connection's.
    pub fn recv(&mut self) -> Result<Option<Message>> {
        let socket = self.socket.clone();
        let Some(reader) = &mut self.reader else { return Ok(None) };
        loop {
            while let Some(event) = reader.events.pop_front() {
                match answer(&socket.0, event) {
                    Said::Message(message) => return Ok(Some(message)),
                    Said::Nothing => {}
                    Said::End => return Ok(None),
                }
            }
            if let Some(error) = reader.input.broken.take() {
                socket.0.end(error.code(), &error.to_string());
                return Err(error.into());
            }
            let early = reader.held.take_early();
            if !early.is_empty() {
                reader.input.decode(early, &mut reader.events);
                continue;
            }
            match reader.held.read_more(Some(Instant::now() + PING_EVERY)) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut && !reader.input.asked => {
                    reader.input.asked = true;
                    ping(&socket.0);
                }
                Err(_) if socket.0.outlet.is_over() => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Has each further message given to `f`, in their order, one after the other; where handlers of the route run. An error of
    /// it is logged, and ends the connection with 1011.
    pub fn on_message<R: IntoOutcome>(
        mut self,
        f: impl Fn(&Socket, Message) -> R + Send + Sync + 'static,
    ) -> Resting {
        let Reader { held, input, events } = self.reader.take().expect("only this call and the end take it");
        let f: OnMessage = Arc::new(move |socket, message| f(socket, message).into_outcome());
        Resting { held, resident: Box::new(SocketResident { socket: self.socket.clone(), input, f }), events }
    }

    /// A handle that can be kept, and used from elsewhere.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// What a function for messages returns: nothing, or a result.
pub trait IntoOutcome {
    /// The error as text.
    fn into_outcome(self) -> std::result::Result<(), String>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> std::result::Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> IntoOutcome for std::result::Result<(), E> {
    fn into_outcome(self) -> std::result::Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

impl Deref for WebSocket {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            *self.back.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader.held);
        }
    }
}

/// What is to be done after an event.
enum Said {
    Message(Message),
    Nothing,
    End,
}

/// Answers what the protocol answers by itself.
fn answer(shared: &Arc<Shared>, event: Event) -> Said {
    match event {
        Event::Message(message) => Said::Message(message),
        Event::Ping(payload) => {
            let mut frame = Vec::new();
            websocket::encode(&mut frame, Opcode::Pong, &payload);
            // Who sends pings and reads nothing gets no pongs.
            let _ = shared.outlet.send(frame.into());
            Said::Nothing
        }
        Event::Pong(_) => Said::Nothing,
        Event::Close(close) => {
            let code = close.map_or(CloseCode::NORMAL, |CloseFrame { code, .. }| code);
            shared.end(code, "");
            Said::End
        }
    }
}

fn ping(shared: &Arc<Shared>) {
    let mut frame = Vec::new();
    websocket::encode(&mut frame, Opcode::Ping, b"");
    let _ = shared.outlet.send(frame.into());
}

/// Runs a handler with a fresh connection, on its fiber or thread.
pub(crate) fn open(
    held: Held,
    shared: Arc<Shared>,
    input: Input,
    handler: impl FnOnce(WebSocket) -> std::result::Result<Option<Resting>, String> + Send,
) -> Stay {
    let back = Back::default();
    if held.is_stopping() {
        // It came while the sockets were told to go.
        shared.end(CloseCode::RESTART, "the server restarts: come again");
    }
    let reader = Reader { held, input, events: VecDeque::new() };
    let ws = WebSocket { socket: Socket(shared.clone()), reader: Some(reader), back: back.clone() };
    let session = catch_unwind(AssertUnwindSafe(|| handler(ws)));
    let (code, reason) = match session {
        Ok(Ok(Some(Resting { mut held, mut resident, events }))) => {
            let pause = resident.go_on(&mut held, events);
            return Stay::With(held, resident, pause);
        }
        Ok(Ok(None)) => (CloseCode::NORMAL, ""),
        Ok(Err(error)) => {
            if !shared.outlet.is_over() {
                tracing::warn!(target: "rooms", peer = %Socket(shared.clone()).peer(), error, "a handler has failed");
            }
            (CloseCode::INTERNAL, "the handler has failed")
        }
        Err(panic) => {
            shared.end(CloseCode::INTERNAL, "the handler has failed");
            shared.depart_all();
            std::panic::resume_unwind(panic)
        }
    };
    shared.end(code, reason);
    shared.depart_all();
    let held = back.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    let held = held.expect("a WebSocket that was dropped has put its connection there");
    Stay::Over(held, Pause::Linger)
}

type OnMessage = Arc<dyn Fn(&Socket, Message) -> std::result::Result<(), String> + Send + Sync>;

/// Lives in a connection that rests.
struct SocketResident {
    socket: Socket,
    input: Input,
    f: OnMessage,
}

impl SocketResident {
    fn go_on(&mut self, held: &mut Held, mut events: VecDeque<Event>) -> Pause {
        let early = held.take_early();
        if !early.is_empty() {
            self.input.decode(early, &mut events);
        }
        while let Some(event) = events.pop_front() {
            match answer(&self.socket.0, event) {
                Said::Message(message) => {
                    let Self { socket, f, .. } = self;
                    let run = || catch_unwind(AssertUnwindSafe(|| f(socket, message)));
                    let failure = match held.run(run) {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => Some(error),
                        Err(panic) => {
                            self.socket.0.end(CloseCode::INTERNAL, "the handler has failed");
                            std::panic::resume_unwind(panic)
                        }
                    };
                    if let Some(error) = failure.filter(|_| self.socket.is_open()) {
                        tracing::warn!(target: "rooms", peer = %self.socket.peer(), error, "a handler has failed");
                    }
                    self.socket.0.end(CloseCode::INTERNAL, "the handler has failed");
                    return Pause::Linger;
                }
                Said::Nothing => {}
                Said::End => return Pause::Linger,
            }
        }
        if let Some(error) = self.input.broken.take() {
            self.socket.0.end(error.code(), &error.to_string());
            return Pause::Linger;
        }
        Pause::Rest(PING_EVERY)
    }
}

impl Resident for SocketResident {
    fn roused(&mut self, held: &mut Held, news: Roused) -> Pause {
        match news {
            Roused::Bytes => self.go_on(held, VecDeque::new()),
            Roused::Quiet if self.input.asked => Pause::Close,
            Roused::Quiet => {
                self.input.asked = true;
                ping(&self.socket.0);
                Pause::Rest(PING_EVERY)
            }
            Roused::End => Pause::Close,
        }
    }
}

impl Drop for SocketResident {
    fn drop(&mut self) {
        self.socket.0.depart_all();
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl fmt::Debug for Resting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resting").field("socket", &self.resident.socket).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}
