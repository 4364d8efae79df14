//! Limits with a name: spent by those who name them, and by nobody else.

use super::*;
use crate::key::Allowance;
use crate::key::limits::{LimitPeriod, NamedLimit};
use crate::limit::Period;

const NOON: &str = "2027-06-15T12:00:00Z";

pub(super) fn named(name: &str, count: u64, period: &str) -> NamedLimit {
    let period = LimitPeriod::parse(period).expect("a period");
    NamedLimit { name: name.to_owned(), count, period }
}

fn ask(desk: &Desk, cost: u64, names: &[&str]) -> Verdict {
    desk.ask_as((1, cost, ValidateFlags::default()), names)
}

#[test]
fn a_name_that_the_key_lacks_is_denied_and_spends_nothing() {
    let desk = Desk::at(NOON);
    let limits = vec![named("a", 5, "1h"), named("b", 5, "hour")];
    desk.put(1, |it| {
        it.limits = limits;
        it.requests_per_day = Some(9);
    });
    for names in [&["c"][..], &["a", "c"], &["c", "b", "a"], &["A"]] {
        let denied = ask(&desk, 1, names);
        assert_eq!((denied.code, denied.denied_by), (VerdictCode::LimitUnknown, None), "{names:?}");
        assert_eq!(denied.limits.iter().count(), 0);
    }
    let verdict = desk.ask_as((1, 1, ValidateFlags::PEEK), &["b", "a"]);
    let left = [LimitName::Day, LimitName::Named1, LimitName::Named2];
    assert_eq!(left.map(|name| report(&verdict, name).remaining), [9, 5, 5]);
    desk.put(2, |_| ());
    let of_none = desk.ask_as((2, 1, ValidateFlags::default()), &["a"]);
    assert_eq!(of_none.code, VerdictCode::LimitUnknown, "a key without any limit");
}

#[test]
fn each_is_spent_by_its_name_and_stands_where_the_request_named_it() {
    let desk = Desk::at(NOON);
    let limits = ["a", "b", "c", "d", "e"].map(|name| named(name, 10, "day")).to_vec();
    desk.put(1, |it| it.limits = limits);
    assert_eq!(ask(&desk, 1, &[]).limits.iter().count(), 0);
    assert_eq!(ask(&desk, 3, &["e", "a", "d", "b"]).code, VerdictCode::Valid);
    let verdict = ask(&desk, 2, &["b", "c"]);
    let names: Vec<_> = verdict.limits.iter().map(|it| (it.name, it.remaining)).collect();
    assert_eq!(names, [(LimitName::Named1, 5), (LimitName::Named2, 8)]);
    let denied = ask(&desk, 6, &["c", "e", "b"]);
    assert_eq!(denied.denied_by, Some(LimitName::Named3));
    assert_eq!(denied.code, VerdictCode::QuotaExceeded);
    let left: Vec<_> = desk.figures(&Account::Key(1)).iter().map(|it| it.remaining).collect();
    assert_eq!(left, [7, 5, 8, 7, 7], "what one denies none spends");
}

#[test]
fn the_protocol_takes_four_names_and_none_twice() {
    let token = Bench::new().token(1);
    for (names, taken) in [
        (&["a", "b", "c", "d"][..], true),
        (&["a", "b", "c", "d", "e"], false),
        (&["a", "a"], false),
    ] {
        let mut frame = BytesMut::new();
        let flags = ValidateFlags::default();
        let mut writer = ValidateWriter::new(&mut frame, flags, 1, token.as_bytes());
        names.iter().for_each(|name| writer.limit(name));
        assert_eq!(Validate::decode(&frame).is_ok(), taken, "{names:?}");
    }
}

#[test]
fn a_tier_supplies_names_that_the_key_lacks() {
    let desk = Desk::at(NOON);
    let limits = vec![named("a", 5, "1h"), named("b", 5, "month")];
    let tier = Allowance { limits, ..Allowance::default() };
    let tiers = [("gold".to_owned(), tier)].into();
    desk.engine().set_rules(Arc::new(Rules { tiers, ..Rules::default() }));
    desk.put(1, |it| {
        it.billing_tier = "gold".to_owned();
        it.limits = vec![named("b", 2, "month")];
    });
    assert_eq!(ask(&desk, 2, &["a", "b"]).code, VerdictCode::Valid);
    let denied = ask(&desk, 1, &["a", "b"]);
    assert_eq!(denied.denied_by, Some(LimitName::Named2), "its own, not the tier's");
    assert_eq!(report(&denied, LimitName::Named1).remaining, 3);
}

#[test]
fn every_period_ends_where_it_says() {
    // A Tuesday.
    for (period, last, first) in [
        ("hour", "2027-06-15T12:59:59.999999Z", "2027-06-15T13:00:00Z"),
        ("day", "2027-06-15T23:59:59.999999Z", "2027-06-16T00:00:00Z"),
        ("week", "2027-06-20T23:59:59.999999Z", "2027-06-21T00:00:00Z"),
        ("month", "2027-06-30T23:59:59.999999Z", "2027-07-01T00:00:00Z"),
        ("year", "2027-12-31T23:59:59.999999Z", "2028-01-01T00:00:00Z"),
    ] {
        assert!(Period::parse(period).is_some());
        let desk = Desk::at(NOON);
        desk.put(1, |it| it.limits = vec![named("a", 3, period)]);
        assert_eq!(ask(&desk, 3, &["a"]).code, VerdictCode::Valid);
        desk.go_to(last);
        let denied = ask(&desk, 1, &["a"]);
        assert_eq!(report(&denied, LimitName::Named1).retry_after_us, Some(1), "{period}");
        desk.go_to(first);
        assert_eq!(ask(&desk, 3, &["a"]).code, VerdictCode::Valid, "{period}");
    }
}

#[test]
fn a_rolling_limit_earns_back_to_the_microsecond() {
    // 7 in a minute: one in 8,571,428.57 microseconds.
    let desk = Desk::at(NOON);
    desk.put(1, |it| it.limits = vec![named("a", 7, "1m")]);
    assert_eq!(ask(&desk, 7, &["a"]).code, VerdictCode::Valid);
    let denied = ask(&desk, 1, &["a"]);
    let stands = report(&denied, LimitName::Named1);
    let minute = u64::try_from(60 * SECOND_US).expect("positive");
    assert_eq!((stands.retry_after_us, stands.reset_after_us), (Some(8_571_429), Some(minute)));
    desk.go_ns(8_571_428_000);
    assert_eq!(ask(&desk, 1, &["a"]).code, VerdictCode::QuotaExceeded);
    desk.go_ns(1_000);
    assert_eq!(ask(&desk, 1, &["a"]).code, VerdictCode::Valid);
    assert_eq!(report(&ask(&desk, 8, &["a"]), LimitName::Named1).retry_after_us, None);
}

/// A limit that comes back finds what was spent of it, unless it is reset; one of another form
/// begins anew.
#[test]
fn a_named_limit_that_is_taken_away_and_set_again_stays_spent() {
    for (before, after, spent, left) in [
        (named("a", 10, "day"), named("a", 10, "day"), Spent::Keep, 4),
        (named("a", 10, "day"), named("a", 20, "day"), Spent::Keep, 14),
        (named("a", 10, "day"), named("a", 10, "day"), Spent::Proportional, 4),
        (named("a", 10, "day"), named("a", 10, "day"), Spent::Reset, 10),
        (named("a", 10, "day"), named("a", 10, "month"), Spent::Keep, 10),
        (named("a", 10, "1d"), named("a", 10, "1d"), Spent::Keep, 4),
        (named("a", 10, "1d"), named("a", 5, "1d"), Spent::Keep, 0),
        (named("a", 10, "day"), named("b", 10, "day"), Spent::Keep, 10),
    ] {
        for elsewhere in [false, true] {
            let desk = Desk::at(NOON);
            let place = format!("{before:?} {after:?} {spent:?} {elsewhere}");
            desk.put(1, |it| it.limits = vec![before.clone(), named("z", 1, "day")]);
            assert_eq!(ask(&desk, 6, &["a"]).code, VerdictCode::Valid, "{place}");
            desk.put(1, |it| {
                it.limits = if elsewhere { vec![named("z", 2, "day")] } else { vec![] }
            });
            assert_eq!(ask(&desk, 1, &["a"]).code, VerdictCode::LimitUnknown, "{place}");
            desk.set(1, spent, |it| it.limits = vec![after.clone()]);
            let verdict = desk.ask_as((1, 1, ValidateFlags::PEEK), &[&after.name]);
            assert_eq!(report(&verdict, LimitName::Named1).remaining, left, "{place}");
        }
    }
}

#[test]
fn of_limits_that_deny_for_as_long_the_first_of_the_table_is_named() {
    let forever = |it: &mut KeyRecord| it.limits = vec![named("a", 5, "day")];
    for (limits, cost, expected) in [
        (
            TenantLimits { max_uses: Some(5), ..TenantLimits::default() },
            6,
            LimitName::TenantLifetime,
        ),
        (
            TenantLimits { requests_per_day: Some(5), ..TenantLimits::default() },
            5,
            LimitName::TenantDay,
        ),
        (TenantLimits::default(), 6, LimitName::Named1),
    ] {
        let desk = Desk::at(NOON);
        desk.put(1, forever);
        desk.share(limits);
        if cost <= 5 {
            assert_eq!(ask(&desk, 1, &["a"]).code, VerdictCode::Valid);
        }
        assert_eq!(ask(&desk, cost, &["a"]).denied_by, Some(expected));
    }
}
