//! hyper 1.x on tokio's current-thread runtime, with a hand-written service.

use std::{convert::Infallible, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, serve());
}

async fn serve() {
    let listener = peers::listener();
    listener.set_nonblocking(true).expect("non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a reactor");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        tokio::task::spawn_local(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).pipeline_flush(true);
            let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut status = 200;
    match request.uri().path() {
        "/hello" => {}
        "/sleep/10" => tokio::time::sleep(Duration::from_millis(10)).await,
        _ => status = 404,
    }
    let body = if status == 200 { Bytes::from_static(peers::HELLO.as_bytes()) } else { Bytes::new() };
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain");
    Ok(response.body(Full::new(body)).expect("a valid head"))
}
