//! What a client sees while all is well.

use std::time::{Duration, Instant};

use tenfold_testkit::{Client, wait_until};

use crate::Behaviour;
use crate::services::Service;
use crate::variant::Variant;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    ("requests_side_by_side_get_their_own_answers", own_answers, |_, _| true),
    ("waits_overlap", waits_overlap, |variant, service| variant.at_once() > 1 && service.waits),
    ("a_client_that_goes_leaves_nothing_behind", clients_go, |_, service| service.waits),
];

/// How long a service is asked to wait.
const WAIT_MS: u64 = 100;
/// Requests side by side may take this many times as long as one.
const RATIO_MAX: u32 = 10;

fn own_answers(variant: &'static Variant, service: &'static Service) {
    let clients = variant.at_once().min(16);
    let _tell = variant.server().tell_log_on_panic();
    std::thread::scope(|scope| {
        for client in 0..clients {
            scope.spawn(move || {
                let mut connection = variant.server().client();
                for round in 0..20 {
                    let number = round * 1000 + client as u64;
                    // Where one is served at a time, a kept connection is closed as soon as another waits, and the cases of
                    // other services do: a request that crosses that in the network would have to be sent again.
                    if clients == 1 {
                        connection = variant.server().client();
                    }
                    let answer = connection.get(&format!("/{}/{number}", service.name));
                    answer.expect_text(200, &(2 * number).to_string());
                }
            });
        }
    });
}

fn waits_overlap(variant: &'static Variant, service: &'static Service) {
    let count = variant.at_once();
    let target = format!("/{}/wait/{WAIT_MS}", service.name);
    let all = |count: usize| {
        let mut clients: Vec<Client> = (0..count).map(|_| variant.server().client()).collect();
        let started = Instant::now();
        for client in &mut clients {
            client.send_get(&target);
        }
        clients.iter_mut().for_each(|client| drop(client.read_response().expect_text(200, "waited")));
        started.elapsed()
    };
    // Once before, so that the connections are there.
    all(count);
    let one = all(1);
    let many = all(count);
    println!("{} {}: one {one:?}, {count} side by side {many:?}", variant.name(), service.name);
    assert!(one >= Duration::from_millis(WAIT_MS * 9 / 10), "the service has not waited: {one:?}");
    let ratio = RATIO_MAX.min(count as u32 / 2);
    assert!(many < one * ratio, "one took {one:?}, {count} took {many:?}");
}

fn clients_go(variant: &'static Variant, service: &'static Service) {
    let before = variant.status();
    for _ in 0..10 {
        variant.server().client().send_get(&format!("/{}/wait/{WAIT_MS}", service.name));
    }
    wait_until("nothing is left of them", || {
        let after = variant.status();
        let gone = after.connections_open == 1 && after.borrowed == 0;
        (gone && after.fibers_in_use <= before.fibers_in_use).then_some(())
    });
    variant.server().client().get(&format!("/{}/21", service.name)).expect_text(200, "42");
    assert_eq!(variant.status().pid, before.pid, "the worker has died");
}
