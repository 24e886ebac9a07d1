//! Counts visits in Redis: `cargo run --example redis -- redis://127.0.0.1:6379`.

use tenfold_client::Error;
use tenfold_client::redis::{Client, Command, Pipeline};
use tenfold_runtime::scope;

fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    let client = Client::new(&url)?;
    client.set("visits", 0)?;
    // On a loop these would be fibers, and their commands would go out together.
    scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| client.query::<()>(&Command::new("INCR").arg("visits")));
        }
    });
    let mut pipeline = Pipeline::atomic();
    pipeline.add(Command::new("GET").arg("visits")).add(Command::new("DEL").arg("visits"));
    println!("{:?}", client.pipeline(&pipeline)?);
    Ok(())
}
