//! What a verification finds, and that it finds nothing where nothing is wrong.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::rows::{
    IDS_SCHEMA, IdChunk, LEDGER, LEDGER_FACT_SCHEMA, LEDGER_SCHEMA, LedgerFact,
};
use super::super::verify::{Kind, NoWriters, PROBLEMS_MAX, Report, verify};
use super::super::{Op, Store, TENANT_SCHEMA, TenantWrite, envelope, layout};
use super::{
    Home, KeyWrite, Write, changed, insert, over_every_store, put, record, remove, replace, start,
};
use crate::key::{Status, TenantRecord, Time};
use crate::limit::AccountRow;
use crate::usage::{Tally, UsageRow};

over_every_store! {
    a_store_in_use_is_clean
    every_kind_of_damage_is_named
    writers_cause_no_false_alarm
}

const KEYS: u64 = 40;

fn report(store: &dyn Store) -> Report {
    verify(store, &NoWriters, |_| ControlFlow::Continue(())).expect("readable")
}

/// Keys, some changed and some removed, usage, figures of the ledger, ids and an import that has not
/// finished.
fn fill(store: &std::sync::Arc<dyn Store>) {
    let (keys, committer) = start(std::sync::Arc::clone(store));
    for id in 1..=KEYS {
        let total = Tally::of_verdicts(id, id, 0);
        let usage = UsageRow { total, last_used_us: 1_000 + 5, ..UsageRow::default() };
        let usage = Write::usage(id, &usage).expect("small");
        committer.commit(vec![insert(&record(id)), usage], false).expect("written");
    }
    for id in (1..=KEYS).step_by(3) {
        let after = changed(&record(id), |record| {
            record.status = Status::Revoked;
            record.previous_key_hash = record.key_hash;
            record.key_hash = Some(super::pepper().seal_token(&id.to_le_bytes()));
            record.tags.clear();
            record.updated_at = Some(Time::from_micros(2_000_000));
        });
        committer.commit(vec![replace(&record(id), &after)], false).expect("written");
    }
    let tenant = TenantRecord::unrecorded("acme");
    let mut writes = vec![Write::Tenant(TenantWrite::Insert(Box::new(tenant)))];
    let row = AccountRow::default();
    writes.extend((1..=4).map(|id| Write::account_of_key(id, LEDGER_SCHEMA, &row).expect("small")));
    writes.push(Write::account_of_tenant("acme", LEDGER_SCHEMA, &row).expect("small"));
    let fact = LedgerFact { open: true, ..LedgerFact::default() };
    writes.push(Write::fact(LEDGER, LEDGER_FACT_SCHEMA, &fact).expect("small"));
    committer.commit(writes, false).expect("written");
    let purge = Write::Key(KeyWrite::Remove { id: 2, revision: 1 });
    let chunk = IdChunk { at_us: 3_000, ids: vec![1, 2, 3] };
    let chunk = Write::increments(9, IDS_SCHEMA, &chunk).expect("small");
    let number = keys.next_import().expect("readable");
    committer.commit(vec![purge, chunk, Write::BeginImport { number }], true).expect("written");
}

fn a_store_in_use_is_clean(home: &mut Home) {
    let empty = report(home.store().as_ref());
    assert!(empty.is_clean() && empty.walked.rows == 0, "{empty:?}");
    fill(&home.store());
    let found = report(home.store().as_ref());
    assert!(found.is_clean(), "{found:#?}");
    assert_eq!((found.records, found.usage_rows, found.increment_chunks), (KEYS - 1, KEYS - 1, 1));
    assert_eq!(found.ledger_rows, 3 + 1, "of keys and of a tenant");
    assert_eq!(found.records_by_schema.values().sum::<u64>(), KEYS - 1);
    assert_eq!(found.pending_import, Some(1));
    assert_eq!(found.newest_us, Some(2_000_000));
    assert!(found.format.is_some_and(|(_, by)| by == env!("CARGO_PKG_VERSION")));
    let mut seen = 0;
    let ended = verify(home.store().as_ref(), &NoWriters, |walked| {
        seen = walked.rows;
        ControlFlow::Break(())
    });
    assert!(ended.is_ok() && seen > 0, "whoever watches may end it");
}

fn every_kind_of_damage_is_named(home: &mut Home) {
    fill(&home.store());
    let store = home.store();
    let row = |key: &[u8]| store.get(key).expect("readable").expect("there");
    let flipped = |key: Vec<u8>| {
        let mut value = row(&key);
        *value.last_mut().expect("bytes") ^= 1;
        put(&key, &value)
    };
    let digest = |id: u64| layout::digest(&record(id).digests().next().expect("one").0);
    let of_tenant = |id: u64| layout::with_id(&layout::tenant(&record(id).tenant_id), id);
    let newer = envelope::seal(999, &1_u8).expect("small");
    let other = TenantRecord { id: "other".to_owned(), ..TenantRecord::default() };
    let other_tenant = envelope::seal(TENANT_SCHEMA, &other).expect("small");
    #[rustfmt::skip]
    let cases: Vec<(Op, &[Kind], &str)> = vec![
        (flipped(layout::record(3)), &[Kind::Unreadable], "key 3"),
        (put(&layout::record(3), &newer), &[Kind::NewerSchema], "key 3"),
        (put(&layout::record(3), &row(&layout::record(5))), &[Kind::Misplaced, Kind::IndexStray], "key 3"),
        (flipped(layout::usage(6)), &[Kind::Unreadable], "usage of key 6"),
        (flipped(layout::increments(9)), &[Kind::Unreadable], "chunk of increments 9"),
        (put(&layout::usage(777), &row(&layout::usage(6))), &[Kind::UsageStray], "usage of key 777"),
        (remove(&of_tenant(3)), &[Kind::IndexMissing], "key 3"),
        (remove(&digest(3)), &[Kind::IndexMissing], "key 3"),
        (remove(&layout::record(5)), &[Kind::IndexStray, Kind::UsageStray], "key 5"),
        (remove(&layout::record(3)), &[Kind::IndexStray, Kind::UsageStray, Kind::LedgerStray], "ledger of key 3"),
        (flipped(layout::account_of_key(3)), &[Kind::Unreadable], "ledger of key 3"),
        (put(&layout::account_of_key(3), &newer), &[Kind::NewerSchema], "ledger of key 3"),
        (put(&layout::account_of_key(777), &row(&layout::account_of_key(3))), &[Kind::LedgerStray], "ledger of key 777"),
        (put(&layout::account_of_tenant("gone"), &row(&layout::account_of_key(3))), &[Kind::LedgerStray], "ledger of tenant \"gone\""),
        (put(b"lk123", &row(&layout::account_of_key(3))), &[Kind::Misplaced], "ledger of key ?"),
        (put(b"lx", &row(&layout::account_of_key(3))), &[Kind::Misplaced], "a row of the ledger"),
        (flipped(layout::meta("ledger")), &[Kind::Unreadable], "the fact \"ledger\""),
        (put(&layout::meta("ledger"), &newer), &[Kind::NewerSchema], "the fact \"ledger\""),
        (put(&layout::with_id(&layout::tag("gone"), 3), b""), &[Kind::IndexStray], "tag \"gone\""),
        (put(&layout::with_id(&layout::status(1), 888), b""), &[Kind::IndexStray], "key 888"),
        (put(&layout::deleted(5, 3), b""), &[Kind::IndexStray], "key 3 in the index of deleted keys"),
        (put(&layout::request("acme", "r-1"), &3_u64.to_be_bytes()), &[Kind::IndexStray], "request \"r-1\" in tenant \"acme\""),
        (put(&digest(3), &layout::with_id_and_kind(5, 0)), &[Kind::DigestShared, Kind::IndexStray], "key 3"),
        (put(&digest(3), &layout::with_id_and_kind(3, 1)), &[Kind::IndexMissing, Kind::IndexStray], "key 3"),
        (put(&digest(3), b"short"), &[Kind::Unreadable, Kind::IndexMissing], "digest"),
        (put(b"\x01novel", b"x"), &[Kind::Unknown], "0x01"),
        (put(&layout::tenant_record("acme"), b"x"), &[Kind::Unreadable], "acme"),
        (put(&layout::tenant_record("acme"), &other_tenant), &[Kind::Misplaced], "acme"),
        (put(&layout::meta("format"), b"x"), &[Kind::Unreadable], "format"),
        (put(&layout::meta("format"), b"\xFF\xFF9.9"), &[Kind::NewerSchema], "format"),
        (remove(&layout::meta("format")), &[Kind::Unreadable], "format"),
        (put(&layout::meta("imports"), b"x"), &[Kind::Unreadable], "imports"),
        (put(&layout::meta("of another"), b"x"), &[Kind::Unreadable], "of another"),
    ];
    for (damage, kinds, named) in cases {
        let key = damage.key().to_vec();
        let before = store.get(&key).expect("readable");
        store.apply(&[damage]).expect("applied");
        let found = report(store.as_ref());
        assert!(!found.is_clean(), "{named} {kinds:?}");
        let of_kinds = found.problem_counts.keys().copied().collect::<Vec<_>>();
        let mut expected = kinds.to_vec();
        expected.sort();
        assert_eq!(of_kinds, expected, "{named}: {found:#?}");
        let words =
            found.problems.iter().map(|problem| format!("{}: {}", problem.row, problem.what));
        assert!(words.into_iter().any(|words| words.contains(named)), "{named}: {found:#?}");
        let whole = crate::key::digest::hex(&record(3).digests().next().expect("one").0);
        assert!(!format!("{found:?}").contains(&whole), "no digest is shown");
        store
            .apply(&[before.map_or_else(|| remove(&key), |value| put(&key, &value))])
            .expect("mended");
    }
    assert!(report(store.as_ref()).is_clean());
}

/// Rows that are read one by one contradict each other all the time while keys come, change and go.
fn writers_cause_no_false_alarm(home: &mut Home) {
    let (_keys, committer) = start(home.store());
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for id in 1..=20 {
                    let first = record(id);
                    let usage = Write::usage(id, &UsageRow::default());
                    let writes = vec![insert(&first), usage.expect("small")];
                    committer.commit(writes, false).expect("inserted");
                    let next = changed(&first, |record| {
                        record.tenant_id = "another".to_owned();
                        record.status = Status::Revoked;
                    });
                    committer.commit(vec![replace(&first, &next)], false).expect("changed");
                    let (id, revision) = (next.id, next.revision);
                    let purge = Write::Key(KeyWrite::Remove { id, revision });
                    committer.commit(vec![purge], false).expect("purged");
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (mut verified, mut clean) = (0, true);
        while clean && (verified < 40 || rounds.load(Ordering::Relaxed) < 5) {
            verified += 1;
            let found = verify(home.store().as_ref(), &committer, |_| ControlFlow::Continue(()));
            clean = found.as_ref().is_ok_and(Report::is_clean);
            if !clean {
                println!("{found:#?}");
            }
        }
        // Before anything fails: the writer would go on for ever.
        stop.store(true, Ordering::Relaxed);
        assert!(clean);
    });
}

#[test]
fn problems_are_counted_beyond_those_that_are_named() {
    let mut home = Home::memory();
    let store = home.store();
    let rows: Vec<_> = (0..2500_u64).map(|id| put(&layout::usage(id), b"x")).collect();
    rows.chunks(500).for_each(|rows| store.apply(rows).expect("applied"));
    let found = report(store.as_ref());
    assert_eq!(found.problems.len(), PROBLEMS_MAX);
    assert_eq!(found.problem_counts[&Kind::UsageStray], 2500);
    assert_eq!(found.problem_counts[&Kind::Unreadable], 2501, "and the format is not stated");
    home.restart();
}
