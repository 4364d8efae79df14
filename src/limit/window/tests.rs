use proptest::prelude::*;
use time::{Date as Oracle, Duration, Month, OffsetDateTime, Time};

use super::*;

/// The first instant of the year 10,000, which is as far as the other library goes.
const YEAR_10000_US: i64 = 253_402_300_800 * 1_000_000;

fn us(date: (i32, u8, u8), hour: u8, micro: u32) -> i64 {
    let (year, month, day) = date;
    let time = Time::from_hms_micro(hour, 0, 0, micro).expect("a time");
    us_of(oracle(year, month, day).with_time(time).assume_utc())
}

fn oracle(year: i32, month: u8, day: u8) -> Oracle {
    let month = Month::try_from(month).expect("a month");
    Oracle::from_calendar_date(year, month, day).expect("a date")
}

fn us_of(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1000).expect("before the year 10,000")
}

/// The first and the last microsecond are in the window, and the next one is in the next.
#[track_caller]
fn spans(window: impl Fn(i64) -> Window, first: i64, next: i64) {
    let this = window(first);
    assert_eq!(this.ends_us, next);
    assert_eq!(window(next - 1), this);
    assert_eq!(window(next).number, this.number + 1);
    if first > 0 {
        assert_eq!(window(first - 1), Window { number: this.number - 1, ends_us: first });
    }
}

#[test]
fn a_window_begins_where_the_last_one_ended() {
    // First day of the window and of the next one.
    let cases = [
        (Period::Month, (1970, 1, 1), (1970, 2, 1)),
        (Period::Month, (2023, 2, 1), (2023, 3, 1)),
        (Period::Month, (2024, 2, 1), (2024, 3, 1)),
        (Period::Month, (2000, 2, 1), (2000, 3, 1)),
        (Period::Month, (2100, 2, 1), (2100, 3, 1)),
        (Period::Month, (2024, 4, 1), (2024, 5, 1)),
        (Period::Month, (2024, 12, 1), (2025, 1, 1)),
        (Period::Day, (1970, 1, 1), (1970, 1, 2)),
        (Period::Day, (2024, 2, 28), (2024, 2, 29)),
        (Period::Day, (2024, 2, 29), (2024, 3, 1)),
        (Period::Day, (2023, 2, 28), (2023, 3, 1)),
        (Period::Day, (2000, 2, 29), (2000, 3, 1)),
        (Period::Day, (2100, 2, 28), (2100, 3, 1)),
        (Period::Day, (2024, 12, 31), (2025, 1, 1)),
        (Period::Year, (1970, 1, 1), (1971, 1, 1)),
        (Period::Year, (2000, 1, 1), (2001, 1, 1)),
        (Period::Year, (2024, 1, 1), (2025, 1, 1)),
        (Period::Year, (2100, 1, 1), (2101, 1, 1)),
        // Weeks 1 of 2020, 2025 and 2026 begin in the year before; 2020 has 53 of them.
        (Period::Week, (2019, 12, 30), (2020, 1, 6)),
        (Period::Week, (2020, 12, 28), (2021, 1, 4)),
        (Period::Week, (2024, 12, 30), (2025, 1, 6)),
        (Period::Week, (2024, 2, 26), (2024, 3, 4)),
    ];
    for (period, first, next) in cases {
        spans(|at| period.window(at), us(first, 0, 0), us(next, 0, 0));
    }
    spans(|at| Period::Hour.window(at), us((2024, 12, 31), 23, 0), us((2025, 1, 1), 0, 0));
    spans(|at| Period::Hour.window(at), us((2024, 2, 29), 7, 0), us((2024, 2, 29), 8, 0));
    // The week that 1970 began in was three days old.
    assert_eq!(Period::Week.window(0), Window { number: 1, ends_us: us((1970, 1, 5), 0, 0) });
    spans(|at| Period::Week.window(at), us((1970, 1, 5), 0, 0), us((1970, 1, 12), 0, 0));
}

#[test]
fn windows_are_numbered_from_1970() {
    let at = us((2024, 2, 29), 13, 999_999);
    let numbers = Period::ALL.map(|period| period.window(at).number);
    assert_eq!(numbers, [474_782, 19_783, 2827, 650, 55]);
    for period in Period::ALL {
        assert_eq!(period.window(0).number, 1, "{period:?}");
    }
}

/// kong #9581, #2817: a counter of the month that was lost on its 31st day.
#[test]
fn a_month_is_one_window_up_to_its_31st_day() {
    for (month, days) in [(1, 31), (2, 29), (3, 31), (4, 30), (7, 31), (8, 31), (12, 31)] {
        let first = Period::Month.window(us((2024, month, 1), 0, 0));
        for day in 1..=days {
            for (hour, micro) in [(0, 0), (12, 0), (23, 999_999)] {
                let at = us((2024, month, day), hour, micro);
                assert_eq!(Period::Month.window(at), first, "{month}-{day}");
                assert_eq!(Calendar::at(at).month, first, "{month}-{day}");
            }
        }
    }
}

/// kong #2021, #2817: a year of 360 days, and one of 365 in a leap year.
#[test]
fn a_year_is_one_window_up_to_its_last_day() {
    for (year, days) in [(2023, 365), (2024, 366), (2100, 365)] {
        let start = us((year, 1, 1), 0, 0);
        let (first, last) = (Period::Year.window(start), start + days * DAY_US - 1);
        assert_eq!(first.ends_us, last + 1, "{year}");
        assert_eq!(Period::Year.window(last), first, "{year}");
    }
}

/// A window that nothing was asked in is counted all the same.
#[test]
fn refills_that_nobody_saw_are_counted() {
    let number = |date| refill_window(Refill::Monthly { day: 31 }, us(date, 0, 0)).number;
    assert_eq!(number((2024, 5, 1)) - number((2024, 1, 30)), 4);
    assert_eq!(number((2025, 1, 31)) - number((2024, 1, 31)), 12);
}

#[test]
fn the_ends_of_time_have_windows() {
    let refills = [Refill::Daily, Refill::Monthly { day: 1 }, Refill::Monthly { day: 31 }];
    let windows = |at| {
        let periods = Period::ALL.map(|period| period.window(at));
        periods.into_iter().chain(refills.map(|every| refill_window(every, at)))
    };
    for before in [-1, -DAY_US, i64::MIN] {
        assert!(windows(before).eq(windows(0)), "before 1970 counts as 1970");
    }
    for (last, earlier) in windows(i64::MAX).zip(windows(YEAR_10000_US)) {
        assert_eq!(last.ends_us, i64::MAX);
        assert!(earlier.number < last.number && last.number < u32::MAX);
    }
    assert_eq!(Calendar::at(i64::MIN), Calendar::at(0));
}

#[test]
fn a_short_month_is_refilled_on_its_last_day() {
    // The refill day; two refills without one between.
    let cases = [
        (1, (2024, 2, 1), (2024, 3, 1)),
        (15, (2024, 12, 15), (2025, 1, 15)),
        (28, (2023, 1, 28), (2023, 2, 28)),
        (28, (2024, 2, 28), (2024, 3, 28)),
        (29, (2023, 1, 29), (2023, 2, 28)),
        (29, (2024, 1, 29), (2024, 2, 29)),
        (29, (2100, 2, 28), (2100, 3, 29)),
        (30, (2023, 2, 28), (2023, 3, 30)),
        (30, (2024, 2, 29), (2024, 3, 30)),
        (30, (2000, 1, 30), (2000, 2, 29)),
        (31, (2023, 1, 31), (2023, 2, 28)),
        (31, (2023, 2, 28), (2023, 3, 31)),
        (31, (2024, 2, 29), (2024, 3, 31)),
        (31, (2024, 3, 31), (2024, 4, 30)),
        (31, (2024, 4, 30), (2024, 5, 31)),
        (31, (2024, 12, 31), (2025, 1, 31)),
    ];
    for (day, first, next) in cases {
        let every = Refill::Monthly { day };
        spans(|at| refill_window(every, at), us(first, 0, 0), us(next, 0, 0));
    }
    spans(|at| refill_window(Refill::Daily, at), us((2024, 2, 29), 0, 0), us((2024, 3, 1), 0, 0));
}

#[test]
fn refills_are_numbered_from_1970() {
    let refill = |day, at| refill_window(Refill::Monthly { day }, at).number;
    assert_eq!(refill_window(Refill::Daily, 0).number, 2, "1970 began with a refill");
    assert_eq!((refill(1, 0), refill(2, 0)), (2, 1));
    let at = us((2024, 2, 29), 0, 0);
    assert_eq!((refill(28, at), refill(31, at), refill(31, at - 1)), (651, 651, 650));
    assert_eq!((refill(0, at), refill(32, at)), (refill(1, at), refill(31, at)));
}

#[test]
fn a_period_is_read_by_its_name_alone() {
    for period in Period::ALL {
        assert_eq!(Period::parse(period.name()), Some(period));
    }
    for name in ["", "Day", "days", "day ", "1d"] {
        assert_eq!(Period::parse(name), None, "{name:?}");
    }
}

/// The first midnight after a date on which `begins` holds, day by day.
fn next_midnight(after: Oracle, begins: impl Fn(Oracle) -> bool) -> i64 {
    let mut date = after;
    loop {
        date += Duration::days(1);
        if begins(date) {
            return us_of(date.midnight().assume_utc());
        }
    }
}

fn refills_on(date: Oracle, day: u8) -> bool {
    date.day() == day.min(date.month().length(date.year()))
}

proptest! {
    #[test]
    fn windows_end_where_another_calendar_says(at in 0..YEAR_10000_US - 400 * DAY_US) {
        let then = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1000)
            .expect("before the year 10,000");
        let date = then.date();
        let ends = [
            us_of(then.truncate_to_hour() + Duration::hours(1)),
            next_midnight(date, |_| true),
            next_midnight(date, |day| day.weekday() == time::Weekday::Monday),
            next_midnight(date, |day| day.day() == 1),
            next_midnight(date, |day| day.ordinal() == 1),
        ];
        prop_assert_eq!(Period::ALL.map(|period| period.window(at).ends_us), ends);
        let year = u32::try_from(date.year()).expect("from 1970 on");
        prop_assert_eq!(Period::Year.window(at).number, year - 1969);
        let month = (year - 1970) * 12 + u32::from(u8::from(date.month()));
        prop_assert_eq!(Period::Month.window(at).number, month);
        for day in 28..=31 {
            let next = refill_window(Refill::Monthly { day }, at).ends_us;
            prop_assert_eq!(next, next_midnight(date, |date| refills_on(date, day)));
        }
    }

    #[test]
    fn consecutive_windows_differ_by_one(at: i64, day in 1_u8..=31) {
        let calendar = Calendar::at(at);
        prop_assert_eq!(calendar.day, Period::Day.window(at));
        prop_assert_eq!(calendar.month, Period::Month.window(at));
        for period in Period::ALL {
            follows(|at| period.window(at), at)?;
        }
        for every in [Refill::Daily, Refill::Monthly { day }] {
            follows(|at| refill_window(every, at), at)?;
        }
    }
}

fn follows(window_of: impl Fn(i64) -> Window, at: i64) -> Result<(), TestCaseError> {
    let window = window_of(at);
    prop_assert!(window.number >= 1);
    prop_assert!(window.ends_us > at || window.ends_us == i64::MAX);
    if window.ends_us < i64::MAX {
        prop_assert_eq!(window_of(window.ends_us - 1), window);
        prop_assert_eq!(window_of(window.ends_us).number, window.number + 1);
    }
    Ok(())
}
