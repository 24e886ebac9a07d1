//! The partner's service, simulated: every answer takes `SHOP_PARTNER_MS` milliseconds (default 50) of somebody else's time.

use std::collections::HashMap;

use tenfold::prelude::*;

fn main() -> tenfold::Result<()> {
    App::new().get("/recommend", recommend).post("/pay", pay).main()
}

fn think() {
    let pause = std::env::var("SHOP_PARTNER_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    tenfold::sleep(ms(pause));
}

fn recommend(Query(query): Query<HashMap<String, u32>>) -> String {
    think();
    let product = query.get("product").copied().unwrap_or(1);
    let others: Vec<String> = (1..=4).map(|step| ((product + step * 7) % 200 + 1).to_string()).collect();
    others.join(",")
}

fn pay(Query(query): Query<HashMap<String, String>>) -> String {
    think();
    match query.get("cents").and_then(|cents| cents.parse::<u32>().ok()) {
        Some(cents @ 1..=1_000_000) => format!("ok {:08x}", cents.wrapping_mul(2_654_435_761)),
        Some(_) => "that is too much for one payment".to_owned(),
        None => "how much?".to_owned(),
    }
}
