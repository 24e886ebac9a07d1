//! ntex on tokio with one worker.

use ntex::web::{self, App, HttpResponse, HttpServer};

#[ntex::main]
async fn main() -> std::io::Result<()> {
    let listener = peers::listener();
    let app = async || App::new().route("/hello", web::get().to(hello));
    HttpServer::new(app).workers(1).maxconn(20_000).listen(listener)?.run().await
}

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body(peers::HELLO)
}
