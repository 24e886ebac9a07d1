//! One route that asks Redis over the shared, pipelined connection, one that borrows a connection for each request, and one
//! that does so with the unmodified `redis` crate:
//! `REDIS_URL=redis://127.0.0.1:6379 cargo run --release --example redis_route -- serve --model fiber --workers 1`.

use tenfold::Error;
use tenfold::client::pool::{Manager, Pool, PoolOptions};
use tenfold::client::redis::{Client, Command};
use tenfold::prelude::*;

/// Connections of the unmodified driver, which knows nothing of fibers.
struct Driver(redis::Client);

impl Manager for Driver {
    type Connection = redis::Connection;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn connect(&self) -> Result<redis::Connection, Self::Error> {
        Ok(self.0.get_connection()?)
    }

    fn name(&self) -> &str {
        "redis"
    }
}

fn url() -> String {
    std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into())
}

fn main() -> tenfold::Result<()> {
    App::new()
        .state_with(|| Ok(Client::new(&url())?))
        .state_with(|| Ok(PoolOptions::new().connections_max(64).build(Driver(redis::Client::open(url())?))))
        .get("/redis", shared)
        .get("/redis-pooled", pooled)
        .get("/redis-driver", driver)
        .main()
}

fn shared(State(redis): State<Client>) -> tenfold::Result<String> {
    Ok(redis.get::<Option<String>>("greeting")?.unwrap_or_default())
}

fn pooled(State(redis): State<Client>) -> tenfold::Result<String> {
    let get = Command::new("GET").arg("greeting");
    Ok(redis.connection()?.query::<Option<String>>(&get)?.unwrap_or_default())
}

fn driver(State(pool): State<Pool<Driver>>) -> tenfold::Result<String> {
    let mut connection = pool.get().map_err(Error::internal)?;
    let greeting: Option<String> = redis::cmd("GET").arg("greeting").query(&mut *connection)?;
    Ok(greeting.unwrap_or_default())
}
