//! The lanes in a status: how full each is, in all workers together, beside its bounds.
//!
//! Only lanes that are bounded have doors, and only who passes a door is counted: a lane without a bound costs a request
//! nothing, and cannot be full.

use serde_json::{Map, Value, json};
use tenfold_scoreboard::{LaneCounters, Scoreboard};

use super::text::{age, aligned, plain};

/// Adds the doors of all lanes that some worker has now.
pub(super) fn add_to(status: &mut Map<String, Value>, board: &Scoreboard, now: u64) {
    let mut doors: Vec<Door> = Vec::new();
    // Slots that were never used are left alone: reading them would give them memory.
    for lane in board.slots().iter().filter(|slot| slot.starts() > 0).flat_map(|slot| slot.lanes()) {
        let (name, uploads) = (lane.name(), lane.is_for_uploads());
        let known = doors.iter().position(|door| door.name == name && door.uploads == uploads);
        let at = known.unwrap_or_else(|| {
            doors.push(Door { name, uploads, ..Door::default() });
            doors.len() - 1
        });
        doors[at].add(lane);
    }
    status.insert(
        "lanes".into(),
        doors.iter().filter(|it| it.at_once_max > 0).map(|it| it.json(now)).collect(),
    );
}

/// One door of a lane, in all workers.
#[derive(Default)]
struct Door {
    name: String,
    uploads: bool,
    in_use: u64,
    at_once: u64,
    at_once_max: u64,
    queued: u64,
    queue_max: u64,
    /// When the one came that waits longest.
    oldest_ns: Option<u64>,
    shed: u64,
}

impl Door {
    /// Workers that are gone count with what they have refused: a counter never goes back.
    fn add(&mut self, lane: &LaneCounters) {
        for (sum, gauge) in [
            (&mut self.in_use, &lane.in_use),
            (&mut self.at_once, &lane.at_once),
            (&mut self.at_once_max, &lane.at_once_max),
            (&mut self.queued, &lane.queued),
            (&mut self.queue_max, &lane.queue_max),
        ] {
            *sum = sum.saturating_add(gauge.get());
        }
        let oldest = Some(lane.oldest_ns.get()).filter(|since| *since > 0);
        self.oldest_ns = self.oldest_ns.into_iter().chain(oldest).min();
        self.shed += lane.shed.get();
    }

    fn json(&self, now: u64) -> Value {
        json!({
            "lane": self.name, "door": if self.uploads { "uploads" } else { "places" },
            "in_use": self.in_use, "at_once": self.at_once, "at_once_max": self.at_once_max,
            "queued": self.queued, "queue_max": self.queue_max,
            "oldest_ms": self.oldest_ns.map_or(0, |since| now.saturating_sub(since) / 1_000_000),
            "shed": self.shed,
        })
    }
}

/// The lanes as a table, from what a status says of them.
pub fn lanes(lanes: &Value) -> String {
    let columns = [
        ("lane", "lane"),
        ("door", "door"),
        ("in_use", "in use"),
        ("at_once", "at once"),
        ("at_once_max", "most"),
        ("queued", "queued"),
        ("queue_max", "of"),
        ("oldest_ms", "oldest"),
        ("shed", "shed"),
    ];
    let mut rows = vec![columns.map(|(_, title)| title.to_owned()).to_vec()];
    for lane in lanes.as_array().into_iter().flatten() {
        let cell = |(name, _): (&str, &str)| match name {
            "oldest_ms" => age(lane[name].as_u64().unwrap_or(0)),
            _ => plain(&lane[name]),
        };
        rows.push(columns.map(cell).to_vec());
    }
    aligned(&rows, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up_and_those_that_are_gone_count_with_what_they_refused() {
        let board = Scoreboard::private(3);
        let mut status = Map::new();
        for (slot, oldest) in [(0, 0), (1, 2_000_000), (2, 9_000_000)] {
            board.slot(slot).occupy(slot as u32 + 1, 1);
            let lane = board.slot(slot).lane("reports", false).unwrap();
            lane.at_once_max.set(4);
            lane.at_once.set(3);
            lane.queue_max.set(64);
            lane.queued.add(u64::from(oldest > 0));
            lane.oldest_ns.set(oldest);
            lane.shed.add(5);
        }
        board.slot(1).lane("old", false).unwrap().shed.add(1);
        board.slot(2).vacate();
        add_to(&mut status, &board, 5_000_000);
        let expected = json!([{
            "lane": "reports", "door": "places", "in_use": 0, "at_once": 6, "at_once_max": 8, "queued": 1,
            "queue_max": 128, "oldest_ms": 3, "shed": 15,
        }]);
        assert_eq!(status["lanes"], expected, "a lane that no worker has is left out");
        let text = lanes(&status["lanes"]);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["reports", "places", "0", "6", "8", "1", "128", "0.003", "s", "15"]);
    }
}
