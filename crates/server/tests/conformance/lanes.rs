//! Lanes: how many run, how many wait, what an overflow gets, and that one lane's trouble stays its own.
//!
//! `narrow` and `brief` are pools of one; what is in them is held by the test. Only where connections are served side by
//! side can a lane ever be full.

use tenfold_testkit::{Client, wait_until};

use crate::held::Held;
use crate::variant::{Variant, status};

behaviours![
    an_overflow_gets_503_before_its_body_is_asked_for only |variant| variant.serves_many(),
    who_waits_in_a_lane_gets_its_turn only |variant| variant.serves_many(),
    a_full_lane_delays_nobody_in_another_lane only |variant| variant.serves_many(),
    a_wait_that_takes_too_long_gets_503 only |variant| variant.serves_many(),
    health_is_answered_when_every_handler_is_busy only |variant| {
        variant.connections_at_once() > variant.handlers_at_once()
    },
    background_leaves_places_to_others only |variant| variant.serves_many(),
    what_is_important_goes_first_and_background_is_refused_first only |variant| variant.serves_many(),
    a_client_that_gives_up_in_the_line_frees_its_place only |variant| variant.serves_many(),
    requests_one_after_another_never_overflow,
];

/// One runs in the lane, one waits, and one has got its refusal; which of the last two is chance.
struct Full {
    running: Held,
    waiting: Held,
    refused: Client,
}

#[track_caller]
fn fill(variant: &'static Variant) -> Full {
    let running = Held::begin(variant.server(), "/narrow/hold");
    let mut one = Held::send(variant.server(), "/narrow/hold");
    let mut other = Held::send(variant.server(), "/narrow/hold");
    let first =
        wait_until("one of two is refused", || match (one.client().is_quiet(), other.client().is_quiet()) {
            (true, true) => None,
            (one_waits, _) => Some(!one_waits),
        });
    let (mut refused, waiting) = if first { (one, other) } else { (other, one) };
    let response = refused.client().read_response().expect(503);
    assert!(response.header("retry-after").is_some_and(|value| value.parse::<u64>().is_ok()), "{response}");
    assert!(response.closes(), "whether the body still comes is not known: {response}");
    Full { running, waiting, refused: refused.into_client() }
}

impl Full {
    #[track_caller]
    fn empty(self) {
        self.running.release();
        let mut waiting = self.waiting;
        waiting.wait_until_it_runs();
        waiting.release();
    }
}

fn an_overflow_gets_503_before_its_body_is_asked_for(variant: &'static Variant) {
    let before = status(variant.server()).rejections;
    let mut full = fill(variant);
    full.refused.expect_end();
    assert_eq!(status(variant.server()).rejections, before + 1);
    full.empty();
    variant.server().client().get("/narrow/hello").expect_text(200, "narrow");
}

fn who_waits_in_a_lane_gets_its_turn(variant: &'static Variant) {
    let mut full = fill(variant);
    assert!(full.waiting.client().is_quiet(), "two at once in a lane of one");
    full.empty();
}

fn a_full_lane_delays_nobody_in_another_lane(variant: &'static Variant) {
    let mut full = fill(variant);
    for _ in 0..20 {
        variant.server().client().get("/hello").expect(200);
        variant.server().client().get("/brief/hello").expect_text(200, "brief");
        variant.server().client().get("/health").expect_text(200, "up");
    }
    assert!(full.waiting.client().is_quiet());
    full.empty();
}

fn a_wait_that_takes_too_long_gets_503(variant: &'static Variant) {
    let running = Held::begin(variant.server(), "/brief/hold");
    let mut client = variant.server().client();
    let response = client.get("/brief/hello").expect(503);
    assert!(response.header("retry-after").is_some(), "{response}");
    // A request without a body leaves the connection as it was.
    assert!(!response.closes(), "{response}");
    running.release();
    client.get("/brief/hello").expect_text(200, "brief");
}

fn health_is_answered_when_every_handler_is_busy(variant: &'static Variant) {
    let mut held: Vec<Held> =
        (0..variant.handlers_at_once()).map(|_| Held::send(variant.server(), "/hold")).collect();
    held.iter_mut().for_each(Held::wait_until_it_runs);
    variant.server().client().get("/health").expect_text(200, "up");
    held.into_iter().for_each(|held| drop(held.release()));
}

/// Three of four places.
fn background_leaves_places_to_others(variant: &'static Variant) {
    let server = variant.server();
    let held: Vec<Held> = (0..3).map(|_| Held::begin(server, "/classes/background/hold")).collect();
    let mut waiting = server.client();
    waiting.send_get("/classes/background/hello");
    for _ in 0..20 {
        server.client().get("/classes/hello").expect_text(200, "normal");
    }
    assert!(waiting.is_quiet(), "it has the place that is for others");
    held.into_iter().for_each(|held| drop(held.release()));
    waiting.read_response().expect_text(200, "background");
}

/// How many have their answer, or a part of it.
fn heard(clients: &mut [Client]) -> usize {
    clients.iter_mut().map(Client::is_quiet).filter(|is_quiet| !is_quiet).count()
}

fn what_is_important_goes_first_and_background_is_refused_first(variant: &'static Variant) {
    let server = variant.server();
    let mut running: Vec<Held> = (0..4).map(|_| Held::begin(server, "/classes/hold")).collect();
    // The line has room for eight, and a refusal says that it is full.
    let mut normal: Vec<Client> = (0..9).map(|_| server.client()).collect();
    normal.iter_mut().for_each(|client| {
        client.send_get("/classes/hello");
    });
    wait_until("one of nine is refused", || (heard(&mut normal) == 1).then_some(()));
    server.client().get("/classes/background/hello").expect(503);
    // For what is critical it is a quarter longer.
    let mut critical: Vec<Held> = (0..3).map(|_| Held::send(server, "/classes/critical/hold")).collect();
    let refused = wait_until("one of three is refused", || {
        critical.iter_mut().position(|held| !held.client().is_quiet())
    });
    critical.swap_remove(refused).into_client().read_response().expect(503);
    running.drain(..2).for_each(|held| drop(held.release()));
    critical.iter_mut().for_each(Held::wait_until_it_runs);
    assert_eq!(heard(&mut normal), 1, "they came before and have to wait still");
    critical.into_iter().chain(running).for_each(|held| drop(held.release()));
    let mut statuses: Vec<u16> = normal.into_iter().map(|mut client| client.read_response().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 503]);
}

fn a_client_that_gives_up_in_the_line_frees_its_place(variant: &'static Variant) {
    let full = fill(variant);
    let Full { running, waiting, .. } = full;
    drop(waiting);
    running.release();
    variant.server().client().get("/narrow/hello").expect_text(200, "narrow");
}

fn requests_one_after_another_never_overflow(variant: &'static Variant) {
    let mut client = variant.server().client();
    for _ in 0..50 {
        client.get("/narrow/hello").expect_text(200, "narrow");
        client.post("/narrow/hold", "abc").expect_text(200, "held abc");
    }
}
