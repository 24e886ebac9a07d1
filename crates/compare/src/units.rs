//! Durations, sizes and counts as people write and read them.

use std::time::Duration;

/// Reads `200ms`, `1.5s`, `800us`, `2min`; a bare number is seconds.
///
/// # Errors
/// One line that says what is expected.
///
/// ```
/// use std::time::Duration;
/// use tenfold_compare::units;
/// assert_eq!(units::parse_duration("200ms"), Ok(Duration::from_millis(200)));
/// assert_eq!(units::parse_duration("1.5"), Ok(Duration::from_millis(1500)));
/// assert!(units::parse_duration("soon").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration, as 200ms, 1.5s or 2min are");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// Reads `40MiB`, `64KiB`, `1.5GiB`, `40MB`; a bare number is bytes.
///
/// # Errors
/// One line that says what is expected.
///
/// ```
/// use tenfold_compare::units;
/// assert_eq!(units::parse_bytes("40MiB"), Ok(40 << 20));
/// assert_eq!(units::parse_bytes("2kB"), Ok(2_000));
/// ```
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size, as 64KiB, 40MiB or 2GB are");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    let bytes = number * factor;
    if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// A number that is neither negative nor infinite, and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let number = text[..end].parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some((number, text[end..].trim()))
}

/// Three digits and the unit that fits: `48.1 µs`, `1.25 s`.
///
/// ```
/// use std::time::Duration;
/// use tenfold_compare::units;
/// assert_eq!(units::duration(Duration::from_nanos(48_120)), "48.1 µs");
/// assert_eq!(units::duration(Duration::from_millis(1250)), "1.25 s");
/// ```
pub fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    for (unit, size) in [("ns", 1.0), ("µs", 1e3), ("ms", 1e6)] {
        if nanos < 999.5 * size {
            return format!("{} {unit}", three_digits(nanos / size));
        }
    }
    match nanos < 120e9 {
        true => format!("{} s", three_digits(nanos / 1e9)),
        false => format!("{:.1} min", nanos / 60e9),
    }
}

/// Three digits and the unit that fits: `40 MiB`, `1.5 GiB`.
///
/// ```
/// use tenfold_compare::units;
/// assert_eq!(units::bytes(40 << 20), "40.0 MiB");
/// assert_eq!(units::bytes(999), "999 B");
/// ```
pub fn bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes < 1024.0 {
        return format!("{bytes} B");
    }
    let mut size = 1024.0;
    for unit in ["KiB", "MiB", "GiB"] {
        if bytes < 999.5 * size {
            return format!("{} {unit}", three_digits(bytes / size));
        }
        size *= 1024.0;
    }
    format!("{} TiB", three_digits(bytes / size))
}

/// A whole number with a comma between thousands.
///
/// ```
/// use tenfold_compare::units;
/// assert_eq!(units::count(17_280_000.4), "17,280,000");
/// assert_eq!(units::count(3.25), "3.25");
/// ```
pub fn count(number: f64) -> String {
    if number < 100.0 && number.fract() != 0.0 {
        return three_digits(number);
    }
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn three_digits(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_quantity_is_refused() {
        for wrong in ["", "x", "-1s", "1parsec", "1e999", ".", "infs"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
    }

    #[test]
    fn rounding_does_not_leave_a_unit() {
        assert_eq!(duration(Duration::from_nanos(999_600)), "1.00 ms");
        assert_eq!(duration(Duration::ZERO), "0.00 ns");
        assert_eq!(bytes(1 << 30), "1.00 GiB");
        assert_eq!(count(999.9), "1,000");
    }
}
