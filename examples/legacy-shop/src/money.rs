//! Amounts, in cents.

/// An amount as people write it.
pub fn euros(cents: u32) -> String {
    format!("{}.{:02} €", cents / 100, cents % 100)
}

/// A share of an amount, rounded half up.
pub fn per_cent(cents: u32, percentage: u32) -> u32 {
    (cents * percentage + 50) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_with_two_digits() {
        assert_eq!(euros(1205), "12.05 €");
        assert_eq!(euros(7), "0.07 €");
    }

    #[test]
    fn shares_are_rounded_half_up() {
        assert_eq!(per_cent(50, 19), 10);
        assert_eq!(per_cent(1000, 7), 70);
    }
}
