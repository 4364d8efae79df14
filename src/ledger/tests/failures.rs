//! Bad days: a store that fails, hangs or is busy. Whoever waits is called.

use std::io::ErrorKind;

use super::*;

#[test]
fn a_store_that_takes_no_writes_denies_or_allows_as_configured() {
    // Live: what is in force when it fails, and what a reload says afterwards.
    for (first, second) in
        [(LedgerState::Denies, LedgerState::Allows), (LedgerState::Allows, LedgerState::Denies)]
    {
        let store = Arc::clone(&Bench::new(&[monthly(1, 1000)]).store);
        let clock = Arc::new(ManualClock::new(NOW_US));
        let bench = Bench::start(Arc::new(store.crash()), clock, first);
        bench.store.fail_sync(1, ErrorKind::StorageFull);
        let mut admitted = 0;
        for state in [first, second] {
            bench.ledger.set_unavailable(state);
            let most = if admitted == 0 { 500 } else { u64::MAX };
            admitted += bench.spend_up_to(1, most);
            let expected = match state {
                LedgerState::Denies => VerdictCode::LedgerUnavailable,
                _ if admitted < 1000 => VerdictCode::Valid,
                _ => VerdictCode::QuotaExceeded,
            };
            let code = bench.spend(1, 1);
            admitted += u64::from(code == VerdictCode::Valid);
            assert_eq!(code, expected, "{first:?}, {state:?}: {admitted}");
        }
        assert!(admitted <= 1000);
        assert!(bench.ledger.stop().is_err(), "it is not said that it was clean");
        let bench = bench.crash();
        assert!(bench.found.crashed);
    }
}

#[test]
fn what_is_held_may_be_spent_when_the_store_has_failed() {
    let bench = Bench::new(&[monthly(1, 1000), monthly(2, 1000)]);
    assert_eq!(bench.spend_up_to(1, 1), 1);
    bench.store.fail_sync(1, ErrorKind::Other);
    assert!(bench.committer.commit(Vec::new(), true).is_err());
    assert_eq!(bench.spend_up_to(1, u64::MAX), 9, "the rest of its initial lease");
    assert_eq!(bench.spend(1, 1), VerdictCode::LedgerUnavailable);
    assert_eq!(bench.ledger.stats().waiting, 0);
}

#[test]
fn a_busy_store_is_tried_again() {
    let store = Arc::clone(&Bench::new(&[monthly(1, 10)]).store);
    let options = CommitterOptions { queue_jobs_max: 1, ..CommitterOptions::default() };
    let clock = Arc::new(ManualClock::new(NOW_US));
    let bench = Bench::start_with(Arc::new(store.crash()), clock, LedgerState::Denies, &options);
    bench.store.hold_sync();
    // One is in hand and hangs, one waits, and one more finds the queue full.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            // Whoever finds no place tries again.
            scope.spawn(|| while bench.committer.commit(Vec::new(), true).is_err() {});
        }
        let full = || bench.committer.stats().waiting >= 1;
        while !full() {
            std::thread::yield_now();
        }
        let called = bench.want(bench.judge(1, 1).1);
        bench.store.release_sync();
        called.recv_timeout(DEADLINE).expect("called");
    });
    assert_eq!(bench.spend_up_to(1, u64::MAX), 10);
}

#[test]
fn whoever_waits_at_the_end_is_called() {
    for stops in [true, false] {
        let records: Vec<_> = (1..=30).map(|id| monthly(id, 10)).collect();
        let bench = Bench::new(&records);
        bench.store.hold_sync();
        let first = bench.want(bench.judge(1, 1).1);
        while bench.store.unsynced_batches() == 0 {
            std::thread::yield_now();
        }
        // The thread waits for the disk; these wait for the thread.
        let others: Vec<_> = (2..=30).map(|id| bench.want(bench.judge(id, 1).1)).collect();
        assert!(bench.ledger.stats().waiting >= 29);
        std::thread::scope(|scope| {
            let ledger = &bench.ledger;
            let end =
                scope.spawn(move || if stops { drop(ledger.stop()) } else { ledger.end_thread() });
            for called in others {
                called.recv_timeout(DEADLINE).expect("called before the disk answers");
            }
            bench.store.release_sync();
            first.recv_timeout(DEADLINE).expect("called");
            end.join().expect("ended");
        });
        let late = bench.want(vec![Account::Key(1)]);
        late.try_recv().expect("at once, as nobody debits any more");
        assert_eq!(bench.ledger.stats().waiting, 0);
        assert_ne!(bench.judge(31, 1).0, VerdictCode::Valid);
        let (code, wait) = bench.judge(30, 10);
        assert_eq!(
            (code, wait.len()),
            (VerdictCode::LedgerUnavailable, 0),
            "nobody waits for ever"
        );
    }
}

#[test]
fn who_waits_for_what_is_not_there_is_called() {
    let bench = Bench::new(&[monthly(1, 10)]);
    for accounts in [
        vec![],
        vec![Account::Key(77)],
        vec![Account::Tenant("nobody".into())],
        vec![Account::Key(1), Account::Key(1), Account::Key(77), Account::Tenant("nobody".into())],
    ] {
        bench.want(accounts).recv_timeout(DEADLINE).expect("called");
    }
    assert_eq!(bench.ledger.stats().waiting, 0);
}

/// Figures on their way while their key is purged are not written, and the next key of this id begins
/// with nothing spent.
#[test]
fn a_key_that_is_purged_meanwhile_leaves_nothing() {
    let bench = Bench::new(&[monthly(1, 10)]);
    assert_eq!(bench.spend_up_to(1, 3), 3);
    let (_, wait) = bench.judge(1, 7);
    let purge = Write::Key(KeyWrite::Remove { id: 1, revision: 1 });
    bench.committer.commit(vec![purge], true).expect("purged");
    bench.want(wait).recv_timeout(DEADLINE).expect("called");
    bench.engine.remove(1);
    assert!(bench.row(1).is_none());
    bench.add(&monthly(1, 10));
    assert_eq!(bench.spend_up_to(1, u64::MAX), 10);
    let bench = bench.restart();
    assert_eq!(bench.spend(1, 1), VerdictCode::QuotaExceeded);
}
