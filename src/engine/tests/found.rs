//! What the model has found wrong, each as the shortest story that shows it.

use super::*;
use crate::engine::Account;
use crate::key::TenantLimits;
use crate::limit::{AccountRow, Change, Void};

impl Bench {
    /// Sets what the keys of `acme` share.
    pub(super) fn share(&self, limits: TenantLimits, change: &Change) {
        let record = TenantRecord { limits, ..TenantRecord::unrecorded("acme") };
        self.engine.change_tenant(&record, change, self.clock.now());
    }

    fn acme() -> Account {
        Account::Tenant("acme".into())
    }
}

/// Its row is all that a restart finds of the limits that it had.
#[test]
fn a_tenant_whose_limits_were_taken_away_admits_its_keys_after_a_restart() {
    for limits in [
        TenantLimits { concurrent_requests: Some(8), ..TenantLimits::default() },
        TenantLimits { monthly_request_quota: Some(5000), ..TenantLimits::default() },
    ] {
        let bench = Bench::new();
        let token = bench.token(1);
        bench.put(&bench.record(7, &token));
        bench.share(limits, &Change::default());
        assert_eq!(bench.ask(&of(&token)).verdict.code, VerdictCode::Valid);
        bench.share(TenantLimits::default(), &Change::default());
        let row = bench.engine.settle(&Bench::acme(), true).expect("it was used");
        let bench = Bench::new();
        bench.put(&bench.record(7, &token));
        bench.share(TenantLimits::default(), &Change::default());
        bench.engine.restore_account(&Bench::acme(), &row);
        let verdict = bench.ask(&of(&token)).verdict;
        assert_eq!(verdict.code, VerdictCode::Valid, "{limits:?}");
        assert_eq!(verdict.limits.iter().count(), 0, "{limits:?}");
    }
}

/// A lease that is still out when the account is settled is nothing that a clean stop may cost.
#[test]
fn a_clean_stop_gives_back_what_was_out_when_the_account_was_settled() {
    let bench = Bench::new();
    let token = bench.token(1);
    let key = Account::Key(7);
    bench.put(&KeyRecord { requests_per_day: Some(40_000), ..bench.record(7, &token) });
    assert_eq!(bench.ask(&of(&token)).verdict.code, VerdictCode::Valid);
    let row = bench.engine.settle(&key, false).expect("a row");
    assert_eq!((row.day.spent, row.day.debited), (1, 100), "its initial lease is out");
    assert_eq!(bench.engine.moved_accounts(), std::slice::from_ref(&key));
    let row = bench.engine.settle(&key, true).expect("a row");
    assert_eq!((row.day.spent, row.day.debited), (1, 1));
    assert!(bench.engine.moved_accounts().is_empty());
}

/// What a crash charges to an account without figures goes by its cap. When that changes, and only
/// then, it must be written down.
#[test]
fn what_a_crash_has_charged_stays_charged_when_the_limit_changes_and_after_a_restart() {
    let key = Account::Key(7);
    for (caps, most) in [
        (vec![Some(100)], 100),
        (vec![None, Some(1000)], 1000),
        (vec![None, Some(50)], 50),
        (vec![Some(20_000)], 20_000),
    ] {
        let start = |cap, row: Option<&AccountRow>| {
            let bench = Bench::new();
            let token = bench.token(1);
            let record = bench.record(7, &token);
            bench.put(&KeyRecord { monthly_request_quota: cap, ..record });
            row.iter().for_each(|row| bench.engine.restore_account(&key, row));
            (bench, token)
        };
        let (bench, token) = start(Some(1000), None);
        let admitted = (0..10).filter(|_| bench.ask(&of(&token)).verdict.code.is_valid()).count();
        assert_eq!(admitted, 10, "of the initial lease, of which the ledger knows nothing");
        let void = Void::at(START_US);
        let (bench, token) = start(Some(1000), None);
        bench.engine.set_void(void);
        let mut row = None;
        for cap in &caps {
            // As the daemon changes a record.
            let settled = |bench: &Bench| {
                let moved = bench.engine.has_moved(&key);
                moved.then(|| bench.engine.settle(&key, true)).flatten()
            };
            row = settled(&bench).or(row);
            bench.put(&KeyRecord { monthly_request_quota: *cap, ..bench.record(7, &token) });
            row = settled(&bench).or(row);
        }
        let (bench, _) = start(caps.last().copied().flatten(), row.as_ref());
        bench.engine.set_void(void);
        let left = bench.engine.limit_figures(&key, bench.clock.now())[0].remaining;
        assert_eq!(left + 10, most, "{caps:?}");
    }
}

/// A crash charges an account without figures the initial lease of the cap that it has; the one that
/// is out must not be larger.
#[test]
fn an_initial_lease_that_nobody_has_spent_of_is_no_larger_than_its_lowered_cap_has_it() {
    let key = Account::Key(7);
    for caps in
        [&[Some(10_000), Some(99)][..], &[Some(10_000), Some(1000)], &[Some(750), None, Some(99)]]
    {
        let bench = Bench::new();
        let token = bench.token(1);
        bench.put(&KeyRecord { requests_per_day: caps[0], ..bench.record(7, &token) });
        let peek = Question { flags: ValidateFlags::PEEK, ..of(&token) };
        assert_eq!(bench.ask(&peek).verdict.code, VerdictCode::Valid, "its window is entered");
        for cap in &caps[1..] {
            // A budget with a month stays when the day is taken away.
            let month = Some(1_000_000);
            let record = bench.record(7, &token);
            let limits =
                KeyRecord { requests_per_day: *cap, monthly_request_quota: month, ..record };
            bench.put(&limits);
        }
        let cap = u64::from(caps[caps.len() - 1].unwrap_or_default());
        let day = bench.engine.limit_figures(&key, bench.clock.now()).remove(0);
        assert!(day.leased <= cap / 100, "{caps:?}: {day:?}");
    }
}
