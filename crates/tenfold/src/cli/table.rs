//! The table of the concurrency models.

use tenfold_server::{MODELS, Settings};

/// One row per model, columns aligned; wide, as facts are.
pub(crate) fn models() -> String {
    let mut rows = vec![["model", "connection layer", "handlers run on", "known from"]];
    rows.extend(MODELS.iter().map(|model| {
        let (connection, handler) = model.layers();
        [model.name(), connection, handler, model.known_from()]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for row in &rows {
        let [a, b, c] = widths;
        text.push_str(&format!("{:a$}  {:b$}  {:c$}  {}\n", row[0], row[1], row[2], row[3]));
    }
    text.push_str(
        "\nDeadlines: at the soft one (limits.request_timeout_secs) all waits of a request fail, and when its client has gone.\n\
         What that cannot cancel, and what happens then at the hard one (limits.request_overrun_secs later):\n\n",
    );
    for model in MODELS {
        let (name, overrun) = (model.name(), model.facts(&Settings::default()).overrun.text());
        text.push_str(&format!("{name:a$}  {}: {overrun}\n", model.cannot_cancel(), a = widths[0]));
    }
    text.push_str("\nEvery model runs in any number of worker processes: --workers N.\n");
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_model_has_its_row() {
        let table = super::models();
        for model in tenfold_server::MODELS {
            assert!(table.lines().any(|line| line.starts_with(model.name())), "{}", model.name());
        }
    }
}
