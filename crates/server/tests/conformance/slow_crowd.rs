//! Hundreds of slow clients at once, and what the others notice of them.
//!
//! Half of the slow ones trickle the head of a request and half its body: more bodies than any model here has handlers. What
//! is counted decides: every short request gets its answer, and so does every slow one once it is whole. Times are only
//! compared with those of the same server a moment before, in rounds by turns, and the best round counts: a machine that is
//! busy otherwise is slow in both halves of it, sooner or later. `bench/slow` has the figures, with 5,000 of them.

use std::time::Duration;

use tenfold_testkit::{Client, ServerProcess, wait_until};

use crate::storm::{Fate, is_long, of_status, storm};
use crate::variant::{Variant, status};

behaviours![
    others_notice_nothing_of_three_hundred_slow_clients only |variant| variant.facts().evented,
];

const SLOW: usize = 300;
const ROUNDS: usize = 3;
/// Far above the noise of a round, and far below what one pause for a slow client costs: that is 100 ms and more.
const RATIO_MAX: f64 = 10.0;
const HEAD: &str = "GET /users/1 HTTP/1.1\r\nHost: test\r\nX-Padding: ";
const BODY: &str = "POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n";

fn others_notice_nothing_of_three_hundred_slow_clients(variant: &'static Variant) {
    let server =
        variant.start("", "header_timeout_secs = 600\nbody_grace_secs = 600\nrequest_timeout_secs = 600");
    short_requests(&server);
    let mut ratios = Vec::new();
    for _ in 0..if is_long() { 3 * ROUNDS } else { ROUNDS } {
        let quiet = short_requests(&server);
        let mut slow: Vec<Slow> = (0..SLOW).map(|index| Slow::begin(&server, index)).collect();
        wait_until("all of them are connected", || {
            (status(&server).connections_open > SLOW as u64).then_some(())
        });
        let crowded = std::thread::scope(|scope| {
            let measured = scope.spawn(|| short_requests(&server));
            while !measured.is_finished() {
                slow.iter_mut().for_each(Slow::send_on);
                std::thread::sleep(Duration::from_millis(50));
            }
            measured.join().expect("others are answered")
        });
        slow.into_iter().for_each(Slow::finish);
        ratios.push(crowded.as_secs_f64() / quiet.as_secs_f64());
    }
    println!("{}: p99 with {SLOW} slow clients over p99 without: {ratios:.2?}", variant.name());
    assert!(ratios.iter().any(|ratio| *ratio < RATIO_MAX), "{ratios:?}");
}

/// The p99 of short requests for a while, with and without bodies, all of which have to be answered.
fn short_requests(server: &ServerProcess) -> Duration {
    let duration = Duration::from_millis(if is_long() { 2000 } else { 250 });
    let fates: Vec<Fate> = storm(server, "/hello", 4, Some(400.0), duration);
    server.client().post("/collect", "abc").expect_text(200, "3");
    let (good, p99) = of_status(&fates, 200, 0.99);
    assert_eq!(good, fates.len(), "a short request was not answered with 200");
    assert!(good > 0 && p99 > Duration::ZERO);
    p99
}

/// A client that sends a byte now and then.
struct Slow {
    client: Client,
    has_body: bool,
    sent: usize,
}

impl Slow {
    fn begin(server: &ServerProcess, index: usize) -> Slow {
        let mut client = server.client();
        let has_body = index.is_multiple_of(2);
        client.send(if has_body { BODY } else { HEAD });
        Slow { client, has_body, sent: 0 }
    }

    fn send_on(&mut self) {
        // The last bytes are for the end.
        if self.sent < 90 {
            self.client.send("x");
            self.sent += 1;
        }
    }

    /// Nobody had enough of it meanwhile.
    fn finish(mut self) {
        assert!(self.client.is_quiet(), "a slow client was answered before it had sent all");
        if self.has_body {
            self.client.send("x".repeat(100 - self.sent)).read_response().expect_text(200, "100");
        } else {
            self.client.send("\r\n\r\n").read_response().expect_text(200, "user 1");
        }
    }
}
