//! The crate `redis`, synchronous.

use std::sync::LazyLock;

use redis::{Client, Connection, cmd};
use tenfold_testkit::services::Redis;

use crate::{Driver, WAIT_MS, show};

static SERVER: LazyLock<Option<Redis>> = LazyLock::new(Redis::start);

#[test]
fn redis() {
    if SERVER.is_some() {
        show(&DRIVER);
    }
}

static DRIVER: Driver<Connection> = Driver {
    connect: || Client::open(SERVER.as_ref().unwrap().url()).unwrap().get_connection().unwrap(),
    ask: |connection, number| {
        let key = format!("key {number}");
        let value = "v".repeat(number * 100);
        cmd("SET").arg(&key).arg(&value).exec(connection).unwrap();
        assert_eq!(cmd("GET").arg(&key).query::<String>(connection).unwrap(), value);
        let mut pipeline = redis::pipe();
        for _ in 0..10 {
            pipeline.cmd("GET").arg(&key);
        }
        assert_eq!(pipeline.query::<Vec<String>>(connection).unwrap(), vec![value; 10]);
    },
    wait: Some(|connection| {
        // Nobody pushes: the server says nil when the time is over.
        let seconds = WAIT_MS as f64 / 1000.0;
        let nothing: Option<(String, String)> =
            cmd("BLPOP").arg("nothing").arg(seconds).query(connection).unwrap();
        assert_eq!(nothing, None);
    }),
};
