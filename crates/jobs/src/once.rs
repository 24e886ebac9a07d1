//! Effects that happen once: a mark for each job, in the same transaction of the application's database as the effects. See
//! [`crate::JobCx::once`].

/// Makes the table of marks, if it is not there: for SQLite, PostgreSQL and MySQL. Rows may be deleted once no job of their time
/// is left.
pub const SQL: &str = "create table if not exists tenfold_once (id varchar(256) primary key, \
                       marked_at timestamp default current_timestamp)";
