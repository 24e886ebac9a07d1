//! `kill -9` of producers, workers, the keeper and the master, at any moment: no job that was acknowledged is lost, one runs
//! twice only if it was running at a kill, and no effect of `once` happens twice.
//!
//! 50 rounds; with `TENFOLD_LONG=1` a thousand. A seed that fails is printed and can be given in `TENFOLD_SEED`.

use std::collections::HashMap;
use std::time::Duration;

use tenfold_testkit::{Case, PATIENCE, Signal, signal_process, wait_within};

use crate::fixture::now_us;
use crate::on::{On, each};
use crate::producers::{Death, Producers, Random, check, death, kill};

/// How long workers that keep dying rest at most before they are started again: what the master's default says.
const REST_MAX: Duration = Duration::from_secs(30);

pub(crate) fn cases() -> Vec<Case> {
    let groups = [
        each("kill_9_of_anybody_at_any_moment_loses_nothing", kills),
        each("a_keeper_that_is_killed_at_each_start_makes_nobody_wait_in_vain", keeper),
    ];
    groups.into_iter().flatten().collect()
}

/// Who dies early again and again is started again later and later; for the keeper that must end before the patience of those
/// who enqueue does (10 s, which without a bound of its own the ninth rest is above).
fn keeper(on: On) {
    let site = on.start("model = 'fiber'\nworkers = 2");
    for number in 0..9 {
        signal_process(site.keeper(), Signal::KILL);
        site.note("note", &number.to_string());
    }
    site.wait_until_empty();
    assert_eq!(site.texts().iter().filter(|text| text.starts_with("end")).count(), 9);
}

fn kills(on: On) {
    let rounds = if std::env::var_os("TENFOLD_LONG").is_some() { 1_000 } else { 50 };
    let seed = std::env::var("TENFOLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now_us);
    println!("TENFOLD_SEED={seed}");
    let mut random = Random(seed | 1);
    let mut site = on.start("model = 'fiber'\nworkers = 2\ngraceful_timeout_secs = 5.0");
    let producers = Producers::start(&site);
    let mut kills: Vec<Death> = Vec::new();
    let mut victims: HashMap<&str, u32> = HashMap::new();
    for _ in 0..rounds {
        let before = producers.kept();
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        let victim = ["worker", "worker", "keeper", "master"][random.below(4) as usize];
        *victims.entry(victim).or_default() += 1;
        match victim {
            "master" => {
                let pid = site.server().pid();
                kills.push(death(|| {
                    signal_process(pid, Signal::KILL);
                    site.serve();
                }));
                producers.follow(&site);
            }
            title => {
                let all = site.children(title);
                let Some(pid) = all.get(random.below(all.len().max(1) as u64) as usize) else { continue };
                kills.push(kill(*pid));
            }
        }
        // The next kill is for a service that works again; what it does meanwhile is killed in the middle.
        let patience = PATIENCE + REST_MAX;
        wait_within(patience, "jobs are taken in again", || (producers.kept() > before + 2).then_some(()));
    }
    let kept = producers.stop();
    site.wait_until_empty();
    check(&site, &kept, &kills, seed);
    println!("{rounds} kills: {victims:?}; {} jobs", kept.len());
}
