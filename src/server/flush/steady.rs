//! Whether the wall clock can be believed: what is forgotten by it does not come back.

use crate::clock::Now;
use crate::usage::Hour;

/// How far the wall clock may be ahead of the time that has passed since it was believed.
const AHEAD_US: i64 = 3_600_000_000;
/// How long it must stay so to be believed.
const BELIEVED_AFTER_NS: u64 = 6 * 3_600_000_000_000;

/// Compares the wall clock with the clock that never steps. What it says at first is believed.
#[derive(Debug, Default)]
pub(super) struct Steady {
    /// When the wall clock was believed last.
    believed: Option<Now>,
    /// Since when it has been ahead, on the clock that never steps.
    ahead_since_ns: Option<u64>,
}

impl Steady {
    /// The hour, or nothing while the wall clock has jumped ahead and not stayed so for hours. One
    /// that is set back is believed: it makes nobody forget.
    pub(super) fn hour(&mut self, now: Now) -> Option<Hour> {
        let believed = *self.believed.get_or_insert(now);
        let passed_ns = now.mono_ns.saturating_sub(believed.mono_ns);
        let passed_us = i64::try_from(passed_ns / 1000).unwrap_or(i64::MAX);
        let expected_us = believed.wall_us.saturating_add(passed_us);
        if now.wall_us.saturating_sub(expected_us) > AHEAD_US {
            let since_ns = *self.ahead_since_ns.get_or_insert(now.mono_ns);
            if now.mono_ns.saturating_sub(since_ns) < BELIEVED_AFTER_NS {
                return None;
            }
        }
        *self = Self { believed: Some(now), ahead_since_ns: None };
        Some(Hour::of(now.wall_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;

    fn at(mono_hours: u64, wall_hours: i64) -> Now {
        Now { mono_ns: mono_hours * HOUR_NS, wall_us: wall_hours * AHEAD_US }
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_believed_when_it_has_stayed_so() {
        let mut steady = Steady::default();
        #[rustfmt::skip]
        let looks = [
            (at(0, 1000), Some(1000)), (at(1, 1001), Some(1001)), (at(5, 1005), Some(1005)),
            // Set back, and on from there.
            (at(6, 900), Some(900)), (at(7, 901), Some(901)),
            // A glitch.
            (at(8, 90_000), None), (at(9, 903), Some(903)),
            // A step that stays.
            (at(10, 2000), None), (at(15, 2005), None), (at(16, 2006), Some(2006)), (at(17, 2007), Some(2007)),
        ];
        for (now, expected) in looks {
            assert_eq!(steady.hour(now), expected.map(Hour), "{now:?}");
        }
    }
}
