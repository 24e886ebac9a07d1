//! Keeps greetings in a stream of JetStream: `cargo run --example nats -- nats://127.0.0.1:4222`.

use std::time::Duration;

use serde_json::json;
use tenfold_client::Error;
use tenfold_client::nats::{Connection, Expected, Login};

fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".into());
    let mut nats = Connection::open(&Login::parse(&url)?, Duration::from_secs(2))?;
    nats.api("STREAM.CREATE.GREETINGS", &json!({ "name": "GREETINGS", "subjects": ["greetings.*"] }))?;
    let first = nats.append("greetings.ann", Expected::LastOfSubject(0), b"hello")?;
    println!("has the number {first:?}");
    // Somebody who does not know that one is told so.
    println!("not taken: {:?}", nats.append("greetings.ann", Expected::LastOfSubject(0), b"hi")?);
    for kept in nats.all_kept("GREETINGS", "greetings.*")? {
        println!("{}: {}", kept.subject, String::from_utf8_lossy(&kept.payload));
    }
    nats.api("STREAM.DELETE.GREETINGS", &json!({})).map(drop)
}
