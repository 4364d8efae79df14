//! What went wrong elsewhere, each as the test that would have shown it here.

use keygate_protocol::LimitName;

use super::limits::{Desk, credits, report};
use super::*;
use crate::key::TenantLimits;
use crate::key::limits::{Refill, RefillEvery};

const NOON: &str = "2027-06-15T12:00:00Z";

#[test]
fn better_auth_10958_a_rate_limited_request_costs_no_credit() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| {
        it.requests_per_second = Some(1);
        it.credits = Some(credits(10, None));
    });
    assert_eq!(desk.code(1, 1), VerdictCode::Valid);
    for _ in 0..5 {
        assert_eq!(desk.code(1, 1), VerdictCode::RateExceeded);
    }
    assert_eq!(desk.engine().balance(1, desk.now()), Some(9));
}

#[test]
fn envoyproxy_ratelimit_427_what_one_limit_denies_does_not_count_against_another() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| {
        it.requests_per_day = Some(2);
        it.monthly_request_quota = Some(100);
    });
    desk.share(TenantLimits { monthly_request_quota: Some(50), ..TenantLimits::default() });
    let valid = (0..20).filter(|_| desk.code(1, 1).is_valid()).count();
    assert_eq!(valid, 2);
    assert_eq!(desk.left(1, LimitName::Month), 98);
    assert_eq!(desk.left(1, LimitName::TenantMonth), 48);
}

/// Two limits, of which the second denies, once needed a refund of the first, which others saw.
#[test]
fn redis_cell_22_two_limits_are_judged_as_one() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| (it.requests_per_second, it.max_uses) = (Some(10), Some(3)));
    assert_eq!(desk.code(1, 3), VerdictCode::Valid);
    for _ in 0..20 {
        let denied = desk.ask(1, 1);
        assert_eq!(denied.code, VerdictCode::UsesExhausted);
        assert_eq!(report(&denied, LimitName::Second).remaining, 7);
    }
}

#[test]
fn better_auth_4023_one_request_is_counted_once() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| {
        (it.requests_per_second, it.requests_per_day) = (Some(100), Some(100));
        (it.max_uses, it.credits) = (Some(100), Some(credits(100, None)));
    });
    for round in 1..=10 {
        // What waits for its debit is judged twice, and counted once.
        assert_eq!(desk.code(1, 1), VerdictCode::Valid);
        let again = Increment { id: Some(round.into()), ..Increment::new(1) };
        assert_eq!(desk.report(&again).0, IncrementOutcome::Counted);
        assert_eq!(desk.report(&again).0, IncrementOutcome::Duplicate);
        let usage = desk.engine().usage(1, false);
        let reported = usage.total.more().reported;
        assert_eq!((usage.total.requests, reported), (round, round));
        let verdict = desk.peek(1, 1);
        assert!(verdict.limits.iter().all(|limit| limit.remaining == 100 - round), "{verdict:?}");
    }
}

#[test]
fn apisix_9186_a_calendar_month_stands_beside_a_limit_of_spikes() {
    let desk = Desk::at("2027-02-27T23:59:59Z");
    desk.put(1, |it| {
        (it.requests_per_second, it.burst) = (Some(2), Some(4));
        it.monthly_request_quota = Some(6);
    });
    assert_eq!(desk.code(1, 4), VerdictCode::Valid);
    assert_eq!(desk.ask(1, 1).denied_by, Some(LimitName::Second));
    desk.go_ns(1_000_000_000);
    assert_eq!(desk.code(1, 2), VerdictCode::Valid);
    desk.go_ns(1_000_000_000);
    assert_eq!(desk.ask(1, 1).denied_by, Some(LimitName::Month));
    desk.go_to("2027-03-01T00:00:00Z");
    assert_eq!(desk.code(1, 4), VerdictCode::Valid);
}

/// A refill is at its time of the calendar, and not so long after the last use or reset.
#[test]
fn better_auth_3573_unkey_3304_a_refill_comes_when_it_says_and_once() {
    let desk = Desk::at("2027-01-30T08:00:00Z");
    let granted_at = Some(Time::from_micros(desk.now().wall_us));
    let refill = Refill { amount: 100, every: RefillEvery::Month { day: 31 }, adds: false };
    desk.put(1, |it| {
        it.credits = Some(crate::key::Credits { granted_at, ..credits(100, Some(refill)) });
    });
    let balance = || desk.engine().balance(1, desk.now());
    for (instant, before, spend) in [
        ("2027-01-30T23:59:59Z", 100, 60),
        ("2027-01-31T00:00:00Z", 100, 10),
        // Use does not put it off, nor does being asked for often.
        ("2027-01-31T23:00:00Z", 90, 90),
        ("2027-02-27T23:59:59Z", 0, 0),
        ("2027-02-28T00:00:00Z", 100, 1),
        ("2027-02-28T23:59:59Z", 99, 1),
        ("2027-03-01T00:00:00Z", 98, 0),
        ("2027-03-31T00:00:00Z", 100, 0),
    ] {
        desk.go_to(instant);
        assert_eq!(balance(), Some(before), "{instant}");
        assert_eq!(desk.code(1, spend), VerdictCode::Valid, "{instant}");
    }
}

#[test]
fn bifrost_4790_litellm_931_requests_under_way_have_a_cap_for_each_key() {
    let desk = Desk::at(NOON);
    for key in [1, 2] {
        desk.put(key, |it| it.concurrent_requests = Some(3));
    }
    let slots: Vec<_> = (0..3).map(|_| desk.ask(1, 1).slot).collect();
    assert_eq!(desk.code(1, 1), VerdictCode::ConcurrencyExceeded);
    assert_eq!(desk.code(2, 1), VerdictCode::Valid, "another key's are its own");
    assert_eq!(desk.release(1, slots[1]), IncrementOutcome::Counted);
    assert_eq!([1, 1].map(|cost| desk.code(1, cost).is_valid()), [true, false]);
}

/// State is for limits that there are: a key without any has none, however often it is used.
#[test]
fn governor_171_a_key_without_limits_takes_no_memory_for_them() {
    let desk = Desk::at(NOON);
    for key in 1..=50 {
        desk.put(key, |_| ());
        assert_eq!(desk.code(key, 1000), VerdictCode::Valid);
    }
    desk.put(51, |it| it.requests_per_second = Some(5));
    assert_eq!(desk.code(51, 1), VerdictCode::Valid);
    assert!(!desk.engine().read().has_limits(), "a rate lies in the entry");
    desk.put(52, |it| it.requests_per_day = Some(5));
    assert!(desk.engine().read().has_limits());
    desk.put(52, |_| ());
    assert!(!desk.engine().read().has_limits(), "it goes with the limits, where nothing is spent");
}

#[test]
fn kong_9581_a_monthly_counter_is_there_on_day_31() {
    let desk = Desk::at("2027-01-30T23:00:00Z");
    desk.put(1, |it| it.monthly_request_quota = Some(10));
    assert_eq!(desk.code(1, 4), VerdictCode::Valid);
    desk.go_to("2027-01-31T10:00:00Z");
    assert_eq!(desk.left(1, LimitName::Month), 6);
}

#[test]
fn redis_cell_50_high_rates_are_met() {
    let desk = Desk::at(NOON);
    let rate = 2_000_000_000;
    desk.put(1, |it| (it.requests_per_second, it.burst) = (Some(rate), Some(1)));
    for _ in 0..10 {
        assert_eq!([1, 1].map(|cost| desk.code(1, cost).is_valid()), [true, false]);
        desk.go_ns(1);
    }
}
