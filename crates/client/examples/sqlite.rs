//! Counts visits in a file: `cargo run --example sqlite -- visits.db`.

use tenfold_client::Error;
use tenfold_client::sqlite::Client;

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "visits.db".into());
    let database = Client::new(path);
    let visits: i64 = database.with(|connection| {
        connection.execute_batch("create table if not exists visits (at integer)")?;
        connection.execute("insert into visits values (unixepoch())", [])?;
        connection.query_row("select count(*) from visits", [], |row| row.get(0))
    })?;
    println!("{visits}");
    Ok(())
}
