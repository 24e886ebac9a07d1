//! `Desks`: the connections of this machine that run jobs of an engine, and what each of them has.

use std::collections::{BTreeMap, HashMap};

use crate::wire::{Lease, Want};

/// Jobs that one connection may hold of one queue.
const WANT_MAX: u32 = 10_000;

#[derive(Debug, Default)]
pub(super) struct Desks {
    all: HashMap<u64, Desk>,
    /// Who has a job.
    holders: HashMap<i64, u64>,
}

#[derive(Debug, Default)]
struct Desk {
    wants: BTreeMap<String, u32>,
    /// Jobs and their queues. The queue of a job that was given out by an earlier keeper is not known: `""`. Until it ends, its
    /// connection gets one more than it has asked for.
    held: BTreeMap<i64, String>,
}

impl Desk {
    fn room(&self, queue: &str) -> u32 {
        let most = self.wants.get(queue).copied().unwrap_or(0);
        let has = self.held.values().filter(|held| *held == queue).count();
        most.saturating_sub(u32::try_from(has).unwrap_or(u32::MAX))
    }
}

impl Desks {
    /// What a connection takes at a time; a word of 0 ends it.
    pub(super) fn want(&mut self, desk: u64, wants: Vec<Want>) {
        let desk = self.all.entry(desk).or_default();
        for want in wants {
            desk.wants.insert(want.queue, want.at_once.min(WANT_MAX));
        }
    }

    /// A connection runs these already.
    pub(super) fn hold(&mut self, desk: u64, held: &[i64]) {
        for seq in held {
            self.put(desk, *seq, String::new());
        }
    }

    fn put(&mut self, desk: u64, seq: i64, queue: String) {
        self.holders.insert(seq, desk);
        self.all.entry(desk).or_default().held.insert(seq, queue);
    }

    /// Room of all connections together, for queues that have some.
    pub(super) fn room(&self) -> Vec<Want> {
        let mut room: BTreeMap<&str, u32> = BTreeMap::new();
        for desk in self.all.values() {
            for queue in desk.wants.keys() {
                *room.entry(queue).or_default() += desk.room(queue);
            }
        }
        let room = room.into_iter().filter(|(_, at_once)| *at_once > 0);
        room.map(|(queue, at_once)| Want { queue: queue.into(), at_once }).collect()
    }

    /// Gives a job to the connection with the most room for it; `None` when it has gone meanwhile.
    pub(super) fn give(&mut self, lease: &Lease) -> Option<u64> {
        let rooms = self.all.iter().map(|(id, desk)| (desk.room(&lease.queue), *id));
        let (_, desk) = rooms.filter(|(room, _)| *room > 0).max()?;
        self.put(desk, lease.seq, lease.queue.clone());
        Some(desk)
    }

    pub(super) fn holder(&self, seq: i64) -> Option<u64> {
        self.holders.get(&seq).copied()
    }

    /// A job is no longer here; who had it.
    pub(super) fn remove(&mut self, seq: i64) -> Option<u64> {
        let desk = self.holders.remove(&seq)?;
        if let Some(desk) = self.all.get_mut(&desk) {
            desk.held.remove(&seq);
        }
        Some(desk)
    }

    /// A connection has ended; what it had.
    pub(super) fn close(&mut self, desk: u64) -> Vec<i64> {
        let held: Vec<i64> =
            self.all.remove(&desk).map(|desk| desk.held.into_keys().collect()).unwrap_or_default();
        self.holders.retain(|_, holder| *holder != desk);
        held
    }

    /// All jobs that run here.
    pub(super) fn held(&self) -> Vec<i64> {
        self.holders.keys().copied().collect()
    }

    /// Whether a connection runs jobs, or would.
    pub(super) fn has_workers(&self) -> bool {
        self.all.values().any(|desk| !desk.held.is_empty() || desk.wants.values().any(|most| *most > 0))
    }

    /// Connections that run jobs.
    pub(super) fn workers(&self) -> u32 {
        self.all.values().filter(|desk| !desk.wants.is_empty()).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(seq: i64) -> Lease {
        Lease { seq, queue: "q".into(), ..Lease::default() }
    }

    #[test]
    fn jobs_go_to_whoever_has_the_most_room_and_not_beyond_it() {
        let mut desks = Desks::default();
        for (desk, at_once) in [(1, 1), (2, 2)] {
            desks.want(desk, vec![Want { queue: "q".into(), at_once }]);
        }
        assert_eq!(desks.room()[0].at_once, 3);
        assert_eq!(desks.give(&lease(10)), Some(2));
        assert!(desks.give(&lease(11)).is_some() && desks.give(&lease(12)).is_some());
        assert_eq!(desks.give(&lease(13)), None);
        assert_eq!((desks.remove(10), desks.holder(10)), (Some(2), None));
        assert_eq!(desks.give(&lease(13)), Some(2));
        assert_eq!(desks.close(2).len(), 2);
        assert_eq!((desks.held().len(), desks.workers()), (1, 1));
    }
}
