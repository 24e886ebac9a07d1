//! Medians and their spread: a mean would let one disturbed round decide.

use serde::{Deserialize, Serialize};

/// A number that was measured in several rounds.
///
/// ```
/// use tenfold_compare::measure::Figure;
/// let figure = Figure::of([3.0, 1.0, 2.0]).unwrap();
/// assert_eq!((figure.median, figure.low, figure.high), (2.0, 1.0, 3.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The median of the rounds; of an even number of rounds the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Figure {
    /// Of the rounds' values; those that are no numbers do not count. `None` without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Figure> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Some(Figure { median, low, high })
    }

    /// Half of the distance from the least to the most, as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / 2.0 / self.median.abs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disturbed_round_does_not_move_the_median() {
        let figure = Figure::of([10.0, 11.0, 500.0]).unwrap();
        assert_eq!((figure.median, figure.high), (11.0, 500.0));
        assert_eq!(Figure::of([1.0, 3.0]).unwrap().median, 2.0);
    }

    #[test]
    fn what_is_no_number_does_not_count() {
        assert_eq!(Figure::of([f64::NAN, 4.0, f64::INFINITY]).unwrap().median, 4.0);
        assert_eq!(Figure::of([f64::NAN]), None);
        assert_eq!(Figure::of([]), None);
    }

    #[test]
    fn the_spread_is_half_of_the_range_as_a_share_of_the_median() {
        assert!((Figure::of([9.0, 10.0, 11.0]).unwrap().spread() - 0.1).abs() < 1e-9);
        assert_eq!(Figure::of([0.0]).unwrap().spread(), 0.0);
    }
}
