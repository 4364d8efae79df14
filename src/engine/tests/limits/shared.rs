//! Limits of a key and of its tenant together: all or nothing.

use super::*;

const NOON: &str = "2027-06-15T12:00:00Z";

fn shared(set: impl FnOnce(&mut TenantLimits)) -> TenantLimits {
    let mut limits = TenantLimits::default();
    set(&mut limits);
    limits
}

#[test]
fn two_keys_share_what_their_tenant_may_use() {
    for (limits, name, code) in [
        (
            shared(|it| it.requests_per_second = Some(5)),
            LimitName::TenantSecond,
            VerdictCode::RateExceeded,
        ),
        (
            shared(|it| it.requests_per_day = Some(5)),
            LimitName::TenantDay,
            VerdictCode::QuotaExceeded,
        ),
        (
            shared(|it| it.monthly_request_quota = Some(5)),
            LimitName::TenantMonth,
            VerdictCode::QuotaExceeded,
        ),
        (shared(|it| it.max_uses = Some(5)), LimitName::TenantLifetime, VerdictCode::UsesExhausted),
    ] {
        let desk = Desk::at(NOON);
        desk.put(1, |_| ());
        desk.put(2, |it| it.requests_per_day = Some(100));
        desk.put(3, |it| it.tenant_id = "globex".to_owned());
        desk.share(limits);
        assert_eq!([(1, 2), (2, 3)].map(|(key, cost)| desk.code(key, cost).is_valid()), [true; 2]);
        for key in [1, 2] {
            let denied = desk.ask(key, 1);
            assert_eq!((denied.code, denied.denied_by), (code, Some(name)), "{key}");
        }
        assert_eq!(desk.left(2, LimitName::Day), 97, "what the tenant denies is not spent");
        assert_eq!(desk.code(3, 1000), VerdictCode::Valid, "of another tenant");
    }
}

/// Each limit in turn denies; all others stay as they were, of the key and of the tenant.
#[test]
fn whoever_denies_nothing_is_spent() {
    type Set = fn(&mut KeyRecord, &mut TenantLimits);
    let tight: [(LimitName, Set); 11] = [
        (LimitName::Second, |key, _| key.burst = Some(4)),
        (LimitName::Day, |key, _| key.requests_per_day = Some(4)),
        (LimitName::Month, |key, _| key.monthly_request_quota = Some(4)),
        (LimitName::Lifetime, |key, _| key.max_uses = Some(4)),
        (LimitName::Slots, |key, _| key.concurrent_requests = Some(0)),
        (LimitName::Credits, |key, _| key.credits = Some(credits(4, None))),
        (LimitName::TenantSecond, |_, tenant| tenant.burst = Some(4)),
        (LimitName::TenantDay, |_, tenant| tenant.requests_per_day = Some(4)),
        (LimitName::TenantMonth, |_, tenant| tenant.monthly_request_quota = Some(4)),
        (LimitName::TenantLifetime, |_, tenant| tenant.max_uses = Some(4)),
        (LimitName::TenantSlots, |_, tenant| tenant.concurrent_requests = Some(0)),
    ];
    for (name, tighten) in tight {
        let desk = Desk::at(NOON);
        let mut tenant = TenantLimits {
            requests_per_second: Some(90),
            requests_per_day: Some(900),
            monthly_request_quota: Some(9_000),
            max_uses: Some(90_000),
            concurrent_requests: Some(9),
            ..TenantLimits::default()
        };
        desk.put(1, |it| {
            (it.requests_per_second, it.requests_per_day) = (Some(50), Some(500));
            (it.monthly_request_quota, it.max_uses) = (Some(5_000), Some(50_000));
            (it.concurrent_requests, it.credits) = (Some(5), Some(credits(500, None)));
            tighten(it, &mut tenant);
        });
        desk.share(tenant);
        let before = desk.peek(1, 1).limits;
        let denied = desk.ask(1, 5);
        assert_eq!(denied.denied_by, Some(name));
        assert_eq!((denied.code.is_valid(), denied.slot), (false, None), "{name:?}");
        let figures = |limits: &keygate_protocol::verdict::Limits| {
            limits.iter().map(|it| (it.name, it.limit, it.remaining)).collect::<Vec<_>>()
        };
        assert_eq!(figures(&desk.peek(1, 1).limits), figures(&before), "{name:?}");
        assert_eq!(
            (desk.engine().usage(1, false).total.requests, desk.engine().slots_held()),
            (0, 0)
        );
    }
}

#[test]
fn of_several_that_deny_the_one_that_denies_for_the_longest_is_named() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| {
        (it.requests_per_second, it.requests_per_day) = (Some(1), Some(1));
    });
    let limits = |set: fn(&mut TenantLimits)| desk.share(shared(set));
    assert_eq!(desk.code(1, 1), VerdictCode::Valid);
    let half_a_day = u64::try_from(DAY_US / 2).expect("positive");
    let cases: [(fn(&mut TenantLimits), _, _, _); 4] = [
        (|_| (), LimitName::Day, VerdictCode::QuotaExceeded, Some(half_a_day)),
        (
            |it| it.monthly_request_quota = Some(0),
            LimitName::TenantMonth,
            VerdictCode::QuotaExceeded,
            None,
        ),
        (|it| it.max_uses = Some(0), LimitName::TenantLifetime, VerdictCode::UsesExhausted, None),
        (|it| it.requests_per_second = Some(9), LimitName::Day, VerdictCode::QuotaExceeded, {
            Some(half_a_day)
        }),
    ];
    for (set, name, code, retry_us) in cases {
        limits(set);
        let denied = desk.ask(1, 1);
        assert_eq!((denied.denied_by, denied.code), (Some(name), code));
        assert_eq!(report(&denied, name).retry_after_us, retry_us);
        let second = report(&denied, LimitName::Second);
        assert_eq!(second.retry_after_us, Some(1_000_000), "each says its own");
    }
}
