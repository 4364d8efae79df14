//! Calendar windows, in UTC: which one an instant is in, and when that ends.
//!
//! Instants are microseconds since 1970; what lies before counts as 1970, whose first windows are
//! numbered 1. Dates are computed as in Howard Hinnant's "chrono-Compatible Low-Level Date
//! Algorithms" (<https://howardhinnant.github.io/date_algorithms.html>), without tables or loops.

use serde::{Deserialize, Serialize};

const HOUR_US: i64 = 3_600 * 1_000_000;
const DAY_US: i64 = 24 * HOUR_US;
const WEEK_DAYS: i64 = 7;

/// A period of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Period {
    /// From minute 0 to minute 0.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday (ISO 8601).
    Week,
    /// From the first to the first.
    Month,
    /// From the first of January to the next.
    Year,
}

/// One window of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// At least 1, and one more than that of the window before; 0 is kept for "none".
    pub number: u32,
    /// The first instant after it, microseconds since 1970; `i64::MAX` if that is out of reach.
    pub ends_us: i64,
}

/// The windows that nearly every decision asks for, computed once for a batch of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// The calendar day.
    pub day: Window,
    /// The calendar month.
    pub month: Window,
}

/// How often credits are refilled, at 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refill {
    /// Every day.
    Daily,
    /// Once a month.
    Monthly {
        /// The day of the month, 1 to 31; a shorter month is refilled on its last day.
        day: u8,
    },
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The period of a name, exactly as [`Self::name`] writes it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == name)
    }

    /// The window that an instant is in.
    #[must_use]
    pub fn window(self, wall_us: i64) -> Window {
        let days = days(wall_us);
        match self {
            Self::Hour => {
                let hours = wall_us.max(0) / HOUR_US;
                Window { number: number(hours + 1), ends_us: HOUR_US.saturating_mul(hours + 1) }
            }
            Self::Day => day_window(days),
            Self::Week => {
                // 1970 began on a Thursday, three days into its week.
                let weeks = (days + 3) / WEEK_DAYS;
                Window { number: number(weeks + 1), ends_us: midnight(weeks * WEEK_DAYS + 4) }
            }
            Self::Month => month_window(days, Date::of(days)),
            Self::Year => {
                let year = Date::of(days).year;
                let next = Date { year: year + 1, month: 1, day: 1 };
                Window { number: number(year - 1969), ends_us: midnight(next.days()) }
            }
        }
    }
}

impl Calendar {
    /// The windows of an instant.
    #[must_use]
    pub fn at(wall_us: i64) -> Self {
        let days = days(wall_us);
        Self { day: day_window(days), month: month_window(days, Date::of(days)) }
    }
}

/// The time between two refills: `number` is one more than the refills since the beginning of
/// 1970, that of the first midnight included; `ends_us` is the next refill.
///
/// A day that is out of bounds counts as the nearest that is not.
#[must_use]
pub fn refill_window(every: Refill, wall_us: i64) -> Window {
    let days = days(wall_us);
    match every {
        Refill::Daily => Window { number: number(days + 2), ends_us: midnight(days + 1) },
        Refill::Monthly { day } => {
            let date = Date::of(days);
            let refilled = i64::from(date.day >= Date::in_month(date.months(), day).day);
            let next = Date::in_month(date.months() + refilled, day);
            Window { number: number(date.months() + 1 + refilled), ends_us: midnight(next.days()) }
        }
    }
}

/// When so many refills from an instant on will have come, the first of them being the next;
/// `i64::MAX` if that is out of reach.
#[must_use]
pub fn refilled_at(every: Refill, wall_us: i64, times: u64) -> i64 {
    /// Far beyond what an instant can hold, and far below where dates overflow.
    const TIMES_MAX: u64 = 1 << 40;
    // At least one, and below 2^41.
    let later = times.clamp(1, TIMES_MAX).cast_signed() - 1;
    let days = days(wall_us);
    midnight(match every {
        Refill::Daily => days + 1 + later,
        Refill::Monthly { day } => {
            let date = Date::of(days);
            let refilled = i64::from(date.day >= Date::in_month(date.months(), day).day);
            Date::in_month(date.months() + refilled + later, day).days()
        }
    })
}

fn day_window(days: i64) -> Window {
    Window { number: number(days + 1), ends_us: midnight(days + 1) }
}

fn month_window(days: i64, date: Date) -> Window {
    Window {
        number: number(date.months() + 1),
        ends_us: midnight(days - date.day + 1 + date.len()),
    }
}

/// Whole days since 1970; at most 106,751,991, in the year 294,247.
const fn days(wall_us: i64) -> i64 {
    if wall_us < 0 { 0 } else { wall_us / DAY_US }
}

const fn midnight(days: i64) -> i64 {
    DAY_US.saturating_mul(days)
}

/// The most are hours: 2,562,047,788 of them up to the last instant.
fn number(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A date of the Gregorian calendar, from 1970 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
}

impl Date {
    /// Hinnant's `civil_from_days`: years begin in March, so that a leap day is the last of one.
    const fn of(days: i64) -> Self {
        // From 0000-03-01; eras are of 400 years.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + (month <= 2) as i64;
        Self { year, month, day }
    }

    /// Hinnant's `days_from_civil`.
    const fn days(self) -> i64 {
        let year = self.year - (self.month <= 2) as i64;
        let era = year / 400;
        let year_of_era = year % 400;
        let from_march = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let day_of_year = (153 * from_march + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// A day of a month, counted from January 1970; the last one of a month that is shorter.
    fn in_month(months: i64, day: u8) -> Self {
        let month = Self { year: 1970 + months / 12, month: months % 12 + 1, day: 1 };
        Self { day: i64::from(day).clamp(1, month.len()), ..month }
    }

    /// Months since January 1970.
    const fn months(self) -> i64 {
        (self.year - 1970) * 12 + self.month - 1
    }

    /// Days of the month.
    const fn len(self) -> i64 {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        match self.month {
            2 => 28 + leap as i64,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

#[cfg(test)]
mod tests;
