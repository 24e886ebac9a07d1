//! What a person asks, and how he steps in.

use rusqlite::{Result, Row, params};
use serde_json::{Value, json};

use super::super::engine::Answer;
use super::Machine;
use crate::wire::Ask;
use crate::{history, shown};

const SHOWN: &str = "select seq, id, queue, name, payload, state, run_at, priority, key, attempt, crashes, created, ended, \
                     error, phase, history from job";

fn unknown(id: &str) -> Answer {
    Answer::Refused(format!("there is no job {id}"))
}

fn plain(value: Value) -> Answer {
    Answer::Value { value, cancelled: None }
}

impl Machine {
    pub(super) fn ask(&mut self, ask: &Ask, now: i64) -> Result<Answer> {
        match ask {
            Ask::Queues => self.queues(now).map(plain),
            Ask::List { queue, state, limit } => {
                let state = shown::state(state).unwrap_or(0);
                let sql = format!(
                    "{SHOWN} where state = ?1 and (?2 = '' or queue = ?2) order by seq desc limit ?3"
                );
                let limit = (*limit).min(1_000);
                let list = self.table.read_all(&sql, params![state, queue, limit], |row| self.show(row))?;
                Ok(plain(list.into()))
            }
            Ask::Job(id) => {
                let job = self.table.read(&format!("{SHOWN} where id = ?"), params![id], |row| {
                    let mut job = self.show(row)?;
                    job["history"] = history::shown(row.get::<_, Option<String>>(15)?.as_deref());
                    Ok(job)
                })?;
                Ok(job.map_or_else(|| unknown(id), plain))
            }
            Ask::Retry { id, queue } => self.revive(id, queue, now),
            Ask::Cancel(id) => self.cancel(id, now),
            Ask::Delete(id) => self.delete(id),
            Ask::Pause { queue, on } => self.switch(queue, "update queue set paused = ? where name = ?", *on),
            Ask::Drain { queue, on } => {
                self.switch(queue, "update queue set draining = ? where name = ?", *on)
            }
        }
    }

    /// A job for a person to look at.
    fn show(&self, row: &Row<'_>) -> Result<Value> {
        let mut job = shown::job(row)?;
        if let Some(phase) = row.get::<_, Option<String>>(14)? {
            job["phase"] = match phase.as_str() {
                "delayed" => "delayed",
                "leased" => "running",
                _ => "waiting",
            }
            .into();
            job["progress"] = self.progress.get(&row.get(0)?).copied().unwrap_or(0).into();
        }
        Ok(job)
    }

    fn queues(&self, now: i64) -> Result<Value> {
        let sql = "select name, spec, paused, draining, live, bytes, taken, done, retried, died, crashed, dropped, cancelled \
                   from queue order by name";
        let mut queues: Vec<Value> = self.table.read_all(sql, params![], |row| {
            let spec: Value = serde_json::from_str(&row.get::<_, String>(1)?).unwrap_or_default();
            let name: String = row.get(0)?;
            Ok(json!({
                "refused": self.refused.get(&name).copied().unwrap_or(0),
                "name": name,
                "capacity": spec["capacity"],
                "bytes_max": spec["bytes_max"],
                "paused": row.get::<_, bool>(2)?,
                "draining": row.get::<_, bool>(3)?,
                "live": row.get::<_, i64>(4)?,
                "bytes": row.get::<_, i64>(5)?,
                "taken": row.get::<_, i64>(6)?,
                "done": row.get::<_, i64>(7)?,
                "retried": row.get::<_, i64>(8)?,
                "died": row.get::<_, i64>(9)?,
                "crashed": row.get::<_, i64>(10)?,
                "dropped": row.get::<_, i64>(11)?,
                "cancelled": row.get::<_, i64>(12)?,
            }))
        })?;
        for queue in &mut queues {
            let name = queue["name"].as_str().unwrap_or_default().to_owned();
            for (field, phase) in
                [("ready", "ready"), ("delayed", "delayed"), ("blocked", "blocked"), ("running", "leased")]
            {
                let sql = "select count(*) from job where state = 0 and queue = ? and phase = ?";
                let count: Option<i64> = self.table.read(sql, params![name, phase], |row| row.get(0))?;
                queue[field] = count.into();
            }
            let sql = "select count(*) from job where state = 2 and queue = ?";
            queue["dead"] = self.table.read(sql, params![name], |row| row.get::<_, i64>(0))?.into();
            let sql = "select min(created) from job where phase = 'ready' and queue = ?";
            let oldest: Option<i64> = self.table.read(sql, params![name], |row| row.get(0))?.flatten();
            queue["oldest_ms"] = oldest.map_or(0, |created| (now - created).max(0)).into();
        }
        let workers = self
            .table
            .read("select coalesce(sum(workers), 0) from keeper", params![], |row| row.get::<_, i64>(0))?;
        Ok(json!({ "queues": queues, "workers": workers }))
    }

    fn find(&self, id: &str) -> Result<Option<i64>> {
        self.table.read("select seq from job where id = ?", params![id], |row| row.get(0))
    }

    /// Dead jobs live again.
    fn revive(&mut self, id: &str, queue: &str, now: i64) -> Result<Answer> {
        let dead: Vec<i64> = match id {
            "" => {
                let sql = "select seq from job where state = 2 and (?1 = '' or queue = ?1) order by seq limit 10000";
                self.table.read_all(sql, params![queue], |row| row.get(0))?
            }
            id => match self.find(id)?.map(|seq| self.load(seq)).transpose()?.flatten() {
                Some(job) if job.state == 2 => vec![job.seq],
                Some(_) => return Ok(Answer::Refused(format!("job {id} is not dead"))),
                None => return Ok(unknown(id)),
            },
        };
        for seq in &dead {
            let sql = "update job set state = 0, phase = 'delayed', run_at = ?, attempt = 0, crashes = 0, ended = null, \
                       batch = null where seq = ?";
            self.table.write(sql, params![now, seq])?;
            self.remember(*seq, history::AGAIN, now)?;
            let Some(job) = self.load(*seq)? else { continue };
            let sql = "update queue set live = live + 1, bytes = bytes + ? where name = ?";
            self.table.write(sql, params![job.bytes, job.queue])?;
            if let Some(word) = &job.word {
                let sql = "insert or replace into uniq (queue, word, id, until) values (?, ?, ?, ?)";
                self.table.write(sql, params![job.queue, word, job.id, i64::MAX])?;
            }
            self.arrive(&job)?;
        }
        Ok(plain(json!({ "retried": dead.len() })))
    }

    fn cancel(&mut self, id: &str, now: i64) -> Result<Answer> {
        let Some(job) = self.find(id)?.map(|seq| self.load(seq)).transpose()?.flatten() else {
            return Ok(unknown(id));
        };
        if job.state != 0 {
            return Ok(Answer::Refused(format!("job {id} has ended")));
        }
        self.table.write("update queue set cancelled = cancelled + 1 where name = ?", params![job.queue])?;
        self.finish(&job, 3, Some("cancelled"), now)?;
        Ok(Answer::Value { value: json!({ "cancelled": 1 }), cancelled: Some(job.seq) })
    }

    fn delete(&mut self, id: &str) -> Result<Answer> {
        match self.find(id)?.map(|seq| self.load(seq)).transpose()?.flatten() {
            Some(job) if job.state == 0 => Ok(Answer::Refused(format!("job {id} is live: cancel it first"))),
            Some(job) => {
                self.table.write("delete from job where seq = ?", params![job.seq])?;
                Ok(plain(json!({ "deleted": 1 })))
            }
            None => Ok(unknown(id)),
        }
    }

    fn switch(&mut self, queue: &str, sql: &'static str, on: bool) -> Result<Answer> {
        if self.table.write(sql, params![on, queue])? == 0 {
            return Ok(Answer::Refused(format!("there is no queue {queue:?}")));
        }
        let sql = "select paused, draining from queue where name = ?";
        let row = self
            .table
            .read(sql, params![queue], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?)))?;
        let (paused, draining) = row.unwrap_or_default();
        Ok(plain(json!({ "queue": queue, "paused": paused, "draining": draining })))
    }
}
