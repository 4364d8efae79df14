//! Keys, indexes, conflicts, imports.

use super::super::jobs::jobs;
use super::super::plan::{FORMAT, ops_of};
use super::super::rows::USAGE_SCHEMA;
use super::super::{
    CommitError, Conflict, Fact, Filter, KeyWrite, Keys, OPS_MAX, Prepared, StoreError, Whose,
    Write, WriteError, envelope, layout,
};
use super::{Home, changed, insert, over_every_store, put, record, records_of, replace, start};
use crate::key::{Status, Time};
use crate::usage::{Hour, MonthRow, Tally, UsageRow};

over_every_store! {
    a_key_is_found_by_id_and_by_every_index
    a_change_moves_the_key_in_every_index
    a_removed_key_leaves_nothing_behind
    conflicts_fail_their_own_job_only
    a_request_makes_one_key_of_a_tenant
    prepared_insertions_are_as_any_other
    pages_join_filters_and_continue
    usage_and_increments_are_absolute
    an_import_is_taken_whole
    an_import_that_is_rolled_back_leaves_nothing
    an_import_cut_short_is_removed_at_the_next_start
    only_one_import_at_a_time
    imports_are_cut_into_jobs
    data_of_a_newer_keygate_is_refused
    deleted_keys_are_found_by_when_they_were_deleted
    what_is_committed_survives_a_restart
}

fn conflict(result: Result<(), CommitError>) -> Conflict {
    match result {
        Err(CommitError::Write(WriteError::Conflict(conflict))) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

fn ids(keys: &Keys, filter: &Filter<'_>) -> Vec<u64> {
    let page = keys.page(filter, None, 100).expect("readable");
    page.records.iter().map(|record| record.id).collect()
}

fn a_key_is_found_by_id_and_by_every_index(home: &mut Home) {
    let (keys, committer) = start(home.store());
    for id in 1..=6 {
        committer.commit(vec![insert(&record(id))], true).expect("committed");
    }
    assert_eq!(keys.get(4).expect("readable"), Some(record(4)));
    assert_eq!(keys.get(7).expect("readable"), None);
    assert_eq!(ids(&keys, &Filter::default()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(ids(&keys, &Filter { tenant: Some("tenant-1"), ..Filter::default() }), [1, 4]);
    let suspended = Filter { status: Some(Status::Suspended), ..Filter::default() };
    assert_eq!(ids(&keys, &suspended), [1, 3, 5]);
    assert_eq!(ids(&keys, &Filter { tag: Some("tag-0"), ..Filter::default() }), [2, 4, 6]);
    assert_eq!(ids(&keys, &Filter { tag: Some("tag"), ..Filter::default() }), [0_u64; 0]);
    assert_eq!(records_of(home.store().as_ref()).len(), 6);
}

fn a_change_moves_the_key_in_every_index(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let before = record(1);
    let after = changed(&before, |record| {
        record.tenant_id = "elsewhere".to_owned();
        record.status = Status::Revoked;
        record.tags = vec!["every".to_owned(), "new".to_owned(), "new".to_owned()];
        record.previous_key_hash = record.key_hash;
        record.key_hash = record_hash("rotated");
    });
    committer.commit(vec![insert(&before)], true).expect("inserted");
    committer.commit(vec![replace(&before, &after)], true).expect("replaced");
    assert_eq!(keys.get(1).expect("readable"), Some(after.clone()));
    records_of(home.store().as_ref());
    let deleted = changed(&after, |record| record.deleted_at = Some(Time::from_micros(1)));
    committer.commit(vec![replace(&after, &deleted)], true).expect("deleted");
    assert_eq!(ids(&keys, &Filter::default()), [0_u64; 0]);
    assert_eq!(ids(&keys, &Filter { deleted: true, ..Filter::default() }), [1]);
    records_of(home.store().as_ref());
    // A deleted key gives its digests free.
    let mut heir = record(2);
    heir.key_hash = record_hash("rotated");
    committer.commit(vec![insert(&heir)], true).expect("the digest is free");
}

fn record_hash(token: &str) -> Option<crate::key::SealedHash> {
    Some(super::pepper().seal_token(token.as_bytes()))
}

fn used(requests: u64) -> UsageRow {
    UsageRow { total: Tally::of_verdicts(requests, requests, 0), ..UsageRow::default() }
}

fn counted(keys: &Keys, id: u64) -> Option<u64> {
    keys.usage(id).expect("readable").map(|row| row.total.requests)
}

fn a_removed_key_leaves_nothing_behind(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let rows_before = super::rows_of(home.store().as_ref());
    committer.commit(vec![insert(&record(1))], true).expect("inserted");
    let usage = Write::usage(1, &used(5)).expect("small");
    let whose = Whose::Key(1);
    let hours = (1..=72).map(|hour| Write::hour(whose, Hour(hour), &used(1).total));
    let months = (1..=14).map(|month| Write::month(whose, month, &MonthRow::new()));
    let history = hours.chain(months).map(|write| write.expect("small"));
    committer.commit(history.chain([usage]).collect(), true).expect("counted");
    let removal = Write::Key(KeyWrite::Remove { id: 1, revision: 1 });
    committer.commit(vec![removal], true).expect("removed");
    assert_eq!(super::rows_of(home.store().as_ref()), rows_before);
    // Usage written behind may still come for a key that is gone; its id starts anew.
    let late = Write::usage(1, &used(6)).expect("small");
    let late_hour = Write::hour(whose, Hour(5), &used(1).total).expect("small");
    committer.commit(vec![late, late_hour], true).expect("counted");
    committer.commit(vec![insert(&record(1))], true).expect("inserted");
    assert_eq!(counted(&keys, 1), None);
}

fn a_request_makes_one_key_of_a_tenant(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let made = |id, tenant: &str| {
        changed(&record(id), |record| {
            (record.revision, record.tenant_id) = (1, tenant.to_owned());
            record.request_id = "r".to_owned();
        })
    };
    let (one, two, elsewhere) = (made(1, "a"), made(2, "a"), made(3, "b"));
    assert_eq!(keys.by_request("a", "r").expect("readable"), None);
    committer.commit(vec![insert(&one), insert(&elsewhere)], true).expect("two tenants");
    assert_eq!(keys.by_request("a", "r").expect("readable"), Some(1));
    assert_eq!(keys.by_request("b", "r").expect("readable"), Some(3));
    let again = committer.commit(vec![insert(&two)], true);
    assert_eq!(conflict(again), Conflict::Request { holder: 1 });
    // Neither does a key move to where another has its request.
    let moved = changed(&elsewhere, |record| record.tenant_id = "a".to_owned());
    let taken = committer.commit(vec![replace(&elsewhere, &moved)], true);
    assert_eq!(conflict(taken), Conflict::Request { holder: 1 });
    let moved = changed(&elsewhere, |record| record.tenant_id = "c".to_owned());
    committer.commit(vec![replace(&elsewhere, &moved)], true).expect("moved");
    assert_eq!(keys.by_request("b", "r").expect("readable"), None);
    assert_eq!(keys.by_request("c", "r").expect("readable"), Some(3));

    let deleted = changed(&one, |record| record.deleted_at = Some(Time::from_micros(1)));
    committer.commit(vec![replace(&one, &deleted)], true).expect("deleted");
    let again = committer.commit(vec![insert(&two)], true);
    assert_eq!(conflict(again), Conflict::Request { holder: 1 }, "what was made stays made");
    let purge = Write::Key(KeyWrite::Remove { id: 1, revision: 2 });
    committer.commit(vec![purge, insert(&two)], true).expect("it is free");
    assert_eq!(keys.by_request("a", "r").expect("readable"), Some(2));
    records_of(home.store().as_ref());
}

fn prepared_insertions_are_as_any_other(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let prepared = |id| {
        let prepared = Prepared::new(&record(id)).expect("indexable");
        Write::Key(KeyWrite::InsertPrepared(prepared))
    };
    // Usage that an earlier key left behind, when keygate still let it, and that of a neighbour.
    for id in [5_u64, 30] {
        let value = envelope::seal(USAGE_SCHEMA, &used(id)).expect("small");
        home.store().apply(&[put(&layout::usage(id), &value)]).expect("applied");
    }
    committer.commit((1..=20).map(prepared).collect(), true).expect("with usage among them");
    committer.commit((21..=29).map(prepared).collect(), true).expect("without");
    assert_eq!(counted(&keys, 5), None);
    assert_eq!(counted(&keys, 30), Some(30));
    let with_another = vec![insert(&record(40)), prepared(41)];
    committer.commit(with_another, true).expect("one of each");
    for job in [vec![prepared(50), prepared(7)], vec![prepared(51), prepared(51)]] {
        let refused = conflict(committer.commit(job, true));
        assert!(matches!(refused, Conflict::Id { id: 7 | 51 }), "{refused}");
    }
    let all = records_of(home.store().as_ref());
    let expected: Vec<u64> = (1..=29).chain([40, 41]).collect();
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), expected);
    assert!(all.iter().all(|(id, stored)| *stored == record(*id)));
}

fn conflicts_fail_their_own_job_only(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let (one, two) = (record(1), record(2));
    committer.commit(vec![insert(&one)], true).expect("inserted");

    let same_id = committer.commit(vec![insert(&two), insert(&one)], true);
    assert_eq!(conflict(same_id), Conflict::Id { id: 1 });
    assert_eq!(keys.get(2).expect("readable"), None, "a job is taken whole or not at all");

    let mut thief = record(3);
    thief.key_hash = one.key_hash;
    let same_token = committer.commit(vec![insert(&thief)], true);
    assert_eq!(conflict(same_token), Conflict::Digest { holder: 1 });
    let twice = committer.commit(vec![insert(&two), insert(&two)], true);
    assert_eq!(conflict(twice), Conflict::Id { id: 2 }, "within a job as well");

    committer.commit(vec![insert(&two)], true).expect("inserted");
    let taking = changed(&two, |record| record.previous_key_hash = one.key_hash);
    let taken = committer.commit(vec![replace(&two, &taking)], true);
    assert_eq!(conflict(taken), Conflict::Digest { holder: 1 });

    let newer = changed(&one, |record| record.name = "renamed".to_owned());
    committer.commit(vec![replace(&one, &newer)], true).expect("replaced");
    let stale = Conflict::Revision { id: 1, stored: 2, expected: 1 };
    assert_eq!(conflict(committer.commit(vec![replace(&one, &newer)], true)), stale);
    let removal = || vec![Write::Key(KeyWrite::Remove { id: 1, revision: 1 })];
    assert_eq!(conflict(committer.commit(removal(), true)), stale);

    let nobody = record(9);
    let missing = committer.commit(vec![replace(&nobody, &nobody)], true);
    assert_eq!(conflict(missing), Conflict::Missing { id: 9 });

    let records = records_of(home.store().as_ref());
    assert_eq!(records.into_values().collect::<Vec<_>>(), [newer, two]);
    assert_eq!(committer.stats().latched, None);
}

fn pages_join_filters_and_continue(home: &mut Home) {
    let (keys, committer) = start(home.store());
    for id in 1..=100 {
        committer.commit(vec![insert(&record(id))], false).expect("committed");
    }
    let filters = [
        Filter::default(),
        Filter { tenant: Some("tenant-2"), ..Filter::default() },
        Filter { tenant: Some("tenant-2"), tag: Some("tag-1"), ..Filter::default() },
        Filter { status: Some(Status::Active), tag: Some("every"), ..Filter::default() },
        Filter { status: Some(Status::Active), tag: Some("tag-1"), ..Filter::default() },
    ];
    for filter in filters {
        let all: Vec<_> = (1..=100)
            .map(record)
            .filter(|record| filter.passes(&record.view()))
            .map(|r| r.id)
            .collect();
        for limit in [1, 3, 33, 100, 1000] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = keys.page(&filter, after, limit).expect("readable");
                assert!(page.records.len() <= limit);
                found.extend(page.records.iter().map(|record| record.id));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, all, "{filter:?} by {limit}");
        }
    }
}

fn usage_and_increments_are_absolute(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let usage = |id, count: u64| Write::usage(id, &used(count)).expect("small");
    committer.commit(vec![insert(&record(1)), insert(&record(2))], true).expect("written");
    committer.commit(vec![usage(1, 10), usage(2, 5), usage(3, 1)], true).expect("written");
    committer.commit(vec![usage(1, 11), usage(1, 12)], true).expect("written");
    assert_eq!(counted(&keys, 1), Some(12));
    assert_eq!(counted(&keys, 3), None, "there is no such key");
    let mut all = Vec::new();
    keys.for_each_usage(|id, row| {
        all.push((id, row?.total.requests));
        Ok::<_, StoreError>(())
    })
    .expect("readable");
    assert_eq!(all, [(1, 12), (2, 5)]);

    let chunk = |seq: u64| Write::increments(seq, 1, &vec![seq; 3]).expect("small");
    committer.commit(vec![chunk(7), chunk(300), chunk(8)], true).expect("written");
    committer.commit(vec![Write::remove_increments(7)], true).expect("removed");
    let mut seqs = Vec::new();
    keys.for_each_increments(1, |seq, ids: Result<Vec<u64>, StoreError>| {
        assert_eq!(ids?, [seq; 3]);
        seqs.push(seq);
        Ok::<_, StoreError>(())
    })
    .expect("readable");
    assert_eq!(seqs, [8, 300]);

    let fact = Fact("window");
    assert_eq!(keys.fact::<u32>(fact, 1).expect("readable"), None);
    committer.commit(vec![Write::fact(fact, 1, &9_u32).expect("small")], true).expect("written");
    assert_eq!(keys.fact::<u32>(fact, 1).expect("readable"), Some(9));
    let newer = Write::fact(fact, 2, &9_u32).expect("small");
    committer.commit(vec![newer], true).expect("written");
    assert!(matches!(keys.fact::<u32>(fact, 1), Err(StoreError::NewerSchema { found: 2, .. })));
}

/// Begins an import and brings in the given keys.
fn import(keys: &Keys, committer: &super::Committer, ids: std::ops::RangeInclusive<u64>) -> u64 {
    let number = keys.next_import().expect("readable");
    committer.commit(vec![Write::BeginImport { number }], true).expect("begun");
    for id in ids {
        let imported = changed(&record(id), |record| record.import = number);
        let usage = Write::usage(id, &used(id)).expect("small");
        committer.commit(vec![insert(&imported), usage], false).expect("imported");
    }
    number
}

fn an_import_is_taken_whole(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let number = import(&keys, &committer, 1..=20);
    assert_eq!(keys.pending_import().expect("readable"), Some(number));
    committer.commit(vec![Write::FinishImport { number }], true).expect("finished");
    assert_eq!(keys.pending_import().expect("readable"), None);
    let late = Write::Key(KeyWrite::RollBack { id: 1, import: number });
    let refused = conflict(committer.commit(vec![late], true));
    assert_eq!(refused, Conflict::Import { number, pending: None });
    committer.stop().expect("stopped");
    drop((keys, committer));
    home.restart();
    let (keys, _committer) = start(home.store());
    assert_eq!(records_of(home.store().as_ref()).len(), 20);
    assert_eq!(counted(&keys, 20), Some(20));
}

fn an_import_that_is_rolled_back_leaves_nothing(home: &mut Home) {
    let (keys, committer) = start(home.store());
    committer.commit(vec![insert(&record(500))], true).expect("one of before");
    let before = super::rows_of(home.store().as_ref()).len();
    let number = import(&keys, &committer, 1..=300);
    let removed = keys
        .roll_back_import(number, |writes| committer.commit(writes, true))
        .expect("rolled back");
    assert_eq!(removed, 300);
    let rows = super::rows_of(home.store().as_ref());
    assert_eq!(rows.len(), before + 1, "the count of imports is kept: a number is used once");
    assert_eq!(records_of(home.store().as_ref()).into_keys().collect::<Vec<_>>(), [500]);
    assert!(keys.next_import().expect("readable") > number);
}

fn an_import_cut_short_is_removed_at_the_next_start(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let whole = import(&keys, &committer, 1..=5);
    committer.commit(vec![Write::FinishImport { number: whole }], true).expect("finished");
    let cut = import(&keys, &committer, 100..=400);
    assert_ne!(whole, cut);
    committer.stop().expect("stopped");
    drop((keys, committer));
    home.restart();
    let (keys, _committer) = start(home.store());
    let left: Vec<_> = records_of(home.store().as_ref()).into_keys().collect();
    assert_eq!(left, [1, 2, 3, 4, 5]);
    assert_eq!(counted(&keys, 100), None);
    assert_eq!(keys.pending_import().expect("readable"), None);
}

fn only_one_import_at_a_time(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let begin = |number| committer.commit(vec![Write::BeginImport { number }], true);
    let finish = |number| committer.commit(vec![Write::FinishImport { number }], true);
    assert_eq!(keys.next_import().expect("readable"), 1);
    begin(1).expect("begun");
    assert_eq!(conflict(begin(2)), Conflict::Import { number: 2, pending: Some(1) });
    assert_eq!(conflict(finish(2)), Conflict::Import { number: 2, pending: Some(1) });
    finish(1).expect("finished");
    assert_eq!(conflict(finish(1)), Conflict::Import { number: 1, pending: None });
    assert_eq!(conflict(begin(1)), Conflict::Import { number: 1, pending: None });
    begin(2).expect("begun");
}

fn imports_are_cut_into_jobs(home: &mut Home) {
    let (_keys, committer) = start(home.store());
    let mut records: Vec<_> = (1..=400).map(record).collect();
    // 20 of 900 KiB: more than a batch may hold.
    for large in &mut records[100..120] {
        large.metadata_json = vec![b'x'; 900 * 1024];
    }
    let units = records.iter().map(|record| {
        vec![insert(record), Write::usage(record.id, &used(record.id)).expect("small")]
    });
    let jobs: Vec<_> = jobs(units).collect();
    assert!(jobs.len() < 20, "{} jobs", jobs.len());
    let whole = |job: &Vec<Write>| {
        let ops: usize = job
            .iter()
            .map(|write| match write {
                Write::Key(KeyWrite::Insert(record)) => ops_of(record),
                _ => 1,
            })
            .sum();
        ops <= OPS_MAX && job.len().is_multiple_of(2)
    };
    assert!(jobs.iter().all(whole), "no unit is cut");
    for job in jobs {
        committer.commit(job, false).expect("fits");
    }
    assert_eq!(records_of(home.store().as_ref()).len(), 400);
    let everything: Vec<_> = (1000..1400).map(|id| insert(&record(id))).collect();
    let too_much = committer.commit(everything, false);
    let error = StoreError::BatchTooLarge { found: OPS_MAX, max: OPS_MAX, unit: "operations" };
    match too_much {
        Err(CommitError::Write(WriteError::Store(found))) => {
            assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(&error));
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    assert_eq!(committer.stats().latched, None);
}

fn data_of_a_newer_keygate_is_refused(home: &mut Home) {
    let store = home.store();
    let format = [&u16::MAX.to_le_bytes()[..], b"9.8.7"].concat();
    store.apply(&[put(&layout::meta(FORMAT.0), &format)]).expect("applied");
    let error = Keys::open(store).map(drop).expect_err("refused");
    assert!(matches!(error, StoreError::NewerSchema { found: u16::MAX, .. }), "{error}");
    assert!(error.to_string().contains("9.8.7"), "{error}");
}

fn what_is_committed_survives_a_restart(home: &mut Home) {
    let (keys, committer) = start(home.store());
    for id in 1..=200 {
        committer.commit(vec![insert(&record(id))], id % 5 == 0).expect("committed");
    }
    committer.stop().expect("stopped");
    drop((keys, committer));
    home.restart();
    let (keys, _committer) = start(home.store());
    let mut found = Vec::new();
    keys.for_each(|id, stored| {
        assert_eq!(stored?, record(id));
        found.push(id);
        Ok::<_, StoreError>(())
    })
    .expect("readable");
    assert_eq!(found, (1..=200).collect::<Vec<_>>());
    records_of(home.store().as_ref());
}

fn deleted_keys_are_found_by_when_they_were_deleted(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let deleted_at = |id: u64, at: i64| {
        let before = record(id);
        let after = changed(&before, |record| record.deleted_at = Some(Time::from_micros(at)));
        committer.commit(vec![insert(&before)], false).expect("inserted");
        committer.commit(vec![replace(&before, &after)], true).expect("deleted");
        after
    };
    let first = deleted_at(1, 30);
    for (id, at) in [(2, -5), (3, 20), (4, 20), (5, 31)] {
        deleted_at(id, at);
    }
    committer.commit(vec![insert(&record(6))], true).expect("one that is not deleted");
    let until =
        |until_us, after, limit| keys.deleted_until(until_us, after, limit).expect("readable");
    assert_eq!(until(30, None, 10), [(-5, 2), (20, 3), (20, 4), (30, 1)]);
    assert_eq!(until(29, None, 10), [(-5, 2), (20, 3), (20, 4)]);
    assert_eq!(until(30, None, 2), [(-5, 2), (20, 3)]);
    assert_eq!(until(30, Some((20, 3)), 2), [(20, 4), (30, 1)]);
    assert_eq!(until(-6, None, 10), []);

    let restored = changed(&first, |record| record.deleted_at = None);
    committer.commit(vec![replace(&first, &restored)], true).expect("restored");
    let removal = Write::Key(KeyWrite::Remove { id: 2, revision: 2 });
    committer.commit(vec![removal], true).expect("purged");
    assert_eq!(until(i64::MAX, None, 10), [(20, 3), (20, 4), (31, 5)]);
    records_of(home.store().as_ref());
}
