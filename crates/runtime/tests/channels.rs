//! Channels and select: order, bounds, close, time-outs, and that no value and no wake-up gets lost in a race.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Dice, everywhere, on_fibers};
use tenfold_runtime::sync::{
    RecvError, SendError, TryRecvError, TrySendError, WaitError, WaitGroup, channel, select,
};
use tenfold_runtime::{deadline, spawn, yield_now};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(10);

#[test]
fn values_arrive_in_order_and_the_iterator_ends_with_the_last_sender() {
    everywhere(|| {
        let (sender, receiver) = channel(3);
        let other = spawn(move || (0..100).for_each(|number| sender.send(number).unwrap()));
        assert_eq!(receiver.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        other.join().unwrap();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    });
}

#[test]
fn a_full_channel_gives_the_value_back() {
    everywhere(|| {
        let (sender, receiver) = channel(1);
        sender.send("first").unwrap();
        assert!(matches!(sender.try_send("second"), Err(TrySendError::Full("second"))));
        assert!(matches!(sender.send_timeout("second", SHORT), Err(SendError::TimedOut("second"))));
        drop(receiver);
        assert!(matches!(sender.send("second"), Err(SendError::Closed("second"))));
    });
}

#[test]
fn an_empty_channel_times_out_and_works_afterwards() {
    everywhere(|| {
        let (sender, receiver) = channel(1);
        let start = Instant::now();
        assert_eq!(receiver.recv_timeout(SHORT), Err(RecvError::TimedOut));
        assert!(start.elapsed() >= SHORT);
        assert_eq!(deadline(SHORT, || receiver.recv()), Err(RecvError::TimedOut));
        sender.send(1).unwrap();
        assert_eq!(receiver.recv(), Ok(1));
    });
}

#[test]
fn closing_wakes_all_who_wait_and_leaves_what_is_inside() {
    everywhere(|| {
        let (sender, receiver) = channel::<i32>(1);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let receiver = receiver.clone();
                spawn(move || receiver.recv())
            })
            .collect();
        yield_now();
        sender.send(7).unwrap();
        sender.close();
        let mut outcomes: Vec<_> = waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect();
        outcomes.sort_by_key(|outcome| outcome.is_err());
        assert_eq!(outcomes, [Ok(7), Err(RecvError::Closed), Err(RecvError::Closed)]);
        assert!(matches!(sender.send(8), Err(SendError::Closed(8))));
    });
}

#[test]
fn dropping_the_receiver_frees_senders_and_drops_what_was_not_received() {
    everywhere(|| {
        let value = Arc::new(());
        let (sender, receiver) = channel(1);
        sender.send(value.clone()).unwrap();
        let waiting = spawn({
            let (sender, value) = (sender.clone(), value.clone());
            move || sender.send(value).is_err()
        });
        yield_now();
        drop(receiver);
        assert!(waiting.join().unwrap());
        drop(sender);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn a_cancelled_receiver_does_not_swallow_the_wake_up_of_the_next() {
    everywhere(|| {
        for _ in 0..300 {
            let (sender, receiver) = channel(8);
            // The third keeps the channel open when both others have ended.
            let (first, second, _open) = (receiver.clone(), receiver.clone(), receiver);
            let first = spawn(move || first.recv());
            let second = spawn(move || second.recv());
            yield_now();
            // The value wakes whoever is first in the line, and the cancel comes at the same moment.
            sender.send(1).unwrap();
            first.cancel();
            sender.send(2).unwrap();
            let first = first.join().unwrap();
            assert!(second.join().unwrap().is_ok(), "a value is there for it in any case");
            assert!(matches!(first, Ok(_) | Err(RecvError::Cancelled)), "{first:?}");
        }
    });
}

/// Senders and receivers of which some are cancelled and some time out at random moments: what was sent is what was
/// received or is left inside.
#[test]
fn thousands_of_races_between_values_cancels_and_deadlines_lose_nothing() {
    everywhere(|| {
        for seed in 1..40 {
            let mut dice = Dice(seed);
            let (sender, receiver) = channel::<u64>(1 + dice.below(3) as usize);
            let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let mut tasks = Vec::new();
            for _ in 0..6 {
                let (sender, sent) = (sender.clone(), sent.clone());
                let mut luck = dice.another();
                tasks.push(spawn(move || {
                    for _ in 0..20 {
                        let limit = Duration::from_micros(luck.below(1500));
                        match sender.send_timeout(1, limit) {
                            Ok(()) => sent.fetch_add(1, Ordering::Relaxed),
                            Err(SendError::TimedOut(_)) => 0,
                            Err(_) => break,
                        };
                    }
                }));
                let (receiver, received) = (receiver.clone(), received.clone());
                let mut luck = dice.another();
                tasks.push(spawn(move || {
                    for _ in 0..20 {
                        match receiver.recv_timeout(Duration::from_micros(luck.below(1500))) {
                            Ok(one) => received.fetch_add(one, Ordering::Relaxed),
                            Err(RecvError::TimedOut) => 0,
                            Err(_) => break,
                        };
                    }
                }));
            }
            yield_now();
            for task in &tasks {
                if dice.below(3) == 0 {
                    task.cancel();
                    yield_now();
                }
            }
            tasks.into_iter().for_each(|task| task.join().unwrap());
            let mut inside = 0;
            while receiver.try_recv().is_ok() {
                inside += 1;
            }
            assert_eq!(sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed) + inside);
        }
    });
}

#[test]
fn fibers_and_threads_talk_through_one_channel() {
    everywhere(|| {
        let (sender, receiver) = channel(4);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let sender = sender.clone();
                std::thread::spawn(move || (1..=1000).for_each(|number| sender.send(number).unwrap()))
            })
            .collect();
        drop(sender);
        let group = WaitGroup::new();
        let total = Arc::new(AtomicU64::new(0));
        for _ in 0..4 {
            let (receiver, total, member) = (receiver.clone(), total.clone(), group.join());
            spawn(move || {
                receiver.iter().for_each(|number| {
                    total.fetch_add(number, Ordering::Relaxed);
                });
                drop(member);
            });
        }
        group.wait().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(total.load(Ordering::Relaxed), 3 * 1000 * 1001 / 2);
    });
}

#[test]
fn select_takes_what_is_ready_and_neglects_nobody() {
    everywhere(|| {
        let (one, from_one) = channel(100);
        let (two, from_two) = channel(100);
        for _ in 0..100 {
            one.send(()).unwrap();
            two.send(()).unwrap();
        }
        let mut counts = [0; 2];
        for _ in 0..100 {
            let which = select().recv(&from_one, |_| 0).recv(&from_two, |_| 1).wait().unwrap();
            counts[which] += 1;
        }
        assert!(counts.iter().all(|count| *count >= 30), "{counts:?}");
    });
}

#[test]
fn select_waits_for_a_value_for_room_for_a_close_and_for_a_time() {
    everywhere(|| {
        let (sender, receiver) = channel::<i32>(1);
        let (_quiet, nothing) = channel::<i32>(1);
        let other = spawn({
            let sender = sender.clone();
            move || sender.send(5)
        });
        let got = select().recv(&nothing, |_| -1).recv(&receiver, Result::unwrap).wait();
        assert_eq!(got, Ok(5));
        other.join().unwrap().unwrap();

        sender.send(6).unwrap();
        let room = spawn({
            let receiver = receiver.clone();
            move || receiver.recv()
        });
        let sent = select().send(&sender, 7, |sent| sent.is_ok()).recv(&nothing, |_| false).wait();
        assert_eq!((sent, room.join().unwrap()), (Ok(true), Ok(6)));
        assert_eq!(receiver.recv(), Ok(7));

        let start = Instant::now();
        assert_eq!(select().recv(&receiver, |_| "value").after(SHORT, || "time").wait(), Ok("time"));
        assert!(start.elapsed() >= SHORT);
        assert_eq!(select().recv(&receiver, |_| "value").otherwise(|| "now").wait(), Ok("now"));
        sender.close();
        assert_eq!(select().recv(&receiver, |value| value).wait(), Ok(Err(RecvError::Closed)));
    });
}

#[test]
fn select_ends_with_the_tasks_deadline_and_cancel() {
    everywhere(|| {
        let (_sender, receiver) = channel::<i32>(1);
        let wait = || select().recv(&receiver, |_| ()).after(LONG, || ()).wait();
        assert_eq!(deadline(SHORT, wait), Err(WaitError::TimedOut));
        let receiver = receiver.clone();
        let waiting = spawn(move || select().recv(&receiver, |_| ()).wait());
        yield_now();
        waiting.cancel();
        assert_eq!(waiting.join().unwrap(), Err(WaitError::Cancelled));
    });
}

#[test]
fn a_select_that_took_another_value_passes_the_wake_up_on() {
    // On fibers only: who stands where in the lines is certain there.
    on_fibers(|| {
        for _ in 0..300 {
            let (one, from_one) = channel(1);
            let (two, from_two) = channel(1);
            let choosing = spawn({
                let (from_one, from_two) = (from_one.clone(), from_two.clone());
                move || select().recv(&from_one, |_| 1).recv(&from_two, |_| 2).wait().unwrap()
            });
            yield_now();
            // Behind the choice in both lines.
            let behind_one = spawn(move || from_one.recv_timeout(LONG));
            let behind_two = spawn(move || from_two.recv_timeout(LONG));
            yield_now();
            one.send(()).unwrap();
            two.send(()).unwrap();
            // One value went to the choice, the other must wake the one behind it.
            let (kept, other, behind) = match choosing.join().unwrap() {
                1 => (behind_one, one, behind_two),
                _ => (behind_two, two, behind_one),
            };
            assert_eq!(behind.join().unwrap(), Ok(()));
            other.send(()).unwrap();
            assert_eq!(kept.join().unwrap(), Ok(()));
        }
    });
}

#[test]
#[should_panic(expected = "room for one value")]
fn a_channel_without_room_is_refused() {
    channel::<()>(0);
}
