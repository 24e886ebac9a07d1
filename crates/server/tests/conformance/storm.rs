//! Requests that come at a given rate, whatever becomes of them: what an overload is made of.

use std::time::{Duration, Instant};

use tenfold_testkit::ServerProcess;

/// Whether the long versions of cases are wanted: `TENFOLD_LONG=1`.
pub(crate) fn is_long() -> bool {
    std::env::var_os("TENFOLD_LONG").is_some()
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

/// Sends GETs over `connections` connections for `duration`: `rate` a second in total, or as fast as they are answered.
#[track_caller]
pub(crate) fn storm(
    server: &ServerProcess,
    target: &str,
    connections: u32,
    rate: Option<f64>,
    duration: Duration,
) -> Vec<Fate> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..connections)
            .map(|index| {
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut fates = Vec::new();
                    for turn in 0_u32.. {
                        if let Some(rate) = rate {
                            let due = Duration::from_secs_f64(f64::from(turn * connections + index) / rate);
                            std::thread::sleep((start + due).saturating_duration_since(Instant::now()));
                        }
                        let sent = Instant::now();
                        if sent >= start + duration {
                            break;
                        }
                        let response = client.get(target);
                        fates.push(Fate { status: response.status, took: sent.elapsed() });
                        if response.closes() {
                            client = server.client();
                        }
                    }
                    fates
                })
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().expect("the sender got an answer")).collect()
    })
}

/// How many were answered with `status`, and the time that the share `quantile` of them did not exceed.
pub(crate) fn of_status(fates: &[Fate], status: u16, quantile: f64) -> (usize, Duration) {
    let mut took: Vec<_> = fates.iter().filter(|fate| fate.status == status).map(|fate| fate.took).collect();
    took.sort_unstable();
    let at = (took.len() as f64 * quantile) as usize;
    (took.len(), took.get(at.min(took.len().saturating_sub(1))).copied().unwrap_or_default())
}
