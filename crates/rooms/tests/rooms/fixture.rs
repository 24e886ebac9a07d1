//! The application of these tests. It runs in the server process, never in the one that tests.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tenfold_rooms::{
    AppRooms, Message, MessageLimits, Origins, Resting, Result, Rooms, Rule, Slow, Socket, SocketOptions,
    Visitor, WebSocket,
};
use tenfold_server::{App, Error, FromRequest, Json, Path, Query, Serving, Settings, StatusCode, serve};

/// Set in the environment of a server process; its value is the settings in TOML.
pub(crate) const FIXTURE: &str = "TENFOLD_ROOMS_FIXTURE";

/// Serves; called before the process has a second thread.
pub(crate) fn main(settings: &str) -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let settings: Settings = match toml::from_str(settings) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let ready = |serving: &Serving| println!("ready {}", serving.addresses[0]);
    serve(app(), &settings, Vec::new(), ready).unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn app() -> App {
    let small = SocketOptions {
        limits: MessageLimits { message_bytes_max: 1_000 },
        origins: Origins::List(vec!["https://friend.example".into()]),
        uncompressed: true,
        protocols: vec!["two", "one"],
    };
    let large =
        SocketOptions { limits: MessageLimits { message_bytes_max: 64 << 20 }, ..SocketOptions::default() };
    App::new()
        .websocket("/stays", stays)
        .websocket("/rests", |ws: WebSocket| ws.on_message(echo))
        .websocket_with("/small", small, |ws: WebSocket| ws.on_message(echo))
        .websocket_with("/large", large, |ws: WebSocket| ws.on_message(echo))
        .websocket("/guarded", |ws: WebSocket, Key(key): Key| ws.send(&key))
        .websocket("/fails", |_ws: WebSocket| Err::<(), _>("on purpose"))
        .websocket("/panics", |ws: WebSocket| ws.on_message(|_, _| -> () { panic!("on purpose") }))
        .websocket("/waits/{ms}", waits)
        .websocket("/chat/{room}", chat)
        .room(Rule::new("open:*").history(50, Duration::from_secs(60)).clients_publish().presence())
        .room(Rule::new("quiet:*").history(50_000, Duration::from_secs(60)).history_bytes(64 << 20))
        .room(Rule::new("tiny:*").history(3, Duration::from_secs(60)))
        .room(Rule::new("brief:*").history(50, Duration::from_secs(2)))
        .room(Rule::new("latest").history(200, Duration::from_secs(60)).slow(Slow::Coalesce))
        .room(Rule::new("strict").history(20, Duration::from_secs(60)).slow(Slow::Disconnect))
        .room(Rule::new("lossy").history(20, Duration::from_secs(60)))
        .room(Rule::new("few").members(2))
        .room(
            Rule::new("user:*")
                .allow(|visitor, room| room.strip_prefix("user:") == visitor.identity.as_str()),
        )
        .rooms("/rooms")
        .visitors(|cx| {
            let user = cx.head().header("x-user").map(|user| String::from_utf8_lossy(user).into_owned());
            Ok(Visitor { identity: user.into() })
        })
        .post("/publish/{room}", publish)
        .get("/list", |rooms: Rooms| -> tenfold_server::Result<_> { Ok(Json(rooms.list()?)) })
        .get("/connections", |rooms: Rooms| rooms.connections().to_string())
        .get("/pid", || std::process::id().to_string())
}

fn stays(mut ws: WebSocket) -> Result<()> {
    while let Some(message) = ws.recv()? {
        echo(&ws, message)?;
    }
    Ok(())
}

fn echo(socket: &Socket, message: Message) -> Result<()> {
    match message {
        Message::Text(text) if text == "close" => {
            socket.close(tenfold_rooms::CloseCode(4001), "as you wish");
            Ok(())
        }
        Message::Text(text) => socket.send(&text),
        Message::Binary(bytes) => socket.send_binary(&bytes),
    }
}

/// Answers each message after a wait.
fn waits(ws: WebSocket, Path(ms): Path<u64>) -> Resting {
    ws.on_message(move |socket, message| {
        tenfold_server::runtime::sleep(Duration::from_millis(ms));
        echo(socket, message)
    })
}

fn chat(ws: WebSocket, Path(room): Path<String>) -> Result<Resting> {
    ws.join(&room)?;
    Ok(ws.on_message(move |ws, message| ws.publish(&room, &message.as_text()).map(drop)))
}

/// An argument that not every request has.
struct Key(String);

impl FromRequest for Key {
    type Rejection = Error;

    fn from_request(cx: &mut tenfold_server::Context<'_>) -> std::result::Result<Key, Error> {
        let key = cx.head().header("x-key").ok_or(Error::new(StatusCode::UNAUTHORIZED, "no key"))?;
        Ok(Key(String::from_utf8_lossy(key).into_owned()))
    }
}

#[derive(serde::Deserialize)]
#[serde(default)]
struct Many {
    count: u64,
    bytes: usize,
    key: Option<String>,
}

impl Default for Many {
    fn default() -> Many {
        Many { count: 1, bytes: 0, key: None }
    }
}

/// Publishes `{"n": 0 …}`.
fn publish(
    Path(room): Path<String>,
    Query(many): Query<Many>,
    rooms: Rooms,
) -> tenfold_server::Result<String> {
    let filler = "x".repeat(many.bytes);
    let mut last = String::new();
    for n in 0..many.count {
        let data = serde_json::json!({ "n": n, "filler": filler });
        let position = match &many.key {
            Some(key) => rooms.publish_latest(&room, key, &data)?,
            None => rooms.publish(&room, &data)?,
        };
        last = position.to_string();
    }
    Ok(last)
}
