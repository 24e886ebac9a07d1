//! hyper with one Redis GET per request: `/redis-pooled` borrows one of 64 connections, `/redis` shares one. REDIS_URL says where.

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use redis::{AsyncCommands, aio::MultiplexedConnection};

const CONNECTIONS: usize = 64;

struct Redis {
    shared: MultiplexedConnection,
    /// One for each client of the measurement: nobody ever waits, so that this is the cheapest pool there can be.
    free: RefCell<Vec<MultiplexedConnection>>,
}

/// Goes back also when its request is dropped, as hyper does when a client goes away.
struct Borrowed<'a>(Option<MultiplexedConnection>, &'a RefCell<Vec<MultiplexedConnection>>);

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.1.borrow_mut().extend(self.0.take());
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, serve());
}

async fn serve() {
    let url = std::env::var("REDIS_URL").expect("REDIS_URL");
    let client = redis::Client::open(url).expect("a URL");
    let shared = client.get_multiplexed_async_connection().await.expect("redis");
    let mut free = Vec::new();
    for _ in 0..CONNECTIONS {
        free.push(client.get_multiplexed_async_connection().await.expect("redis"));
    }
    let redis = Rc::new(Redis { shared, free: RefCell::new(free) });
    let listener = peers::listener();
    listener.set_nonblocking(true).expect("non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a reactor");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let redis = redis.clone();
        tokio::task::spawn_local(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).pipeline_flush(true);
            let service = service_fn(move |request| answer(redis.clone(), request));
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(redis: Rc<Redis>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let greeting: Option<String> = match request.uri().path() {
        "/redis" => redis.shared.clone().get("greeting").await.ok(),
        "/redis-pooled" => {
            let connection = redis.free.borrow_mut().pop();
            match connection {
                Some(connection) => {
                    let mut borrowed = Borrowed(Some(connection), &redis.free);
                    borrowed.0.as_mut().expect("until it is dropped").get("greeting").await.ok()
                }
                None => None,
            }
        }
        _ => None,
    };
    let status = if greeting.is_some() { 200 } else { 503 };
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain");
    Ok(response.body(Full::new(Bytes::from(greeting.unwrap_or_default()))).expect("a valid head"))
}
