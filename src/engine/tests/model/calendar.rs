//! The calendar by the `time` crate, and by looking at one day after the other.

use time::{Date, Duration, Month, OffsetDateTime};

use crate::key::limits::RefillEvery;
use crate::limit::Period;

const DAY_US: i64 = 86_400_000_000;

fn at(wall_us: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::microseconds(wall_us)
}

fn midnight_us(date: Date) -> i64 {
    let micros = (date.midnight().assume_utc() - OffsetDateTime::UNIX_EPOCH).whole_microseconds();
    i64::try_from(micros).expect("a date of this millennium")
}

fn first_of(year: i32, month: Month) -> Date {
    Date::from_calendar_date(year, month, 1).expect("every month has a first")
}

/// The beginning of the next window.
pub(super) fn ends_us(period: Period, wall_us: i64) -> i64 {
    let date = at(wall_us).date();
    match period {
        Period::Hour => wall_us - wall_us.rem_euclid(DAY_US / 24) + DAY_US / 24,
        Period::Day => midnight_us(date) + DAY_US,
        Period::Week => {
            let monday = i64::from(date.weekday().number_days_from_monday());
            midnight_us(date) + (7 - monday) * DAY_US
        }
        Period::Month => {
            let year = date.year() + i32::from(date.month() == Month::December);
            midnight_us(first_of(year, date.month().next()))
        }
        Period::Year => midnight_us(first_of(date.year() + 1, Month::January)),
    }
}

/// Windows since 1970, from 1: as rows number them.
pub(super) fn number(period: Period, wall_us: i64) -> u32 {
    let date = at(wall_us).date();
    let days = i64::from(date.to_julian_day()) - i64::from(epoch().to_julian_day());
    let months = i64::from(date.year() - 1970) * 12 + i64::from(u8::from(date.month())) - 1;
    let before = match period {
        Period::Hour => wall_us.div_euclid(DAY_US / 24),
        Period::Day => days,
        // From Monday, 29 December 1969.
        Period::Week => (days + 3).div_euclid(7),
        Period::Month => months,
        Period::Year => i64::from(date.year() - 1970),
    };
    u32::try_from(before + 1).expect("after 1970")
}

fn epoch() -> Date {
    OffsetDateTime::UNIX_EPOCH.date()
}

fn is_refilled_on(every: RefillEvery, date: Date) -> bool {
    match every {
        RefillEvery::Day => true,
        RefillEvery::Month { day } => date.day() == day.min(date.month().length(date.year())),
    }
}

/// The next midnight at which there is a refill.
pub(super) fn next_refill_us(every: RefillEvery, wall_us: i64) -> i64 {
    let mut date = at(wall_us).date();
    loop {
        date = date.next_day().expect("not the last of all days");
        if is_refilled_on(every, date) {
            return midnight_us(date);
        }
    }
}

/// The midnight of the refill that is so many behind the next one. The calendar comes again every
/// 400 years.
pub(super) fn refill_us(every: RefillEvery, wall_us: i64, later: u64) -> i64 {
    const CYCLE_DAYS: i128 = 146_097;
    let next_us = next_refill_us(every, wall_us);
    let (in_cycle, cycles) = match every {
        RefillEvery::Day => (i128::from(next_us) + i128::from(later) * i128::from(DAY_US), 0),
        RefillEvery::Month { day } => {
            let next = at(next_us).date();
            let months = i32::try_from(later % 4800).expect("below 4800")
                + next.year() * 12
                + i32::from(u8::from(next.month()) - 1);
            let month = Month::December.nth_next(u8::try_from(months % 12 + 1).expect("a month"));
            let last = month.length(months / 12);
            let date = Date::from_calendar_date(months / 12, month, day.min(last));
            (i128::from(midnight_us(date.expect("a date"))), i128::from(later / 4800))
        }
    };
    let us = in_cycle + cycles * CYCLE_DAYS * i128::from(DAY_US);
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// Refills since the beginning of 1970, and one: as rows number them.
pub(super) fn refill_number(every: RefillEvery, wall_us: i64) -> u32 {
    let date = at(wall_us).date();
    if every == RefillEvery::Day {
        return number(Period::Day, wall_us) + 1;
    }
    // Of each month before there was one; of this one, if its day has come.
    let mut day = first_of(date.year(), date.month());
    let mut refills = number(Period::Month, wall_us);
    while day <= date {
        refills += u32::from(is_refilled_on(every, day));
        day = day.next_day().expect("not the last of all days");
    }
    refills
}
