//! What one message costs: nanoseconds per head parsed, response encoded and body decoded.
//!
//! The question it answers: does the protocol leave a pipelined request within its budget of about 110 ns of user time,
//! of which parsing may take 70 and encoding 30? It prints the best and the median of several rounds; the best is what the
//! code costs, the distance to the median is the machine's noise.
//!
//! `cargo run --release -p tenfold-http --example bench_parse`

use std::hint::black_box;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use tenfold_http::h1::{
    BodyDecoder, BodyLength, Exchange, Framing, Head, RequestEnd, ResponseHead, response_head,
};
use tenfold_http::limits::{BodyLimits, ExchangeLimits, HeadLimits};

const ROUNDS: usize = 41;
const CALLS: u32 = 20_000;

const SMALL: &[u8] = b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

const BROWSER: &[u8] = b"GET /articles/17?page=2&sort=date HTTP/1.1\r\n\
    Host: www.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\n\
    Referer: https://www.example.org/articles\r\n\
    Cookie: session=4f6b7c8d9e0a1b2c3d4e5f60718293a4; theme=dark; consent=yes\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\r\n";

fn main() {
    let limits = HeadLimits::default();
    let mut head = Head::new();
    measure("parse, small request", || {
        black_box(head.parse(black_box(SMALL), &limits)).ok();
    });
    measure("parse and route, small request", || {
        head.parse(black_box(SMALL), &limits).ok();
        let view = head.view(SMALL);
        black_box((view.method(), view.path(), view.query(), view.framing(), view.keep_alive()));
    });
    measure("parse, browser's request, 13 fields", || {
        black_box(head.parse(black_box(BROWSER), &limits)).ok();
    });

    let mut long = BROWSER[..BROWSER.len() - 2].to_vec();
    long.extend_from_slice(format!("X-Long: {}\r\n\r\n", "x".repeat(15_000 - long.len())).as_bytes());
    measure_calls("parse, 15 KB in 15,000 pieces, each", 2, long.len() as u32, || {
        for end in 1..=long.len() {
            black_box(head.parse(black_box(&long[..end]), &limits)).ok();
        }
    });

    let empty = HeaderMap::new();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-request-id", HeaderValue::from_static("01J9ZC3V5T8Q"));
    let mut out = Vec::with_capacity(4096);
    for (name, headers) in [("encode, no headers", &empty), ("encode, 3 headers", &headers)] {
        measure(name, || {
            out.clear();
            let _ = black_box(response_head(&mut out, black_box(small_response(headers))));
            black_box(&out);
        });
    }

    let exchange_limits = ExchangeLimits { requests_max: u64::MAX, ..ExchangeLimits::default() };
    let mut exchange = Exchange::new();
    measure("parse, body, encode, after: one small exchange", || {
        out.clear();
        head.parse(black_box(SMALL), &limits).ok();
        let view = head.view(SMALL);
        exchange.begin(&view);
        let body = BodyDecoder::new(view.framing(), BodyLimits::default()).unwrap();
        let request = RequestEnd::of(&body);
        let keep_alive = exchange.may_persist(request, &exchange_limits);
        let sent = response_head(&mut out, ResponseHead { keep_alive, ..small_response(&empty) });
        out.extend_from_slice(b"Hello, world!");
        black_box(exchange.after(request, &sent, &exchange_limits));
        black_box(&out);
    });

    let chunks =
        b"400\r\n".iter().chain(&[b'x'; 1024]).chain(b"\r\n").copied().collect::<Vec<u8>>().repeat(16);
    measure("decode, 16 chunks of 1 KiB", || {
        let mut body = BodyDecoder::new(Framing::Chunked, BodyLimits::default()).unwrap();
        let mut at = 0;
        while at < chunks.len() {
            at += black_box(body.decode(&chunks[at..]).unwrap()).consumed;
        }
    });
}

fn small_response(headers: &HeaderMap) -> ResponseHead<'_> {
    ResponseHead {
        version: Version::HTTP_11,
        to_head: false,
        status: StatusCode::OK,
        headers,
        content_type: Some(b"text/plain; charset=utf-8"),
        body: BodyLength::Known(13),
        keep_alive: true,
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        server: Some("tenfold"),
    }
}

fn measure(name: &str, call: impl FnMut()) {
    measure_calls(name, CALLS, 1, call);
}

/// Each call does `parts` of what is reported.
fn measure_calls(name: &str, calls: u32, parts: u32, mut call: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            start.elapsed().as_nanos() as f64 / f64::from(calls) / f64::from(parts)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:<50} best {:7.1} ns   median {:7.1} ns", rounds[0], rounds[ROUNDS / 2]);
}
