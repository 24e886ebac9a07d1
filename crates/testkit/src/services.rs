//! Private instances of the services that handlers wait for: on a random port of the loopback, in a temporary directory,
//! gone when the test is.
//!
//! Nothing relies on an instance that runs already or on the way in which a package starts its own. A service that is not
//! installed is `None`, and the test says that it was left out – except where `TENFOLD_SERVICES` names it (space-separated,
//! set by `./test` for what it has installed): then its absence is a failure.
//!
//! An instance may live in a `static`, which is never dropped: it ends with the process that started it all the same.

mod instance;
mod mariadb;
mod memcached;
mod mysql;
mod nats;
mod postgres;
mod redis;
mod tarantool;

pub use instance::Instance;
pub use mariadb::MariaDb;
pub use memcached::Memcached;
pub use mysql::MySql;
pub use nats::Nats;
pub use postgres::Postgres;
pub use redis::Redis;
pub use tarantool::Tarantool;
