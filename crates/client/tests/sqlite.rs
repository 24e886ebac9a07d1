//! SQLite through the thread pool, on fibers over both backends and on plain threads.

#![cfg(feature = "sqlite")]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::everywhere;
use tenfold_client::Error;
use tenfold_client::sqlite::Client;
use tenfold_runtime::{deadline, scope, sleep};

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let name = format!("tenfold-sqlite-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Counts for ever.
const ENDLESS: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

#[test]
fn work_runs_with_a_connection_and_its_errors_have_their_codes() {
    everywhere(|| {
        let directory = Directory::new();
        let client = Client::new(directory.0.join("a.db"));
        client
            .with(|connection| connection.execute_batch("create table t (id integer primary key)"))
            .unwrap();
        scope(|scope| {
            for id in 0..20 {
                let client = &client;
                scope.spawn(move || {
                    client
                        .with(move |connection| connection.execute("insert into t values (?1)", [id]))
                        .unwrap()
                });
            }
        });
        let count = |client: &Client| {
            client.with(|connection| {
                connection.query_row("select count(*) from t", [], |row| row.get::<_, i64>(0))
            })
        };
        assert_eq!(count(&client).unwrap(), 20);
        let taken = client.with(|connection| connection.execute("insert into t values (1)", [])).unwrap_err();
        assert!(matches!(&taken, Error::Rejected { code, .. } if code == "1555"), "{taken}");
        client.with(|connection| connection.execute_batch("begin; delete from t")).unwrap();
        assert_eq!(count(&client).unwrap(), 20, "what was left open is rolled back");
        assert!(client.pool().stats().open <= 4);
    });
}

#[test]
fn a_deadline_interrupts_the_statement_and_the_connection_comes_back() {
    everywhere(|| {
        let directory = Directory::new();
        let client = Client::new(directory.0.join("a.db"));
        client.with(|_| Ok(())).unwrap();
        let late = deadline(Duration::from_millis(20), || {
            client
                .with(|connection| connection.query_row(ENDLESS, [], |row| row.get::<_, i64>(0)))
                .unwrap_err()
        });
        assert!(late.is_timeout(), "{late}");
        while client.pool().stats().idle < 1 {
            sleep(Duration::from_millis(1));
        }
        assert_eq!(client.pool().stats().open, 1);
    });
}
