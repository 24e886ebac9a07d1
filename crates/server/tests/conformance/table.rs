//! The shared table: one for all processes that handlers run in.

use tenfold_testkit::{ServerProcess, Signal, wait_until};

use crate::variant::Variant;

behaviours![every_process_counts_in_the_same_table];

/// Fresh connections, so that all workers get some of them; each number comes once, whoever has counted.
fn every_process_counts_in_the_same_table(variant: &'static Variant) {
    let server = variant.start("workers = 2", "");
    let mut numbers: Vec<i64> = (0..60).map(|_| visit(&server)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=60).collect::<Vec<i64>>());

    let old = server.children();
    server.signal(Signal::HUP);
    wait_until("another generation serves", || {
        let new = server.children();
        (!new.is_empty() && new.iter().all(|pid| !old.contains(pid))).then_some(())
    });
    assert_eq!(visit(&server), 61, "it has the same table");
}

fn visit(server: &ServerProcess) -> i64 {
    let body = server.client().post("/visits", "").expect(200).body;
    String::from_utf8_lossy(&body).parse().expect("a number")
}
