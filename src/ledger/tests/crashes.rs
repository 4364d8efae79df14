//! Crashes: never a unit more than the cap, over all runs together, and few fewer.

use proptest::prelude::*;

use super::*;
use std::io::ErrorKind;

use crate::key::Credits;
use crate::key::limits::{LimitPeriod, NamedLimit};
use crate::limit::Spent;
use crate::store::envelope;
use crate::store::rows::{LEDGER, LEDGER_FACT_SCHEMA, LEDGER_SCHEMA, LedgerFact};
use crate::store::{Op, Store, layout};

/// What one crash may cost a key: its lease in hand, and the one that was being debited. Neither is
/// more than an eighth of the cap, or a second's demand, which a clock that stands still makes of
/// what is spent at once.
const fn lost_max(cap: u64) -> u64 {
    2 * (cap / 8 + 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn crashes_never_give_more_than_the_cap(
        cap in prop::sample::select(vec![1_u64, 7, 50, 99, 100, 150, 1000, 5000]),
        runs in prop::collection::vec((0..100_u64, 0..6_usize, any::<bool>()), 1..6),
    ) {
        let mut bench = Bench::new(&[monthly(1, cap)]);
        let (mut admitted, mut crashes) = (0, 0);
        for (percent, kept, stops) in runs {
            admitted += bench.spend_up_to(1, cap * percent / 100);
            bench = if stops { bench.restart() } else { bench.crash_keeping(kept) };
            crashes += u64::from(!stops);
        }
        admitted += bench.spend_up_to(1, u64::MAX);
        prop_assert!(admitted <= cap, "{admitted} of {cap}");
        prop_assert!(admitted + crashes * lost_max(cap) >= cap, "{admitted} of {cap}");
        let row = bench.row(1).map(|row| row.month).unwrap_or_default();
        prop_assert!(row.stranded == 0 || crashes > 0);
    }
}

#[test]
fn a_crash_before_the_first_row_charges_initial_leases_once() {
    let bench = Bench::new(&[monthly(1, 1000), monthly(2, 1000)]);
    assert_eq!(bench.spend_up_to(1, 4), 4, "from the initial lease of 10, without a row");
    let bench = bench.crash().crash().restart().crash().restart();
    assert!(bench.row(1).is_none());
    for id in [1, 2] {
        assert_eq!(bench.spend_up_to(id, u64::MAX), 990, "charged once, used or not");
    }
    let bench = bench.restart();
    bench.clock.step_wall_us(31 * DAY_US);
    for id in [1, 2] {
        assert_eq!(bench.spend_up_to(id, u64::MAX), 1000, "a new month is a new month");
    }
}

#[test]
fn credits_that_came_back_are_there_after_a_crash() {
    for restarts in [false, true] {
        let credits = Credits { balance: 1000, refill: None, granted_at: None };
        let bench = Bench::new(&[KeyRecord { credits: Some(credits), ..plain(1) }]);
        assert_eq!(bench.spend(1, 300), VerdictCode::Valid);
        let leased =
            |bench: &Bench| bench.engine.limit_figures(&Account::Key(1), bench.now())[0].leased;
        let before = leased(&bench);
        assert_eq!(bench.engine.refund(1, 100, bench.now()), 100);
        assert_eq!(leased(&bench), before, "what came back is no lease");
        let written = bench.want(vec![Account::Key(1)]);
        written.recv_timeout(DEADLINE).expect("called");
        let leased = leased(&bench);
        let bench = if restarts { bench.restart() } else { bench.crash() };
        let lost = if restarts { 0 } else { leased };
        assert_eq!(bench.engine.balance(1, bench.now()), Some(800 - lost));
    }
}

#[test]
fn a_key_that_is_made_after_the_crash_is_not_charged() {
    let bench = Bench::new(&[monthly(1, 1000)]).crash();
    bench.add(&monthly(2, 1000));
    assert_eq!(bench.spend_up_to(2, u64::MAX), 1000);
    let bench = bench.restart();
    assert_eq!(bench.spend_up_to(2, u64::MAX), 0);
    assert_eq!(bench.spend_up_to(1, u64::MAX), 990);
}

/// What a row had debited stays spent, also if the account is not used until the next clean stop.
#[test]
fn what_a_crash_has_cost_is_not_given_back_by_a_clean_stop() {
    let bench = Bench::new(&[monthly(1, 5000)]);
    let first = bench.spend_up_to(1, 900);
    let bench = bench.crash();
    assert!(bench.found.crashed);
    let bench = bench.restart().restart();
    assert!(!bench.found.crashed);
    let rest = bench.spend_up_to(1, u64::MAX);
    assert!(first + rest <= 5000, "{first} + {rest}");
    assert!(first + rest + lost_max(5000) >= 5000, "{first} + {rest}");
}

#[test]
fn a_clock_that_is_set_back_over_a_crash_reopens_no_initial_lease() {
    let bench = Bench::new(&[monthly(1, 1000), monthly(2, 1000), monthly(3, 1000)]);
    // One has figures in the later month, another has spent of its initial lease there, and a third
    // of that of the month before.
    assert_eq!(bench.spend_up_to(3, 4), 4);
    bench.clock.step_wall_us(31 * DAY_US);
    let mut admitted = [bench.spend_up_to(1, 500), bench.spend_up_to(2, 4), 4];
    bench.clock.step_wall_us(-31 * DAY_US);
    let bench = bench.crash();
    admitted[2] += bench.spend_up_to(3, u64::MAX);
    bench.clock.step_wall_us(31 * DAY_US);
    admitted[0] += bench.spend_up_to(1, u64::MAX);
    admitted[1] += bench.spend_up_to(2, u64::MAX);
    assert!(admitted.iter().all(|admitted| *admitted <= 1000), "{admitted:?}");
}

/// Of a window that nobody has figures in, the ledger itself says that it was served.
#[test]
fn a_clock_that_is_set_back_finds_the_windows_that_were_served() {
    let bench = Bench::new(&[monthly(1, 1000), monthly(2, 1000)]);
    bench.clock.step_wall_us(31 * DAY_US);
    // Whatever the ledger is asked for, it looks at the clock.
    bench.want(vec![Account::Key(2)]).recv_timeout(DEADLINE).expect("called");
    assert_eq!(bench.spend_up_to(1, 4), 4, "of its initial lease");
    assert!(bench.row(1).is_none());
    bench.clock.step_wall_us(-31 * DAY_US);
    let bench = bench.crash();
    bench.clock.step_wall_us(31 * DAY_US);
    assert!(bench.spend_up_to(1, u64::MAX) <= 996);
}

/// A clock may jump over the start of a window before the ledger has looked at it.
#[test]
fn in_a_window_that_the_ledger_has_not_said_there_are_no_initial_leases() {
    let bench = Bench::new(&[monthly(1, 1000)]);
    bench.clock.step_wall_us(31 * DAY_US);
    assert_eq!(bench.spend_up_to(1, 4), 4);
    assert!(bench.row(1).is_some_and(|row| row.month.debited >= 4), "debited, every unit");
    bench.clock.step_wall_us(-31 * DAY_US);
    let bench = bench.crash();
    bench.clock.step_wall_us(31 * DAY_US);
    assert!(bench.spend_up_to(1, u64::MAX) <= 996);
}

#[test]
fn a_new_day_is_said_once() {
    let bench = Bench::new(&[monthly(1, 1000)]);
    let look = || bench.want(vec![Account::Key(1)]).recv_timeout(DEADLINE).expect("called");
    look();
    let commits = || bench.committer.stats().ops - bench.ledger.stats().rows;
    let before = commits();
    for days in [1, 0, 0, 1, -1, 1] {
        bench.clock.step_wall_us(days * DAY_US);
        look();
    }
    assert_eq!(commits() - before, 2);
}

/// Rows are written by the thread of the ledger and by whoever settles. Were one to overtake another,
/// the store would know of fewer units than were spent.
#[test]
fn rows_do_not_overtake_each_other() {
    for round in 0..6 {
        let cap = 2000;
        let bench = Bench::new(&[monthly(1, cap)]);
        let admitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let valid = bench.spend(1, 1) == VerdictCode::Valid;
                        admitted.fetch_add(usize::from(valid), Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..20 {
                bench.settle(&monthly(1, cap)).expect("settled");
            }
        });
        let bench = bench.crash_keeping(round);
        let admitted = admitted.into_inner() as u64;
        let rest = bench.spend_up_to(1, u64::MAX);
        assert!(admitted + rest <= cap, "{admitted} + {rest}");
        assert!(admitted + rest + lost_max(cap) >= cap, "{admitted} + {rest}");
    }
}

/// Whatever a crash keeps, it is both or neither: the caps of before with what was spent of them, or
/// those of after with what the change has made of that.
#[test]
fn a_change_and_what_it_makes_of_what_was_spent_are_there_together() {
    let changes = [
        (Spent::Keep, 60, 0..=0),
        (Spent::Proportional, 60, 24..=24),
        (Spent::Reset, 60, 60..=60),
        (Spent::Reset, 100, 100..=100),
        (Spent::Keep, 200, 140..=140),
    ];
    for (spent, cap, left) in changes {
        for fails in [false, true] {
            let bench = Bench::new(&[monthly(1, 100)]);
            assert_eq!(bench.spend_up_to(1, 60), 60);
            if fails {
                bench.store.fail_sync(1, ErrorKind::StorageFull);
            }
            let change = Change { spent, month: true, ..Change::default() };
            let after = KeyRecord { revision: 2, ..monthly(1, cap) };
            assert_eq!(bench.replace(&after, &change).is_err(), fails);
            let bench = bench.crash();
            let record = bench.keys.get(1).expect("readable").expect("there");
            let expected = if fails { (1, 100) } else { (2, cap) };
            assert_eq!(
                (record.revision, record.monthly_request_quota),
                (expected.0, Some(expected.1))
            );
            let then = bench.spend_up_to(1, u64::MAX);
            let left = if fails { 40 - lost_max(100)..=40 } else { left.clone() };
            assert!(left.contains(&then), "{spent:?} to {cap}: {then} of {left:?}");
        }
    }
}

/// What is charged to an account without a row goes by the cap of the start.
#[test]
fn a_lower_cap_and_a_crash_admit_no_more_than_it() {
    for cap in [10_000, 60_000] {
        let bench = Bench::new(&[monthly(1, cap)]);
        assert_eq!(bench.spend_up_to(1, 45), 45);
        assert!(bench.row(1).is_none(), "of its initial lease");
        let after = KeyRecord { revision: 2, ..monthly(1, 500) };
        bench.replace(&after, &Change::default()).expect("written");
        let bench = bench.crash();
        let more = bench.spend_up_to(1, u64::MAX);
        assert_eq!(more, 500 - 45, "and no unit fewer");
    }
}

#[test]
fn figures_that_cannot_be_read_count_as_spent_and_hide_no_others() {
    let credits = Some(Credits { balance: 50, refill: None, granted_at: None });
    let named = |period| {
        let period = LimitPeriod::parse(period).expect("a period");
        vec![NamedLimit { name: "exports".to_owned(), count: 50, period }]
    };
    for (record, names) in [
        (monthly(1, 50), &[][..]),
        (KeyRecord { requests_per_day: Some(50), ..plain(1) }, &[]),
        (KeyRecord { max_uses: Some(50), ..plain(1) }, &[]),
        (KeyRecord { credits, ..plain(1) }, &[]),
        (KeyRecord { limits: named("year"), ..plain(1) }, &["exports"]),
        (KeyRecord { limits: named("30d"), ..plain(1) }, &["exports"]),
    ] {
        let bench = Bench::new(&[record, monthly(2, 50), plain(3)]);
        let spend = |bench: &Bench, id, names| bench.spend_named(id, 10, names);
        for (id, names) in [(1, names), (2, &[])] {
            assert_eq!(spend(&bench, id, names), VerdictCode::Valid);
        }
        bench.ledger.stop().expect("stopped");
        let damaged = Op::Put { key: layout::account_of_key(1), value: b"no envelope".to_vec() };
        bench.store.apply(&[damaged]).expect("applied");
        bench.store.sync().expect("synced");
        let bench = bench.crash();
        assert_eq!((bench.found.accounts, bench.found.unreadable), (2, 1));
        let denied = bench.spend_named(1, 1, names);
        let expected =
            [VerdictCode::QuotaExceeded, VerdictCode::UsesExhausted, VerdictCode::CreditsExhausted];
        assert!(expected.contains(&denied), "{denied:?}");
        assert_eq!(bench.spend_up_to(2, u64::MAX), 40);
        assert_eq!(bench.spend(3, 1), VerdictCode::Valid);
    }
}

#[test]
fn a_ledger_that_cannot_say_how_it_was_left_was_left_by_a_crash() {
    let fact = LedgerFact { open: false, ..LedgerFact::default() };
    let newer = envelope::seal(LEDGER_FACT_SCHEMA + 1, &fact).expect("sealed");
    let cases: [(&[u8], Option<bool>); 2] = [(b"no envelope", Some(true)), (&newer, None)];
    for (value, crashed) in cases {
        let bench = Bench::new(&[monthly(1, 1000)]);
        bench.ledger.stop().expect("stopped");
        let fact = Op::Put { key: layout::meta(LEDGER.0), value: value.to_vec() };
        bench.store.apply(&[fact]).expect("applied");
        let engine = Arc::clone(&bench.engine);
        let (committer, clock) = (Arc::clone(&bench.committer), Arc::clone(&bench.clock));
        let opened = Ledger::open(engine, &bench.keys, committer, clock, LedgerState::Denies);
        assert_eq!(opened.ok().map(|(_, found)| found.crashed), crashed, "a newer one is refused");
    }
    assert_eq!(LEDGER_SCHEMA, 1);
}
