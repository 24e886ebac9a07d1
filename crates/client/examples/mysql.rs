//! Asks MySQL or MariaDB who it is: `cargo run --example mysql -- mysql://user:secret@127.0.0.1/database`.

use std::time::Duration;

use tenfold_client::Error;
use tenfold_client::mysql::Client;
use tenfold_runtime::deadline;

fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mysql://root@127.0.0.1/mysql".into());
    let client = Client::new(&url)?;
    let rows = client.get()?.query("select version(), ? + 1", &[41.into()])?;
    println!("{} {}", rows[0].get::<String>(0)?, rows[0].get::<i64>(1)?);
    // What takes too long is killed on the server as well.
    let late =
        deadline(Duration::from_millis(100), || client.get()?.query("select sleep(60)", &[]).map(drop));
    println!("{}", late.unwrap_err());
    Ok(())
}
