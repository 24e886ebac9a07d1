//! actix-web with one worker.

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, rt::time::sleep, web};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let listener = peers::listener();
    let app = || App::new().route("/hello", web::get().to(hello)).route("/sleep/10", web::get().to(wait));
    HttpServer::new(app)
        .workers(1)
        .max_connections(20_000)
        .keep_alive(Duration::from_secs(600))
        .listen(listener)?
        .run()
        .await
}

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body(peers::HELLO)
}

async fn wait() -> HttpResponse {
    sleep(Duration::from_millis(10)).await;
    hello().await
}
