//! One line of advice, from what was measured.

use tenfold_scoreboard::{Cause, Stage, TimesReading};

/// What advice depends on beside the times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) model: &'a str,
    /// Whether a handler that waits lets others run, without a thread or process of its own.
    pub(crate) waits_are_free: bool,
    /// Most requests at once in all workers, where something bounds them.
    pub(crate) at_once: Option<usize>,
}

/// Fewer requests say nothing.
const REQUESTS_MIN: u64 = 100;
/// From this share of waiting on, overlapping the waits is what helps most.
const MOSTLY: f64 = 0.5;

/// `None` before enough requests were finished.
pub(crate) fn advice(times: &TimesReading, situation: &Situation<'_>) -> Option<String> {
    let share = times.share_of_waiting().filter(|_| times.finished() >= REQUESTS_MIN)?;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let queue = times.stage_ns(Stage::Queue) as f64 / times.total_ns().max(1) as f64;
    let model = situation.model;
    let mut line = match (share >= MOSTLY, situation.waits_are_free) {
        (true, false) => {
            let bound = situation.at_once.map_or(String::new(), |most| format!(" ({most} at once)"));
            format!(
                "{} of the time is waiting{}: {model} holds a thread or a process meanwhile{bound}; fiber would do other \
                 requests.",
                percent(share),
                for_what(times),
            )
        }
        (true, true) => {
            format!(
                "{} of the time is waiting{}, and {model} does other requests meanwhile.",
                percent(share),
                for_what(times)
            )
        }
        (false, _) => format!(
            "{} of the time is computing: workers up to the number of processors help, another model does not.",
            percent(1.0 - share)
        ),
    };
    if queue >= MOSTLY {
        line += &format!(
            " Requests queue for {} of their time: there is more load than this can take.",
            percent(queue)
        );
    }
    Some(line)
}

/// The cause of most of the waiting.
fn for_what(times: &TimesReading) -> String {
    let all = times.stage_ns(Stage::Wait);
    let most = Cause::ALL.into_iter().max_by_key(|cause| times.wait_ns(*cause));
    match most.map(|cause| (cause, times.wait_ns(cause))) {
        Some((cause, ns)) if ns > 0 => {
            format!(" ({:.0} % of that for: {})", ns as f64 / all.max(1) as f64 * 100.0, cause.name())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use tenfold_scoreboard::{Account, Times, What};

    use super::*;

    fn times(run: u64, wait: u64, queue: u64, requests: u64) -> TimesReading {
        let (account, times) = (Account::new(), Times::new());
        for _ in 0..requests {
            account.begin(0, queue, Stage::Run);
            account.parked(Cause::Database, &What::NONE, queue + run);
            account.resumed(queue + run + wait);
            account.finish(&times, queue + run + wait);
        }
        times.reading()
    }

    #[test]
    fn advice_follows_from_the_share_of_waiting_and_from_what_a_wait_costs() {
        let fiber = Situation { model: "fiber", waits_are_free: true, at_once: None };
        let pool = Situation { model: "pool", waits_are_free: false, at_once: Some(64) };
        assert_eq!(advice(&times(1, 9, 0, 10), &fiber), None, "ten requests say nothing");
        let line = advice(&times(8, 92, 0, 100), &pool).unwrap();
        assert!(
            line.starts_with("92 % of the time is waiting (100 % of that for: database): pool holds"),
            "{line}"
        );
        assert!(line.contains("(64 at once); fiber would"), "{line}");
        let line = advice(&times(8, 92, 0, 100), &fiber).unwrap();
        assert!(line.ends_with("and fiber does other requests meanwhile."), "{line}");
        let line = advice(&times(90, 10, 900, 100), &pool).unwrap();
        assert!(line.starts_with("90 % of the time is computing"), "{line}");
        assert!(line.contains("Requests queue for 90 % of their time"), "{line}");
    }
}
