//! What comes again and again: one firing for the whole service, never early.

use std::collections::BTreeSet;

use tenfold_testkit::{Case, Signal, wait_until};

use crate::on::{On, each};
use crate::site::Site;

pub(crate) fn cases() -> Vec<Case> {
    [
        each("a_period_fires_once_for_all_workers_and_a_restart_does_not_move_it", fires),
        each("a_job_of_the_outbox_is_there_if_its_transaction_is", outbox),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn outbox(on: On) {
    let site = on.with_schedules();
    let lost = site.client().post("/order/lost/rollback", "").expect(200).text();
    for item in 0..10 {
        site.client().post(&format!("/order/item-{item}/commit"), "").expect(200);
    }
    for item in 0..10 {
        site.wait_for(&format!("end item-{item}"));
    }
    assert!(site.client().get(&format!("/job/{lost}")).status != 200);
    let database = rusqlite::Connection::open(site.directory.join("effects.db")).unwrap();
    wait_until("the outbox is empty", || {
        let left: i64 =
            database.query_row("select count(*) from tenfold_outbox", [], |row| row.get(0)).ok()?;
        (left == 0).then_some(())
    });
    let texts = site.texts();
    assert_eq!(texts.iter().filter(|line| line.starts_with("end item-")).count(), 10, "each once");
    assert!(!texts.iter().any(|line| line.contains("lost")));
}

fn fires(on: On) {
    let mut site = on.with_schedules();
    let count = |site: &Site| site.texts().iter().filter(|line| *line == "tick").count();
    wait_until("ten ticks and a second", || {
        (count(&site) >= 10 && site.texts().contains(&"cron".to_owned())).then_some(())
    });
    site.server().signal(Signal::TERM);
    site.server().wait(std::time::Duration::from_secs(20));
    let before = count(&site);
    site.serve();
    wait_until("five more", || (count(&site) >= before + 5).then_some(()));
    let lines = site.lines();
    let ticks: Vec<_> = lines.iter().filter(|line| line.what == "tick").collect();
    let ids: BTreeSet<&str> = ticks.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids.len(), ticks.len(), "no time has fired twice");
    for line in lines.iter().filter(|line| line.id.contains('@')) {
        let time: u64 = line.id.split_once('@').unwrap().1.parse().unwrap();
        assert!(line.at_us >= time * 1_000, "{line:?} is early");
        assert!(line.what != "tick" || time.is_multiple_of(100), "{line:?} has drifted");
    }
}
