//! Tenants that move: what an export says of them, and an import of it, whole or not at all.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::AtomicBool;

use keygate_protocol::VerdictCode;
use keygate_protocol::admin::{ImportReport, TenantCreate, TenantDelete, TenantSetStatus};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::life::Bench;
use super::*;
use crate::key::Time;
use crate::key::{TenantState, digest};

/// A chunk of tenants and of keys.
fn chunk(
    tenants: impl IntoIterator<Item = Value>,
    keys: impl IntoIterator<Item = Value>,
) -> ImportChunk {
    ImportChunk { tenants: records(tenants).records, ..records(keys) }
}

/// A key of a tenant.
fn key(id: u64, tenant: &str) -> Value {
    let mut key = record(id);
    key["tenant_id"] = tenant.into();
    key
}

fn suspended(id: &str) -> Value {
    json!({"id": id, "name": format!("tenant {id}"), "status": "SUSPENDED", "status_reason": "unpaid",
        "created_at": "2025-03-01T09:00:00Z", "updated_at": "2025-04-01T09:00:00Z", "revision": 3})
}

fn deleted(id: &str) -> Value {
    json!({"id": id, "deleted_at": "2025-04-01T09:00:00Z", "revision": 2})
}

async fn import(
    admin: &Arc<Admin>,
    caller: Caller,
    skip_bad: bool,
    chunks: impl IntoIterator<Item = ImportChunk>,
) -> Result<ImportReport, AdminError> {
    let mut import = Import::begin(Arc::clone(admin), caller, skip_bad).await?;
    for chunk in chunks {
        import = import.take(chunk).await?;
    }
    import.finish().await
}

fn state(admin: &Admin, tenant: &str) -> Option<TenantState> {
    admin.engine.tenant(tenant).filter(|view| view.recorded).map(|view| view.state)
}

async fn tenants_of(admin: &Admin, caller: &Caller) -> Vec<Value> {
    joined(admin, admin.export(caller)).await.tenants
}

#[tokio::test]
async fn an_export_has_the_records_of_tenants_and_an_import_of_it_gives_the_same() {
    let admin = admin();
    let clock = Arc::new(ManualClock::new(START_US + 77));
    let other = admin_over(Arc::new(MemoryStore::new()), clock);
    let tenants = [json!({"id": "a", "name": "A"}), deleted("d"), suspended("s")];
    let keys = [key(1, "a"), key(2, "d"), key(3, "s"), key(4, "named")];
    let report = import(&admin, ALL, false, [chunk(tenants, keys)]).await.expect("whole");
    assert_eq!((report.imported, report.tenants_imported, report.problems), (4, 3, vec![]));
    let exported = joined(&admin, admin.export(&ALL)).await;
    let ids: Vec<&Value> = exported.tenants.iter().map(|tenant| &tenant["id"]).collect();
    assert_eq!(ids, ["a", "d", "s"], "those that have a record");
    assert_eq!(exported.tenants[2]["status_reason"], "unpaid");
    assert!(exported.tenants[2].get("keys").is_none(), "how many keys is counted where they are");

    let again = chunk(exported.tenants.clone(), exported.keys.clone());
    let report = import(&other, ALL, false, [again]).await.expect("whole");
    assert_eq!((report.imported, report.tenants_imported), (4, 3));
    let moved = joined(&other, other.export(&ALL)).await;
    assert_eq!((moved.tenants, moved.keys), (exported.tenants, exported.keys));
    for admin in [&admin, &other] {
        assert_eq!(state(admin, "a"), Some(TenantState::Active));
        assert_eq!(state(admin, "s"), Some(TenantState::Suspended));
        assert_eq!(state(admin, "d"), Some(TenantState::Deleted));
        assert_eq!(state(admin, "named"), None);
    }
    // It is like any other from here on.
    let restore = keygate_protocol::admin::TenantRef { id: "d".to_owned() };
    let restored = other.restore_tenant(&ALL, restore).await.expect("restored");
    assert_eq!((&restored.tenant["revision"], &restored.tenant["keys"]), (&json!(3), &json!(1)));
}

#[tokio::test]
async fn an_export_has_every_tenant_once_in_frames_that_fit_and_a_bound_callers_own() {
    let admin = admin();
    for number in 0..450 {
        let tenant = json!({"id": format!("t{number:03}"), "description": "\u{1}".repeat(1000)});
        admin.create_tenant(&ALL, TenantCreate { tenant }).await.expect("made");
    }
    import(&admin, ALL, false, [records([key(1, "t001")])]).await.expect("whole");
    let mut listing = admin.export(&ALL);
    let (mut ids, mut keys, mut more) = (Vec::new(), 0, true);
    while more {
        let (frames, rest) = admin.next_page(&mut listing).await.expect("a page");
        more = rest;
        for frame in frames {
            assert!(serde_json::to_vec(&frame).expect("JSON").len() < 600_000);
            assert!(frame.tenants.is_empty() || keys == 0, "tenants come first");
            keys += frame.keys.len();
            ids.extend(frame.tenants.iter().map(|it| it.get().to_owned()));
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), keys), (450, 1));
    let own = tenants_of(&admin, &Caller::of_tenant("t007")).await;
    assert_eq!(own.iter().map(|it| &it["id"]).collect::<Vec<_>>(), ["t007"]);
    assert!(tenants_of(&admin, &Caller::of_tenant("nobody")).await.is_empty());
}

#[tokio::test]
async fn bad_records_of_tenants_refuse_the_import_or_are_left_out_by_name() {
    let admin = admin();
    let tenant = json!({"id": "here", "name": "Here"});
    admin.create_tenant(&ALL, TenantCreate { tenant }).await.expect("made");
    let long = json!({"id": "long", "description": "x".repeat(40_000)});
    for (bad, tenant, field, reason) in [
        (json!({"id": "b", "colour": "red"}), "b", Some("colour"), "no such field"),
        (json!({"name": "x"}), "", Some("id"), "missing"),
        (json!(7), "", None, "an object"),
        (json!({"id": "b", "status": "GONE"}), "b", Some("status"), "ACTIVE or SUSPENDED"),
        (long, "", None, "at most 32768"),
        (json!({"id": "good", "name": "other"}), "good", None, "same import"),
        (suspended("here"), "here", None, "keygate tenant get here"),
    ] {
        let file = || chunk([suspended("good"), bad.clone()], [key(1, "good"), key(2, "b")]);
        let report = import(&admin, ALL, false, [file()]).await.expect("a report");
        assert_eq!((report.imported, report.tenants_imported, report.skipped), (0, 0, 1));
        let problem = &report.problems[0];
        assert_eq!((problem.record, problem.tenant.as_deref()), (2, Some(tenant)), "{bad}");
        assert_eq!(problem.field.as_deref(), field, "{bad}");
        assert!(problem.reason.contains(reason), "{}", problem.reason);
        assert_eq!((state(&admin, "good"), admin.engine.key_count()), (None, 0), "{bad}");

        let report = import(&admin, ALL, true, [file()]).await.expect("a report");
        assert_eq!((report.imported, report.tenants_imported, report.skipped), (2, 1, 1), "{bad}");
        assert_eq!(state(&admin, "good"), Some(TenantState::Suspended));
        assert_eq!(state(&admin, "here"), Some(TenantState::Active), "what was there stays");
        for id in ["good", "b"] {
            let purge = TenantDelete { id: id.to_owned(), purge: true };
            admin.delete_tenant(&ALL, purge).await.expect("purged");
        }
    }
    // What is alike is no problem, whenever it was made; nor is it there twice.
    let alike = || json!({"id": "here", "name": "Here", "revision": 9});
    let report = import(&admin, ALL, false, [chunk([alike(), alike()], [])]).await.expect("whole");
    assert_eq!((report.tenants_imported, report.problems), (1, vec![]));
    assert_eq!(tenants_of(&admin, &ALL).await[0]["revision"], 1, "it was left as it is");
}

#[tokio::test]
async fn problems_are_told_in_the_files_order() {
    let admin = admin();
    let bad_key = json!({"id": "9", "key_hash": "x"});
    let taken = record(1);
    for (chunks, tenant) in [
        ([records([taken.clone(), taken.clone()]), chunk([json!({"name": "x"})], [])], None),
        ([chunk([json!({"name": "x"})], []), records([bad_key])], Some("")),
    ] {
        let report = import(&admin, ALL, false, chunks).await.expect("a report");
        assert_eq!(report.problems.len(), 1);
        assert_eq!(report.problems[0].tenant.as_deref(), tenant);
    }
}

#[tokio::test]
async fn a_bound_caller_imports_no_record_of_a_tenant() {
    let admin = admin();
    let ours = Caller::of_tenant("ours");
    for id in ["ours", "theirs"] {
        let file = || chunk([json!({ "id": id })], [key(1, "ours")]);
        let report = import(&admin, ours.clone(), false, [file()]).await.expect("a report");
        assert_eq!((report.imported, report.problems[0].tenant.as_deref()), (0, Some(id)));
        assert!(report.problems[0].reason.contains("bound"), "{}", report.problems[0].reason);
        assert_eq!(state(&admin, id), None);
    }
    let file = chunk([suspended("ours")], [key(1, "ours")]);
    let report = import(&admin, ours, true, [file]).await.expect("a report");
    assert_eq!((report.imported, report.tenants_imported), (1, 0), "its keys are its own");
}

#[tokio::test]
async fn a_purge_that_had_begun_comes_as_a_deletion() {
    let admin = admin();
    let mut begun = deleted("d");
    begun["purge_began_at"] = "2025-04-02T09:00:00Z".into();
    let report = import(&admin, ALL, false, [chunk([begun.clone()], [key(1, "d")])]).await;
    let report = report.expect("whole");
    assert!(report.notices.iter().any(|line| line.contains("tenant purge d")), "{report:?}");
    assert_eq!(state(&admin, "d"), Some(TenantState::Deleted));
    assert_eq!(
        admin.sweep_tenants(Time::from_micros(0), &|| true).await.expect("swept"),
        0,
        "nothing is purged by itself"
    );
    assert_eq!(admin.engine.tenant("d").map(|view| view.keys), Some(1));
    // Keys that come later find it deleted.
    let report = import(&admin, ALL, false, [chunk([deleted("d")], [key(2, "d")])]).await;
    assert_eq!(report.expect("a report").problems[0].field.as_deref(), Some("tenant_id"));
}

#[tokio::test]
async fn what_an_import_holds_is_there_for_nobody_before_its_end() {
    let admin = admin();
    let begun = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let begun = begun.take(chunk([suspended("s")], [key(1, "s")])).await.expect("taken");
    assert!(tenants_of(&admin, &ALL).await.is_empty());
    // Somebody else is first.
    let tenant = json!({"id": "s"});
    admin.create_tenant(&ALL, TenantCreate { tenant }).await.expect("made");
    let report = begun.finish().await.expect("a report");
    assert_eq!((report.imported, report.problems[0].tenant.as_deref()), (0, Some("s")));
    assert_eq!(state(&admin, "s"), Some(TenantState::Active));
    let suspend =
        TenantSetStatus { id: "s".to_owned(), status: "SUSPENDED".to_owned(), reason: None };
    admin.set_tenant_status(&ALL, suspend).await.expect("it can be changed");
}

/// The store fails at each write in turn, and the power with it: what is there afterwards is all of
/// the import or nothing, of keys and of tenants, and the same import goes through then.
#[tokio::test]
async fn an_import_that_is_cut_short_at_any_write_leaves_no_tenant_and_no_key() {
    let clock = || Arc::new(ManualClock::new(START_US));
    let file = || {
        let tenants = (0..250).map(|n| suspended(&format!("t{n:03}")));
        chunk(tenants, (1..=150).map(|id| key(id, &format!("t{id:03}"))))
    };
    let mut cut_short = 0;
    for nth in 1.. {
        let store = Arc::new(MemoryStore::new());
        let admin = admin_over(Arc::clone(&store), clock());
        store.fail_apply(nth, io::ErrorKind::StorageFull);
        let outcome = import(&admin, ALL, false, [file()]).await;
        let Err(error) = outcome else { break };
        cut_short += 1;
        assert_ne!(error.code, ErrorCode::Invalid, "{error}");
        assert_eq!(admin.engine.key_count() + admin.engine.tenant_count(), 0, "write {nth}");
        // A crash may keep any number of the batches that were not synced.
        for kept in [0, usize::try_from(nth).expect("few") / 2, usize::MAX] {
            let store = Arc::new(store.crash_keeping(kept));
            let admin = admin_over(Arc::clone(&store), clock());
            let found = joined(&admin, admin.export(&ALL)).await;
            assert_eq!((found.tenants.len(), found.keys.len()), (0, 0), "write {nth}, {kept} kept");
            let report = import(&admin, ALL, false, [file()]).await.expect("whole");
            assert_eq!((report.imported, report.tenants_imported), (150, 250));
        }
    }
    assert!(cut_short >= 5, "the mark, keys, three of tenants, the end: {cut_short}");
}

/// Somebody asks for keys of a suspended and of a deleted tenant all the while: from unknown they
/// become what their tenants make of them, and are nothing else in between.
#[tokio::test]
async fn no_key_of_a_suspended_or_deleted_tenant_passes_for_an_instant() {
    const KEYS: u64 = 1000;
    let bench = Arc::new(Bench::new());
    let token = |id: u64| format!("moved-{id}");
    let tenant = |id: u64| if id.is_multiple_of(2) { "s" } else { "d" };
    let of = |id: u64| {
        let mut key = key(id, tenant(id));
        key["key_hash"] = digest::hex(&Sha256::digest(token(id))).into();
        key
    };
    let ended = Arc::new(AtomicBool::new(false));
    let asking = {
        let (bench, ended) = (Arc::clone(&bench), Arc::clone(&ended));
        tokio::task::spawn_blocking(move || {
            let (mut seen, mut last) = (HashSet::new(), false);
            while !last {
                last = ended.load(Ordering::Acquire);
                seen.extend((1..=KEYS).map(|id| (tenant(id), bench.code(&token(id)))));
            }
            seen
        })
    };
    // Tenants stand behind their keys in the file, and before them for decisions.
    let file = [records((1..=KEYS).map(of)), chunk([suspended("s"), deleted("d")], [])];
    let report = import(&bench.admin, ALL, false, file).await.expect("whole");
    ended.store(true, Ordering::Release);
    assert_eq!((report.imported, report.tenants_imported), (KEYS, 2));
    let mut seen = asking.await.expect("it does not panic");
    assert!(seen.remove(&("s", VerdictCode::TenantSuspended)), "all were asked for at the end");
    seen.remove(&("s", VerdictCode::NotFound));
    assert_eq!(seen, HashSet::from([("d", VerdictCode::NotFound)]));
}
