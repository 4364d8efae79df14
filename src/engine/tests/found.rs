//! What the model has found wrong, each as the shortest story that shows it.

use super::*;
use crate::engine::Account;
use crate::key::TenantLimits;
use crate::key::limits::{LimitPeriod, NamedLimit};
use crate::limit::{AccountRow, Change, NamedDebits, NamedFigures, Windows};

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
        let row =
            bench.engine.settle(&Bench::acme(), true, bench.clock.now()).expect("it was used");
        let bench = Bench::new();
        bench.put(&bench.record(7, &token));
        bench.share(TenantLimits::default(), &Change::default());
        bench.engine.restore_account(&Bench::acme(), &row, bench.clock.now());
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
    let row = bench.engine.settle(&key, false, bench.clock.now()).expect("a row");
    assert_eq!((row.day.spent, row.day.debited), (1, 100), "its initial lease is out");
    assert!(bench.engine.has_moved(&key, bench.clock.now()));
    let row = bench.engine.settle(&key, true, bench.clock.now()).expect("a row");
    assert_eq!((row.day.spent, row.day.debited), (1, 1));
    assert!(
        !bench.engine.has_moved(&key, bench.clock.now())
            && bench.engine.moved_accounts().is_empty()
    );
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
            row.iter().for_each(|row| bench.engine.restore_account(&key, row, bench.clock.now()));
            (bench, token)
        };
        let (bench, token) = start(Some(1000), None);
        let admitted = (0..10).filter(|_| bench.ask(&of(&token)).verdict.code.is_valid()).count();
        assert_eq!(admitted, 10, "of the initial lease, of which the ledger knows nothing");
        let void = Windows::at(START_US);
        let (bench, token) = start(Some(1000), None);
        bench.engine.set_void(void);
        let mut row = None;
        for cap in &caps {
            // As the daemon changes a record.
            let settled = |bench: &Bench| {
                let moved = bench.engine.has_moved(&key, bench.clock.now());
                moved.then(|| bench.engine.settle(&key, true, bench.clock.now())).flatten()
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

/// Where the ledger has figures of a window, a crash charges those and no initial lease; so there
/// must be none that they do not tell of, also when the limits were taken away in between.
#[test]
fn a_limit_that_is_set_where_a_row_stands_begins_without_an_initial_lease() {
    let key = Account::Key(7);
    for (restarts, step_us) in [(false, 0), (true, 0), (false, 31 * DAY_US)] {
        let mut bench = Bench::new();
        let token = bench.token(1);
        let uses = |bench: &Bench, max_uses, monthly_request_quota| {
            let record = bench.record(7, &token);
            bench.put(&KeyRecord { max_uses, monthly_request_quota, ..record });
        };
        uses(&bench, Some(5), None);
        let waits = bench.ask(&of(&token)).wait.is_some();
        let row = bench.engine.debit(&key, bench.clock.now()).expect("it waits").row;
        assert!(waits && row.month.window > 0 && row.month.debited == 0);
        bench.clock.step_wall_us(step_us);
        uses(&bench, None, None);
        bench.clock.step_wall_us(-step_us);
        if restarts {
            bench = Bench::new();
            uses(&bench, None, None);
            bench.engine.restore_account(&key, &row, bench.clock.now());
        }
        uses(&bench, None, Some(10_000));
        let settled = bench
            .engine
            .has_moved(&key, bench.clock.now())
            .then(|| bench.engine.settle(&key, true, bench.clock.now()));
        let row = settled.flatten().unwrap_or(row);
        let mut admitted = 0;
        while bench.ask(&of(&token)).verdict.code.is_valid() {
            admitted += 1;
        }
        let bench = Bench::new();
        uses(&bench, None, Some(10_000));
        bench.engine.restore_account(&key, &row, bench.clock.now());
        bench.engine.set_void(Windows::at(START_US));
        let month = bench.engine.limit_figures(&key, bench.clock.now()).remove(0);
        assert!(month.remaining + admitted <= 10_000, "{admitted} admitted, then {month:?}");
    }
}

#[test]
fn slots_of_a_tenant_that_goes_are_not_counted_for_ever() {
    let bench = Bench::new();
    let token = bench.token(1);
    bench.put(&bench.record(7, &token));
    let limits = TenantLimits { concurrent_requests: Some(8), ..TenantLimits::default() };
    bench.share(limits, &Change::default());
    assert!(bench.ask(&of(&token)).verdict.slot.is_some());
    bench.engine.remove_tenant("acme");
    assert_eq!(bench.engine.slots_held(), 0);
}

/// The ledger's figures of a rate are units, not an instant, where a start finds another rate: the
/// record was changed, and the daemon died before the ledger was told.
#[test]
fn a_rolling_limit_that_is_lowered_while_the_daemon_dies_has_spent_what_it_had_spent() {
    let bench = Bench::new();
    let now = bench.clock.now();
    let period_ns = 3_600_000_000_000_u64;
    let tat = u128::from(now.wall_us.unsigned_abs()) * 1000 * 100 + 60 * u128::from(period_ns);
    let figures = NamedFigures::Rolling { count: 100, period_ns, debited: tat, spent: tat };
    let name = "a".to_owned();
    let row = AccountRow {
        named: vec![NamedDebits { name: name.clone(), figures }],
        ..AccountRow::default()
    };
    for (count, left) in [(100, 40), (10, 0), (1000, 940)] {
        let bench = Bench::new();
        let period = LimitPeriod::Rolling { seconds: 3600 };
        let limits = vec![NamedLimit { name: name.clone(), count, period }];
        bench.put(&KeyRecord { limits, ..bench.record(1, &bench.token(1)) });
        bench.engine.restore_account(&Account::Key(1), &row, now);
        let figures = bench.engine.limit_figures(&Account::Key(1), now);
        assert_eq!(figures[0].remaining, left, "{count} an hour");
    }
}

/// A change of limits after a crash goes by what the crash has charged, also of whom nobody asked.
#[test]
fn an_account_that_nobody_has_asked_for_has_moved_by_what_a_crash_has_charged() {
    let bench = Bench::new();
    let limits =
        |cap| KeyRecord { monthly_request_quota: Some(cap), ..bench.record(1, &bench.token(1)) };
    bench.put(&limits(1000));
    bench.engine.set_void(Windows::at(bench.clock.now().wall_us));
    let key = Account::Key(1);
    assert!(bench.engine.has_moved(&key, bench.clock.now()));
    let row = bench.engine.settle(&key, true, bench.clock.now()).expect("a row");
    assert_eq!((row.month.debited, row.month.stranded), (10, 10), "by the cap that it had");
}

/// What an import carries over of a key's life is taken off what it may be used.
#[test]
fn uses_that_an_import_carries_over_count() {
    for (carried, left) in [(0, 5), (3, 2), (5, 0), (7, 0)] {
        let bench = Bench::new();
        bench.put(&KeyRecord {
            max_uses: Some(5),
            total_requests: carried,
            ..bench.record(1, &bench.token(1))
        });
        let figures = bench.engine.limit_figures(&Account::Key(1), bench.clock.now());
        assert_eq!(figures[0].remaining, left, "{carried}");
    }
}
