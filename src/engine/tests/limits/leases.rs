//! What is leased, and therefore what a crash may cost: of limits that are short of units, and no
//! more than two leases at a time.

use super::named::named;
use super::*;

const NOON: &str = "2027-06-15T12:00:00Z";

/// Asks a desk as often, so far apart, and debits what its keys ask for behind each.
fn ask(desk: &Desk, (times, apart_ms): (u32, u64), names: &[&str]) {
    for at in 0..times {
        let verdict = desk.ask_as((1, 1, ValidateFlags::default()), names);
        assert_eq!(verdict.code, VerdictCode::Valid, "request {at}");
        for account in desk.engine().take_asking() {
            if let Some(debit) = desk.engine().debit(&account, desk.now()) {
                desk.engine().grant(&account, &debit);
            }
        }
        desk.go_ns(apart_ms * 1_000_000);
    }
}

fn leased(desk: &Desk, limit: &FigureOf) -> u64 {
    let accounts = [Account::Key(1), Account::Tenant("acme".into())];
    let figures = accounts.iter().flat_map(|account| desk.figures(account));
    figures.into_iter().find(|it| it.limit == *limit).expect("it is there").leased
}

#[test]
fn a_named_limit_is_leased_to_whom_asks_for_it_alone() {
    for (day, others) in [
        (None, vec![("exports", 10, "1h")]),
        (Some(20), vec![]),
        (Some(20), vec![("exports", 12, "day"), ("x", 1000, "day")]),
    ] {
        let desk = Desk::at(NOON);
        desk.put(1, |it| {
            it.requests_per_day = day;
            it.limits = others.iter().map(|(name, count, per)| named(name, *count, per)).collect();
            it.limits.extend([named("reports", 100, "month"), named("rolling", 100, "30d")]);
        });
        let names = others.first().map(|(name, ..)| *name);
        ask(&desk, (10, 0), names.as_slice());
        for name in ["reports", "rolling"] {
            assert_eq!(leased(&desk, &FigureOf::Named(name.into())), 0, "{name} beside {others:?}");
        }
    }
}

#[test]
fn a_limit_that_others_are_debited_with_holds_no_more_than_two_leases() {
    let month = (LimitName::Month, LimitName::TenantMonth);
    for (day, cap, apart_ms) in [(50, 1000, 1200), (50, 1000, 0), (99, 100_000, 1200), (90, 300, 7)]
    {
        let desk = Desk::at(NOON);
        desk.put(1, |it| {
            (it.requests_per_day, it.monthly_request_quota) = (Some(day), Some(cap));
        });
        let (requests_per_day, monthly_request_quota) = (Some(day), Some(cap));
        desk.share(TenantLimits { requests_per_day, monthly_request_quota, ..Default::default() });
        for at in 1..=40 {
            ask(&desk, (1, apart_ms), &[]);
            // What comes at once is demand, ten times as much for a second, up to an eighth.
            let second = if apart_ms < 1000 { (at * 10).min(cap / 8) } else { 1 };
            let lease = second.max((cap / 100).min(100));
            for name in [month.0, month.1] {
                let leased = leased(&desk, &FigureOf::Common(name));
                assert!(leased < 2 * lease, "{name:?} of {cap}: {leased} after {at}");
            }
        }
    }
}

/// Half of a large lease is more than a small demand needs; it is asked for again in time.
#[test]
fn a_demand_that_falls_never_waits_for_the_ledger() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| it.monthly_request_quota = Some(1_000_000));
    ask(&desk, (2000, 0), &[]);
    let much = leased(&desk, &FigureOf::Common(LimitName::Month));
    assert!(much > 500, "of a demand of thousands: {much}");
    for _ in 0..30_000 {
        assert!(leased(&desk, &FigureOf::Common(LimitName::Month)) > 0);
        ask(&desk, (1, 100), &[]);
    }
    let leased = leased(&desk, &FigureOf::Common(LimitName::Month));
    assert!(leased < 200, "it goes by the demand of now: {leased}");
}

/// Its row went with that key.
#[test]
fn a_debit_of_a_purged_key_leases_nothing_to_the_next_of_its_id() {
    for concurrent_requests in [None, Some(5)] {
        let desk = Desk::at(NOON);
        let put = || {
            desk.put(1, |it| {
                (it.max_uses, it.concurrent_requests) = (Some(1000), concurrent_requests);
            });
        };
        put();
        let debit = desk.engine().debit(&Account::Key(1), desk.now()).expect("a first lease");
        desk.engine().remove(1);
        // As long as a purge takes, at the least.
        desk.go_ns(10_000);
        put();
        desk.engine().grant(&Account::Key(1), &debit);
        assert_eq!(leased(&desk, &FigureOf::Common(LimitName::Lifetime)), 0);
    }
}

/// The figures of a window that is years ahead would else stand until then.
#[test]
fn a_reset_brings_back_what_a_wrong_clock_has_taken_ahead() {
    for spent in [Spent::Keep, Spent::Reset] {
        let desk = Desk::at(NOON);
        let put = |spent| {
            desk.set(1, spent, |it| {
                (it.requests_per_day, it.monthly_request_quota) = (Some(5), Some(50));
                it.limits = vec![named("a", 5, "day")];
            });
        };
        put(Spent::Keep);
        desk.step_to("2037-06-15T12:00:00Z");
        ask(&desk, (5, 0), &["a"]);
        desk.step_to(NOON);
        put(spent);
        for (at, expected) in [(NOON, 5), ("2027-06-16T12:00:00Z", 5)] {
            desk.go_to(at);
            let left = if spent == Spent::Reset { expected } else { 0 };
            let valid = (0..6).filter(|_| {
                let verdict = desk.ask_as((1, 1, ValidateFlags::default()), &["a"]);
                verdict.code == VerdictCode::Valid
            });
            assert_eq!(valid.count(), left, "{spent:?} at {at}");
        }
    }
}
