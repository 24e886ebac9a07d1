//! axum on tokio's current-thread runtime.

use std::time::Duration;

use axum::{Router, routing::get, serve::ListenerExt};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = peers::listener();
    listener.set_nonblocking(true).expect("non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a reactor");
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = Router::new().route("/hello", get(|| async { peers::HELLO })).route("/sleep/10", get(sleep));
    axum::serve(listener, app).await.expect("it serves");
}

async fn sleep() -> &'static str {
    tokio::time::sleep(Duration::from_millis(10)).await;
    peers::HELLO
}
