//! `Cron`: a pattern of times, in UTC.
//!
//! croner does the work; it is the only one of the parsers that is maintained and knows when a pattern never comes.

use std::str::FromStr;

use chrono::{DateTime, Utc};

/// A parsed pattern: minute, hour, day of the month, month, day of the week; or one of `@hourly`, `@daily` and so on.
#[derive(Debug)]
pub(crate) struct Cron(croner::Cron);

impl Cron {
    /// # Errors
    /// One line: what is wrong with the pattern, or that it never comes.
    pub(crate) fn parse(pattern: &str) -> Result<Cron, String> {
        let text = |error: croner::errors::CronError| format!("the cron pattern {pattern:?}: {error}");
        let cron = Cron(croner::Cron::from_str(pattern).map_err(text)?);
        cron.0.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false).map_err(text)?;
        Ok(cron)
    }

    /// The first time after `at`, both in milliseconds since 1970; the end of time, where there is none.
    pub(crate) fn after(&self, at: i64) -> i64 {
        let Some(at) = DateTime::<Utc>::from_timestamp_millis(at) else { return i64::MAX };
        self.0.find_next_occurrence(&at, false).map_or(i64::MAX, |next| next.timestamp_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_in_utc_and_after_the_given_one() {
        let cron = Cron::parse("0 3 * * *").unwrap();
        let three = 3 * 3_600_000;
        assert_eq!(cron.after(0), three);
        assert_eq!(cron.after(three), three + 86_400_000);
        assert_eq!(cron.after(three - 1), three);
    }

    #[test]
    fn a_pattern_that_is_wrong_or_never_comes_is_refused_in_one_line() {
        for pattern in ["", "61 * * * *", "0 3 * *", "0 0 30 2 *"] {
            let line = Cron::parse(pattern).unwrap_err();
            assert!(line.contains("cron pattern") && !line.contains('\n'), "{line}");
        }
    }
}
