//! What an account adds up, and what a reader of it sees.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::times::Times;

#[test]
fn time_goes_to_the_stage_the_cause_or_the_queue() {
    let (account, times) = (Account::new(), Times::new());
    account.begin(1_000, 1_500, Stage::Parse);
    account.label("GET", "/a");
    account.enter(Stage::Run, 1_600);
    account.parked(Cause::Database, &What::new("pg"), 2_000);
    let reading = account.reading().unwrap();
    assert_eq!((reading.stage, reading.cause, reading.since_ns), (Stage::Wait, Some(Cause::Database), 2_000));
    assert_eq!((reading.what.as_str(), reading.method.as_str()), ("pg", "GET"));
    account.woken(5_000);
    account.woken(5_500);
    assert_eq!(account.reading().unwrap().stage, Stage::Queue);
    account.resumed(6_000);
    account.enter(Stage::Write, 7_000);
    account.parked(Cause::Network, &What::NONE, 7_100);
    assert_eq!(account.reading().unwrap().cause, Some(Cause::Client));
    account.resumed(9_000);
    account.finish(&times, 9_200);
    assert_eq!(account.reading(), None);
    let sums = times.reading();
    let stage = |stage| sums.stage_ns(stage);
    assert_eq!((stage(Stage::Parse), stage(Stage::Run), stage(Stage::Write)), (100, 1_400, 300));
    assert_eq!((stage(Stage::Queue), stage(Stage::Wait)), (1_500, 4_900));
    assert_eq!((sums.wait_ns(Cause::Database), sums.wait_ns(Cause::Client)), (3_000, 1_900));
    assert_eq!(sums.total_ns(), 8_200);
}

#[test]
fn a_finished_account_starts_again_at_nothing() {
    let (account, times) = (Account::new(), Times::new());
    for round in [1, 2] {
        account.begin(10, 10, Stage::Run);
        account.parked(Cause::Lock, &What::NONE, 20);
        account.resumed(50);
        account.finish(&times, 60);
        let sums = times.reading();
        assert_eq!((sums.wait_ns(Cause::Lock), sums.stage_ns(Stage::Run)), (round * 30, round * 20));
    }
    account.begin(10, 10, Stage::Run);
    account.discard();
    assert_eq!((times.reading().finished(), account.is_in_flight()), (2, false));
}

#[test]
fn a_wait_for_children_is_for_what_they_wait_for() {
    let (account, times) = (Account::new(), Times::new());
    account.begin(0, 0, Stage::Run);
    account.parked(Cause::Task, &What::NONE, 100);
    assert_eq!(account.reading().unwrap().cause, Some(Cause::Task));
    account.child_parked(Cause::Http);
    assert_eq!(account.reading().unwrap().cause, Some(Cause::Http));
    account.resumed(300);
    account.parked(Cause::Sleep, &What::NONE, 300);
    account.child_parked(Cause::Http);
    account.resumed(400);
    account.finish(&times, 400);
    let sums = times.reading();
    assert_eq!((sums.wait_ns(Cause::Http), sums.wait_ns(Cause::Sleep)), (200, 100));
}

#[test]
fn a_wait_in_the_queue_is_queueing() {
    let (account, times) = (Account::new(), Times::new());
    account.begin(0, 0, Stage::Queue);
    account.parked(Cause::Other, &What::NONE, 0);
    assert_eq!(account.reading().unwrap().stage, Stage::Queue);
    account.woken(50);
    account.resumed(70);
    account.enter(Stage::Run, 70);
    account.finish(&times, 80);
    let sums = times.reading();
    assert_eq!((sums.stage_ns(Stage::Queue), sums.stage_ns(Stage::Wait)), (70, 0));
}

#[test]
fn what_was_handed_over_goes_on_where_it_was() {
    let (front, handler, times) = (Account::new(), Account::new(), Times::new());
    front.begin(100, 150, Stage::Read);
    front.parked(Cause::Other, &What::NONE, 160);
    front.resumed(200);
    let handed = front.hand_over(210);
    assert!(!front.is_in_flight());
    handler.take_over(&Handed::from_bytes(&handed.to_bytes()));
    handler.enter(Stage::Run, 300);
    handler.finish(&times, 400);
    let sums = times.reading();
    assert_eq!((sums.stage_ns(Stage::Queue), sums.stage_ns(Stage::Run)), (50 + 90, 100));
    assert_eq!((sums.wait_ns(Cause::Client), sums.total_ns()), (40, 300));
}

#[test]
fn a_reader_never_sees_halves_of_two_requests() {
    let (account, done) = (Account::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let long = ["a".repeat(64), "b".repeat(64)];
            let mut round = 0;
            while !done.load(Acquire) {
                round += 1;
                account.begin(round, round, Stage::Run);
                account.label(if round % 2 == 0 { "AAAA" } else { "BBBB" }, &long[round as usize % 2]);
                (0..50).for_each(|_| spin_loop());
                account.discard();
            }
        });
        let mut seen = 0;
        while seen < 10_000 {
            let Some(reading) = account.reading().filter(|reading| !reading.path.is_empty()) else {
                continue;
            };
            seen += 1;
            let (first, odd) = (reading.path.as_bytes()[0], reading.arrived_ns % 2 == 1);
            let whole = reading.path.len() == 64 && reading.path.bytes().all(|byte| byte == first);
            let fits = (first == b'b', reading.method == "BBBB") == (odd, odd);
            if !whole || !fits {
                done.store(true, Release);
                panic!("torn: {reading:?}");
            }
        }
        done.store(true, Release);
    });
}

#[test]
fn a_writer_that_was_killed_leaves_an_account_that_is_skipped_and_can_be_used_again() {
    let account = Account::new();
    account.begin(1, 1, Stage::Run);
    account.version.fetch_add(1, Relaxed);
    assert_eq!(account.reading(), None);
    account.discard();
    account.begin(2, 2, Stage::Run);
    assert_eq!(account.reading().map(|reading| reading.arrived_ns), Some(2));
}

#[test]
fn a_rough_request_is_divided_like_the_fine_one_before() {
    let (account, times) = (Account::new(), Times::new());
    account.begin(1_000, 1_000, Stage::Parse);
    account.enter(Stage::Run, 1_200);
    account.enter(Stage::Render, 1_500);
    account.enter(Stage::Write, 1_600);
    account.finish(&times, 2_000);

    let rough = Times::new();
    account.begin(5_000, 6_000, Stage::Parse);
    account.time_roughly();
    for stage in [Stage::Run, Stage::Render, Stage::Write] {
        account.enter(stage, account.now());
    }
    account.finish(&rough, 8_000);
    let reading = rough.reading();
    assert_eq!((reading.total_ns(), reading.stage_ns(Stage::Queue)), (3_000, 1_000));
    let near = |stage, ns: u64| reading.stage_ns(stage).abs_diff(ns) <= 2_000 / 100;
    assert!(near(Stage::Parse, 400) && near(Stage::Run, 600), "{reading:?}");
    assert!(near(Stage::Render, 200) && near(Stage::Write, 800), "{reading:?}");
}

#[test]
fn a_rough_request_that_is_long_has_run_and_one_that_waits_is_timed() {
    let (account, times) = (Account::new(), Times::new());
    account.begin(1_000, 1_000, Stage::Parse);
    account.time_roughly();
    account.enter(Stage::Run, account.now());
    account.finish(&times, 1_001_000);
    assert_eq!(times.reading().stage_ns(Stage::Run), 1_000_000);

    let times = Times::new();
    account.begin(1_000, 1_000, Stage::Parse);
    account.time_roughly();
    account.enter(Stage::Run, account.now());
    account.parked(Cause::Sleep, &What::NONE, 1_100);
    account.resumed(5_100);
    assert_ne!(account.now(), account.since(), "the clock is read again");
    account.enter(Stage::Write, 5_300);
    account.finish(&times, 5_400);
    let reading = times.reading();
    assert_eq!((reading.wait_ns(Cause::Sleep), reading.stage_ns(Stage::Run)), (4_000, 300));
    assert_eq!(reading.stage_ns(Stage::Write), 100);
}

#[test]
fn requests_whose_answers_go_out_together_share_their_time() {
    let (account, times) = (Account::new(), Times::new());
    account.begin(1_000, 2_000, Stage::Parse);
    assert!(!account.join(), "it is timed finely");
    account.time_roughly();
    for path in ["/b", "/c"] {
        account.enter(Stage::Run, account.now());
        assert!(account.join());
        account.label("GET", path);
    }
    assert_eq!(account.reading().map(|reading| reading.path), Some("/c".into()));
    account.finish(&times, 9_000_000);
    let reading = times.reading();
    assert_eq!((reading.finished(), reading.total_ns()), (3, 8_999_000));
    let each = reading.total().quantile(1.0).unwrap();
    assert!((3_000_000..4_500_000).contains(&each), "{each}");

    account.begin(1_000, 1_000, Stage::Parse);
    account.finish(&times, 2_000);
    assert_eq!(times.reading().finished(), 4, "nobody has joined this one");
}

#[test]
fn who_has_joined_does_not_wait_with_the_one_that_comes_after() {
    let (account, times) = (Account::new(), Times::new());
    let before = crate::current().times.reading();
    account.begin(1_000, 1_000, Stage::Parse);
    account.time_roughly();
    assert!(account.join() && account.join());
    account.enter(Stage::Run, account.now());
    account.parked(Cause::Sleep, &What::NONE, 5_000);
    account.resumed(1_005_000);
    account.finish(&times, 1_006_000);
    let joined = crate::current().times.reading().since(&before);
    assert_eq!((joined.finished(), joined.total_ns()), (2, 4_000));
    let own = times.reading();
    assert_eq!((own.finished(), own.wait_ns(Cause::Sleep)), (1, 1_000_000));
    assert_eq!(own.total_ns(), 1_001_000);
}
