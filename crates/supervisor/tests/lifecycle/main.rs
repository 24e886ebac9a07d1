//! Life and death of a master and its workers, with real processes.
//!
//! A test starts this very program again as a master (`scenario.rs`), gives it
//! signals and kills its workers, and awaits what the master logs and the
//! workers print. It never sleeps to put things in order: it waits for a line,
//! for an exit, or for a process to be gone, and fails after 20 seconds.
//!
//! The standard harness is not used, because it runs tests on threads and a
//! master must have one thread when it forks.

mod scenario;
mod site;

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

use site::{Site, await_gone, signal};

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_killed_worker_is_replaced_at_once", a_killed_worker_is_replaced_at_once),
    (
        "a_worker_that_keeps_dying_is_restarted_slower_and_slower",
        a_worker_that_keeps_dying_is_restarted_slower,
    ),
    (
        "a_lasting_worker_that_keeps_dying_is_never_away_for_long",
        a_lasting_worker_that_keeps_dying_is_never_away_for_long,
    ),
    (
        "a_worker_that_never_starts_makes_the_master_give_up",
        a_worker_that_never_starts_makes_the_master_give_up,
    ),
    ("a_worker_that_hangs_before_it_is_ready_is_killed", a_worker_that_hangs_before_it_is_ready_is_killed),
    ("a_panic_ends_only_its_worker", a_panic_ends_only_its_worker),
    ("a_graceful_stop_waits_for_a_worker_that_finishes", a_graceful_stop_waits_for_a_worker_that_finishes),
    ("quit_is_graceful_too", quit_is_graceful_too),
    (
        "a_worker_that_ignores_a_graceful_stop_is_killed_at_the_bound",
        a_stubborn_worker_is_killed_at_the_bound,
    ),
    ("a_second_term_stops_fast", a_second_term_stops_fast),
    ("an_interrupt_stops_fast", an_interrupt_stops_fast),
    (
        "an_interrupt_that_reaches_a_worker_is_ignored_there",
        an_interrupt_that_reaches_a_worker_is_ignored_there,
    ),
    (
        "a_worker_told_to_stop_by_a_signal_finishes_and_is_replaced",
        a_worker_told_to_stop_by_a_signal_is_replaced,
    ),
    ("workers_finish_when_their_master_is_killed", workers_finish_when_their_master_is_killed),
    ("a_stubborn_orphan_is_ended_at_the_bound", a_stubborn_orphan_is_ended_at_the_bound),
    ("groups_stop_in_reverse_order_one_after_the_other", groups_stop_in_reverse_order),
    ("a_group_that_stops_at_once_does_not_wait_for_the_others", a_group_stops_at_once),
    ("the_master_reads_what_workers_count", the_master_reads_what_workers_count),
    ("a_process_with_threads_is_refused", a_process_with_threads_is_refused),
    ("a_worker_without_a_master_obeys_signals", a_worker_without_a_master_obeys_signals),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == "--scenario"
    {
        return scenario::play(name);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen =
        TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| name.contains(*w)));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in chosen {
        let ok = catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        *if ok { &mut passed } else { &mut failed } += 1;
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let filtered = TESTS.len() - passed - failed;
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn a_killed_worker_is_replaced_at_once() {
    let mut site = Site::start("steady");
    let (first, second) = (site.await_pid("up worker 0"), site.await_pid("up worker 1"));
    site.await_line("all ready");
    // Lived longer than `stable_after` of this scenario (0), so without delay.
    signal(second, "KILL");
    let died = site.await_line("worker died");
    assert!(died.contains("SIGKILL") && died.contains("slot=1"), "{died}");
    let third = site.await_pid("up worker 1");
    assert!(third != second && third != first);
    assert!(!site.seen("died early"), "no back-off");
    signal(site.pid(), "TERM");
    assert_eq!(site.await_exit(), Some(0));
    for pid in [first, third] {
        await_gone(pid);
    }
}

fn a_worker_that_keeps_dying_is_restarted_slower() {
    let mut site = Site::start("crash-loop");
    site.await_line("worker failed: no luck");
    let died = site.await_line("worker died");
    assert!(died.contains("exit code 1") && died.contains("was_ready=true"), "{died}");
    // Delays of 20, 40, 80 ms, each less up to 20 %.
    let early = site.await_line("worker died early");
    assert!(delay_ms(&early) <= 20, "{early}");
    let early = site.await_line("worker died early");
    assert!((32..=40).contains(&delay_ms(&early)), "{early}");
    let failing = site.await_line("worker is failing");
    assert!((64..=80).contains(&delay_ms(&failing)) && failing.contains("exit code 1"), "{failing}");
    // It was ready once, so the master goes on trying, at the longest delay.
    while delay_ms(&site.await_line("worker is failing")) < 128 {}
    signal(site.pid(), "TERM");
    assert_eq!(site.await_exit(), Some(0));
}

fn a_lasting_worker_that_keeps_dying_is_never_away_for_long() {
    let mut site = Site::start("lasting-crash-loop");
    let delays: Vec<u64> = (0..8).map(|_| delay_ms(&site.await_line("next start in"))).collect();
    assert!(delays.iter().all(|delay| *delay <= 40), "{delays:?}");
    assert!(delays[1..].iter().all(|delay| *delay >= 32), "{delays:?}");
    signal(site.pid(), "TERM");
    assert_eq!(site.await_exit(), Some(0));
}

fn delay_ms(line: &str) -> u64 {
    let (_, rest) = line.split_once("next start in ").unwrap_or_else(|| panic!("no delay in {line}"));
    rest.split(' ').next().and_then(|ms| ms.parse().ok()).unwrap_or_else(|| panic!("no delay in {line}"))
}

fn a_worker_that_never_starts_makes_the_master_give_up() {
    let mut site = Site::start("never-ready");
    let line = site.await_line("giving up");
    assert!(line.contains("failed to start 3 times in a row, last: exit code 1"), "{line}");
    assert_eq!(site.await_exit(), Some(1));
    assert!(!site.seen("all ready"));
}

fn a_worker_that_hangs_before_it_is_ready_is_killed() {
    let mut site = Site::start("hang");
    site.await_line("was not ready in time");
    let line = site.await_line("giving up");
    assert!(line.contains("last: SIGKILL"), "{line}");
    assert_eq!(site.await_exit(), Some(1));
}

fn a_panic_ends_only_its_worker() {
    let mut site = Site::start("panic");
    let neighbour = site.await_pid("up worker 1");
    site.await_line("exit code 101 (panic)");
    site.await_line("up worker 0");
    signal(site.pid(), "TERM");
    assert_eq!(site.await_exit(), Some(0));
    assert!(site.seen(&format!("order worker 1 {neighbour} Graceful")), "the neighbour lived on");
}

fn a_graceful_stop_waits_for_a_worker_that_finishes() {
    let mut site = Site::start("slow");
    site.await_line("all ready");
    signal(site.pid(), "TERM");
    site.await_line("order worker 0");
    // The worker now waits for this line, and the master for the worker.
    assert!(site.is_running());
    site.say("finish");
    site.await_line("finished");
    assert_eq!(site.await_exit(), Some(0));
    assert!(!site.seen("killing"));
}

fn quit_is_graceful_too() {
    let mut site = Site::start("steady");
    site.await_line("all ready");
    signal(site.pid(), "QUIT");
    let order = site.await_line("order worker 0");
    assert!(order.contains("Graceful"), "{order}");
    assert_eq!(site.await_exit(), Some(0));
}

fn a_stubborn_worker_is_killed_at_the_bound() {
    let mut site = Site::start("stubborn");
    let pid = site.await_pid("up worker 0");
    site.await_line("all ready");
    let told = Instant::now();
    signal(site.pid(), "TERM");
    site.await_line("did not stop in time, killing it");
    let waited = told.elapsed();
    assert!(waited >= Duration::from_millis(1000), "killed after {waited:?}, the bound is 1 s");
    assert_eq!(site.await_exit(), Some(0));
    await_gone(pid);
}

fn a_second_term_stops_fast() {
    let mut site = Site::start("slow");
    site.await_line("all ready");
    signal(site.pid(), "TERM");
    site.await_line("order worker 0");
    let told = Instant::now();
    signal(site.pid(), "TERM");
    // The worker is busy and hears nothing: it is killed at the fast bound of
    // 0.3 s, and not at the graceful one of 60 s.
    site.await_line("did not stop in time, killing it");
    assert!(told.elapsed() >= Duration::from_millis(300));
    assert_eq!(site.await_exit(), Some(0));
    assert!(!site.seen("finished"));
}

fn an_interrupt_stops_fast() {
    let mut site = Site::start("steady");
    site.await_line("all ready");
    signal(site.pid(), "INT");
    let order = site.await_line("order worker 0");
    assert!(order.contains("Fast"), "{order}");
    assert_eq!(site.await_exit(), Some(0));
    assert!(!site.seen("killing"));
}

fn an_interrupt_that_reaches_a_worker_is_ignored_there() {
    let mut site = Site::start("steady");
    let pid = site.await_pid("up worker 0");
    site.await_line("all ready");
    signal(pid, "INT");
    signal(pid, "QUIT");
    // Signals are delivered in no fixed order, but INT would say "Fast" or kill.
    let order = site.await_line(&format!("order worker 0 {pid}"));
    assert!(order.contains("Graceful"), "{order}");
    let died = site.await_line("worker died");
    assert!(died.contains("exit code 0"), "{died}");
    site.await_line("up worker 0");
    signal(site.pid(), "INT");
    assert_eq!(site.await_exit(), Some(0));
}

fn a_worker_told_to_stop_by_a_signal_is_replaced() {
    let mut site = Site::start("steady");
    let pid = site.await_pid("up worker 1");
    site.await_line("all ready");
    signal(pid, "TERM");
    site.await_line(&format!("order worker 1 {pid} Graceful"));
    assert_ne!(site.await_pid("up worker 1"), pid);
    signal(site.pid(), "TERM");
    assert_eq!(site.await_exit(), Some(0));
}

fn workers_finish_when_their_master_is_killed() {
    let mut site = Site::start("steady");
    let pids = [site.await_pid("up worker 0"), site.await_pid("up worker 1")];
    site.await_line("all ready");
    signal(site.pid(), "KILL");
    for pid in pids {
        site.await_line(&format!("{pid} Graceful"));
        await_gone(pid);
    }
    assert_eq!(site.await_exit(), None);
}

fn a_stubborn_orphan_is_ended_at_the_bound() {
    let mut site = Site::start("stubborn");
    let pid = site.await_pid("up worker 0");
    site.await_line("all ready");
    signal(site.pid(), "KILL");
    site.await_line(&format!("{pid} Graceful"));
    await_gone(pid);
}

fn groups_stop_in_reverse_order() {
    let mut site = Site::start("two-groups");
    site.await_line("all ready");
    signal(site.pid(), "TERM");
    site.await_line("order front 0");
    // The helper was not told yet: it would say so, and the front needs it.
    assert!(!site.seen("order helper"));
    site.say("finish");
    site.await_line("finished");
    site.await_line("order helper 0");
    assert_eq!(site.await_exit(), Some(0));
    let (front, helper) = (site.position("finished"), site.position("order helper"));
    assert!(front < helper, "the helper was told before the front had finished");
}

fn a_group_stops_at_once() {
    let mut site = Site::start("beside");
    site.await_line("all ready");
    signal(site.pid(), "TERM");
    // The front has not finished: nobody has told it to.
    site.await_line("order beside 0");
    site.say("finish");
    site.await_line("finished");
    assert_eq!(site.await_exit(), Some(0));
}

fn the_master_reads_what_workers_count() {
    let mut site = Site::start("board");
    let line = site.await_line("board ");
    assert_eq!(line, "board requests=11 states=[Ready, Ready] starts=[1, 1] generations=[1, 1]");
    signal(site.pid(), "TERM");
    assert_eq!(site.await_exit(), Some(0));
}

fn a_process_with_threads_is_refused() {
    let mut site = Site::start("threads");
    site.await_line("the master must have one thread when it forks, and this process has 2");
    assert_eq!(site.await_exit(), Some(3));
}

fn a_worker_without_a_master_obeys_signals() {
    for (name, order) in [("INT", "Fast"), ("TERM", "Graceful"), ("QUIT", "Graceful")] {
        let mut site = Site::start("alone");
        site.await_line("up alone 0");
        signal(site.pid(), name);
        let line = site.await_line("order alone 0");
        assert!(line.ends_with(order), "{name}: {line}");
        assert_eq!(site.await_exit(), Some(0));
    }
}
