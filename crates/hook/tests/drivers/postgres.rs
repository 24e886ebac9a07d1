//! PostgreSQL's C library, libpq, through the crate `diesel`.

use std::sync::LazyLock;

use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use tenfold_testkit::services::Postgres;

use crate::{Driver, WAIT_MS, show};

static SERVER: LazyLock<Option<Postgres>> = LazyLock::new(Postgres::start);

#[derive(QueryableByName)]
struct Asked {
    #[diesel(sql_type = Text)]
    text: String,
}

#[test]
fn postgres() {
    let Some(server) = SERVER.as_ref() else { return };
    let mut connection = PgConnection::establish(&server.url()).unwrap();
    sql_query("CREATE TABLE asked (number BIGINT, text TEXT)").execute(&mut connection).unwrap();
    show(&DRIVER);
}

static DRIVER: Driver<PgConnection> = Driver {
    connect: || PgConnection::establish(&SERVER.as_ref().unwrap().url()).unwrap(),
    ask: |connection, number| {
        let (key, text) = (number as i64, "t".repeat(number * 100));
        let delete = sql_query("DELETE FROM asked WHERE number = $1");
        delete.bind::<BigInt, _>(key).execute(connection).unwrap();
        let insert = sql_query("INSERT INTO asked VALUES ($1, $2)");
        insert.bind::<BigInt, _>(key).bind::<Text, _>(&text).execute(connection).unwrap();
        let select = sql_query("SELECT text FROM asked WHERE number = $1");
        let got: Vec<Asked> = select.bind::<BigInt, _>(key).load(connection).unwrap();
        assert_eq!(got.into_iter().map(|row| row.text).collect::<Vec<_>>(), [text]);
    },
    wait: Some(|connection| {
        let query = format!("SELECT pg_sleep({})", WAIT_MS as f64 / 1000.0);
        sql_query(query).execute(connection).unwrap();
    }),
};
