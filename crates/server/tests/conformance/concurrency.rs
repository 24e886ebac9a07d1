//! Many at a time, as far as the model's facts allow it.

use std::time::{Duration, Instant};

use tenfold_testkit::Client;

use crate::held::Held;
use crate::variant::{Variant, wait_until_alone};

behaviours![
    a_thousand_connections_are_served_and_stay,
    as_many_handlers_run_at_once_as_the_model_says,
    waits_side_by_side_take_no_longer_than_one only |variant| variant.waits_apart(),
    where_handlers_hold_the_loop_they_run_one_after_another only |variant| !variant.waits_apart(),
    requests_from_many_threads_are_all_answered,
    more_clients_than_connections_wait_for_their_turn only |variant| variant.connections_at_once() < 1000,
];

fn a_thousand_connections_are_served_and_stay(variant: &'static Variant) {
    let count = variant.connections_at_once().min(1000);
    let mut clients: Vec<Client> = (0..count).map(|_| variant.server().client()).collect();
    for round in 0..2 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send_get(&format!("/users/{}", round * count + number));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.read_response().expect_text(200, &format!("user {}", round * count + number));
        }
    }
    drop(clients);
    wait_until_alone(variant.server());
}

/// All are known to run before the first is let go.
fn as_many_handlers_run_at_once_as_the_model_says(variant: &'static Variant) {
    let count = variant.handlers_at_once().min(1000);
    let mut held: Vec<Held> = (0..count).map(|_| Held::send(variant.server(), "/hold")).collect();
    held.iter_mut().for_each(Held::wait_until_it_runs);
    held.into_iter().for_each(|held| drop(held.release()));
    wait_until_alone(variant.server());
}

const WAIT_MS: u64 = 300;

fn four_waits(variant: &'static Variant) -> Duration {
    let started = Instant::now();
    let mut clients: Vec<Client> = (0..4).map(|_| variant.server().client()).collect();
    for client in &mut clients {
        client.send(format!("GET /sleep/{WAIT_MS} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
    }
    clients.iter_mut().for_each(|client| drop(client.read_response().expect_text(200, "slept")));
    started.elapsed()
}

fn waits_side_by_side_take_no_longer_than_one(variant: &'static Variant) {
    let took = four_waits(variant);
    assert!(took < Duration::from_millis(4 * WAIT_MS), "one after another: {took:?}");
}

/// The lesson of `event` and `serial`; if this fails the model's facts are wrong.
fn where_handlers_hold_the_loop_they_run_one_after_another(variant: &'static Variant) {
    let took = four_waits(variant);
    assert!(took >= Duration::from_millis(4 * WAIT_MS), "side by side: {took:?}");
}

fn requests_from_many_threads_are_all_answered(variant: &'static Variant) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let mut client = variant.server().client();
                for number in 0..50 {
                    let body = "x".repeat(number * 97 % 3000);
                    client.get(&format!("/users/{}", thread * 100 + number)).expect(200);
                    client.post("/echo", &body).expect_text(200, &body);
                }
            });
        }
    });
}

fn more_clients_than_connections_wait_for_their_turn(variant: &'static Variant) {
    let count = variant.connections_at_once() + 20;
    let mut clients: Vec<Client> = (0..count).map(|_| variant.server().client()).collect();
    for client in &mut clients {
        client.send("GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    }
    clients.iter_mut().for_each(|client| drop(client.read_response().expect(200)));
}
