//! `ads`: each request makes sixty calls of 100 ms and waits for all. At 1,000 requests a second that is 60,000 calls that
//! wait, more threads than a machine has and an ordinary number of fibers.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tenfold_client::http::Client;
use tenfold_runtime::sync::Semaphore;
use tenfold_runtime::{park, scope};
use tenfold_server::{App, Error, Facts, Result, State};

use super::{Dial, Helper, Setup, Workload};
use crate::load::{Arrivals, LoadSpec, Shape, TargetSpec};

pub(super) struct Ads;

/// Calls of a request.
const CALLS: u64 = 60;

/// Connections to the suppliers: what the machine's descriptors leave room for.
const CONNECTIONS_MAX: usize = 8_192;

/// A model with more threads than this is not short of them.
const THREADS_WORTH_A_WORD: usize = 1_024;

/// Calls in the client's line beyond that.
const WAITERS_MAX: usize = 65_536;

/// Whom to ask, and with how many threads.
#[derive(Clone)]
struct Market {
    client: Client,
    url: Arc<str>,
    /// Where a call takes a thread of its own, all calls of a worker share as many as its model has for requests.
    threads: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Offer {
    cents: u64,
}

impl Market {
    fn new(setup: &Setup) -> Market {
        let client = Client::builder()
            .connections_max_per_host(CONNECTIONS_MAX)
            .idle_max(CONNECTIONS_MAX)
            .waiters_max(WAITERS_MAX)
            .wait_max(Duration::from_secs(30))
            .build();
        let threads = setup.calls_max.unwrap_or(Semaphore::PERMITS_MAX);
        Market { client, url: setup.suppliers.as_str().into(), threads: Arc::new(Semaphore::new(threads)) }
    }

    fn ask(&self, supplier: u64) -> Result<u64> {
        let offer: Offer = self.client.get(&format!("{}/offer/0/{supplier}", self.url))?.send()?.json()?;
        Ok(offer.cents)
    }
}

fn ads(State(market): State<Market>) -> Result<String> {
    let mut offers = vec![None; CALLS as usize];
    scope(|scope| -> Result<()> {
        for (supplier, offer) in (0..).zip(&mut offers) {
            let market = &market;
            // A fiber takes no thread.
            let thread = if park::parks() { None } else { Some(market.threads.acquire()?) };
            let call = move || {
                *offer = market.ask(supplier).ok();
                drop(thread);
            };
            scope.try_spawn(call)?;
        }
        Ok(())
    })?;
    let answered = offers.iter().flatten().count() as u64;
    let best = offers.iter().flatten().max();
    match (answered, best) {
        (CALLS, Some(best)) => Ok(format!("{best} cents\n")),
        _ => Err(Error::internal(format!("{answered} of {CALLS} suppliers answered"))),
    }
}

impl Workload for Ads {
    fn name(&self) -> &'static str {
        "ads"
    }

    fn teaches(&self) -> &'static str {
        "60 calls of 100 ms for each request, at a fixed rate: the threads that waiting calls need, against fibers"
    }

    fn dial(&self, quick: bool) -> Dial {
        let seconds = if quick { 0.8 } else { 4.0 };
        Dial {
            rate: 100.0,
            seconds,
            rounds: 1,
            warm_up_ms: if quick { 200 } else { 1_000 },
            timeout_ms: if quick { 800 } else { 2_000 },
            connections: 4_000,
        }
    }

    fn app(&self, setup: &Setup) -> std::result::Result<App, String> {
        let setup = setup.clone();
        // Made after the fork: each worker has connections of its own.
        Ok(App::new().state_with(move || Ok(Market::new(&setup))).get("/ads", ads))
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape =
            Shape::Open { rate: dial.rate, connections_max: dial.connections, arrivals: Arrivals::Uniform };
        dial.spec(vec![TargetSpec::get(format!("{url}/ads"), shape)])
    }

    fn helper(&self) -> Helper {
        Helper::Suppliers
    }

    fn fit(&self, _dial: &mut Dial, facts: &Facts, _workers: usize) -> Option<String> {
        let threads = calls_max(facts).filter(|threads| *threads <= THREADS_WORTH_A_WORD)?;
        let count = if threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
        Some(format!("{count} for calls in each process, as for requests"))
    }

    fn sweep_rates(&self) -> &'static [f64] {
        &[10.0, 30.0, 100.0, 300.0, 1_000.0]
    }
}

/// How many calls of one process may wait at a time where each takes a thread: as many as the model has for requests.
pub(crate) fn calls_max(facts: &Facts) -> Option<usize> {
    facts.at_once.map(|at_once| if facts.processes > 0 { 1 } else { at_once })
}
