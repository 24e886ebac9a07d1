//! The advertisement aggregator: sixty calls at once, the dearest offer per slot wins, and nobody is waited for in vain.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tenfold::client::http::Client;
use tenfold::compare::simulator::ANSWER;
use tenfold::runtime::fan_out::partial;
use tenfold::{Error, Json, Query, Result, State, StatusCode, ms};

/// Slots of a page.
const SLOTS: u64 = 3;

/// Suppliers that bid for each slot.
const SUPPLIERS: u64 = 20;

/// When the page has to go out, whoever has answered by then.
const DEADLINE: Duration = ms(250);

/// Whom to ask; in each worker with a pool of connections of its own.
#[derive(Clone)]
pub struct Market {
    client: Client,
    url: String,
}

#[derive(Deserialize)]
pub struct Options {
    /// How many suppliers of each slot take 400 ms, to see what the deadline does. 0 to 20; default 0.
    #[serde(default)]
    slow: u64,
}

/// What one supplier offers.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Offer {
    supplier: u64,
    cents: u64,
}

#[derive(Serialize)]
pub struct Page {
    slots: Vec<Slot>,
    answered: usize,
    asked: u64,
    /// Whether somebody did not answer in time.
    partial: bool,
    took_ms: f64,
    /// The same calls one after another.
    in_sequence_ms: u64,
    pid: u32,
}

#[derive(Serialize)]
struct Slot {
    slot: u64,
    answered: usize,
    /// `None` when nobody has answered: the page then shows its own advertisement.
    winner: Option<Offer>,
}

impl Market {
    pub fn new(url: String) -> Market {
        // Room for four pages at a time; a fifth waits in the pool's line, and its deadline bounds that wait as well.
        let client = Client::builder().connections_max_per_host(240).connect_timeout(DEADLINE).build();
        Market { client, url }
    }

    fn ask(&self, slot: u64, supplier: u64, slow: bool) -> Result<Offer, tenfold::client::Error> {
        let slow = if slow { "?slow" } else { "" };
        let url = format!("{}/offer/{slot}/{supplier}{slow}", self.url);
        self.client.get(&url)?.send()?.json()
    }
}

/// `/api/ads`
pub fn ads(State(market): State<Market>, Query(options): Query<Options>) -> Result<Json<Page>> {
    if options.slow > SUPPLIERS {
        return Err(Error::new(StatusCode::BAD_REQUEST, format!("slow is 0 to {SUPPLIERS}")));
    }
    let start = Instant::now();
    // All of them have ended when it returns: whoever has not answered by then is cancelled, down to its socket.
    let offers = partial(
        start + DEADLINE,
        (0..SLOTS * SUPPLIERS).map(|number| {
            let (slot, supplier, market) = (number / SUPPLIERS, number % SUPPLIERS, &market);
            move || market.ask(slot, supplier, supplier < options.slow)
        }),
    );
    // A supplier without a stack or a thread left for it counts as silent.
    let offers: Vec<_> = offers.into_results().into_iter().map(Result::ok).collect();
    Ok(Json(page(&offers, start.elapsed())))
}

fn page(offers: &[Option<Offer>], took: Duration) -> Page {
    let slots = (0..).zip(offers.chunks(SUPPLIERS as usize)).map(|(slot, offers)| {
        let answers = offers.iter().flatten();
        Slot {
            slot,
            answered: answers.clone().count(),
            winner: answers.max_by_key(|offer| offer.cents).copied(),
        }
    });
    let slots: Vec<Slot> = slots.collect();
    let answered = slots.iter().map(|slot| slot.answered).sum();
    Page {
        slots,
        answered,
        asked: SLOTS * SUPPLIERS,
        partial: answered < offers.len(),
        took_ms: (took.as_secs_f64() * 10_000.0).round() / 10.0,
        in_sequence_ms: SLOTS * SUPPLIERS * ANSWER.as_millis() as u64,
        pid: std::process::id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_offer_wins_and_silence_is_partial() {
        let mut offers = vec![None; 60];
        offers[3] = Some(Offer { supplier: 3, cents: 20 });
        offers[7] = Some(Offer { supplier: 7, cents: 90 });
        offers[59] = Some(Offer { supplier: 19, cents: 1 });
        let page = page(&offers, ms(123));
        assert!(page.partial && page.answered == 3);
        let winners: Vec<_> = page.slots.iter().map(|slot| slot.winner.map(|offer| offer.supplier)).collect();
        assert_eq!(winners, [Some(7), None, Some(19)]);
    }
}
