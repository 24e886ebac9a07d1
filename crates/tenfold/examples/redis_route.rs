//! One route that asks Redis over the shared, pipelined connection, and one that borrows a connection for each request:
//! `REDIS_URL=redis://127.0.0.1:6379 cargo run --release --example redis_route -- serve --model fiber --workers 1`.

use tenfold::client::redis::{Client, Command};
use tenfold::prelude::*;

fn main() -> tenfold::Result<()> {
    App::new()
        .state_with(|| {
            let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
            Ok(Client::new(&url)?)
        })
        .get("/redis", shared)
        .get("/redis-pooled", pooled)
        .main()
}

fn shared(State(redis): State<Client>) -> tenfold::Result<String> {
    Ok(redis.get::<Option<String>>("greeting")?.unwrap_or_default())
}

fn pooled(State(redis): State<Client>) -> tenfold::Result<String> {
    let get = Command::new("GET").arg("greeting");
    Ok(redis.connection()?.query::<Option<String>>(&get)?.unwrap_or_default())
}
