//! The share of errors is high, and then no more.

use super::window::Sample;
use super::{Ppm, reaches};

/// Of the share that began it, the share under which it has ended, in quarters: so that a share that
/// wavers about the threshold is told once.
const ENDS_AT_QUARTERS: u32 = 3;

/// After so long a window of too few requests ends it, microseconds: otherwise a key that is little
/// used from then on, and now and then in error, would not be told of the next rise.
pub const LONG_US: i64 = 3600 * 1_000_000;

/// What the window says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The share of errors has reached the threshold.
    Rises,
    /// It is well under it again, or the whole window has no error.
    Recovers,
}

/// Judges the last five minutes. `high` is whether it was said that errors are high, `whole` whether
/// the window was looked at for its whole length. Fewer requests than `requests_min` raise nothing,
/// and end nothing unless it has been high for long ([`LONG_US`]).
#[must_use]
pub fn judge(
    high: bool,
    sample: Sample,
    (whole, long): (bool, bool),
    threshold: Ppm,
    requests_min: u64,
) -> Option<Turn> {
    let Sample { requests, errors } = sample;
    if !high {
        let rises = errors > 0 && requests >= requests_min && reaches(errors, requests, threshold);
        return rises.then_some(Turn::Rises);
    }
    let low = threshold / 4 * ENDS_AT_QUARTERS;
    let few = requests < requests_min;
    let recovers = errors == 0 || few && long || !few && !reaches(errors, requests, low);
    (whole && recovers).then_some(Turn::Recovers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_the_threshold_and_recovers_at_three_quarters_of_it() {
        const TENTH: Ppm = 100_000;
        #[rustfmt::skip]
        let cases = [
            // high, requests, errors, whole → turn
            (false, 100, 9, true, None),
            (false, 100, 10, true, Some(Turn::Rises)),
            (false, 100, 10, false, Some(Turn::Rises)),
            (false, 19, 19, true, None),
            (false, 20, 2, true, Some(Turn::Rises)),
            (false, 0, 0, true, None),
            (true, 100, 50, true, None),
            (true, 100, 8, true, None),
            (true, 1000, 75, true, None),
            (true, 1000, 74, true, Some(Turn::Recovers)),
            (true, 1000, 74, false, None),
            (true, 19, 1, true, None),
            (true, 19, 0, true, Some(Turn::Recovers)),
            (true, 0, 0, true, Some(Turn::Recovers)),
            (true, 0, 0, false, None),
        ];
        for (high, requests, errors, whole, turn) in cases {
            let judged = judge(high, Sample { requests, errors }, (whole, false), TENTH, 20);
            assert_eq!(judged, turn, "{high} {requests} {errors} {whole}");
        }
    }

    #[test]
    fn too_few_requests_end_what_has_been_high_for_long() {
        let few = Sample { requests: 2, errors: 1 };
        for (whole, long, turn) in
            [(true, false, None), (false, true, None), (true, true, Some(Turn::Recovers))]
        {
            assert_eq!(judge(true, few, (whole, long), 100_000, 20), turn, "{whole} {long}");
        }
    }

    #[test]
    fn a_threshold_of_nothing_needs_an_error() {
        assert_eq!(judge(false, Sample { requests: 50, errors: 0 }, (true, false), 0, 1), None);
        let one = Sample { requests: 50, errors: 1 };
        assert_eq!(judge(false, one, (true, false), 0, 1), Some(Turn::Rises));
    }
}
