//! A lane's door: counts who is inside and lines up who has to wait.
//!
//! The line is bounded by count, and by time in two ways: nobody waits who would wait too long, and while the lane is
//! overloaded nobody waits for more than a short time (`codel.rs`). How many are inside is fixed, or found (`gradient.rs`).
//!
//! How full it is stands on the scoreboard, kept up under the same lock: a few plain stores.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tenfold_runtime::park::{self, Unparked, Waiter};
use tenfold_scoreboard::{LaneCounters, now_ns};

use super::codel::{Codel, CodelConfig};
use super::gradient::{Gradient, GradientConfig};
use super::priority::Priority;

/// What a gate is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateConfig {
    pub(crate) at_once: usize,
    pub(crate) queue_max: usize,
    pub(crate) wait_max: Duration,
    pub(crate) codel: CodelConfig,
    /// Between which bounds `at_once` is found.
    pub(crate) adaptive: Option<GradientConfig>,
}

/// Admits a bounded number of requests at a time: by priority, and first come first served in each class. Used from all
/// threads of a worker.
#[derive(Debug)]
pub(crate) struct Gate {
    queue_max: usize,
    wait_max: Duration,
    adaptive: bool,
    /// What others see of it.
    shown: Option<&'static LaneCounters>,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    at_once: usize,
    running: usize,
    /// Of those, the ones of [`Priority::Background`].
    background: usize,
    /// Who waits, in the order of their turns.
    line: VecDeque<Waiting>,
    next_ticket: u64,
    /// Tickets whose turn it is and who have not noticed yet; they count as running.
    called: Vec<u64>,
    codel: Codel,
    gradient: Option<Gradient>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    since: Instant,
    /// The same by the scoreboard's clock.
    since_ns: u64,
    priority: Priority,
    waiter: Waiter,
}

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The line is full.
    QueueFull,
    /// It would wait for longer than the lane allows, now that it is overloaded or at all.
    Overloaded,
    /// It waited as long as the lane allows, or as its own deadline does.
    WaitedTooLong,
    /// It was cancelled: the client is gone or the worker stops.
    Cancelled,
}

/// A place inside; leaving it lets the next one in.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    gate: &'a Gate,
    priority: Priority,
    /// When it was entered, where that is looked at.
    since: Option<Instant>,
    /// Its request's soft deadline.
    deadline: Option<Instant>,
}

impl Gate {
    /// `shown` is where others see how full it is, if there is room for that.
    pub(crate) fn new(config: GateConfig, shown: Option<&'static LaneCounters>) -> Gate {
        let gradient = config.adaptive.map(Gradient::new);
        if let Some(shown) = shown {
            shown.queue_max.set(bound(config.queue_max));
            shown.at_once_max.set(bound(config.adaptive.map_or(config.at_once, |found| found.max)));
        }
        let gate = Gate {
            shown,
            queue_max: config.queue_max,
            wait_max: config.wait_max,
            adaptive: gradient.is_some(),
            inside: Mutex::new(Inside {
                at_once: gradient.as_ref().map_or(config.at_once, Gradient::limit),
                running: 0,
                background: 0,
                line: VecDeque::new(),
                next_ticket: 0,
                called: Vec::new(),
                codel: Codel::new(config.codel),
                gradient,
            }),
        };
        gate.show(&gate.lock());
        gate
    }

    /// Keeps up what others see.
    #[inline]
    fn show(&self, inside: &Inside) {
        if let Some(shown) = self.shown {
            shown.in_use.set(inside.running as u64);
            shown.at_once.set(bound(inside.at_once));
            shown.queued.set(inside.line.len() as u64);
            shown.oldest_ns.set(inside.oldest_ns());
        }
    }

    /// Somebody was refused here.
    pub(crate) fn count_refusal(&self) {
        if let Some(shown) = self.shown {
            shown.shed.add(1);
        }
    }

    /// Longest wait.
    pub(crate) fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// How long whoever is refused now should stay away: as long as the line takes, at least a second.
    pub(crate) fn retry_after(&self) -> Duration {
        let inside = self.lock();
        inside.codel.retry_after(inside.line.len()).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    /// Enters, waiting for a turn if need be; `before_waiting` runs once if so. `deadline` is only looked at on leaving.
    pub(crate) fn enter(
        &self,
        priority: Priority,
        deadline: Option<Instant>,
        before_waiting: impl FnOnce(),
    ) -> Result<Place<'_>, Refusal> {
        self.admit(priority, before_waiting)?;
        Ok(Place { gate: self, priority, since: self.adaptive.then(Instant::now), deadline })
    }

    fn admit(&self, priority: Priority, before_waiting: impl FnOnce()) -> Result<(), Refusal> {
        let (ticket, now) = {
            let mut inside = self.lock();
            if inside.has_room(priority) {
                inside.enter(priority);
                self.show(&inside);
                return Ok(());
            }
            if let Some(refusal) = self.refusal(&inside, priority) {
                return Err(refusal);
            }
            let ticket = inside.next_ticket;
            inside.next_ticket += 1;
            let now = Instant::now();
            let before = inside.ahead_of(priority);
            let waiting =
                Waiting { ticket, since: now, since_ns: now_ns(), priority, waiter: Waiter::current() };
            inside.line.insert(before, waiting);
            self.show(&inside);
            (ticket, now)
        };
        before_waiting();
        self.wait(ticket, now + self.wait_max)
    }

    /// Whether who enters now is refused.
    pub(crate) fn is_refusing(&self, priority: Priority) -> bool {
        let inside = self.lock();
        !inside.has_room(priority) && self.refusal(&inside, priority).is_some()
    }

    /// Why the next one may not even wait.
    fn refusal(&self, inside: &Inside, priority: Priority) -> Option<Refusal> {
        if inside.line.len() >= priority.line(self.queue_max) {
            return Some(Refusal::QueueFull);
        }
        let may_wait = match priority {
            Priority::Critical => true,
            Priority::Background if inside.codel.is_overloaded() => false,
            _ => inside.codel.may_wait(inside.ahead_of(priority), self.wait_max),
        };
        (!may_wait).then_some(Refusal::Overloaded)
    }

    fn wait(&self, ticket: u64, until: Instant) -> Result<(), Refusal> {
        loop {
            let ended = park::park(Some(until));
            let mut inside = self.lock();
            if let Some(position) = inside.called.iter().position(|called| *called == ticket) {
                inside.called.swap_remove(position);
                return Ok(());
            }
            let refusal = match ended {
                Unparked::Woken => continue,
                Unparked::TimedOut => Refusal::WaitedTooLong,
                Unparked::Cancelled => Refusal::Cancelled,
            };
            inside.line.retain(|waiting| waiting.ticket != ticket);
            self.show(&inside);
            return Err(refusal);
        }
    }

    fn leave(&self, priority: Priority, since: Option<Instant>, deadline: Option<Instant>) {
        let mut inside = self.lock();
        if let Some(since) = since {
            inside.learn(since, deadline);
        }
        inside.running -= 1;
        inside.background -= usize::from(priority == Priority::Background);
        if inside.line.is_empty() {
            inside.codel.ran_empty();
            return self.show(&inside);
        }
        let now = Instant::now();
        // One comes in for the one who leaves; more or none when the limit has moved.
        while let Some(Waiting { ticket, since, priority, waiter, .. }) = inside.next() {
            inside.enter(priority);
            inside.called.push(ticket);
            // Background waits for what the others leave, and that says nothing of an overload.
            if priority != Priority::Background {
                let waiting = inside.line.len();
                inside.codel.passed(since, now, waiting);
            }
            waiter.wake();
        }
        self.show(&inside);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Whether one who comes now need not wait.
    fn has_room(&self, priority: Priority) -> bool {
        self.has_place(priority) && self.ahead_of(priority) == 0
    }

    fn has_place(&self, priority: Priority) -> bool {
        self.running < self.at_once
            && (priority != Priority::Background || self.background < priority.places(self.at_once))
    }

    /// How many of those who wait have their turns before one who comes now.
    fn ahead_of(&self, priority: Priority) -> usize {
        self.line.partition_point(|waiting| waiting.priority <= priority)
    }

    /// When the one came who waits longest; zero if nobody waits. In each class that is the first one.
    fn oldest_ns(&self) -> u64 {
        if self.line.is_empty() {
            return 0;
        }
        let classes = [Priority::Critical, Priority::Normal].map(|priority| self.ahead_of(priority));
        let firsts = [0].into_iter().chain(classes).filter_map(|at| self.line.get(at));
        firsts.map(|waiting| waiting.since_ns).min().unwrap_or(0)
    }

    /// Whose turn it is. Who comes after one who may not have the place is of his class, or of a lower one.
    fn next(&mut self) -> Option<Waiting> {
        let priority = self.line.front()?.priority;
        if self.has_place(priority) { self.line.pop_front() } else { None }
    }

    fn enter(&mut self, priority: Priority) {
        self.running += 1;
        self.background += usize::from(priority == Priority::Background);
    }

    /// Somebody who came in at `since` leaves.
    fn learn(&mut self, since: Instant, deadline: Option<Instant>) {
        let running = self.running;
        if let Some(gradient) = &mut self.gradient {
            let now = Instant::now();
            let timed_out = deadline.is_some_and(|deadline| deadline <= now);
            gradient.sample(now - since, running, timed_out, now);
            self.at_once = gradient.limit();
        }
    }
}

/// As a gauge can show it, which `usize::MAX` is beyond.
fn bound(requests: usize) -> u64 {
    (requests as u64).min(i64::MAX as u64)
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.priority, self.since, self.deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(at_once: usize, queue_max: usize, wait_max: Duration) -> Gate {
        let codel = CodelConfig { target: Duration::from_millis(100), interval: Duration::from_secs(1) };
        Gate::new(GateConfig { at_once, queue_max, wait_max, codel, adaptive: None }, None)
    }

    #[test]
    fn the_line_is_bounded_and_first_come_first_served() {
        let gate = gate(1, 1, Duration::from_secs(5));
        let first = gate.enter(Priority::Normal, None, || {}).unwrap();
        std::thread::scope(|scope| {
            let (lined_up, is_lined_up) = std::sync::mpsc::channel();
            let gate = &gate;
            let second = scope
                .spawn(move || gate.enter(Priority::Normal, None, || lined_up.send(()).unwrap()).map(drop));
            is_lined_up.recv().unwrap();
            assert_eq!(gate.enter(Priority::Normal, None, || {}).map(drop), Err(Refusal::QueueFull));
            assert!(gate.is_refusing(Priority::Normal));
            drop(first);
            assert_eq!(second.join().unwrap(), Ok(()));
        });
        assert!(gate.enter(Priority::Normal, None, || panic!("nobody is inside")).is_ok());
    }

    #[test]
    fn a_wait_that_takes_too_long_leaves_the_line() {
        let gate = gate(1, 8, Duration::from_millis(5));
        let inside = gate.enter(Priority::Normal, None, || {}).unwrap();
        assert_eq!(gate.enter(Priority::Normal, None, || {}).map(drop), Err(Refusal::WaitedTooLong));
        drop(inside);
        assert!(
            gate.enter(Priority::Normal, None, || panic!("the one who gave up still holds its turn")).is_ok()
        );
    }

    #[test]
    fn who_is_inside_and_who_waits_longest_is_shown() {
        let shown: &LaneCounters = Box::leak(Box::default());
        let codel = CodelConfig { target: Duration::from_millis(100), interval: Duration::from_secs(1) };
        let (queue_max, wait_max) = (64, Duration::from_secs(60));
        let adaptive = Some(GradientConfig { min: 1, max: 8 });
        let gate = Gate::new(GateConfig { at_once: 64, queue_max, wait_max, codel, adaptive }, Some(shown));
        let counts = || [&shown.in_use, &shown.at_once, &shown.at_once_max, &shown.queued].map(|it| it.get());
        assert_eq!((counts(), shown.queue_max.get(), shown.oldest_ns.get()), ([0, 1, 8, 0], 64, 0));
        let before = now_ns();
        let first = gate.enter(Priority::Normal, None, || {}).unwrap();
        std::thread::scope(|scope| {
            let mut oldest = 0;
            // Who comes later with a higher class goes first, and has not waited longest.
            for (waiting, class) in
                [Priority::Background, Priority::Normal, Priority::Critical].iter().enumerate()
            {
                let (lined_up, is_lined_up) = std::sync::mpsc::channel();
                let gate = &gate;
                scope.spawn(move || drop(gate.enter(*class, None, || lined_up.send(()).unwrap()).unwrap()));
                is_lined_up.recv().unwrap();
                assert_eq!(counts(), [1, 1, 8, waiting as u64 + 1]);
                if waiting == 0 {
                    oldest = shown.oldest_ns.get();
                }
                assert!(oldest >= before && shown.oldest_ns.get() == oldest);
            }
            drop(first);
        });
        assert_eq!((counts()[0], counts()[3], shown.oldest_ns.get()), (0, 0, 0));
    }

    /// Has requests of these classes wait behind one that runs, and tells in which order they got its place.
    fn order(classes: &[Priority]) -> Vec<Priority> {
        let gate = gate(1, 64, Duration::from_secs(60));
        let got = Mutex::new(Vec::new());
        let first = gate.enter(Priority::Normal, None, || {}).unwrap();
        std::thread::scope(|scope| {
            for class in classes {
                let (lined_up, is_lined_up) = std::sync::mpsc::channel();
                let (gate, got) = (&gate, &got);
                scope.spawn(move || {
                    let place = gate.enter(*class, None, || lined_up.send(()).unwrap()).unwrap();
                    got.lock().unwrap().push(*class);
                    drop(place);
                });
                is_lined_up.recv().unwrap();
            }
            drop(first);
        });
        got.into_inner().unwrap()
    }

    #[test]
    fn turns_go_by_class_and_not_by_arrival() {
        use Priority::{Background, Critical, Normal};
        assert_eq!(
            order(&[Background, Normal, Critical, Normal, Background, Critical]),
            [Critical, Critical, Normal, Normal, Background, Background]
        );
    }

    #[test]
    fn background_leaves_a_quarter_of_the_places_and_three_quarters_of_the_line() {
        use Priority::{Background, Critical, Normal};
        let gate = gate(4, 3, Duration::from_millis(5));
        let background: Vec<_> = (0..3).map(|_| gate.enter(Background, None, || {}).unwrap()).collect();
        // A quarter of a line of three is nobody.
        assert_eq!(gate.enter(Background, None, || {}).map(drop), Err(Refusal::QueueFull));
        let normal = gate.enter(Normal, None, || panic!("there is a place")).unwrap();
        drop(background);
        drop(normal);
        assert_eq!(gate.lock().background, 0);
        let all: Vec<_> = (0..4).map(|_| gate.enter(Critical, None, || {}).unwrap()).collect();
        assert_eq!(gate.enter(Normal, None, || {}).map(drop), Err(Refusal::WaitedTooLong));
        drop(all);
    }
}
