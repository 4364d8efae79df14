//! Days and months: their edges, and clocks that jump.

use super::*;

/// The last microsecond of a month and the first of the next.
#[test]
fn a_month_ends_with_its_last_microsecond() {
    for (last, first) in [
        ("2027-02-28T23:59:59.999999Z", "2027-03-01T00:00:00Z"),
        ("2028-02-29T23:59:59.999999Z", "2028-03-01T00:00:00Z"),
        ("2100-02-28T23:59:59.999999Z", "2100-03-01T00:00:00Z"),
        ("2000-02-29T23:59:59.999999Z", "2000-03-01T00:00:00Z"),
        ("2027-04-30T23:59:59.999999Z", "2027-05-01T00:00:00Z"),
        ("2027-01-31T23:59:59.999999Z", "2027-02-01T00:00:00Z"),
        ("2027-12-31T23:59:59.999999Z", "2028-01-01T00:00:00Z"),
    ] {
        let desk = Desk::at(last);
        desk.put(1, |it| it.monthly_request_quota = Some(2));
        desk.put(2, |it| it.requests_per_day = Some(2));
        for (key, name) in [(1, LimitName::Month), (2, LimitName::Day)] {
            let codes = [1, 1, 1].map(|cost| desk.code(key, cost));
            use VerdictCode::{QuotaExceeded, Valid};
            assert_eq!(codes, [Valid, Valid, QuotaExceeded], "{last} {key}");
            let denied = desk.ask(key, 1);
            let (retry, reset) =
                (report(&denied, name).retry_after_us, report(&denied, name).reset_after_us);
            assert_eq!((retry, reset), (Some(1), Some(1)), "{last} {key}");
        }
        desk.go_to(first);
        for key in [1, 2] {
            assert_eq!([1, 1].map(|cost| desk.code(key, cost)), [VerdictCode::Valid; 2], "{first}");
            assert_eq!(desk.code(key, 1), VerdictCode::QuotaExceeded, "{first}");
        }
    }
}

#[test]
fn the_day_before_a_leap_day_ends_a_day_and_no_month() {
    let desk = Desk::at("2028-02-28T23:59:59.999999Z");
    desk.put(1, |it| {
        it.monthly_request_quota = Some(3);
        it.requests_per_day = Some(2);
    });
    assert_eq!(desk.code(1, 2), VerdictCode::Valid);
    desk.go_to("2028-02-29T00:00:00Z");
    assert_eq!((desk.left(1, LimitName::Day), desk.left(1, LimitName::Month)), (2, 1));
    let denied = desk.ask(1, 2);
    assert_eq!(denied.denied_by, Some(LimitName::Month));
    let day_us = u64::try_from(DAY_US).expect("positive");
    assert_eq!(report(&denied, LimitName::Month).retry_after_us, Some(day_us));
}

#[test]
fn a_lease_dies_with_its_window() {
    let desk = Desk::at("2027-04-30T23:59:00Z");
    let key = Account::Key(1);
    desk.put(1, |it| it.monthly_request_quota = Some(100_000));
    assert_eq!(desk.code(1, 5000), VerdictCode::Valid);
    // One lease is out, and the next is being debited when the month ends.
    let debit = desk.engine().debit(&key, desk.now()).expect("the next lease");
    let leased = desk.figures(&key)[0].leased;
    assert!(debit.row.month.debited > 5000 + leased);
    desk.go_to("2027-05-01T00:00:00Z");
    desk.engine().grant(&key, &debit);
    let month = desk.figures(&key).remove(0);
    assert_eq!((month.spent, month.leased), (0, 100), "an initial lease, and no more");
    assert_eq!(desk.left(1, LimitName::Month), 100_000);
}

#[test]
fn a_clock_that_steps_back_reopens_nothing() {
    let desk = Desk::at("2027-02-28T12:00:00Z");
    desk.put(1, |it| {
        it.requests_per_day = Some(10);
        it.monthly_request_quota = Some(20);
    });
    assert_eq!(desk.code(1, 10), VerdictCode::Valid);
    desk.go_to("2027-03-01T00:00:00Z");
    assert_eq!(desk.code(1, 7), VerdictCode::Valid);
    for instant in ["2027-02-28T23:59:59.999999Z", "2027-02-28T00:00:00Z", "1971-01-01T00:00:00Z"] {
        desk.step_to(instant);
        assert_eq!(desk.left(1, LimitName::Day), 3, "{instant}");
        assert_eq!(desk.left(1, LimitName::Month), 13, "{instant}");
        assert_eq!(desk.code(1, 4), VerdictCode::QuotaExceeded, "{instant}");
    }
    desk.step_to("2027-03-01T12:00:00Z");
    assert_eq!(desk.code(1, 3), VerdictCode::Valid);
    assert_eq!(desk.left(1, LimitName::Day), 0);
}

#[test]
fn a_jump_of_a_month_closes_the_month_once() {
    let desk = Desk::at("2027-01-31T12:00:00Z");
    desk.put(1, |it| it.monthly_request_quota = Some(20));
    assert_eq!(desk.code(1, 20), VerdictCode::Valid);
    desk.step_to("2027-03-03T12:00:00Z");
    assert_eq!(desk.code(1, 15), VerdictCode::Valid, "of March");
    for instant in ["2027-02-10T00:00:00Z", "2027-03-03T12:00:00Z", "2027-01-31T12:00:00Z"] {
        desk.step_to(instant);
        assert_eq!(desk.left(1, LimitName::Month), 5, "{instant}");
    }
    desk.step_to("2027-04-01T00:00:00Z");
    assert_eq!(desk.left(1, LimitName::Month), 20);
}
