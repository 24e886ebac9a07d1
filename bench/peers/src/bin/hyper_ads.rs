//! hyper with reqwest: `/api/ads` makes sixty calls side by side to UPSTREAM.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};

const CALLS: usize = 60;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, serve());
}

async fn serve() {
    let url = format!("{}/offer", std::env::var("UPSTREAM").expect("UPSTREAM"));
    let client = reqwest::Client::builder().pool_max_idle_per_host(usize::MAX).build().expect("a client");
    let listener = peers::listener();
    listener.set_nonblocking(true).expect("non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a reactor");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (client, url) = (client.clone(), url.clone());
        tokio::task::spawn_local(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).pipeline_flush(true);
            let service = service_fn(move |_: Request<Incoming>| answer(client.clone(), url.clone()));
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(client: reqwest::Client, url: String) -> Result<Response<Full<Bytes>>, Infallible> {
    let call = || async { client.get(&url).send().await?.error_for_status()?.text().await };
    let answers = futures_util::future::join_all((0..CALLS).map(|_| call())).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    let status = if answered == CALLS { 200 } else { 502 };
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain");
    Ok(response.body(Full::new(Bytes::from(format!("{answered} offers")))).expect("a valid head"))
}
