//! What comes by itself: a chat over WebSocket, a counter of orders over server-sent events, and the same by long-poll.

use serde::Serialize;
use serde_json::json;
use tenfold::Result;
use tenfold::prelude::*;

use super::pages::render;
use super::site::Facts;

/// The room of all orders.
const ORDERS: &str = "orders";
/// Messages that a new page of the chat shows.
const HISTORY: usize = 50;

/// Adds the routes and the rooms.
pub fn add(app: App) -> App {
    app.room(
        Rule::new("chat:*")
            .history(HISTORY, secs(24 * 3600))
            .message_bytes(2_000)
            .presence()
            .clients_publish(),
    )
    .room(Rule::new(ORDERS).history(100, secs(3600)))
    .rooms("/rooms")
    .get("/chat", || Redirect::to("/chat/lobby"))
    .get("/chat/{room}", chat)
    .get("/live", |templates: State<Templates>, facts: State<Facts>| page(templates, facts, "counter.html"))
    .get("/live/poll", |templates: State<Templates>, facts: State<Facts>| page(templates, facts, "poll.html"))
    .get("/chat.js", || script(include_str!("assets/chat.js")))
    .get("/live.js", || script(include_str!("assets/live.js")))
}

/// Tells every page that counts orders.
///
/// # Errors
/// Those of [`Rooms::publish`].
pub fn count_order(rooms: &Rooms, item: &str) -> Result<()> {
    rooms.publish(ORDERS, &json!({ "item": item }))?;
    Ok(())
}

fn script(text: &'static str) -> impl IntoResponse {
    (
        [("Cache-Control", "public, max-age=300")],
        Body::from(text).with_content_type("text/javascript; charset=utf-8"),
    )
}

fn chat(
    Path(room): Path<String>,
    State(templates): State<Templates>,
    State(facts): State<Facts>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Chat {
        room: String,
    }
    render(&templates, "chat.html", Some(&facts), Chat { room })
}

fn page(State(templates): State<Templates>, State(facts): State<Facts>, name: &str) -> Result<Response> {
    render(&templates, name, Some(&facts), ())
}
