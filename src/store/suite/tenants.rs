//! Records of tenants, and what they allow their keys.

use super::super::{
    CommitError, Conflict, KeyWrite, Keys, StoreError, TENANT_SCHEMA, TenantWrite, Write,
    WriteError, envelope, layout,
};
use super::{Home, changed, insert, over_every_store, put, record, replace, rows_of, start};
use crate::key::{TenantRecord, TenantStatus, Time};

over_every_store! {
    a_tenants_record_survives_a_restart
    changes_of_a_tenant_expect_what_was_read
    no_key_comes_into_a_deleted_tenant
    a_tenant_is_removed_after_its_last_key
    a_tenant_that_cannot_be_read_does_not_hide_the_others
}

fn tenant(id: &str) -> TenantRecord {
    TenantRecord { revision: 1, name: format!("tenant {id}"), ..TenantRecord::unrecorded(id) }
}

fn deleted(before: &TenantRecord) -> TenantRecord {
    let revision = before.revision + 1;
    TenantRecord { deleted_at: Some(Time::from_micros(1)), revision, ..before.clone() }
}

fn insert_tenant(record: &TenantRecord) -> Write {
    Write::Tenant(TenantWrite::Insert(Box::new(record.clone())))
}

fn replace_tenant(before_revision: u64, after: &TenantRecord) -> Write {
    Write::Tenant(TenantWrite::Replace { before_revision, after: Box::new(after.clone()) })
}

fn remove_tenant(id: &str, revision: u64) -> Write {
    Write::Tenant(TenantWrite::Remove { id: id.to_owned(), revision })
}

fn conflict(result: Result<(), CommitError>) -> Conflict {
    match result {
        Err(CommitError::Write(WriteError::Conflict(conflict))) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

fn all(keys: &Keys) -> Vec<TenantRecord> {
    let mut found = Vec::new();
    keys.for_each_tenant(|_, record| {
        found.push(record?);
        Ok::<_, StoreError>(())
    })
    .expect("readable");
    found
}

fn a_tenants_record_survives_a_restart(home: &mut Home) {
    let (keys, committer) = start(home.store());
    // More than are read at a time, and names that begin each other.
    let mut tenants: Vec<_> = (0..1100).map(|number| tenant(&format!("t{number}"))).collect();
    for some in tenants.chunks(100) {
        committer.commit(some.iter().map(insert_tenant).collect(), false).expect("committed");
    }
    committer.commit(vec![insert(&record(1))], true).expect("committed");
    committer.stop().expect("stopped");
    drop((keys, committer));
    home.restart();
    let (keys, _committer) = start(home.store());
    tenants.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(all(&keys), tenants);
    assert_eq!(keys.tenant("t7").expect("readable"), Some(tenant("t7")));
    assert_eq!(keys.tenant("t").expect("readable"), None);
}

fn changes_of_a_tenant_expect_what_was_read(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let first = tenant("a");
    let id = || "a".to_owned();
    committer.commit(vec![insert_tenant(&first)], true).expect("committed");
    let suspended = TenantRecord { status: TenantStatus::Suspended, revision: 2, ..first.clone() };
    assert_eq!(
        conflict(committer.commit(vec![insert_tenant(&suspended)], true)),
        Conflict::TenantExists { id: id() }
    );
    committer.commit(vec![replace_tenant(1, &suspended)], true).expect("committed");
    assert_eq!(
        conflict(committer.commit(vec![replace_tenant(1, &first)], true)),
        Conflict::TenantRevision { id: id(), stored: 2, expected: 1 }
    );
    assert_eq!(
        conflict(committer.commit(vec![remove_tenant("a", 1)], true)),
        Conflict::TenantRevision { id: id(), stored: 2, expected: 1 }
    );
    assert_eq!(keys.tenant("a").expect("readable"), Some(suspended));
    committer.commit(vec![remove_tenant("a", 2)], true).expect("committed");
    for write in [remove_tenant("a", 2), replace_tenant(2, &first)] {
        assert_eq!(
            conflict(committer.commit(vec![write], true)),
            Conflict::TenantMissing { id: id() }
        );
    }
    assert_eq!(keys.tenant("a").expect("readable"), None);
}

fn no_key_comes_into_a_deleted_tenant(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let (first, second, third) = (record(1), record(2), record(4));
    assert_eq!((first.tenant_id.as_str(), second.tenant_id.as_str()), ("tenant-1", "tenant-2"));
    committer.commit(vec![insert(&first), insert(&second)], true).expect("committed");
    let gone = deleted(&tenant("tenant-1"));
    let refused = Conflict::TenantDeleted { id: "tenant-1".to_owned() };
    // In the batch of the deletion too, where the tenant was seen to take keys before it.
    let batch = vec![insert(&third), insert_tenant(&gone), insert(&record(7))];
    assert_eq!(conflict(committer.commit(batch, true)), refused);
    assert_eq!(keys.get(4).expect("readable"), None, "all or none");
    committer.commit(vec![insert_tenant(&gone)], true).expect("committed");
    assert_eq!(conflict(committer.commit(vec![insert(&third)], true)), refused);
    let moved = changed(&second, |record| record.tenant_id = "tenant-1".to_owned());
    assert_eq!(conflict(committer.commit(vec![replace(&second, &moved)], true)), refused);
    // What is in it can be changed, and be moved out of it.
    let renamed = changed(&first, |record| record.name = "renamed".to_owned());
    committer.commit(vec![replace(&first, &renamed)], true).expect("committed");
    let out = changed(&renamed, |record| record.tenant_id = "tenant-2".to_owned());
    committer.commit(vec![replace(&renamed, &out)], true).expect("committed");
    let restored = TenantRecord { deleted_at: None, revision: gone.revision + 1, ..gone.clone() };
    let batch = vec![replace_tenant(gone.revision, &restored), insert(&third)];
    committer.commit(batch, true).expect("it takes keys again");
}

fn a_tenant_is_removed_after_its_last_key(home: &mut Home) {
    let (keys, committer) = start(home.store());
    let (key, gone) = (record(1), deleted(&tenant("tenant-1")));
    committer.commit(vec![insert(&key), insert_tenant(&gone)], true).expect("committed");
    // A tenant whose name goes on where this one's ends is another.
    let neighbour = changed(&record(2), |record| record.tenant_id = "tenant-1x".to_owned());
    committer.commit(vec![insert(&neighbour)], true).expect("committed");
    let remove_it = || remove_tenant("tenant-1", gone.revision);
    let refused = Conflict::TenantHasKeys { id: "tenant-1".to_owned() };
    assert_eq!(conflict(committer.commit(vec![remove_it()], true)), refused);
    assert_eq!(keys.ids_of_tenant("tenant-1", 10).expect("readable"), [1]);
    let remove_key = Write::Key(KeyWrite::Remove { id: 1, revision: key.revision });
    committer.commit(vec![remove_key, remove_it()], true).expect("both in one batch");
    let named = |part: &[u8]| {
        let name = b"tenant-1\0";
        part.windows(name.len()).any(|window| window == name) || part.ends_with(b"ntenant-1")
    };
    let left: Vec<_> =
        rows_of(home.store().as_ref()).into_iter().filter(|(key, _)| named(key)).collect();
    assert_eq!(left, []);
}

fn a_tenant_that_cannot_be_read_does_not_hide_the_others(home: &mut Home) {
    let (keys, committer) = start(home.store());
    committer
        .commit(["a", "b", "c"].map(|id| insert_tenant(&tenant(id))).into(), true)
        .expect("committed");
    let newer = envelope::seal(TENANT_SCHEMA + 1, &tenant("c")).expect("sealed");
    let damaged = [
        put(&layout::tenant_record("b"), b"no envelope"),
        put(&layout::tenant_record("c"), &newer),
        // The record of another.
        put(
            &layout::tenant_record("d"),
            &envelope::seal(TENANT_SCHEMA, &tenant("a")).expect("sealed"),
        ),
    ];
    home.store().apply(&damaged).expect("applied");
    let mut found = Vec::new();
    keys.for_each_tenant(|id, record| {
        let newer = matches!(record, Err(StoreError::NewerSchema { .. }));
        found.push((id.to_owned(), record.is_ok(), newer));
        Ok::<_, StoreError>(())
    })
    .expect("readable");
    let expected =
        [("a", true, false), ("b", false, false), ("c", false, true), ("d", false, false)];
    assert_eq!(found, expected.map(|(id, ok, newer)| (id.to_owned(), ok, newer)));
}
