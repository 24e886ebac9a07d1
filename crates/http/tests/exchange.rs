//! What becomes of a connection after a response, case by case.

use tenfold_http::h1::{After, BodyDecoder, BodyLength, Exchange, Framing, Head, RequestEnd, Sent};
use tenfold_http::{BodyLimits, ExchangeLimits, HeadLimits};

const LIMITS: ExchangeLimits = ExchangeLimits { requests_max: 3, drain_bytes_max: 100 };

/// A connection on which this request has begun.
fn begun(input: &str) -> Exchange {
    let mut exchange = Exchange::new();
    begin(&mut exchange, input);
    exchange
}

fn begin(exchange: &mut Exchange, input: &str) {
    let mut head = Head::new();
    head.parse(input.as_bytes(), &HeadLimits::default()).unwrap();
    exchange.begin(&head.view(input.as_bytes()));
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n";

/// Answers with exactly what the exchange allows.
fn answer(exchange: &Exchange, request: RequestEnd) -> After {
    let keep_alive = exchange.may_persist(request, &LIMITS);
    exchange.after(request, &Sent { body: BodyLength::Known(0), keep_alive, upgraded: false }, &LIMITS)
}

#[test]
fn a_request_that_was_read_keeps_the_connection() {
    assert_eq!(answer(&begun(GET), RequestEnd::Read), After::KeepAlive);
}

#[test]
fn a_client_that_ends_the_connection_needs_no_lingering() {
    assert_eq!(answer(&begun(LAST), RequestEnd::Read), After::Close);
    assert_eq!(answer(&begun(LAST), RequestEnd::Unread(Some(1))), After::Linger);
}

#[test]
fn a_server_that_ends_the_connection_lingers_since_requests_may_be_on_their_way() {
    let closing = Sent { body: BodyLength::Known(0), keep_alive: false, upgraded: false };
    assert_eq!(begun(GET).after(RequestEnd::Read, &closing, &LIMITS), After::Linger);
    assert_eq!(Exchange::after_error(), After::Linger);
}

#[test]
fn the_last_request_of_a_connection_is_the_one_the_limit_says() {
    let mut exchange = Exchange::new();
    for expected in [After::KeepAlive, After::KeepAlive, After::Linger] {
        begin(&mut exchange, GET);
        assert_eq!(answer(&exchange, RequestEnd::Read), expected, "request {}", exchange.requests());
    }
}

#[test]
fn a_short_rest_of_a_body_is_drained_and_a_long_one_is_not() {
    assert_eq!(answer(&begun(GET), RequestEnd::Unread(Some(100))), After::Drain { bytes_max: 100 });
    assert_eq!(answer(&begun(GET), RequestEnd::Unread(Some(101))), After::Linger);
    assert_eq!(answer(&begun(GET), RequestEnd::Unread(None)), After::Drain { bytes_max: 100 });
}

#[test]
fn a_client_that_still_waits_for_100_cannot_keep_the_connection() {
    let mut exchange = begun(PUT);
    assert!(exchange.owes_continue());
    assert_eq!(answer(&exchange, RequestEnd::Unread(Some(50))), After::Linger);
    exchange.continued();
    assert_eq!(answer(&exchange, RequestEnd::Unread(Some(50))), After::Drain { bytes_max: 50 });
    assert_eq!(answer(&exchange, RequestEnd::Read), After::KeepAlive);
}

#[test]
fn a_switch_of_protocols_hands_the_connection_over() {
    let switched = Sent { body: BodyLength::None, keep_alive: true, upgraded: true };
    assert_eq!(begun(GET).after(RequestEnd::Read, &switched, &LIMITS), After::Upgrade);
}

#[test]
fn the_end_of_a_request_is_as_its_decoder_sees_it() {
    let limits = BodyLimits::default();
    let of = |framing| RequestEnd::of(&BodyDecoder::new(framing, limits).unwrap());
    assert_eq!(of(Framing::None), RequestEnd::Read);
    assert_eq!(of(Framing::Length(7)), RequestEnd::Unread(Some(7)));
    assert_eq!(of(Framing::Chunked), RequestEnd::Unread(None));
}
