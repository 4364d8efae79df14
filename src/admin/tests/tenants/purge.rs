//! A tenant's purge: cut short, by retention, and beside a restore.

use std::io;

use super::*;
use crate::admin::Retention;
use crate::key::TenantRecord;
use crate::store::{Store, StoreError};

/// Everything of a tenant in a store: rows whose keys name it, and records whose values do.
fn rows_of(store: &dyn Store, tenant: &str) -> Vec<Vec<u8>> {
    let rows = store.scan(&[], None, 100_000).expect("readable");
    let names = |part: &[u8]| part.windows(tenant.len()).any(|window| window == tenant.as_bytes());
    rows.into_iter().filter(|(key, value)| names(key) || names(value)).map(|(key, _)| key).collect()
}

/// What the daemon loads at its start.
fn load(admin: &Admin) {
    let now = admin.clock.now();
    let loaded = admin.keys.for_each_tenant(|_, record| {
        admin.engine.put_tenant(&record?, now);
        Ok::<_, StoreError>(())
    });
    loaded.expect("readable");
    let loaded = admin.keys.for_each(|_, record| {
        admin.engine.put(&record?, now).expect("room");
        Ok::<_, StoreError>(())
    });
    loaded.expect("readable");
}

#[tokio::test]
async fn a_purge_that_is_cut_short_anywhere_goes_on_and_leaves_nothing() {
    // 150 keys leave in three writes, between that which marks the purge and that which ends it.
    let mut cut_short = 0;
    for nth in 1.. {
        let store = Arc::new(MemoryStore::new());
        let admin = admin_over(Arc::clone(&store), clock());
        for _ in 0..150 {
            key_of(&admin, "doomed").await.expect("made");
        }
        let spared = key_of(&admin, "spared").await.expect("made");
        store.fail_apply(nth, io::ErrorKind::StorageFull);
        let purged = admin.delete_tenant(&ALL, delete("doomed", true)).await;
        let Err(error) = purged else { break };
        cut_short += 1;
        assert_eq!(error.code, ErrorCode::Storage);
        let state = admin.engine.tenant("doomed").map(|view| view.state);
        let (unmarked, marked) = (TenantState::Active, TenantState::Deleted);
        assert_eq!(state, Some(if nth == 1 { unmarked } else { marked }), "write {nth}");

        let store = Arc::new(store.crash());
        let admin = admin_over(Arc::clone(&store), clock());
        load(&admin);
        assert_eq!(admin.engine.tenant("doomed").map(|view| view.state), state, "write {nth}");
        if nth == 1 {
            // Nothing of it was acknowledged, and nothing of it is there.
            assert_eq!(admin.sweep_tenants(long_ago(), &|| true).await.expect("swept"), 0);
            assert_eq!(admin.engine.key_count(), 151);
            continue;
        }
        let restored = admin.restore_tenant(&ALL, named("doomed")).await;
        let (code, words) = refusal(restored);
        assert_eq!(code, ErrorCode::Conflict);
        assert!(words.contains("tenant purge doomed"), "{words}");
        if nth % 2 == 0 {
            let swept = admin.sweep_tenants(long_ago(), &|| true).await;
            assert_eq!(swept.expect("the next start goes on"), 1);
        } else {
            let again = admin.delete_tenant(&ALL, delete("doomed", true)).await;
            assert!(again.expect("so does the next call").keys_purged.is_some());
        }
        assert_eq!(rows_of(&*store, "doomed"), Vec::<Vec<u8>>::new(), "write {nth}");
        assert_eq!(admin.engine.tenant("doomed"), None);
        assert_eq!(admin.engine.key_count(), 1);
        let of_spared = KeyRef { id: spared, deleted: false };
        assert_eq!(admin.get(&ALL, of_spared).await.expect("there")["tenant_id"], "spared");
        let gone = admin.delete_tenant(&ALL, delete("doomed", true)).await;
        assert_eq!(code_of(gone), ErrorCode::NotFound);
    }
    assert_eq!(cut_short, 5, "each of its writes");
}

#[tokio::test]
async fn a_deleted_tenant_is_purged_when_its_retention_is_over_and_no_other() {
    let clock = Arc::new(ManualClock::new(START_US));
    let admin = admin_over(Arc::new(MemoryStore::new()), Arc::clone(&clock));
    for id in ["old", "alive", "back"] {
        key_of(&admin, id).await.expect("made");
    }
    for id in ["old", "back"] {
        admin.delete_tenant(&ALL, delete(id, false)).await.expect("deleted");
    }
    clock.step_wall_us(30 * DAY_US - 1);
    // The first look takes the clock as it is.
    let look = async || {
        let swept = Retention::new(Arc::clone(&admin)).look(&|| true).await;
        swept.expect("a look").tenants
    };
    assert_eq!(look().await, 0, "a microsecond too early");
    clock.step_wall_us(1);
    // Restored between the look at it and its purge.
    admin.restore_tenant(&ALL, named("back")).await.expect("restored");
    let outdated = |record: &TenantRecord| record.deleted_at.is_some();
    let spared = admin.purge_tenant_if(&ALL, "back", outdated, &|| true).await.expect("a look");
    assert!(spared.is_none());
    assert_eq!(look().await, 1);
    let all = TenantList { deleted: true, ..TenantList::default() };
    assert_eq!(listed(&admin, &ALL, all).await, ["alive", "back"]);
    assert_eq!(admin.engine.key_count(), 2);
    // Its name is free again.
    key_of(&admin, "old").await.expect("made");
    let view = admin.engine.tenant("old").expect("a key names it");
    assert_eq!((view.state, view.recorded), (TenantState::Active, false));
}

#[tokio::test]
async fn a_purge_that_a_stop_breaks_off_goes_on_at_the_next_look() {
    let admin = admin();
    for _ in 0..150 {
        key_of(&admin, "doomed").await.expect("made");
    }
    admin.delete_tenant(&ALL, delete("doomed", false)).await.expect("deleted");
    let far = Time::from_micros(i64::MAX / 2);
    let asked = std::sync::atomic::AtomicU32::new(0);
    let once = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
    assert_eq!(admin.sweep_tenants(far, &once).await.expect("broken off"), 0);
    let left = admin.engine.key_count();
    assert!((1..150).contains(&left), "{left} keys are left");
    assert_eq!(code_of(admin.restore_tenant(&ALL, named("doomed")).await), ErrorCode::Conflict);
    assert_eq!(admin.sweep_tenants(long_ago(), &|| true).await.expect("swept"), 1);
    assert_eq!(admin.engine.key_count(), 0);
}

#[tokio::test]
async fn a_sweep_purges_what_was_deleted_long_enough_ago_and_nothing_else() {
    let admin = admin();
    for id in ["old", "alive"] {
        key_of(&admin, id).await.expect("made");
    }
    let deleted = admin.delete_tenant(&ALL, delete("old", false)).await.expect("deleted");
    let at = Time::parse(deleted.tenant["deleted_at"].as_str().expect("a time")).expect("a time");
    assert_eq!(
        admin.sweep_tenants(long_ago(), &|| true).await.expect("swept"),
        0,
        "it is kept until then"
    );
    let before = Time::from_micros(at.micros_up() - 1);
    assert_eq!(admin.sweep_tenants(before, &|| true).await.expect("swept"), 0, "not yet");
    assert_eq!(admin.sweep_tenants(at, &|| false).await.expect("swept"), 0, "stopped");
    assert_eq!(admin.sweep_tenants(at, &|| true).await.expect("swept"), 1);
    assert_eq!(
        listed(&admin, &ALL, TenantList { deleted: true, ..TenantList::default() }).await,
        ["alive"]
    );
    // Its name is free again.
    key_of(&admin, "old").await.expect("made");
    let view = admin.engine.tenant("old").expect("a key names it");
    assert_eq!((view.state, view.recorded), (TenantState::Active, false));
}

#[tokio::test]
async fn a_tenant_that_cannot_be_purged_does_not_keep_others() {
    let store = Arc::new(MemoryStore::new());
    let admin = admin_over(Arc::clone(&store), clock());
    for id in ["first", "second"] {
        key_of(&admin, id).await.expect("made");
        admin.delete_tenant(&ALL, delete(id, false)).await.expect("deleted");
    }
    let key = crate::store::layout::tenant_record("first");
    store.apply(&[Op::Put { key, value: b"damaged".to_vec() }]).expect("applied");
    let far = Time::from_micros(i64::MAX / 2);
    assert_eq!(admin.sweep_tenants(far, &|| true).await.expect("swept"), 1);
    assert_eq!(admin.engine.tenant("second"), None);
}

/// It waits for another purge, and somebody restores the tenant meanwhile.
#[tokio::test]
async fn a_tenant_that_is_restored_before_its_purge_begins_is_not_purged() {
    let admin = admin();
    key_of(&admin, "acme").await.expect("made");
    admin.delete_tenant(&ALL, delete("acme", false)).await.expect("deleted");
    admin.restore_tenant(&ALL, named("acme")).await.expect("restored");
    let was_deleted = |record: &TenantRecord| record.deleted_at.is_some();
    let purged = admin.purge_tenant_if(&ALL, "acme", was_deleted, &|| true).await;
    assert!(purged.expect("nothing failed").is_none());
    let view = admin.engine.tenant("acme").expect("it is there");
    assert_eq!((view.state, view.keys), (TenantState::Active, 1));
}

#[tokio::test]
async fn keys_with_a_long_history_are_purged_with_it() {
    use crate::store::{Whose, Write, layout};
    use crate::usage::{Hour, MonthRow, SumRow, Tally};
    let store = Arc::new(MemoryStore::new());
    let admin = admin_over(Arc::clone(&store), clock());
    let tally = Tally::of_verdicts(1, 1, 0);
    let history = |whose: Whose<'_>| {
        let hours = (1..=72).map(|hour| Write::hour(whose, Hour(hour), &tally));
        let months = (1..=14).map(|month| Write::month(whose, month, &MonthRow::new()));
        hours.chain(months).map(|write| write.expect("small")).collect::<Vec<_>>()
    };
    for _ in 0..20 {
        let made = key_of(&admin, "doomed").await.expect("made");
        let id = made.parse().expect("a number");
        admin.commit(history(Whose::Key(id))).await.expect("written");
    }
    admin.commit(history(Whose::Tenant("doomed"))).await.expect("written");
    let sum = Write::sum(Some("doomed"), &SumRow::default()).expect("small");
    admin.commit(vec![sum]).await.expect("written");
    let changed = admin.delete_tenant(&ALL, delete("doomed", true)).await.expect("purged");
    assert_eq!(changed.keys_purged, Some(20));
    for space in [layout::HOUR, layout::MONTH, layout::SUM, layout::RECORD] {
        assert!(store.scan(&[space], None, 10).expect("readable").is_empty());
    }
}
