//! Each service starts by itself, takes a new life on its old port, can be paused, and leaves nothing behind.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use tenfold_testkit::services::{Instance, MariaDb, Memcached, Postgres, Redis, Tarantool};

/// Its port answers before and after a restart, and its directory is gone at the end.
fn lives_and_dies<S: std::ops::Deref<Target = Instance>>(start: impl Fn() -> Option<S>) {
    let Some(service) = start() else { return };
    let second = start().expect("it is installed");
    assert_ne!(service.port(), second.port());
    drop(second);
    let connected = TcpStream::connect(service.address()).unwrap();
    service.kill();
    assert_eq!(TcpStream::connect(service.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(connected);
    service.restart();
    TcpStream::connect(service.address()).unwrap();
    let directory = PathBuf::from(service.directory());
    assert!(directory.exists());
    drop(service);
    assert!(!directory.exists());
}

#[test]
fn redis_lives_and_dies() {
    lives_and_dies(Redis::start);
}

#[test]
fn postgres_lives_and_dies() {
    lives_and_dies(Postgres::start);
}

#[test]
fn mariadb_lives_and_dies() {
    lives_and_dies(MariaDb::start);
}

#[test]
fn memcached_lives_and_dies() {
    lives_and_dies(Memcached::start);
}

#[test]
fn tarantool_lives_and_dies() {
    lives_and_dies(Tarantool::start);
}

#[test]
fn a_paused_service_accepts_and_does_not_answer_until_it_goes_on() {
    let Some(redis) = Redis::start() else { return };
    redis.pause();
    let mut stream = TcpStream::connect(redis.address()).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut answer = [0; 7];
    assert_eq!(stream.read(&mut answer).unwrap_err().kind(), ErrorKind::WouldBlock);
    redis.resume();
    stream.set_read_timeout(None).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}
