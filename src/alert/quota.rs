//! A share of the month's quota is used.

use serde::{Deserialize, Serialize};

use super::{Ppm, reaches};

/// That a crossing was told, and under which terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaTold {
    /// The month, by [`crate::limit::Period::Month`].
    pub month: u32,
    /// The quota.
    pub cap: u64,
    /// The threshold, in parts of a million.
    pub threshold: Ppm,
}

/// How the month's quota of a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// The month's number.
    pub number: u32,
    /// The quota, units.
    pub cap: u64,
    /// Units that are spent.
    pub spent: u64,
}

/// Judges the month: what is to be kept as told from here on, and whether somebody is to be told now.
///
/// A crossing is told once in a month. It counts as another when the quota or the threshold was
/// changed so that the share lay under it again in between.
#[must_use]
pub fn judge(told: Option<QuotaTold>, month: Month, threshold: Ppm) -> (Option<QuotaTold>, bool) {
    let Month { number, cap, spent } = month;
    let now = QuotaTold { month: number, cap, threshold };
    let crossed = cap > 0 && spent > 0 && reaches(spent, cap, threshold);
    // A clock that is set back over the turn of a month does not begin the month before again.
    match told.filter(|told| told.month >= number) {
        None => (crossed.then_some(now), crossed),
        Some(told) if crossed || told == now || told.month > number => (Some(told), false),
        Some(_) => (None, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossing_is_told_once_in_a_month() {
        let mut told = None;
        let mut step = |number, cap, spent, threshold| {
            let (next, tells) = judge(told, Month { number, cap, spent }, threshold);
            told = next;
            tells
        };
        #[rustfmt::skip]
        let steps = [
            (5, 1000, 799, 800_000, false),
            (5, 1000, 800, 800_000, true),
            (5, 1000, 900, 800_000, false),
            (5, 1000, 700, 800_000, false), // units came back: the same crossing
            (5, 1000, 801, 800_000, false),
            (5, 1001, 810, 800_000, false), // another quota, and still above: no crossing
            (5, 2000, 810, 800_000, false), // under it again
            (5, 2000, 1599, 800_000, false),
            (5, 2000, 1600, 800_000, true),
            (5, 2000, 1600, 900_000, false), // another threshold
            (5, 2000, 1800, 900_000, true),
            (6, 2000, 10, 900_000, false),
            (6, 2000, 1800, 900_000, true), // another month
            (6, 0, 0, 900_000, false),
            (7, 0, 0, 0, false),
            (7, 10, 0, 0, false), // a threshold of nothing still needs a unit
            (7, 10, 1, 0, true),
            (7, u64::MAX, u64::MAX, 1_000_000, false),
            (6, u64::MAX, u64::MAX, 1_000_000, false), // the clock was set back
            (7, u64::MAX, u64::MAX, 1_000_000, false),
            (8, u64::MAX, u64::MAX, 1_000_000, true),
        ];
        for (at, (number, cap, spent, threshold, tells)) in steps.into_iter().enumerate() {
            assert_eq!(step(number, cap, spent, threshold), tells, "step {at}");
        }
    }
}
