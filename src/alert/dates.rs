//! A key expires soon; its rotation is overdue.

use serde::{Deserialize, Serialize};

const DAY_US: i64 = 86_400_000_000;

/// How long before its expiry a key's holders are told, in days; each once.
pub const EXPIRY_DAYS: [u32; 3] = [30, 7, 1];

/// That an expiry was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryTold {
    /// Which: another `expires_at` is told anew. Microseconds since 1970.
    pub expires_us: i64,
    /// The last of [`EXPIRY_DAYS`] that was told.
    pub days: u32,
}

/// The stage that is to be told now: the nearest of those that were reached, if it was not told. A
/// stage that lies before the key was made was never reached: who makes a key for a day knows.
#[must_use]
pub fn expiry_stage(
    expires_us: i64,
    made_us: i64,
    told: Option<ExpiryTold>,
    now_us: i64,
) -> Option<u32> {
    if expires_us <= now_us {
        return None;
    }
    let told = told.filter(|told| told.expires_us == expires_us).map_or(u32::MAX, |it| it.days);
    let reached = |days: &u32| {
        let at_us = stage_us(expires_us, *days);
        *days < told && at_us <= now_us && at_us > made_us
    };
    EXPIRY_DAYS.into_iter().rfind(reached)
}

/// The next instant after now at which a stage is reached.
#[must_use]
pub fn next_stage_us(expires_us: i64, now_us: i64) -> Option<i64> {
    EXPIRY_DAYS.into_iter().map(|days| stage_us(expires_us, days)).find(|at_us| *at_us > now_us)
}

fn stage_us(expires_us: i64, days: u32) -> i64 {
    expires_us.saturating_sub(i64::from(days) * DAY_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(expires_days: i64, days: u32) -> Option<ExpiryTold> {
        Some(ExpiryTold { expires_us: expires_days * DAY_US, days })
    }

    #[test]
    fn each_stage_is_told_once_and_the_nearest_alone() {
        // Days of: the expiry, when the key was made, now; what was told.
        #[rustfmt::skip]
        let cases = [
            (100, 0, 69, None, None),
            (100, 0, 70, None, Some(30)),
            (100, 0, 80, None, Some(30)),
            (100, 0, 80, told(100, 30), None),
            (100, 0, 93, told(100, 30), Some(7)),
            (100, 0, 93, told(100, 7), None),
            (100, 0, 99, None, Some(1)),
            (100, 0, 99, told(100, 7), Some(1)),
            (100, 0, 99, told(100, 1), None),
            (100, 0, 100, None, None),
            (100, 0, 101, told(100, 7), None),
            // Put off, and near again.
            (200, 0, 170, told(100, 1), Some(30)),
            (200, 0, 100, told(100, 1), None),
            // Made for five days, for a day.
            (100, 95, 96, None, None),
            (100, 95, 99, None, Some(1)),
            (100, 99, 99, None, None),
        ];
        for (expires, made, now, told, stage) in cases {
            let judged = expiry_stage(expires * DAY_US, made * DAY_US, told, now * DAY_US);
            assert_eq!(judged, stage, "{expires} {made} {now} {told:?}");
        }
    }

    #[test]
    fn the_next_stage_is_known_ahead() {
        for (now, next) in
            [(0, Some(70)), (69, Some(70)), (70, Some(93)), (98, Some(99)), (99, None)]
        {
            let at = next_stage_us(100 * DAY_US, now * DAY_US);
            assert_eq!(at, next.map(|day: i64| day * DAY_US), "{now}");
        }
        assert_eq!(next_stage_us(i64::MIN, i64::MAX), None);
    }
}
