//! The bar that moves while it runs: on standard error, and only where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the clock in the bar moves.
const TICK: Duration = Duration::from_millis(250);

/// The bar.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn begin(steps: u64) -> Progress {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{elapsed:>4} [{bar:32}] {percent:>3} %  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }

    /// What is done at the moment.
    pub(super) fn says(&self, workload: &str, model: &str, what: &str) {
        self.0.set_message(format!("{workload} · {model} · {what}"));
    }

    pub(super) fn step(&self) {
        self.0.inc(1);
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
