//! `Machine`: a replica, and the decisions on it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Result, params};

use super::gone;
use super::table::Table;
use crate::store::engine::{Answer, Call, EngineError};

/// A replica, and the decisions on it.
pub(super) struct Machine {
    pub(super) table: Table,
    pub(super) keeper: String,
    pub(super) session: String,
    pub(super) lease: Duration,
    /// How far jobs of this machine are; nobody else is told.
    pub(super) progress: HashMap<i64, u8>,
    /// What this machine has refused.
    pub(super) refused: BTreeMap<String, u64>,
    /// Beats of other keepers, and when they were seen first.
    pub(super) seen: HashMap<String, (i64, Instant)>,
    pub(super) beat_at: Option<Instant>,
    pub(super) tidied_at: Option<Instant>,
}

impl Machine {
    pub(super) fn decide(&mut self, calls: &[Call]) -> std::result::Result<Vec<Answer>, EngineError> {
        let now = now_ms();
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            if !matches!(call, Call::Open { .. })
                && !self.is_current().map_err(|e| gone("the replica", &e))?
            {
                return Err(EngineError::Gone("this machine was taken for dead".into()));
            }
            answers.push(self.call(call, now).map_err(|error| gone("the replica", &error))?);
        }
        Ok(answers)
    }

    fn is_current(&self) -> Result<bool> {
        let sql = "select 1 from keeper where name = ? and session = ?";
        Ok(self.table.read(sql, params![self.keeper, self.session], |_| Ok(()))?.is_some())
    }

    fn call(&mut self, call: &Call, now: i64) -> Result<Answer> {
        match call {
            Call::Open { held } => self.open(held),
            Call::Define(specs) => {
                for spec in specs {
                    self.define(spec)?;
                }
                Ok(Answer::Done)
            }
            Call::Enqueue(enqueue) => self.enqueue(enqueue, 0, now),
            Call::Forward(rows) => self.forward(rows, now),
            Call::Take(wants) => self.take_all(wants, now),
            Call::Settle(ends) => {
                for end in ends {
                    self.progress.remove(&end.seq);
                }
                self.settle(ends, now)
            }
            Call::Crashed(seqs) => self.unlease(seqs, true, now),
            Call::Returned(seqs) => self.unlease(seqs, false, now),
            Call::Progress { seq, percent } => {
                self.progress.insert(*seq, *percent);
                Ok(Answer::Done)
            }
            Call::Fired(names) => {
                let last = |name: &String| {
                    self.table
                        .read("select last from schedule where name = ?", params![name], |row| row.get(0))
                };
                Ok(Answer::Fired(names.iter().map(last).collect::<Result<_>>()?))
            }
            Call::Fire(firing) => self.fire(firing, now),
            Call::Beat { held, workers } => self.beat(held, *workers, now),
            Call::Ask(ask) => self.ask(ask, now),
            Call::Close => self.close(),
        }
    }
}

/// Milliseconds since 1970. Machines that share jobs have clocks that agree, as far as delays are to be exact.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
