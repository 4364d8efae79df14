//! What the model has found wrong, each as the shortest story that shows it.

use super::*;
use crate::engine::Account;
use crate::key::TenantLimits;
use crate::limit::Change;

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
    assert_eq!(bench.engine.moved_accounts(), [key.clone()]);
    let row = bench.engine.settle(&key, true).expect("a row");
    assert_eq!((row.day.spent, row.day.debited), (1, 1));
    assert!(bench.engine.moved_accounts().is_empty());
}
