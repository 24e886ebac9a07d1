//! The crate `mysql` (features `minimal-rust`), against MariaDB.

use std::sync::LazyLock;

use mysql::prelude::Queryable;
use mysql::{Conn, Opts};
use tenfold_testkit::services::MariaDb;

use crate::{Driver, WAIT_MS, show};

static SERVER: LazyLock<Option<MariaDb>> = LazyLock::new(MariaDb::start);

#[test]
fn mysql() {
    let Some(server) = SERVER.as_ref() else { return };
    let mut connection = Conn::new(Opts::from_url(&server.url()).unwrap()).unwrap();
    connection.query_drop("CREATE TABLE asked (number BIGINT, text LONGTEXT)").unwrap();
    show(&DRIVER);
}

static DRIVER: Driver<Conn> = Driver {
    connect: || Conn::new(Opts::from_url(&SERVER.as_ref().unwrap().url()).unwrap()).unwrap(),
    ask: |connection, number| {
        let text = "t".repeat(number * 100);
        connection.exec_drop("DELETE FROM asked WHERE number = ?", (number,)).unwrap();
        connection.exec_drop("INSERT INTO asked VALUES (?, ?)", (number, &text)).unwrap();
        let got: Vec<String> = connection.exec("SELECT text FROM asked WHERE number = ?", (number,)).unwrap();
        assert_eq!(got, [text]);
    },
    wait: Some(|connection| {
        let query = format!("SELECT SLEEP({})", WAIT_MS as f64 / 1000.0);
        assert_eq!(connection.query_first::<i64, _>(query).unwrap(), Some(0));
    }),
};
