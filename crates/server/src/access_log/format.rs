//! Lines of the access log. Whatever a client can choose is escaped: nobody writes lines of their own into our log, nor
//! control sequences into a terminal that shows it.

use std::fmt::{self, Display};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Version;

use crate::access_log::Entry;

/// Most bytes of a value from the request; the rest is replaced by "...".
const VALUE_BYTES_MAX: usize = 2048;

/// Writing to memory cannot fail.
const MEMORY: &str = "a vector takes every write";

/// `peer - - [10/Oct/2000:13:55:36 +0000] "GET /a HTTP/1.1" 200 13 "referer" "user agent" 250us /a id`
pub(super) fn text(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let Entry { peer, status, body_bytes, .. } = entry;
    match peer.ip() {
        Some(ip) => write!(out, "{ip}"),
        None => write!(out, "{peer}"),
    }
    .expect(MEMORY);
    write!(out, " - - [{}] \"", Combined(Civil::of(entry.at))).expect(MEMORY);
    escape(out, entry.method.as_bytes(), Quote::Text);
    out.push(b' ');
    escape(out, entry.target.as_bytes(), Quote::Text);
    write!(out, " {}\" {} {body_bytes} \"", version(entry.version), status.as_u16()).expect(MEMORY);
    escape(out, entry.referer.unwrap_or(b"-"), Quote::Text);
    out.extend_from_slice(b"\" \"");
    escape(out, entry.user_agent.unwrap_or(b"-"), Quote::Text);
    write!(out, "\" {}us ", entry.took.as_micros()).expect(MEMORY);
    escape(out, entry.route.as_bytes(), Quote::Text);
    out.push(b' ');
    escape(out, entry.request_id.unwrap_or("-").as_bytes(), Quote::Text);
    out.push(b'\n');
}

/// One object per line; absent values are left out.
pub(super) fn json(out: &mut Vec<u8>, entry: &Entry<'_>) {
    write!(out, "{{\"time\":\"{}\",\"peer\":\"{}\"", Rfc3339(Civil::of(entry.at)), entry.peer).expect(MEMORY);
    let values = [
        ("method", Some(entry.method.as_bytes())),
        ("target", Some(entry.target.as_bytes())),
        ("route", Some(entry.route.as_bytes())),
        ("request_id", entry.request_id.map(str::as_bytes)),
        ("referer", entry.referer),
        ("user_agent", entry.user_agent),
    ];
    for (name, value) in values {
        let Some(value) = value else { continue };
        write!(out, ",\"{name}\":\"").expect(MEMORY);
        escape(out, value, Quote::Json);
        out.push(b'"');
    }
    let (status, bytes, took) = (entry.status.as_u16(), entry.body_bytes, entry.took.as_micros());
    let version = version(entry.version);
    writeln!(
        out,
        ",\"version\":\"{version}\",\"status\":{status},\"body_bytes\":{bytes},\"took_us\":{took}}}"
    )
    .expect(MEMORY);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// `\xHH`, as nginx does.
    Text,
    /// `\u00HH` (RFC 8259 section 7).
    Json,
}

/// Copies visible ASCII and spaces. Bytes beyond ASCII are escaped one by one in text; in JSON, which has to be UTF-8,
/// UTF-8 is kept and other bytes become U+FFFD.
fn escape(out: &mut Vec<u8>, value: &[u8], quote: Quote) {
    let cut = &value[..value.len().min(VALUE_BYTES_MAX)];
    for chunk in cut.utf8_chunks() {
        for character in chunk.valid().chars() {
            let plain = character == ' ' || character.is_ascii_graphic();
            match (character, quote) {
                ('"' | '\\', Quote::Json) => write!(out, "\\{character}"),
                ('"' | '\\', Quote::Text) => write!(out, "\\x{:02X}", character as u32),
                _ if plain => write!(out, "{character}"),
                (_, Quote::Json) if character.is_ascii_control() => {
                    write!(out, "\\u{:04x}", character as u32)
                }
                // U+0080 to U+009F are control characters too, and U+2028 ends lines in some viewers.
                (_, Quote::Json)
                    if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') =>
                {
                    write!(out, "\\u{:04x}", character as u32)
                }
                (_, Quote::Json) => write!(out, "{character}"),
                (_, Quote::Text) => {
                    let mut bytes = [0; 4];
                    character
                        .encode_utf8(&mut bytes)
                        .bytes()
                        .try_for_each(|byte| write!(out, "\\x{byte:02X}"))
                }
            }
            .expect(MEMORY);
        }
        match quote {
            Quote::Json if !chunk.invalid().is_empty() => out.extend_from_slice("\u{FFFD}".as_bytes()),
            Quote::Json => {}
            Quote::Text => {
                chunk.invalid().iter().try_for_each(|byte| write!(out, "\\x{byte:02X}")).expect(MEMORY);
            }
        }
    }
    if cut.len() < value.len() {
        out.extend_from_slice(b"...");
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// A time in UTC as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: u64,
    /// 1 to 12.
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    micros: u32,
}

impl Civil {
    /// Times before 1970 are shown as its first moment.
    fn of(time: SystemTime) -> Civil {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Years are counted from March on, so that a leap day is the last one; eras are the 400 years after which the
        // calendar repeats, the first of them beginning 719,468 days before 1970.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Civil {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            micros: since.subsec_micros(),
        }
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `10/Oct/2000:13:55:36 +0000`
struct Combined(Civil);

impl Display for Combined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = self.0;
        let month = MONTHS[month as usize - 1];
        write!(f, "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000")
    }
}

/// `2000-10-10T13:55:36.000001Z`
struct Rfc3339(Civil);

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, micros } = self.0;
        write!(f, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (971_186_136, "2000-10-10T13:55:36.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Rfc3339(Civil::of(time)).to_string(), text);
        }
        let time = UNIX_EPOCH + Duration::from_secs(971_186_136);
        assert_eq!(Combined(Civil::of(time)).to_string(), "10/Oct/2000:13:55:36 +0000");
    }

    #[test]
    fn what_a_client_chooses_cannot_leave_its_quotes() {
        let escaped = |value: &[u8], quote| {
            let mut out = Vec::new();
            escape(&mut out, value, quote);
            String::from_utf8(out).expect("lines are UTF-8")
        };
        assert_eq!(escaped(b"a\"b\\c\n\x1b[0m", Quote::Text), r"a\x22b\x5Cc\x0A\x1B[0m");
        assert_eq!(escaped(b"a\"b\\c\n\x1b[0m", Quote::Json), r#"a\"b\\c\u000a\u001b[0m"#);
        assert_eq!(escaped("\u{e9}\u{85}".as_bytes(), Quote::Text), r"\xC3\xA9\xC2\x85");
        assert_eq!(escaped("\u{e9}\u{85}".as_bytes(), Quote::Json), "\u{e9}\\u0085");
        assert_eq!(escaped(b"\xff", Quote::Text), r"\xFF");
        assert_eq!(escaped(b"\xff", Quote::Json), "\u{fffd}");
        assert_eq!(escaped(&[b'x'; 3000], Quote::Text).len(), VALUE_BYTES_MAX + 3);
    }
}
