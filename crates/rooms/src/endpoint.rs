//! The rooms endpoint: everything that a page needs, under one path, with a client in JavaScript.
//!
//! ```text
//!   GET  PATH/client.js              the client
//!   GET  PATH/ws                     WebSocket: join, leave, publish, presence, as many rooms as one likes
//!   GET  PATH/{room}/events          server-sent events; Last-Event-ID or ?since= goes on behind a position
//!   GET  PATH/{room}/poll?since=     long-poll
//!   GET  PATH/{room}/presence        who is there
//!   POST PATH/{room}                 publish
//! ```
//!
//! Only rooms that a rule names are open here, and only to whom the rule allows them.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tenfold_server::{
    App, Body, Context, Error as Answer, FromRequest, Json, Path, Query, Result as AnswerResult,
};

use crate::error::{Error, Result};
use crate::position::Position;
use crate::rooms::Rooms;
use crate::rule::Visitor;
use crate::socket::{self, Join, Socket};
use crate::websocket::{Resting, WebSocket};

/// The client, about a hundred lines, without dependencies.
const CLIENT: &str = include_str!("../assets/client.js");
/// Longest wait of a long-poll: below the 60 s after which proxies give up.
const POLL_MAX: Duration = Duration::from_secs(25);
/// What joins at once may ask of the past.
const HISTORY_MAX: usize = 1_000;

/// Says who a request comes from; an error is the answer to it.
pub(crate) type Identify = Arc<dyn Fn(&mut Context<'_>) -> AnswerResult<Visitor> + Send + Sync>;

/// Who has sent the request, by the app's word.
struct Known(Visitor);

impl FromRequest for Known {
    type Rejection = Answer;

    fn from_request(cx: &mut Context<'_>) -> AnswerResult<Known> {
        let identify = cx.state().get::<Identity>().cloned();
        identify.map_or(Ok(Known(Visitor::default())), |identity| (identity.0)(cx).map(Known))
    }
}

/// The app's word on who is who, among its state.
#[derive(Clone)]
pub(crate) struct Identity(pub(crate) Identify);

/// Adds the routes.
pub(crate) fn add(app: App, path: &str) -> App {
    use crate::app::AppRooms;
    let path = path.trim_end_matches('/');
    app.get(&format!("{path}/client.js"), || {
        Body::from(CLIENT).with_content_type("text/javascript; charset=utf-8")
    })
    .websocket(&format!("{path}/ws"), serve)
    .get(&format!("{path}/{{room}}/events"), events)
    .get(&format!("{path}/{{room}}/poll"), poll)
    .get(&format!("{path}/{{room}}/presence"), presence)
    .post(&format!("{path}/{{room}}"), publish)
}

#[derive(Deserialize)]
struct Since {
    since: Option<String>,
    #[serde(default)]
    history: usize,
}

/// What the header or the query says.
fn since(head: Option<&str>, query: &Since) -> Result<Option<Position>> {
    head.or(query.since.as_deref()).filter(|text| !text.is_empty()).map(str::parse).transpose()
}

/// `Last-Event-ID`, which browsers send when they come back.
struct LastEventId(Option<String>);

impl FromRequest for LastEventId {
    type Rejection = Answer;

    fn from_request(cx: &mut Context<'_>) -> AnswerResult<LastEventId> {
        let value = cx.head().header("last-event-id").and_then(|value| std::str::from_utf8(value).ok());
        Ok(LastEventId(value.map(str::to_owned)))
    }
}

fn events(
    Path(room): Path<String>,
    Query(query): Query<Since>,
    LastEventId(last): LastEventId,
    Known(visitor): Known,
    rooms: Rooms,
) -> AnswerResult<tenfold_server::Response> {
    socket::may_join(&rooms.hall, &visitor, &room).map_err(Error::answer)?;
    let since = since(last.as_deref(), &query).map_err(Error::answer)?;
    let join = Join::new().since(since).history(query.history.min(HISTORY_MAX));
    rooms.events(&room, join).map_err(Error::answer)
}

/// An `async fn`, so that its wait does not hold the loop in the `event` model either.
async fn poll(
    Path(room): Path<String>,
    Query(query): Query<Since>,
    Known(visitor): Known,
    rooms: Rooms,
) -> AnswerResult<Json<Value>> {
    socket::may_join(&rooms.hall, &visitor, &room).map_err(Error::answer)?;
    let since = since(None, &query).map_err(Error::answer)?;
    let news = rooms.poll(&room, since, POLL_MAX).map_err(Error::answer)?;
    Ok(Json(json!({ "pos": news.position.to_string(), "reset": news.reset, "messages": news.messages })))
}

fn presence(Path(room): Path<String>, Known(visitor): Known, rooms: Rooms) -> AnswerResult<Json<Vec<Value>>> {
    socket::may_join(&rooms.hall, &visitor, &room).map_err(Error::answer)?;
    Ok(Json(rooms.presence(&room).map_err(Error::answer)?))
}

fn publish(
    Path(room): Path<String>,
    Known(visitor): Known,
    rooms: Rooms,
    Json(data): Json<Value>,
) -> AnswerResult<Json<Value>> {
    let position = publish_as(&rooms, &visitor, &room, &data).map_err(Error::answer)?;
    Ok(Json(json!({ "pos": position.to_string() })))
}

fn publish_as(rooms: &Rooms, visitor: &Visitor, room: &str, data: &Value) -> Result<Position> {
    socket::may_join(&rooms.hall, visitor, room)?;
    if !rooms.hall.rules.named(room).is_some_and(|rule| rule.clients_publish) {
        return Err(Error::Forbidden(format!("clients may not publish to {room:?}")));
    }
    rooms.publish(room, data)
}

/// What a client says over the WebSocket; one of the words, and a number that the answer repeats.
#[derive(Deserialize)]
struct Command {
    #[serde(default)]
    id: u64,
    join: Option<String>,
    since: Option<String>,
    #[serde(default)]
    history: usize,
    /// What others see of a present member.
    #[serde(rename = "as")]
    about: Option<Value>,
    leave: Option<String>,
    publish: Option<String>,
    data: Option<Value>,
    presence: Option<String>,
    /// Is there anybody?
    #[serde(default)]
    ping: bool,
}

fn serve(ws: WebSocket, Known(visitor): Known, rooms: Rooms) -> Resting {
    ws.on_message(move |socket, message| {
        let Some(text) = message.as_text() else { return socket.try_send(r#"{"error":"expected text"}"#) };
        let command: Command = match serde_json::from_str(text) {
            Ok(command) => command,
            Err(error) => return socket.send(&json!({ "error": error.to_string() }).to_string()),
        };
        let id = command.id;
        let answer = match obey(socket, &rooms, &visitor, command) {
            Ok(answer) => answer,
            Err(Error::Closed) => return Ok(()),
            Err(error) => json!({ "error": error.to_string() }),
        };
        send_answer(socket, id, answer)
    })
}

fn send_answer(socket: &Socket, id: u64, mut answer: Value) -> Result<()> {
    if id != 0 {
        answer["id"] = id.into();
    } else if answer.get("error").is_none() {
        return Ok(());
    }
    socket.send(&answer.to_string())
}

fn obey(socket: &Socket, rooms: &Rooms, visitor: &Visitor, command: Command) -> Result<Value> {
    if let Some(room) = &command.join {
        socket::may_join(&rooms.hall, visitor, room)?;
        let since = command.since.as_deref().map(str::parse).transpose()?;
        let mut join = Join::new().since(since).history(command.history.min(HISTORY_MAX));
        if let Some(about) = &command.about {
            join = join.present(about)?;
        }
        let position = socket.join_with(room, join)?;
        return Ok(json!({ "pos": position.to_string() }));
    }
    if let Some(room) = &command.leave {
        return Ok(json!({ "left": socket.leave(room) }));
    }
    if let Some(room) = &command.publish {
        let data = command.data.unwrap_or(Value::Null);
        let position = publish_as(rooms, visitor, room, &data)?;
        return Ok(json!({ "pos": position.to_string() }));
    }
    if let Some(room) = &command.presence {
        socket::may_join(&rooms.hall, visitor, room)?;
        return Ok(json!({ "presence": rooms.presence(room)? }));
    }
    if command.ping {
        return Ok(json!({ "pong": true }));
    }
    Err(Error::Forbidden("expected join, leave, publish or presence".into()))
}
