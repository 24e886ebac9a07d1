//! Marks and outboxes in the databases that an application may have: what is rolled back was never there.

use tenfold_client::{mysql, postgres};
use tenfold_jobs::{AppJobs, Error, Jobs, UserTx, once, outbox};
use tenfold_server::App;
use tenfold_testkit::services::{MariaDb, Postgres};

/// Jobs whose store cannot be reached: what a transaction writes needs none.
fn jobs() -> Jobs {
    let opened = App::new().job("ship", |_: String| ()).build().unwrap().open().unwrap();
    opened.state.get::<Jobs>().unwrap().clone()
}

#[test]
fn postgres_keeps_marks_and_jobs_with_its_transactions() {
    let Some(service) = Postgres::start() else { return };
    let client = postgres::Client::new(&service.url()).unwrap();
    let mut connection = client.get().unwrap();
    connection.batch(once::SQL).unwrap();
    connection.batch(outbox::SQL).unwrap();
    let jobs = jobs();
    for (end, is_new) in [("rollback", true), ("commit", true), ("commit", false)] {
        let mut tx = connection.transaction().unwrap();
        assert_eq!(tx.insert_new("tenfold_once", &["id"], &["a"]).unwrap(), is_new, "{end}");
        jobs.enqueue_tx(&mut tx, "ship", "tea").unwrap();
        if end == "commit" { tx.commit().unwrap() } else { tx.rollback().unwrap() }
    }
    let moved = outbox::forward(&jobs, &mut *connection);
    assert!(matches!(moved, Err(Error::Unavailable { .. })), "{moved:?}");
    assert_eq!(rows_stay(&mut *connection), 2, "what could not be moved is still there");
}

#[test]
fn mysql_keeps_marks_and_jobs_with_its_transactions() {
    let Some(service) = MariaDb::start() else { return };
    let client = mysql::Client::new(&service.url()).unwrap();
    let mut connection = client.get().unwrap();
    connection.batch(once::SQL).unwrap();
    connection.batch(outbox::SQL).unwrap();
    let jobs = jobs();
    for (end, is_new) in [("rollback", true), ("commit", true), ("commit", false)] {
        connection.batch("begin").unwrap();
        assert_eq!(connection.insert_new("tenfold_once", &["id"], &["a"]).unwrap(), is_new, "{end}");
        jobs.enqueue_tx(&mut *connection, "ship", "tea").unwrap();
        connection.batch(end).unwrap();
    }
    let moved = outbox::forward(&jobs, &mut *connection);
    assert!(matches!(moved, Err(Error::Unavailable { .. })), "{moved:?}");
    assert_eq!(rows_stay(&mut *connection), 2, "what could not be moved is still there");
}

/// Reads what is there and forgets it; how many rows that were.
fn rows_stay(database: &mut impl outbox::OutboxIn) -> usize {
    let rows = database.rows(10).unwrap();
    for (id, job) in &rows {
        assert!(job.contains("tea"), "{job}");
        database.forget(id).unwrap();
    }
    assert!(database.rows(10).unwrap().is_empty());
    rows.len()
}
