//! Keeps a page for a minute: `cargo run --example memcached -- 127.0.0.1:11211`.

use std::time::Duration;

use tenfold_client::Error;
use tenfold_client::memcached::Client;

fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:11211".into());
    let cache = Client::new(&address)?;
    let page = match cache.get("page:front")? {
        Some(page) => page,
        None => {
            cache.set("page:front", "<h1>hello</h1>", Some(Duration::from_secs(60)))?;
            "<h1>hello</h1>".into()
        }
    };
    println!("{}", String::from_utf8_lossy(&page));
    Ok(())
}
