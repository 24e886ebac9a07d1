//! Replies of the script, as answers.

use serde_json::{Value as Json, json};
use tenfold_client::redis::{FromValue, Value};

use super::super::engine::{Answer, Call, EngineError};
use crate::history;
use crate::shown::STATES;
use crate::wire::{Ask, Lease, Receipt};

type Result<T> = std::result::Result<T, EngineError>;

/// What a reply says that belongs to this call.
pub(super) fn answer(call: &Call, reply: Value) -> Result<Answer> {
    if let Value::Error(text) = reply {
        // A mistake in the script: whoever asked is told, and the connection goes on.
        tracing::error!(target: "jobs", error = text, "the engine's script has failed");
        return Ok(Answer::Refused(text));
    }
    match call {
        Call::Enqueue(_) | Call::Fire(_) => kept(reply),
        Call::Forward(_) => {
            let taken: Vec<bool> = Vec::from_value(reply).map_err(strange)?;
            Ok(Answer::Forwarded(taken))
        }
        Call::Take(_) => taken(reply),
        Call::Open { .. } | Call::Beat { .. } => lost(reply).map(Answer::Lost),
        Call::Fired(_) => Vec::from_value(reply).map(Answer::Fired).map_err(strange),
        Call::Ask(ask) => asked(ask, reply),
        _ => Ok(Answer::Done),
    }
}

fn lost(reply: Value) -> Result<Vec<i64>> {
    Vec::from_value(reply).map_err(strange)
}

fn strange(error: tenfold_client::Error) -> EngineError {
    EngineError::Gone(format!("the script answers something else: {error}"))
}

fn list(value: Value) -> Result<std::vec::IntoIter<Value>> {
    Vec::<Value>::from_value(value).map(Vec::into_iter).map_err(strange)
}

fn next<T: FromValue>(items: &mut impl Iterator<Item = Value>) -> Result<T> {
    T::from_value(items.next().unwrap_or(Value::Nil)).map_err(strange)
}

fn kept(reply: Value) -> Result<Answer> {
    let mut items = list(reply)?;
    match next::<String>(&mut items)?.as_str() {
        "full" => Ok(Answer::Full(next(&mut items)?)),
        "kept" => {
            let mut receipts = Vec::with_capacity(items.len() / 2);
            while items.len() > 0 {
                receipts.push(Receipt { id: next(&mut items)?, known: next(&mut items)? });
            }
            Ok(Answer::Kept(receipts))
        }
        _ => Ok(Answer::Done),
    }
}

fn taken(reply: Value) -> Result<Answer> {
    let mut items = list(reply)?;
    let wait_ms = next(&mut items)?;
    let leases = list(items.next().unwrap_or(Value::Nil))?.map(|lease| {
        let mut items = list(lease)?;
        Ok(Lease {
            seq: next(&mut items)?,
            id: next(&mut items)?,
            queue: next(&mut items)?,
            name: next(&mut items)?,
            payload: next(&mut items)?,
            attempt: next(&mut items)?,
            created_ms: next(&mut items)?,
        })
    });
    Ok(Answer::Taken { leases: leases.collect::<Result<_>>()?, wait_ms })
}

fn asked(ask: &Ask, reply: Value) -> Result<Answer> {
    let plain = |value| Ok(Answer::Value { value, cancelled: None });
    match ask {
        Ask::Queues => return plain(queues(reply)?),
        Ask::List { .. } => return plain(list(reply)?.map(job).collect::<Result<Vec<Json>>>()?.into()),
        _ => {}
    }
    let mut items = list(reply)?;
    let word: String = next(&mut items)?;
    match (word.as_str(), ask) {
        ("refused", _) => Ok(Answer::Refused(next(&mut items)?)),
        ("job", _) => {
            let mut job = job(items.next().unwrap_or(Value::Nil))?;
            job["history"] = history::shown(next::<Option<String>>(&mut items)?.as_deref());
            plain(job)
        }
        ("switches", Ask::Pause { queue, .. } | Ask::Drain { queue, .. }) => {
            let (paused, draining): (bool, bool) = (next(&mut items)?, next(&mut items)?);
            plain(json!({ "queue": queue, "paused": paused, "draining": draining }))
        }
        ("cancelled", _) => {
            Ok(Answer::Value { value: json!({ "cancelled": 1 }), cancelled: Some(next(&mut items)?) })
        }
        (word, _) => plain(json!({ word: next::<i64>(&mut items)? })),
    }
}

/// A job for a person to look at, with the names that the embedded store gives to everything.
fn job(reply: Value) -> Result<Json> {
    let mut items = list(reply)?;
    let text = |items: &mut std::vec::IntoIter<Value>| next::<Option<String>>(items);
    let mut fields = Vec::new();
    for _ in 0..15 {
        fields.push(text(&mut items)?);
    }
    let seq: i64 = next(&mut items)?;
    let number = |index: usize| {
        fields[index].as_ref().and_then(|text: &String| text.parse::<f64>().ok()).map(|n| n as i64)
    };
    let state = number(4).and_then(|state| STATES.get(usize::try_from(state).ok()?)).copied().unwrap_or("?");
    let mut job = json!({
        "seq": seq,
        "id": fields[0],
        "queue": fields[1],
        "name": fields[2],
        "payload": fields[3],
        "state": state,
        "run_at_ms": number(5),
        "priority": number(6),
        "key": fields[7],
        "attempt": number(8),
        "crashes": number(9),
        "created_at_ms": number(10),
        "ended_at_ms": number(11),
        "error": fields[12],
    });
    if let Some(phase) = &fields[13] {
        job["phase"] = match phase.as_str() {
            "delayed" => "delayed",
            "leased" => "running",
            _ => "waiting",
        }
        .into();
        job["progress"] = number(14).unwrap_or(0).into();
    }
    Ok(job)
}

fn queues(reply: Value) -> Result<Json> {
    let mut items = list(reply)?;
    let workers: i64 = next(&mut items)?;
    let mut queues = items.map(queue).collect::<Result<Vec<Json>>>()?;
    queues.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Ok(json!({ "queues": queues, "workers": workers }))
}

fn queue(reply: Value) -> Result<Json> {
    let mut items = list(reply)?;
    let (name, oldest_ms, dead): (String, i64, i64) =
        (next(&mut items)?, next(&mut items)?, next(&mut items)?);
    let fields: std::collections::HashMap<String, String> = next(&mut items)?;
    let number = |name: &str| {
        fields.get(name).and_then(|text| text.parse::<f64>().ok()).map_or(0, |number| number as i64)
    };
    let mut queue =
        json!({ "name": name, "oldest_ms": oldest_ms, "dead": dead, "running": number("leased") });
    for name in [
        "live",
        "ready",
        "delayed",
        "blocked",
        "bytes",
        "capacity",
        "bytes_max",
        "taken",
        "done",
        "retried",
        "died",
        "crashed",
        "refused",
        "dropped",
        "cancelled",
    ] {
        queue[name] = number(name).into();
    }
    for name in ["paused", "draining"] {
        queue[name] = (number(name) == 1).into();
    }
    Ok(queue)
}
