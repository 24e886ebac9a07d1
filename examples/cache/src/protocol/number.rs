//! Numbers as clients write them.

/// A number of digits only, of at most 64 bits.
#[inline]
pub(super) fn unsigned(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    word.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { sum.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// As [`unsigned`], with a sign or without.
#[inline]
pub(super) fn signed(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        Some(digits) => unsigned(digits).and_then(|number| i64::try_from(number).ok()).map(|number| -number),
        None => unsigned(word).and_then(|number| i64::try_from(number).ok()),
    }
}

#[inline]
pub(super) fn flags(word: &[u8]) -> Option<u32> {
    unsigned(word).and_then(|number| u32::try_from(number).ok())
}

/// A length that can be one.
#[inline]
pub(super) fn length(word: &[u8]) -> Option<usize> {
    unsigned(word).filter(|length| *length <= i32::MAX as u64 - 2).map(|length| length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_that_fit_are_numbers() {
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(unsigned(b"18446744073709551616"), None);
        assert_eq!((unsigned(b""), unsigned(b"+1"), unsigned(b"1a")), (None, None, None));
        assert_eq!((signed(b"-5"), signed(b"--5"), flags(b"4294967296")), (Some(-5), None, None));
    }
}
