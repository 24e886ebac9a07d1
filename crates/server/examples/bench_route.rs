//! What does it cost to find a route, call its handler and have the answer as a value? Everything between a parsed head
//! and the encoder, without either.
//!
//! ```text
//! cargo run --release -p tenfold-server --example bench_route
//! ```
//!
//! Prints the best and the median of 21 rounds in nanoseconds per request, one line per route.

use std::hint::black_box;
use std::time::Instant;

use tenfold_http::h1::Head;
use tenfold_http::limits::HeadLimits;
use tenfold_server::{App, Context, Json, NoBody, Opened, Path, Peer, Query, RequestId};

const ROUNDS: usize = 21;
const REQUESTS: u32 = 200_000;

fn main() {
    let app = App::new()
        .get("/", || "home")
        .get("/hello", || "Hello, world!")
        .get("/users/{id}", |Path(id): Path<u64>| Json(id))
        .get("/search", |Query(fields): Query<Vec<(String, String)>>| fields.len().to_string())
        .get("/error", || tenfold_server::StatusCode::NOT_FOUND);
    let opened = app.build().and_then(|blueprint| blueprint.open()).expect("the example's app is valid");
    for target in ["/hello", "/users/4711", "/search?q=ten&n=fold", "/error", "/nowhere"] {
        let mut nanoseconds: Vec<f64> = (0..ROUNDS).map(|_| round(&opened, target)).collect();
        nanoseconds.sort_by(f64::total_cmp);
        println!("{target:<22} best {:6.1}  median {:6.1} ns", nanoseconds[0], nanoseconds[ROUNDS / 2]);
    }
}

fn round(opened: &Opened, target: &str) -> f64 {
    let bytes =
        format!("GET {target} HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: bench\r\n\r\n").into_bytes();
    let mut head = Head::new();
    head.parse(&bytes, &HeadLimits::default()).expect("it is a valid head");
    let peer = Peer::unix();
    let start = Instant::now();
    for _ in 0..REQUESTS {
        let view = black_box(&head).view(&bytes);
        let found = opened.router.find(view.method_str(), view.path());
        let mut gate = NoBody;
        let mut context =
            Context::new(view, &found, &peer, &opened.state, &mut gate, RequestId::sent_in(view));
        black_box(opened.router.answer(&mut context));
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS)
}
