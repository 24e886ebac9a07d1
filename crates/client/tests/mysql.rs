//! The MySQL client against a real MariaDB, and a real MySQL where there is one, on fibers over both backends and on plain
//! threads.

#![cfg(feature = "mysql")]

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use common::{everywhere, unique};
use tenfold_client::Error;
use tenfold_client::mysql::{Client, Value};
use tenfold_client::pool::PoolOptions;
use tenfold_runtime::{deadline, scope, sleep, spawn};
use tenfold_testkit::services::{MariaDb, MySql};

static MARIADB: LazyLock<Option<MariaDb>> = LazyLock::new(MariaDb::start);
static MYSQL: LazyLock<Option<MySql>> = LazyLock::new(MySql::start);

/// Runs a test with a client of each server that there is.
fn on_each_server(test: fn(&Client)) {
    let urls = [MARIADB.as_ref().map(MariaDb::url), MYSQL.as_ref().map(MySql::url)];
    for url in urls.into_iter().flatten() {
        let client = Client::builder(&url).unwrap().pool(PoolOptions::new().connections_max(8));
        everywhere(move || test(&client.clone().build()));
    }
}

/// A table of the caller's own.
fn table(client: &Client, columns: &str) -> String {
    let table = unique("t");
    client.get().unwrap().batch(&format!("create table {table} ({columns})")).unwrap();
    table
}

#[test]
fn fields_of_each_type_come_back_as_they_were_sent() {
    on_each_server(|client| {
        let columns = "id bigint primary key auto_increment, tiny tinyint, big bigint unsigned, real_ double, word text, \
                       at datetime(3), long_ time, price decimal(8,2), data longblob";
        let table = table(client, columns);
        let mut connection = client.get().unwrap();
        let data = vec![7u8; 100_000];
        let insert = format!(
            "insert into {table} (tiny, big, real_, word, at, long_, price, data) values (?, ?, ?, ?, ?, ?, ?, ?)"
        );
        let parameters: [Value; 8] = [
            (-5).into(),
            u64::MAX.into(),
            1.5.into(),
            "größer".into(),
            "2026-11-27 15:04:05.678".into(),
            "-30:00:01".into(),
            "12.50".into(),
            data.clone().into(),
        ];
        let changes = connection.execute(&insert, &parameters).unwrap();
        assert_eq!((changes.rows, changes.last_id), (1, 1));
        connection.execute(&insert, &vec![Value::Null; 8]).unwrap();
        let rows = connection.query(&format!("select * from {table} order by id"), &[]).unwrap();
        let row = &rows[0];
        assert_eq!((row.get::<i64>(0).unwrap(), row.get::<i32>(1).unwrap()), (1, -5));
        assert_eq!((row.get::<u64>(2).unwrap(), row.get::<f64>(3).unwrap()), (u64::MAX, 1.5));
        assert_eq!(row.get_named::<String>("word").unwrap(), "größer");
        assert_eq!(row.get::<String>(5).unwrap(), "2026-11-27 15:04:05.678000");
        assert_eq!(
            (row.get::<String>(6).unwrap(), row.get::<String>(7).unwrap()),
            ("-30:00:01".into(), "12.50".into())
        );
        assert_eq!(row.get::<bytes::Bytes>(8).unwrap(), data);
        assert!((1..9).all(|index| rows[1].get::<Option<Value>>(index).unwrap().is_none()));
        assert!(matches!(row.get::<i64>(4), Err(Error::Type { .. })));
        assert!(matches!(row.get::<i64>(99), Err(Error::Type { .. })));
    });
}

#[test]
fn refusals_have_their_sqlstate_and_break_nothing() {
    on_each_server(|client| {
        let mut connection = client.get().unwrap();
        for (sql, state) in [("selec", "42000"), ("select * from nowhere", "42S02")] {
            match connection.query(sql, &[]) {
                Err(Error::Rejected { code, .. }) => assert_eq!(code, state),
                other => panic!("{sql}: {other:?}"),
            }
        }
        assert!(matches!(connection.query("select ?", &[]), Err(Error::InvalidRequest(_))));
        let answer = connection.query("select ? + 1", &[41.into()]).unwrap();
        drop(connection);
        assert_eq!((answer[0].get::<i64>(0).unwrap(), client.pool().stats().idle), (42, 1));
        let wrong = MARIADB.as_ref().unwrap().url().replace(":tenfold@", ":wrong@");
        let refused = Client::new(&wrong).unwrap().get().unwrap_err();
        assert!(matches!(&refused, Error::Rejected { code, .. } if code == "28000"), "{refused}");
    });
}

#[test]
fn a_transaction_lasts_if_its_work_succeeds() {
    on_each_server(|client| {
        let table = table(client, "id int primary key");
        let insert = format!("insert into {table} values (?)");
        let mut connection = client.get().unwrap();
        connection.transaction(|inside| inside.execute(&insert, &[1.into()])).unwrap();
        let failed = connection.transaction(|inside| {
            inside.execute(&insert, &[2.into()])?;
            inside.execute(&insert, &[1.into()])
        });
        assert!(matches!(failed, Err(Error::Rejected { .. })));
        // Left open by hand: the pool puts it in order.
        connection.batch("begin").unwrap();
        connection.execute(&insert, &[3.into()]).unwrap();
        drop(connection);
        let rows = client.get().unwrap().query(&format!("select id from {table}"), &[]).unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<i64>(0).unwrap()).collect::<Vec<_>>(), [1]);
        assert_eq!(client.pool().stats().open, 1);
    });
}

/// How many connections run a statement that has this comment in it.
fn running(client: &Client, comment: &str) -> i64 {
    let sql =
        "select count(*) from information_schema.processlist where id <> connection_id() and info like ?";
    client.get().unwrap().query(sql, &[format!("%{comment}%").into()]).unwrap()[0].get(0).unwrap()
}

#[test]
fn a_deadline_and_a_cancel_kill_the_query_on_the_server_too() {
    on_each_server(|client| {
        let comment = unique("mark");
        let sql = format!("select sleep(600) /* {comment} */");
        let late =
            deadline(Duration::from_millis(100), || client.get().unwrap().query(&sql, &[]).unwrap_err());
        assert!(late.is_timeout(), "{late}");
        while running(client, &comment) > 0 {
            sleep(Duration::from_millis(2));
        }
        let task = {
            let (client, sql) = (client.clone(), sql.clone());
            spawn(move || client.get().unwrap().query(&sql, &[]).unwrap_err())
        };
        while running(client, &comment) == 0 {
            sleep(Duration::from_millis(2));
        }
        task.cancel();
        assert!(matches!(task.join().unwrap(), Error::Cancelled { .. }));
        while running(client, &comment) > 0 {
            sleep(Duration::from_millis(2));
        }
        assert_eq!(client.pool().stats().discarded, 2);
    });
}

#[test]
fn waits_of_many_queries_overlap() {
    on_each_server(|client| {
        let begin = std::time::Instant::now();
        client.get().unwrap().query("select sleep(0.05)", &[]).unwrap();
        let one = begin.elapsed();
        let begin = std::time::Instant::now();
        scope(|scope| {
            (0..16).for_each(|_| {
                scope.spawn(|| client.get().unwrap().query("select sleep(0.05)", &[]).unwrap());
            });
        });
        assert!(begin.elapsed() < one * 10, "16 queries over 8 connections took {:?}", begin.elapsed());
    });
}

#[test]
fn a_server_that_dies_ends_all_queries_and_one_that_comes_back_is_used_again() {
    static SERVER: LazyLock<Option<MariaDb>> = LazyLock::new(MariaDb::start);
    everywhere(|| {
        let Some(server) = SERVER.as_ref() else { return };
        let client = Client::new(&server.url()).unwrap();
        let query = || client.get()?.query("select 1", &[]).map(|rows| rows.len());
        assert_eq!(query().unwrap(), 1);
        scope(|scope| {
            let running = scope.spawn(|| client.get()?.query("select sleep(600)", &[]).map(drop));
            while client.pool().stats().open == client.pool().stats().idle {
                sleep(Duration::from_millis(1));
            }
            server.kill();
            let error = running.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::Closed | Error::Io { .. } | Error::Connect { .. }), "{error:?}");
        });
        assert!(matches!(query(), Err(Error::Connect { .. })));
        server.restart();
        assert_eq!(query().unwrap(), 1);
    });
}
