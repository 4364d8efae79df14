//! Limits that change while something is spent of them.

use super::*;

const NOON: &str = "2027-06-15T12:00:00Z";

/// README's table.
#[test]
fn each_policy_treats_what_was_spent_as_it_says() {
    for (policy, new, left) in [
        (Spent::Keep, 2000, 1400),
        (Spent::Keep, 500, 0),
        (Spent::Proportional, 2000, 800),
        (Spent::Proportional, 500, 200),
        (Spent::Reset, 2000, 2000),
        (Spent::Reset, 500, 500),
        (Spent::Reset, 1000, 1000),
        (Spent::Keep, 1000, 400),
    ] {
        let place = format!("{policy:?} {new}");
        type Set = fn(&mut KeyRecord, u32);
        let limits: [(LimitName, Set); 3] = [
            (LimitName::Day, |it, cap| it.requests_per_day = Some(cap)),
            (LimitName::Month, |it, cap| it.monthly_request_quota = Some(cap.into())),
            (LimitName::Lifetime, |it, cap| it.max_uses = Some(cap.into())),
        ];
        for (name, set) in limits {
            let desk = Desk::at(NOON);
            desk.put(1, |it| set(it, 1000));
            assert_eq!(desk.code(1, 600), VerdictCode::Valid);
            desk.set(1, policy, |it| set(it, new));
            assert_eq!(desk.left(1, name), left, "{place} {name:?}");
            assert!(!desk.code(1, left + 1).is_valid(), "{place} {name:?}");
            assert_eq!(desk.code(1, left), VerdictCode::Valid, "{place} {name:?}");
        }
    }
}

#[test]
fn a_raised_rate_does_not_go_on_denying_by_the_old_arrival_time() {
    let desk = Desk::at(NOON);
    let rate = |count, burst| {
        desk.put(1, |it| (it.requests_per_second, it.burst) = (Some(count), Some(burst)));
    };
    rate(1, 100);
    assert_eq!(desk.code(1, 100), VerdictCode::Valid);
    assert_eq!(desk.code(1, 1), VerdictCode::RateExceeded);
    rate(50, 100);
    desk.go_ns(20_000_000);
    assert_eq!(desk.code(1, 1), VerdictCode::Valid, "a fiftieth of a second later");
    rate(50, 110);
    assert_eq!(desk.code(1, 10), VerdictCode::Valid, "at once, of the larger burst");
    rate(2, 4);
    let denied = desk.ask(1, 1);
    assert_eq!(
        report(&denied, LimitName::Second).retry_after_us,
        Some(500_000),
        "one burst behind"
    );
}

#[test]
fn a_lowered_cap_has_nothing_left_until_its_window_ends() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| it.requests_per_day = Some(100));
    assert_eq!(desk.code(1, 60), VerdictCode::Valid);
    desk.put(1, |it| it.requests_per_day = Some(50));
    let denied = desk.ask(1, 1);
    let day = report(&denied, LimitName::Day);
    assert_eq!((denied.code, day.remaining), (VerdictCode::QuotaExceeded, 0));
    let half_a_day = u64::try_from(DAY_US / 2).expect("positive");
    assert_eq!(day.retry_after_us, Some(half_a_day));
    assert_eq!(report(&desk.ask(1, 51), LimitName::Day).retry_after_us, None, "never fits");
    desk.put(1, |it| it.requests_per_day = Some(61));
    assert_eq!([1, 1].map(|cost| desk.code(1, cost)), {
        [VerdictCode::Valid, VerdictCode::QuotaExceeded]
    });
}

/// What was spent of a month is not forgotten with its limit, for a key and for a tenant.
#[test]
fn a_limit_that_is_taken_away_and_set_again_in_its_month_stays_spent() {
    let desk = Desk::at(NOON);
    let (key, tenant) = (Account::Key(1), Account::Tenant("acme".into()));
    let month = |monthly_request_quota, tenant: bool| {
        if tenant {
            desk.share(TenantLimits { monthly_request_quota, ..TenantLimits::default() });
        } else {
            desk.put(1, |it| it.monthly_request_quota = monthly_request_quota);
        }
    };
    desk.put(1, |_| ());
    for (is_tenant, account, name) in
        [(false, key, LimitName::Month), (true, tenant, LimitName::TenantMonth)]
    {
        month(Some(20), is_tenant);
        assert_eq!(desk.code(1, 15), VerdictCode::Valid);
        month(None, is_tenant);
        assert_eq!(desk.code(1, 1000), VerdictCode::Valid, "unlimited meanwhile");
        assert!(desk.figures(&account).is_empty());
        month(Some(20), is_tenant);
        assert_eq!(desk.left(1, name), 5);
        assert_eq!(desk.ask(1, 6).denied_by, Some(name));
        month(None, is_tenant);
        month(Some(20), is_tenant);
        assert_eq!(desk.left(1, name), 5, "whatever is in between");
        month(None, is_tenant);
    }
    desk.go_to("2027-07-01T00:00:00Z");
    month(Some(20), false);
    assert_eq!(desk.left(1, LimitName::Month), 20, "and is forgotten with its month");
}

/// A change of another field never moves a limit: done often, it would starve or feed the holder.
#[test]
fn a_change_of_something_else_changes_no_limit() {
    let desk = Desk::at(NOON);
    let limits = |it: &mut KeyRecord| {
        it.requests_per_second = Some(7);
        it.requests_per_day = Some(30_000);
        it.max_uses = Some(90);
    };
    desk.put(1, limits);
    assert_eq!(desk.code(1, 5), VerdictCode::Valid);
    for _ in 0..50 {
        desk.go_ns(1_000);
        let before = desk.peek(1, 1).limits;
        let record = desk.bench.record(1, &desk.bench.token(1));
        let mut record = KeyRecord { scopes: vec!["a:b".to_owned()], ..record };
        limits(&mut record);
        desk.engine().put(&record, desk.now()).expect("the catalog takes it");
        assert_eq!(desk.peek(1, 1).limits, before);
    }
}
