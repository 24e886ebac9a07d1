//! `State`: what a pool's lock protects. It waits for nothing, makes no system call and closes nothing: what has to be
//! closed or woken is returned.

use std::collections::VecDeque;
use std::panic::Location;
use std::time::{Duration, Instant};

use slab::Slab;
use tenfold_runtime::park::Waiter;

use super::error::Holders;
use super::options::PoolOptions;
use super::stats::PoolStats;

/// How often connections whose time is over, and holders who hold for too long, are looked for.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(1);

pub(super) struct State<C> {
    /// Connections in use, idle, or being made.
    pub(super) open: usize,
    /// Newest last.
    pub(super) idle: VecDeque<Kept<C>>,
    /// First come, first served; tickets grow.
    pub(super) line: VecDeque<(u64, Waiter)>,
    /// Whose turn has come and who has not noticed yet: their place is counted in `open`.
    called: Vec<(u64, Option<Kept<C>>)>,
    next_ticket: u64,
    held: Slab<Held>,
    swept_at: Instant,
    /// Somebody opens idle connections in the background.
    pub(super) warming: bool,
    pub(super) counts: PoolStats,
}

/// A connection and what the pool knows about it.
pub(super) struct Kept<C> {
    pub(super) connection: C,
    expires: Option<Instant>,
    idle_since: Instant,
}

/// A place in use.
struct Held {
    place: &'static Location<'static>,
    since: Instant,
    warned: bool,
}

/// How a request for a place was answered.
pub(super) enum Answer<C> {
    Place(Option<Kept<C>>),
    Wait(u64),
    Full,
}

/// What a sweep found.
pub(super) struct Swept<C> {
    pub(super) stale: Vec<Kept<C>>,
    /// Where connections were borrowed that are held for too long.
    pub(super) leaks: Vec<(&'static Location<'static>, Duration)>,
}

impl<C> Kept<C> {
    pub(super) fn new(connection: C, expires: Option<Instant>) -> Kept<C> {
        Kept { connection, expires, idle_since: Instant::now() }
    }

    /// Whether it ever does.
    pub(super) fn expires(&self) -> bool {
        self.expires.is_some()
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    pub(super) fn idled(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }
}

impl<C> State<C> {
    pub(super) fn new() -> State<C> {
        State {
            open: 0,
            idle: VecDeque::new(),
            line: VecDeque::new(),
            called: Vec::new(),
            next_ticket: 0,
            held: Slab::new(),
            swept_at: Instant::now(),
            warming: false,
            counts: PoolStats::default(),
        }
    }

    /// Hands out an idle connection or a place for a new one, or puts the caller in line.
    pub(super) fn ask(&mut self, options: &PoolOptions, connections_max: usize) -> Answer<C> {
        if let Some(kept) = self.idle.pop_back() {
            options.idle_bound.iter().for_each(|bound| bound.give());
            return Answer::Place(Some(kept));
        }
        if self.open < connections_max {
            self.open += 1;
            return Answer::Place(None);
        }
        if self.line.len() >= options.waiters_max {
            self.counts.refused += 1;
            return Answer::Full;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.line.push_back((ticket, Waiter::current()));
        Answer::Wait(ticket)
    }

    /// The place of somebody whose turn has come.
    pub(super) fn turn(&mut self, ticket: u64) -> Option<Option<Kept<C>>> {
        let index = self.called.iter().position(|(called, _)| *called == ticket)?;
        Some(self.called.swap_remove(index).1)
    }

    pub(super) fn leave_line(&mut self, ticket: u64) {
        if let Ok(index) = self.line.binary_search_by_key(&ticket, |(waiting, _)| *waiting) {
            self.line.remove(index);
        }
    }

    /// Notes who has a place from now on.
    pub(super) fn hold(&mut self, place: &'static Location<'static>, since: Instant) -> usize {
        self.counts.borrowed += 1;
        self.held.insert(Held { place, since, warned: false })
    }

    pub(super) fn let_go(&mut self, held: usize) {
        self.held.remove(held);
    }

    /// Passes a place on, with its connection if that is still good. Returns whom to wake and what to close.
    pub(super) fn release(
        &mut self,
        options: &PoolOptions,
        kept: Option<Kept<C>>,
    ) -> (Option<Waiter>, Option<Kept<C>>) {
        if let Some((ticket, waiter)) = self.line.pop_front() {
            let kept = kept.map(|kept| Kept { idle_since: Instant::now(), ..kept });
            self.called.push((ticket, kept));
            return (Some(waiter), None);
        }
        let may_idle = |idle: usize| {
            idle < options.idle_max && options.idle_bound.as_ref().is_none_or(|bound| bound.take())
        };
        match kept {
            Some(kept) if may_idle(self.idle.len()) => {
                self.idle.push_back(Kept { idle_since: Instant::now(), ..kept });
                (None, None)
            }
            other => {
                self.open -= 1;
                (None, other)
            }
        }
    }

    /// Takes out connections whose time is over, and names who holds for too long. At most once a second, else `None`.
    pub(super) fn sweep(&mut self, options: &PoolOptions, now: Instant) -> Option<Swept<C>> {
        if now.saturating_duration_since(self.swept_at) < SWEEP_EVERY {
            return None;
        }
        self.swept_at = now;
        let mut stale: Vec<Kept<C>> = Vec::new();
        let mut kept = VecDeque::with_capacity(self.idle.len());
        // Oldest first: the connections that stay for `idle_min` are the newest.
        while let Some(entry) = self.idle.pop_front() {
            let spare = self.idle.len() + kept.len() >= options.idle_min;
            let over = spare && entry.idled(now) >= options.idle_timeout;
            if over || entry.is_expired(now) { stale.push(entry) } else { kept.push_back(entry) }
        }
        self.idle = kept;
        self.open -= stale.len();
        self.counts.expired += stale.len() as u64;
        options.idle_bound.iter().for_each(|bound| stale.iter().for_each(|_| bound.give()));
        let mut leaks = Vec::new();
        for (_, held) in &mut self.held {
            let since = now.saturating_duration_since(held.since);
            if since >= options.leak_after && !held.warned {
                held.warned = true;
                leaks.push((held.place, since));
            }
        }
        self.counts.leak_warnings += leaks.len() as u64;
        Some(Swept { stale, leaks })
    }

    pub(super) fn holders(&self, now: Instant) -> Holders {
        Holders::of(self.held.iter().map(|(_, held)| (held.place, now.saturating_duration_since(held.since))))
    }
}
