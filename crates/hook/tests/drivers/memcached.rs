//! The crate `memcache`.

use std::sync::LazyLock;

use memcache::Client;
use tenfold_testkit::services::Memcached;

use crate::{Driver, show};

static SERVER: LazyLock<Option<Memcached>> = LazyLock::new(Memcached::start);

#[test]
fn memcached() {
    if SERVER.is_some() {
        show(&DRIVER);
    }
}

static DRIVER: Driver<Client> = Driver {
    connect: || Client::connect(SERVER.as_ref().unwrap().url()).unwrap(),
    ask: |client, number| {
        let (key, value) = (format!("key{number}"), "v".repeat(number * 100));
        client.set(&key, &value, 0).unwrap();
        assert_eq!(client.get::<String>(&key).unwrap(), Some(value));
    },
    // It has no request that waits.
    wait: None,
};
