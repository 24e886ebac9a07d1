//! Effects that happen once: a mark for each job, in the same transaction of the user's database as the effects.

use crate::handler::JobError;

/// Makes the table of marks, if it is not there. For SQLite, PostgreSQL and MySQL. Rows may be deleted once no job of their
/// time is left.
pub const SQL: &str = "create table if not exists tenfold_once (id varchar(256) primary key, \
                       marked_at timestamp default current_timestamp)";

/// A transaction that can keep a mark. See [`crate::JobCx::once`].
pub trait OnceIn {
    /// Marks the job of this id. Whether it was not marked before.
    ///
    /// # Errors
    /// Whatever the database says.
    fn mark(&mut self, id: &str) -> Result<bool, JobError>;
}

impl OnceIn for rusqlite::Transaction<'_> {
    fn mark(&mut self, id: &str) -> Result<bool, JobError> {
        let sql = "insert into tenfold_once (id) values (?) on conflict do nothing";
        Ok(self.prepare_cached(sql)?.execute([id])? == 1)
    }
}
