//! Counts in Tarantool: `cargo run --example tarantool -- 127.0.0.1:3301`.

use tenfold_client::Error;
use tenfold_client::tarantool::{Client, Select};

fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3301".into());
    let client = Client::new(&address)?;
    let lua = "if not box.space.visits then box.schema.space.create('visits'):create_index('pk', \
               {parts = {1, 'string'}}) end";
    let _: Vec<bool> = client.eval(lua, &())?;
    let visits = client.space("visits")?;
    visits.upsert(&("front", 1), &[("+", 1, 1)])?;
    let found: Vec<(String, u64)> = visits.select(Select::index(0), &("front",))?;
    println!("{found:?}");
    Ok(())
}
