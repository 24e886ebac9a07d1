//! The demo's advertisement page with a pool for a real rate: `/api/ads` makes sixty calls of 100 ms side by side, and answers
//! with how many of them have come.
//! `UPSTREAM=http://127.0.0.1:9000 cargo run --release --example ads_route -- serve --model fiber --workers 1`. The upstream
//! may be this program as well: `/offer` takes 100 ms.

use tenfold::client::http::Client;
use tenfold::prelude::*;
use tenfold::runtime::fan_out::join_all;
use tenfold::{Lane, ms};

/// Calls of a page.
const CALLS: usize = 60;

#[derive(Clone)]
struct Market {
    client: Client,
    url: String,
}

fn main() -> tenfold::Result<()> {
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    // Who comes when all connections are taken waits in the lane's line, and is refused at once when that takes too long:
    // pages that are begun have their connections. Without the bound a rate that is too high makes all pages late.
    let pages = number("PAGES", 80);
    let lane = Lane::default().at_once(pages).queue(256).wait(ms(100)).target(ms(20)).interval(ms(100));
    App::new()
        .state_with(move || {
            let url = std::env::var("UPSTREAM").unwrap_or_else(|_| "http://127.0.0.1:9000".into());
            let most = pages * CALLS;
            let client =
                Client::builder().connections_max_per_host(most).idle_max(most).waiters_max(most).build();
            Ok(Market { client, url: format!("{url}/offer") })
        })
        .lane("pages", lane, |routes| routes.get("/api/ads", ads))
        .get("/offer", || {
            tenfold::sleep(ms(100));
            "20 cents"
        })
        .main()
}

fn ads(State(market): State<Market>) -> tenfold::Result<String> {
    let call =
        || -> Result<String, tenfold::client::Error> { market.client.get(&market.url)?.send()?.text() };
    let answered =
        join_all((0..CALLS).map(|_| call)).into_iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
    if answered < CALLS {
        return Err(tenfold::Error::new(
            tenfold::StatusCode::BAD_GATEWAY,
            format!("only {answered} have answered"),
        ));
    }
    Ok(format!("{answered} offers"))
}
