//! A job as people see it: the words that every store has for the same things.

use rusqlite::{Result, Row};
use serde_json::{Value, json};

/// A job's states, by their numbers in the stores.
pub(crate) const STATES: [&str; 4] = ["live", "done", "dead", "cancelled"];

/// The number of a state.
pub(crate) fn state(word: &str) -> Option<i64> {
    STATES.iter().position(|known| *known == word).map(|number| number as i64)
}

/// What is said about a word that is no state.
pub(crate) fn no_state(word: &str) -> String {
    format!("unknown state {word:?}: expected live, done, dead or cancelled")
}

/// A row of these columns: `seq, id, queue, name, payload, state, run_at, priority, key, attempt, crashes`, when it was taken in, when
/// it has ended, `error`.
pub(crate) fn job(row: &Row<'_>) -> Result<Value> {
    let state = usize::from(row.get::<_, u8>(5)?).min(STATES.len() - 1);
    Ok(json!({
        "seq": row.get::<_, i64>(0)?,
        "id": row.get::<_, String>(1)?,
        "queue": row.get::<_, String>(2)?,
        "name": row.get::<_, String>(3)?,
        "payload": row.get::<_, String>(4)?,
        "state": STATES[state],
        "run_at_ms": row.get::<_, i64>(6)?,
        "priority": row.get::<_, i64>(7)?,
        "key": row.get::<_, Option<String>>(8)?,
        "attempt": row.get::<_, i64>(9)?,
        "crashes": row.get::<_, i64>(10)?,
        "created_at_ms": row.get::<_, i64>(11)?,
        "ended_at_ms": row.get::<_, Option<i64>>(12)?,
        "error": row.get::<_, Option<String>>(13)?,
    }))
}
