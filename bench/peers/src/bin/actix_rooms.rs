//! The peer of bench/rooms on actix and actix-ws, one worker: a task and a channel for each connection.

use std::cell::RefCell;

use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt;

thread_local! {
    static MEMBERS: RefCell<Vec<actix_ws::Session>> = const { RefCell::new(Vec::new()) };
}

async fn join(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    let (response, session, mut messages) = actix_ws::handle(&request, body)?;
    MEMBERS.with_borrow_mut(|members| members.push(session.clone()));
    actix_web::rt::spawn(async move {
        let mut session = session;
        while let Some(Ok(message)) = messages.next().await {
            if let actix_ws::Message::Ping(bytes) = message {
                let _ = session.pong(&bytes).await;
            }
        }
    });
    Ok(response)
}

async fn publish(body: String) -> &'static str {
    let text = format!("{{\"room\":\"bench\",\"data\":{body}}}");
    let mut members = MEMBERS.with_borrow(Clone::clone);
    for member in &mut members {
        let _ = member.text(text.clone()).await;
    }
    "{}"
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0u16);
    let make = || App::new().route("/ws", web::get().to(join)).route("/publish", web::post().to(publish));
    let server = HttpServer::new(make).workers(1).max_connections(60_000).backlog(4096).bind(("127.0.0.1", port))?;
    println!("ready");
    server.run().await
}
