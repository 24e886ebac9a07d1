//! What has become of a job's runs, for people: the latest failures, deaths of workers, and steps of a person, with their times.
//!
//! It is a list in JSON beside the job, in every store. A job that ends well at once has none, and costs nothing more. When it was
//! taken in and when it has ended are the job's own.

use serde_json::Value;

/// Adds an entry: ?1 when, ?2 what, ?3 the job. The latest 20 are kept, of each 300 characters.
pub(crate) const REMEMBER: &str = "update job set history = json_insert( \
     case when json_array_length(history) >= 20 then json_remove(history, '$[0]') else coalesce(history, '[]') end, \
     '$[#]', json_object('at_ms', ?1, 'what', substr(?2, 1, 300))) where seq = ?3";

/// For a database of a version that had none, in this schema of a connection.
pub(crate) fn add_column(connection: &rusqlite::Connection, schema: &str) -> rusqlite::Result<()> {
    let sql = "select count(*) from pragma_table_info('job', ?) where name = 'history'";
    let there: i64 = connection.query_row(sql, [schema], |row| row.get(0))?;
    match there {
        0 => connection.execute_batch(&format!("alter table {schema}.job add column history text")),
        _ => Ok(()),
    }
}

/// A list as it is stored, for an answer.
pub(crate) fn shown(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| Value::Array(Vec::new()))
}

pub(crate) const WORKER_DIED: &str = "its worker died";
pub(crate) const AGAIN: &str = "was dead, and runs again: somebody asked for it";

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};

    use super::*;

    #[test]
    fn the_latest_entries_are_kept_and_an_older_table_gets_the_column() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create table job (seq integer primary key); insert into job values (7)")
            .unwrap();
        add_column(&connection, "main").unwrap();
        add_column(&connection, "main").unwrap();
        let read = || {
            let text: Option<String> =
                connection.query_row("select history from job", [], |row| row.get(0)).unwrap();
            shown(text.as_deref())
        };
        assert_eq!(read(), serde_json::json!([]));
        for at in 0..25_u8 {
            connection.execute(REMEMBER, params![at, "ä\"".repeat(at.into()), 7]).unwrap();
        }
        let all = read();
        let times: Vec<_> =
            all.as_array().unwrap().iter().map(|one| one["at_ms"].as_i64().unwrap()).collect();
        assert_eq!(times, (5..25).collect::<Vec<_>>());
        assert_eq!(all[0]["what"], "ä\"".repeat(5));
        connection.execute(REMEMBER, params![25, "ä".repeat(1_000), 7]).unwrap();
        assert_eq!(read()[19]["what"].as_str().unwrap().chars().count(), 300);
    }
}
