//! The PostgreSQL client against a real server, on fibers over both backends and on plain threads.

#![cfg(feature = "postgres")]

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use common::{everywhere, runtime, unique};
use tenfold_client::Error;
use tenfold_client::pool::PoolOptions;
use tenfold_client::postgres::Client;
use tenfold_runtime::{BackendChoice, deadline, scope, sleep, spawn};
use tenfold_testkit::services::Postgres;

static POSTGRES: LazyLock<Option<Postgres>> = LazyLock::new(Postgres::start);

/// A client; `None` where there is no server, and the test is left out.
fn client() -> Option<Client> {
    let url = POSTGRES.as_ref()?.url();
    Some(Client::builder(&url).unwrap().pool(PoolOptions::new().connections_max(8)).build())
}

/// A table of the caller's own.
fn table(client: &Client, name: &str) -> String {
    let table = unique(name);
    client.get().unwrap().batch(&format!("create table {table} (id int primary key, word text)")).unwrap();
    table
}

#[test]
fn rows_come_in_the_types_that_were_asked_for() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let table = table(&client, "rows");
        let mut connection = client.get().unwrap();
        let insert = format!("insert into {table} values ($1, $2)");
        for (id, word) in [(1, Some("one")), (2, None)] {
            assert_eq!(connection.execute(&insert, &[&id, &word]).unwrap(), 1);
        }
        let rows = connection.query(&format!("select id, word from {table} order by id"), &[]).unwrap();
        let rows: Vec<(i32, Option<String>)> = rows.iter().map(|row| (row.get(0), row.get("word"))).collect();
        assert_eq!(rows, [(1, Some("one".into())), (2, None)]);
        let by_id = format!("select word from {table} where id = $1");
        assert!(connection.query_optional(&by_id, &[&9]).unwrap().is_none());
        assert!(matches!(connection.query_one(&by_id, &[&9]), Err(Error::Type { .. })));
    });
}

#[test]
fn refusals_have_their_sqlstate_and_break_nothing() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let mut connection = client.get().unwrap();
        for (sql, state) in [("select 1/0", "22012"), ("selec", "42601"), ("select * from nowhere", "42P01")]
        {
            match connection.query(sql, &[]) {
                Err(Error::Rejected { code, .. }) => assert_eq!(code, state),
                other => panic!("{sql}: {other:?}"),
            }
        }
        assert!(matches!(connection.query("select $1::int", &[&"text"]), Err(Error::InvalidRequest(_))));
        let answer: i32 = connection.query_one("select 42", &[]).unwrap().get(0);
        drop(connection);
        assert_eq!((answer, client.pool().stats().idle), (42, 1));
    });
}

#[test]
fn a_transaction_lasts_if_it_is_committed_and_is_gone_otherwise() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let table = table(&client, "transactions");
        let insert = format!("insert into {table} values ($1, 'x')");
        let mut connection = client.get().unwrap();
        let mut transaction = connection.transaction().unwrap();
        transaction.execute(&insert, &[&1]).unwrap();
        transaction.commit().unwrap();
        let mut transaction = connection.transaction().unwrap();
        transaction.execute(&insert, &[&2]).unwrap();
        drop(transaction);
        let mut transaction = connection.transaction().unwrap();
        assert!(transaction.execute(&insert, &[&1]).is_err(), "it is there already");
        drop(transaction);
        connection.transaction().unwrap().rollback().unwrap();
        // Left open by hand: the pool puts it in order or closes it.
        let count: i64 = connection.query_one(&format!("select count(*) from {table}"), &[]).unwrap().get(0);
        assert_eq!(count, 1);
    });
}

#[test]
fn a_pipeline_is_answered_in_order() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let mut connection = client.get().unwrap();
        let answers = connection
            .pipeline(&[("select $1::int + 1", &[&1]), ("select 'b'", &[]), ("select $1::int + 1", &[&2])])
            .unwrap();
        assert_eq!((answers[0][0].get::<_, i32>(0), answers[2][0].get::<_, i32>(0)), (2, 3));
        assert_eq!(answers[1][0].get::<_, &str>(0), "b");
        assert!(connection.pipeline(&[("select 1", &[]), ("select 1/0", &[])]).is_err());
        assert!(connection.pipeline(&[]).unwrap().is_empty());
    });
}

#[test]
fn waits_of_many_queries_overlap() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let begin = std::time::Instant::now();
        client.get().unwrap().query("select pg_sleep(0.05)", &[]).unwrap();
        let one = begin.elapsed();
        let begin = std::time::Instant::now();
        scope(|scope| {
            (0..16).for_each(|_| {
                scope.spawn(|| client.get().unwrap().query("select pg_sleep(0.05)", &[]).unwrap());
            });
        });
        assert!(begin.elapsed() < one * 10, "16 queries over 8 connections took {:?}", begin.elapsed());
        assert_eq!(client.pool().stats().open, 8);
    });
}

/// How many backends run the statement that has this comment in it.
fn running(client: &Client, comment: &str) -> i64 {
    let sql = "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like $1";
    client.get().unwrap().query_one(sql, &[&format!("%{comment}%")]).unwrap().get(0)
}

#[test]
fn a_deadline_and_a_cancel_end_the_query_on_the_server_too() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let comment = unique("mark");
        let sql = format!("select pg_sleep(600) /* {comment} */");
        let late =
            deadline(Duration::from_millis(100), || client.get().unwrap().query(&sql, &[]).unwrap_err());
        assert!(late.is_timeout(), "{late}");
        while running(&client, &comment) > 0 {
            sleep(Duration::from_millis(2));
        }
        let task = {
            let (client, sql) = (client.clone(), sql.clone());
            spawn(move || client.get().unwrap().query(&sql, &[]).unwrap_err())
        };
        while running(&client, &comment) == 0 {
            sleep(Duration::from_millis(2));
        }
        task.cancel();
        assert!(matches!(task.join().unwrap(), Error::Cancelled { .. }));
        while running(&client, &comment) > 0 {
            sleep(Duration::from_millis(2));
        }
        assert_eq!(client.pool().stats().discarded, 2);
    });
}

#[test]
fn connections_wander_between_loops_and_threads() {
    let Some(client) = client() else { return };
    let calls = move || {
        for number in 0..50 {
            let row = client.get().unwrap().query_one("select $1::int * 2", &[&number]).unwrap();
            assert_eq!(row.get::<_, i32>(0), number * 2);
        }
    };
    let threads = [None, Some(BackendChoice::Auto), Some(BackendChoice::Epoll)].map(|backend| {
        let calls = calls.clone();
        std::thread::spawn(move || match backend {
            None => calls(),
            Some(backend) => runtime(backend).unwrap().run(calls).unwrap(),
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_server_that_dies_ends_all_queries_and_one_that_comes_back_is_used_again() {
    static SERVER: LazyLock<Option<Postgres>> = LazyLock::new(Postgres::start);
    everywhere(|| {
        let Some(server) = SERVER.as_ref() else { return };
        let client = Client::new(&server.url()).unwrap();
        let query = || client.get()?.query("select 1", &[]).map(|rows| rows.len());
        assert_eq!(query().unwrap(), 1);
        scope(|scope| {
            let running = scope.spawn(|| client.get()?.query("select pg_sleep(600)", &[]).map(drop));
            while client.pool().stats().open == client.pool().stats().idle {
                sleep(Duration::from_millis(1));
            }
            server.kill();
            let error = running.join().unwrap().unwrap_err();
            assert!(!matches!(error, Error::TimedOut { .. }), "{error:?}");
        });
        assert!(matches!(query(), Err(Error::Connect { .. })));
        server.restart();
        assert_eq!(query().unwrap(), 1);
    });
}
