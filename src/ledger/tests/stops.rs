//! Clean stops: nothing is lost and nothing is forgotten.

use super::*;

#[test]
fn a_clean_stop_loses_no_unit_and_forgets_none() {
    let caps = [0, 1, 7, 50, 99, 100, 150, 1000, 5000];
    let records: Vec<_> = (1..).zip(caps).map(|(id, cap)| monthly(id, cap)).collect();
    let mut bench = Bench::new(&records);
    let mut admitted = [0; 9];
    for round in 0..4 {
        for ((id, cap), admitted) in (1..).zip(caps).zip(&mut admitted) {
            *admitted += bench.spend_up_to(id, if round == 3 { u64::MAX } else { cap / 4 });
        }
        bench = bench.restart();
        assert!(!bench.found.crashed);
        for ((id, cap), admitted) in (1..).zip(caps).zip(admitted) {
            let row = bench.row(id).map(|row| row.month).unwrap_or_default();
            assert_eq!((row.spent, row.debited, row.stranded), (admitted, admitted, 0), "{cap}");
        }
    }
    assert_eq!(admitted, caps);
}

#[test]
fn a_key_that_was_never_used_costs_no_write() {
    let records: Vec<_> = (1..=50).map(|id| monthly(id, 1000)).collect();
    let bench = Bench::new(&records);
    assert_eq!(bench.spend(1, 1), VerdictCode::Valid, "from its initial lease");
    assert_eq!(bench.ledger.stats().rows, 0);
    bench.ledger.stop().expect("stopped");
    assert_eq!(bench.ledger.stats().rows, 1, "that of the one that was used");
    let bench = bench.restart();
    assert_eq!(bench.found.accounts, 1);
    bench.ledger.stop().expect("stopped");
    assert_eq!(bench.ledger.stats().rows, 0, "nothing has moved since");
}

/// A lease that was granted, and of which the request that wanted it spent nothing.
#[test]
fn a_lease_that_nobody_spent_is_given_back() {
    let record = KeyRecord { max_uses: Some(10), ..plain(1) };
    let bench = Bench::new(&[record]);
    let (code, wait) = bench.judge(1, 5);
    assert_eq!((code, wait.len()), (VerdictCode::LedgerUnavailable, 1));
    bench.want(wait).recv_timeout(DEADLINE).expect("called");
    assert!(bench.row(1).is_some_and(|row| row.lifetime.debited >= 5));
    let bench = bench.restart();
    assert_eq!(bench.spend_up_to(1, u64::MAX), 10);
}

#[test]
fn a_tenants_limits_are_debited_beside_those_of_its_keys() {
    let bench = Bench::new(&[]);
    let limits = TenantLimits { max_uses: Some(30), ..TenantLimits::default() };
    let tenant = TenantRecord { revision: 1, limits, ..TenantRecord::unrecorded("acme") };
    let write = Write::Tenant(TenantWrite::Insert(Box::new(tenant.clone())));
    bench.committer.commit(vec![write], true).expect("written");
    bench.engine.put_tenant(&tenant, bench.now());
    for id in [1, 2] {
        bench.add(&KeyRecord { tenant_id: "acme".to_owned(), ..monthly(id, 20) });
    }
    assert_eq!(bench.spend_up_to(1, u64::MAX), 20);
    let bench = bench.restart();
    assert_eq!(bench.spend(1, 1), VerdictCode::QuotaExceeded);
    assert_eq!(bench.spend_up_to(2, u64::MAX), 10);
    assert_eq!(bench.spend(2, 1), VerdictCode::UsesExhausted);
    let bench = bench.restart();
    assert_eq!(bench.spend(2, 1), VerdictCode::UsesExhausted);
}

#[test]
fn settled_figures_are_exact_and_durable() {
    let bench = Bench::new(&[monthly(1, 1000)]);
    assert_eq!(bench.spend_up_to(1, 333), 333);
    bench.settle(&monthly(1, 1000)).expect("settled");
    bench.settle(&plain(2)).expect("there is nothing to settle");
    let row = bench.row(1).expect("a row").month;
    assert_eq!((row.spent, row.debited), (333, 333));
    let bench = bench.crash();
    assert_eq!(bench.spend_up_to(1, u64::MAX), 667, "no lease was out");
}

#[test]
fn accounts_that_ask_are_debited_without_anybody_waiting() {
    let bench = Bench::new(&[monthly(1, 10_000)]);
    assert_eq!(bench.spend_up_to(1, 60), 60, "of an initial lease of 100");
    let wanted = bench.ledger.stats();
    // The next round of the ledger is the one after that of the lease that was asked for.
    while bench.ledger.stats().debits == 0 {
        std::thread::yield_now();
    }
    assert_eq!(wanted.waiting, 0);
    assert!(bench.row(1).is_some_and(|row| row.month.debited > 100));
}

#[test]
fn many_accounts_share_commits() {
    let records: Vec<_> = (1..=1200).map(|id| monthly(id, 10)).collect();
    let bench = Bench::new(&records);
    let called: Vec<_> = (1..=1200).map(|id| bench.want(bench.judge(id, 1).1)).collect();
    called.iter().for_each(|called| called.recv_timeout(DEADLINE).expect("called"));
    let stats = bench.ledger.stats();
    assert_eq!((stats.debits, stats.rows, stats.waiting), (1200, 1200, 0));
    assert!(stats.commits < 600, "{stats:?}");
    assert!((1..=1200).all(|id| bench.judge(id, 1).0 == VerdictCode::Valid));
}
