//! The rooms in a status: what the scoreboard counts, beside what their keeper says of its hub.
//!
//! The master knows of the keeper's word alone, so this works while every worker is stuck; a server without rooms has no such part.

use serde_json::{Map, Value, json};
use tenfold_scoreboard::{HistogramReading, MessageStage, RoomCounters, Scoreboard};

use super::text::{aligned, milliseconds, plain};

/// Adds the numbers of all processes, if there are rooms.
pub(super) fn add_to(status: &mut Map<String, Value>, board: &Scoreboard) {
    let sum = |number: fn(&RoomCounters) -> u64| board.sum(|slot| number(&slot.rooms));
    let numbers = [
        ("rooms", sum(|it| it.rooms.get())),
        ("members", sum(|it| it.members.get())),
        ("connections", sum(|it| it.connections.get())),
        ("bytes_held", sum(|it| it.bytes_held.get())),
        ("published", sum(|it| it.published.get())),
        ("delivered", sum(|it| it.delivered.get())),
        ("coalesced", sum(|it| it.coalesced.get())),
        ("resets", sum(|it| it.resets.get())),
        ("disconnected", sum(|it| it.disconnected.get())),
    ];
    // Without the master's word, a keeper that has done something is known by that.
    if !status.contains_key("rooms") && numbers.iter().all(|(_, number)| *number == 0) {
        return;
    }
    let rooms = status.entry("rooms").or_insert_with(|| json!({}));
    for (name, number) in numbers {
        rooms[name] = number.into();
    }
    let stages = MessageStage::ALL.map(|it| (it, stage(board, it).0)).into_iter();
    let row = |(stage, times): (MessageStage, HistogramReading)| {
        let quantile = |share: f64| times.quantile(share).map(|ns| ns as f64 / 1e6);
        json!({ "name": stage.name(), "count": times.count(), "p50_ms": quantile(0.5), "p99_ms": quantile(0.99) })
    };
    rooms["stages"] = stages.filter(|(_, times)| times.count() > 0).map(row).collect();
}

/// What all processes have counted of a stage, and the sum in nanoseconds.
pub(super) fn stage(board: &Scoreboard, stage: MessageStage) -> (HistogramReading, u64) {
    let (mut all, mut sum) = (HistogramReading::default(), 0);
    for slot in board.slots() {
        let (reading, ns) = slot.rooms.stage(stage);
        all.merge(&reading);
        sum += ns;
    }
    (all, sum)
}

/// The rooms as a table, and below it where the time of a message goes.
pub fn rooms(rooms: &Value) -> String {
    let columns = [
        ("hub", "hub"),
        ("state", "state"),
        ("lag_ms", "lag ms"),
        ("rooms", "rooms"),
        ("members", "members"),
        ("connections", "conns"),
        ("bytes_held", "held MiB"),
        ("published", "published"),
        ("delivered", "delivered"),
        ("coalesced", "coalesced"),
        ("resets", "resets"),
        ("disconnected", "let go"),
    ];
    let cell = |(name, _): (&str, &str)| match (name, rooms[name].as_f64()) {
        ("bytes_held", Some(bytes)) => format!("{:.1}", bytes / f64::from(1 << 20)),
        _ => plain(&rooms[name]),
    };
    let mut text =
        aligned(&[columns.map(|(_, title)| title.to_owned()).to_vec(), columns.map(cell).to_vec()], 2);
    let stages = rooms["stages"].as_array().map_or(&[][..], Vec::as_slice);
    if !stages.is_empty() {
        let mut rows =
            vec![["ms of a message", "times", "p50 below", "p99 below"].map(str::to_owned).to_vec()];
        let number = |value: &Value| value.as_f64().map_or("-".to_owned(), milliseconds);
        rows.extend(stages.iter().map(|it| {
            vec![plain(&it["name"]), plain(&it["count"]), number(&it["p50_ms"]), number(&it["p99_ms"])]
        }));
        text.push('\n');
        text += &aligned(&rows, 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_processes_are_one_row_and_a_server_without_rooms_has_none() {
        let board = Scoreboard::private(2);
        let mut status = Map::new();
        add_to(&mut status, &board);
        assert!(status.is_empty());
        let (keeper, worker) = (&board.slot(0).rooms, &board.slot(1).rooms);
        keeper.published.add(4);
        keeper.record(MessageStage::Place, 100_000);
        worker.members.add(7);
        worker.delivered.add(28);
        status.insert("rooms".into(), json!({ "hub": "redis", "state": "down", "lag_ms": 1_500 }));
        add_to(&mut status, &board);
        let text = rooms(&status["rooms"]);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["redis", "down", "1500", "0", "7", "0", "0.0", "4", "28", "0", "0", "0"]);
        assert!(text.contains("place"), "{text}");
        assert!(!text.contains("deliver "), "nothing was delivered: {text}");
    }
}
