//! The masters and workers that the tests watch. Runs in a process of its own.

use std::{
    io,
    process::{self, ExitCode},
    sync::mpsc,
    thread,
    time::Duration,
};

use tenfold_scoreboard::{self as scoreboard, Scoreboard};
use tenfold_supervisor::{ExitReason, Group, Master, MasterConfig, Order, Worker};

const MS: Duration = Duration::from_millis(1);

/// Plays the scenario called `name` to its end.
pub fn play(name: &str) -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).without_time().init();
    match name {
        "steady" => run(Master::new(config()).group(Group::new("worker", 2, steady))),
        "crash-loop" => run(Master::new(config_of_a_crash_loop()).group(Group::new("worker", 1, |worker| {
            worker.ready();
            ExitReason::Failed("no luck".to_owned())
        }))),
        "lasting-crash-loop" => run(Master::new(config_of_a_crash_loop())
            .lasting_group(Group::new("lasting", 1, |worker| {
                worker.ready();
                ExitReason::Failed("no luck".to_owned())
            }))
            .group(Group::new("worker", 1, steady))),
        "never-ready" => run(Master::new(config())
            .group(Group::new("worker", 1, |_| ExitReason::Failed("the configuration is bad".to_owned())))),
        "hang" => run(Master::new(MasterConfig { ready_timeout: 50 * MS, ..config() }).group(Group::new(
            "worker",
            1,
            |worker| finish(worker, false),
        ))),
        "panic" => run(Master::new(config()).group(Group::new("worker", 2, |worker| {
            if worker.index() == 0 && worker.slot().starts() == 1 {
                worker.ready();
                panic!("on purpose");
            }
            steady(worker)
        }))),
        "slow" => run(Master::new(config()).group(Group::new("worker", 1, slow))),
        "stubborn" => run(Master::new(MasterConfig { graceful_timeout: 1000 * MS, ..config() })
            .group(Group::new("worker", 1, stubborn))),
        "two-groups" => run(Master::new(config())
            .group(Group::new("helper", 1, steady))
            .group(Group::new("front", 1, slow))),
        "beside" => run(Master::new(config())
            .group(Group::new("beside", 1, steady).stops_at_once())
            .group(Group::new("front", 1, slow))),
        "board" => board(),
        "threads" => threads(),
        "alone" => alone(),
        other => panic!("there is no scenario {other}"),
    }
}

fn config() -> MasterConfig {
    MasterConfig {
        graceful_timeout: 60_000 * MS,
        fast_timeout: 300 * MS,
        stable_after: Duration::ZERO,
        restart_delay_min: MS,
        restart_delay_max: 10 * MS,
        ..MasterConfig::default()
    }
}

fn config_of_a_crash_loop() -> MasterConfig {
    MasterConfig {
        stable_after: 60_000 * MS,
        restart_delay_min: 20 * MS,
        restart_delay_max: 160 * MS,
        lasting_restart_delay_max: 40 * MS,
        failing_after: 3,
        ..config()
    }
}

fn run(master: Master) -> ExitCode {
    match master.on_ready(|| println!("all ready")).run() {
        Ok(code) => code,
        Err(error) => {
            println!("{error}");
            ExitCode::from(3)
        }
    }
}

fn up(worker: &Worker) {
    worker.ready();
    println!("up {} {} {}", worker.group(), worker.index(), process::id());
}

fn tell(worker: &Worker, order: Order) {
    println!("order {} {} {} {order:?}", worker.group(), worker.index(), process::id());
}

/// Stops when told to.
fn steady(worker: &Worker) -> ExitReason {
    up(worker);
    finish(worker, true)
}

fn finish(worker: &Worker, say: bool) -> ExitReason {
    let order = worker.wait_order(None).expect("waiting has no time limit");
    if say {
        tell(worker, order);
    }
    ExitReason::Done
}

/// Stops when told to, as soon as it has read a line.
fn slow(worker: &Worker) -> ExitReason {
    up(worker);
    finish(worker, true);
    io::stdin().read_line(&mut String::new()).expect("the test holds the other end");
    println!("finished");
    ExitReason::Done
}

/// Hears every order and does not care.
fn stubborn(worker: &Worker) -> ExitReason {
    up(worker);
    loop {
        finish(worker, true);
    }
}

/// Workers count on their own slots, and the master adds up.
fn board() -> ExitCode {
    let board = Scoreboard::new(2).expect("two slots");
    let group = Group::new("worker", 2, |worker| {
        let n = if worker.slot_index() == 0 { 1 } else { 10 };
        scoreboard::current().requests.add(n);
        worker.ready();
        finish(worker, true)
    });
    let sum_up = move || {
        let slots = board.slots();
        let states: Vec<_> = slots.iter().map(|slot| slot.state()).collect();
        let starts: Vec<_> = slots.iter().map(|slot| slot.starts()).collect();
        let generations: Vec<_> = slots.iter().map(|slot| slot.generation()).collect();
        let requests = board.sum(|slot| slot.requests.get());
        println!("board requests={requests} states={states:?} starts={starts:?} generations={generations:?}");
    };
    let master = Master::new(config()).scoreboard(board).group(group);
    master.on_ready(sum_up).run().expect("it starts")
}

/// A second thread is alive when the master wants to fork.
fn threads() -> ExitCode {
    let (stop, stopped) = mpsc::channel::<()>();
    let other = thread::spawn(move || stopped.recv());
    let code = run(Master::new(config()).group(Group::new("worker", 1, steady)));
    drop(stop);
    other.join().expect("it only waits").expect_err("the channel was closed");
    code
}

fn alone() -> ExitCode {
    let worker = Worker::alone().expect("descriptors");
    worker.obey_signals().expect("nobody else has the signals");
    steady(&worker);
    ExitCode::SUCCESS
}
