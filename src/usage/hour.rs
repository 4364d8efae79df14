//! Hours and days, UTC, as the history of usage counts them: from 1970 on, without gaps.

use serde::{Deserialize, Serialize};

use crate::limit::Period;

/// Microseconds of an hour.
const HOUR_US: i64 = 3_600_000_000;
/// Hours of a day.
const DAY_HOURS: u32 = 24;

/// An hour, by its number: that which began with 1970 is 0. What lies before counts as that one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Hour(pub u32);

/// A day, likewise.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Day(pub u32);

impl Hour {
    /// The hour of an instant, in microseconds since 1970.
    #[must_use]
    pub fn of(wall_us: i64) -> Self {
        Self(u32::try_from(wall_us.max(0) / HOUR_US).unwrap_or(u32::MAX))
    }

    /// Its first instant.
    #[must_use]
    pub fn start_us(self) -> i64 {
        i64::from(self.0).saturating_mul(HOUR_US)
    }

    /// Whether an instant is in it.
    #[must_use]
    pub fn holds(self, wall_us: i64) -> bool {
        (0..HOUR_US).contains(&wall_us.max(0).saturating_sub(self.start_us()))
    }

    /// Its day.
    #[must_use]
    pub const fn day(self) -> Day {
        Day(self.0 / DAY_HOURS)
    }

    /// The hour so many hours before.
    #[must_use]
    pub const fn before(self, hours: u32) -> Self {
        Self(self.0.saturating_sub(hours))
    }
}

impl Day {
    /// Its first hour.
    #[must_use]
    pub const fn first_hour(self) -> Hour {
        Hour(self.0.saturating_mul(DAY_HOURS))
    }

    /// The number of its month: rows of history have a month of days each.
    #[must_use]
    pub fn month(self) -> u32 {
        Period::Month.window(self.first_hour().start_us()).number
    }

    /// The day so many days before.
    #[must_use]
    pub const fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_in_one_hour_of_one_day_of_one_month() {
        for (wall_us, hour, day, month) in [
            (-1, 0, 0, 1),
            (0, 0, 0, 1),
            (HOUR_US - 1, 0, 0, 1),
            (HOUR_US, 1, 0, 1),
            (24 * HOUR_US, 24, 1, 1),
            (31 * 24 * HOUR_US, 744, 31, 2),
            // 2026-11-25T12:00:00Z.
            (1_795_608_000_000_000, 498_780, 20_782, 683),
        ] {
            let found = Hour::of(wall_us);
            assert_eq!((found, found.day(), found.day().month()), (Hour(hour), Day(day), month));
            assert!(found.holds(wall_us), "{wall_us}");
            assert!(!found.holds(found.start_us() + HOUR_US), "{wall_us}");
            assert!(found.day().first_hour() <= found);
        }
    }
}
