//! What of the tables of lanes, queues of jobs and rooms a terminal has room for.

use serde_json::Value;
use tenfold_server::sight;

use super::screen::list;

/// Most doors of lanes.
const LANES_MAX: usize = 8;
/// Most queues of jobs; the rest is told as a number.
const QUEUES_MAX: usize = 8;

/// The doors of the lanes as `tenfold status` shows them, and their headings.
fn lane_lines(status: &Value) -> Vec<String> {
    match list(status, "lanes").is_empty() {
        true => Vec::new(),
        false => sight::lanes(&status["lanes"]).lines().take(LANES_MAX + 1).map(str::to_owned).collect(),
    }
}

/// Whether nobody has a place, waits for one or was refused.
fn are_idle(lanes: &[Value]) -> bool {
    lanes
        .iter()
        .all(|lane| ["in_use", "queued", "shed"].iter().all(|name| lane[name].as_u64().unwrap_or(0) == 0))
}

/// The queues as `tenfold jobs` shows them, and their headings.
fn queue_lines(status: &Value) -> Vec<String> {
    match list(&status["jobs"], "queues").is_empty() {
        true => Vec::new(),
        false => sight::queues(&status["jobs"]).lines().take(QUEUES_MAX + 1).map(str::to_owned).collect(),
    }
}

fn room_lines(status: &Value) -> Vec<String> {
    match status["rooms"].is_object() {
        true => sight::rooms(&status["rooms"]).lines().map(str::to_owned).collect(),
        false => Vec::new(),
    }
}

/// The lines of the tables of lanes, queues and rooms for a terminal that has so many rows for them. Where it has too few,
/// lanes that are idle go first and rooms that nobody is in second, then the other rooms and lanes, then queues from the last.
pub(super) fn fitting(status: &Value, rows: u16) -> [Vec<String>; 3] {
    let (mut lanes, mut queues, mut rooms) = (lane_lines(status), queue_lines(status), room_lines(status));
    if height(&lanes) + height(&queues) + height(&rooms) > rows && are_idle(list(status, "lanes")) {
        lanes.clear();
    }
    if height(&lanes) + height(&queues) + height(&rooms) > rows
        && (status["rooms"]["members"].as_u64() == Some(0) || height(&lanes) + height(&rooms) > rows)
    {
        rooms.clear();
    }
    if height(&lanes) > rows {
        lanes.clear();
    }
    // A table of headings alone says nothing.
    let left = usize::from(rows.saturating_sub(height(&lanes) + height(&rooms) + 2));
    queues.truncate(if left >= 2 { left } else { 0 });
    [lanes, queues, rooms]
}

/// What a block with these lines takes; nothing without any.
pub(super) fn height(lines: &[String]) -> u16 {
    if lines.is_empty() { 0 } else { lines.len() as u16 + 2 }
}
