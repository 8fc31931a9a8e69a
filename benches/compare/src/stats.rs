//! Medians and percentiles. Pure.

use serde::Serialize;

/// What is left of one figure after all rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// In the order of the rounds.
    pub all: Vec<f64>,
}

/// `None` where there is nothing to summarise.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    Some(Spread { median, min, max, all: values.to_vec() })
}

/// The smallest value that at least `share` of all values do not exceed; 0 where there is none. Sorts in place.
pub fn percentile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(spread(&[]), None);
        let odd = spread(&[9.0, 1.0, 5.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (5.0, 1.0, 9.0));
        assert_eq!(odd.all, [9.0, 1.0, 5.0]);
        assert_eq!(spread(&[1.0, 2.0, 4.0, 100.0]).unwrap().median, 3.0);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let mut values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut values, 0.5), 50);
        assert_eq!(percentile(&mut values, 0.99), 99);
        assert_eq!(percentile(&mut values, 1.0), 100);
        assert_eq!(percentile(&mut [7], 0.01), 7);
        assert_eq!(percentile(&mut [], 0.5), 0);
    }
}
