//! Asks PostgreSQL who and what it is: `cargo run --example postgres -- postgres://user:secret@127.0.0.1/database`.

use std::time::Duration;

use tenfold_client::Error;
use tenfold_client::postgres::Client;
use tenfold_runtime::deadline;

fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "postgres://postgres@127.0.0.1/postgres".into());
    let client = Client::new(&url)?;
    let row = client.get()?.query_one("select current_user, version()", &[])?;
    println!("{} on {}", row.get::<_, &str>(0), row.get::<_, &str>(1));
    // What takes too long is cancelled on the server as well.
    let late =
        deadline(Duration::from_millis(100), || client.get()?.query("select pg_sleep(60)", &[]).map(drop));
    println!("{}", late.unwrap_err());
    Ok(())
}
