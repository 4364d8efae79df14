//! What the ledger has of keys and tenants: as long as they are there, and no longer.

use super::super::plan::ops_of;
use super::super::rows::LEDGER_SCHEMA;
use super::super::{
    AccountOf, Keys, OPS_MAX, Prepared, StoreError, TenantWrite, Write, envelope, layout,
};
use super::{
    Committer, Home, KeyWrite, changed, insert, over_every_store, put, record, remove, rows_of,
    start,
};
use crate::key::TenantRecord;
use crate::limit::{AccountRow, Debits};

over_every_store! {
    figures_are_absolute_and_read_in_order
    nothing_is_written_of_what_is_not_there
    figures_go_with_their_key_and_with_their_tenant
    a_key_begins_without_figures
    figures_go_with_an_import_that_is_rolled_back
    figures_that_cannot_be_read_do_not_hide_the_others
}

/// Figures that can be told from others.
fn figures(spent: u64) -> AccountRow {
    let month = Debits { window: 670, debited: 2 * spent, spent, stranded: 0 };
    AccountRow { month, ..AccountRow::default() }
}

fn of_key(id: u64, spent: u64) -> Write {
    Write::account_of_key(id, LEDGER_SCHEMA, &figures(spent)).expect("small")
}

fn of_tenant(tenant: &str, spent: u64) -> Write {
    Write::account_of_tenant(tenant, LEDGER_SCHEMA, &figures(spent)).expect("small")
}

fn insert_tenant(id: &str, import: u64) -> Write {
    let record = TenantRecord { revision: 1, import, ..TenantRecord::unrecorded(id) };
    Write::Tenant(TenantWrite::Insert(Box::new(record)))
}

fn commit(committer: &Committer, writes: Vec<Write>) {
    committer.commit(writes, true).expect("committed");
}

/// Everything that the ledger has, with what was spent.
fn all(keys: &Keys) -> Vec<(AccountOf, Option<u64>)> {
    let mut found = Vec::new();
    keys.for_each_account(|account, row| {
        found.push((account, row.ok().map(|row| row.month.spent)));
        Ok::<_, StoreError>(())
    })
    .expect("readable");
    found
}

fn key(id: u64, spent: u64) -> (AccountOf, Option<u64>) {
    (AccountOf::Key(id), Some(spent))
}

fn tenant(name: &str, spent: u64) -> (AccountOf, Option<u64>) {
    (AccountOf::Tenant(name.to_owned()), Some(spent))
}

fn figures_are_absolute_and_read_in_order(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let ids = [1, 2, 255, 256, 70_000];
    for id in ids {
        commit(&committer, vec![insert(&record(id)), of_key(id, id)]);
    }
    // Names that end as an id's bytes would, and one that begins another.
    let names = ["a", "ab", "k1234567"];
    for name in names {
        commit(&committer, vec![insert_tenant(name, 0), of_tenant(name, 7)]);
    }
    commit(&committer, vec![of_key(2, 20), of_key(2, 21), of_tenant("a", 8)]);
    let mut expected: Vec<_> = ids.map(|id| key(id, id)).into();
    expected[1] = key(2, 21);
    expected.extend([tenant("a", 8), tenant("ab", 7), tenant("k1234567", 7)]);
    assert_eq!(all(&keys), expected);
    committer.stop().expect("stopped");
    drop((keys, committer));
    home.restart();
    let (keys, committer) = start(home.store());
    assert_eq!(all(&keys), expected, "also after a restart");
    let removals = [Write::remove_account_of_key(2), Write::remove_account_of_tenant("a")];
    commit(&committer, removals.into());
    expected.retain(|row| *row != key(2, 21) && *row != tenant("a", 8));
    assert_eq!(all(&keys), expected);
}

fn nothing_is_written_of_what_is_not_there(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let before = rows_of(home.store().as_ref());
    // A tenant without a record has no limits of its own, whether it has keys or not.
    commit(&committer, vec![of_key(1, 1), of_tenant("tenant-1", 1), of_tenant("", 1)]);
    assert_eq!(rows_of(home.store().as_ref()), before);
    commit(&committer, vec![insert(&record(1)), of_key(1, 1), of_tenant("tenant-1", 1)]);
    assert_eq!(all(&keys), [key(1, 1)], "in one batch with its key it is");
}

fn figures_go_with_their_key_and_with_their_tenant(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let before = rows_of(home.store().as_ref());
    commit(&committer, vec![insert(&record(1)), insert(&record(2)), insert_tenant("acme", 0)]);
    commit(&committer, vec![of_key(1, 1), of_key(2, 1), of_tenant("acme", 1)]);
    let purge = |id| Write::Key(KeyWrite::Remove { id, revision: 1 });
    let remove_tenant = || {
        let id = "acme".to_owned();
        Write::Tenant(TenantWrite::Remove { id, revision: 1 })
    };
    commit(&committer, vec![purge(1), remove_tenant()]);
    assert_eq!(all(&keys), [key(2, 1)]);
    // What was on its way meanwhile comes too late.
    commit(&committer, vec![of_key(1, 2), of_tenant("acme", 2)]);
    commit(&committer, vec![of_key(2, 2), purge(2), of_key(2, 3)]);
    assert_eq!(rows_of(home.store().as_ref()), before);
}

fn a_key_begins_without_figures(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let left = |id: u64| {
        let value = envelope::seal(LEDGER_SCHEMA, &figures(id)).expect("small");
        put(&layout::account_of_key(id), &value)
    };
    home.store().apply(&[3, 15, 30].map(left)).expect("applied");
    let prepared = |id| {
        let prepared = Prepared::new(&record(id)).expect("indexable");
        assert_eq!(prepared.ops.len(), ops_of(&record(id)));
        Write::Key(KeyWrite::InsertPrepared(prepared))
    };
    commit(&committer, vec![insert(&record(3))]);
    commit(&committer, (10..=20).map(prepared).collect());
    commit(&committer, (21..=29).map(prepared).collect());
    assert_eq!(all(&keys), [key(30, 30)]);
    // Removed and written in one batch of several jobs, too.
    let id = 10;
    let anew = vec![of_key(id, 9), Write::Key(KeyWrite::Remove { id, revision: 1 }), prepared(id)];
    commit(&committer, anew);
    home.store().apply(&[remove(&layout::account_of_key(30))]).expect("applied");
    assert_eq!(all(&keys), []);
}

fn figures_go_with_an_import_that_is_rolled_back(home: &mut Home) {
    let (keys, committer) = start(home.store());
    commit(&committer, vec![insert(&record(5000)), insert_tenant("here", 0)]);
    commit(&committer, vec![of_key(5000, 1), of_tenant("here", 1)]);
    let number = keys.next_import().expect("readable");
    commit(&committer, vec![Write::BeginImport { number }]);
    // More tenants than one batch removes with what they have.
    let tenants: Vec<_> = (0..OPS_MAX + 10).map(|tenant| format!("import-{tenant}")).collect();
    for some in tenants.chunks(100) {
        let units = some.iter().flat_map(|id| [insert_tenant(id, number), of_tenant(id, 1)]);
        commit(&committer, units.collect());
    }
    for id in 1..=50 {
        let imported = changed(&record(id), |record| record.import = number);
        commit(&committer, vec![insert(&imported), of_key(id, 1)]);
    }
    let removed = keys.roll_back_import(number, |writes| committer.commit(writes, true));
    assert_eq!(removed.expect("rolled back"), 50);
    assert_eq!(all(&keys), [key(5000, 1), tenant("here", 1)]);
    assert_eq!(keys.tenants(None, 10).expect("readable").len(), 1);
}

fn figures_that_cannot_be_read_do_not_hide_the_others(home: &mut Home) {
    let (keys, committer) = start(home.store());
    for id in 1..=3 {
        commit(&committer, vec![insert(&record(id)), of_key(id, 1)]);
    }
    let newer = envelope::seal(LEDGER_SCHEMA + 1, &figures(1)).expect("sealed");
    let damaged = [
        put(&layout::account_of_key(2), b"no envelope"),
        put(&layout::account_of_tenant("x"), &newer),
    ];
    home.store().apply(&damaged).expect("applied");
    let unreadable = (AccountOf::Tenant("x".to_owned()), None);
    let expected = [key(1, 1), (AccountOf::Key(2), None), key(3, 1), unreadable];
    assert_eq!(all(&keys), expected);
}
