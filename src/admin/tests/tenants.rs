//! Tenants: their life, and whom they are shown to.

mod purge;

use keygate_protocol::admin::{
    TenantChanged, TenantCreate, TenantDelete, TenantList, TenantRef, TenantSetStatus, TenantUpdate,
};
use serde_json::Value;

use super::life::DAY_US;
use super::*;
use crate::key::{TenantState, Time};
use crate::store::Op;

/// Nothing was deleted by then.
fn long_ago() -> Time {
    Time::from_micros(0)
}

/// Why an operation was refused.
fn refusal<T: std::fmt::Debug>(result: Result<T, AdminError>) -> (ErrorCode, String) {
    let error = result.expect_err("it is refused");
    (error.code, error.message)
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(START_US))
}

fn create(tenant: Value) -> TenantCreate {
    TenantCreate { tenant }
}

fn named(id: &str) -> TenantRef {
    TenantRef { id: id.to_owned() }
}

fn status(id: &str, status: &str, reason: Option<&str>) -> TenantSetStatus {
    let (status, reason) = (status.to_owned(), reason.map(str::to_owned));
    TenantSetStatus { id: id.to_owned(), status, reason }
}

fn update(id: &str, set: Value, expected_revision: Option<u64>) -> TenantUpdate {
    TenantUpdate { id: id.to_owned(), set, expected_revision, spent: None }
}

fn delete(id: &str, purge: bool) -> TenantDelete {
    TenantDelete { id: id.to_owned(), purge }
}

async fn key_of(admin: &Admin, tenant: &str) -> Result<String, AdminError> {
    let record = json!({"name": "x", "tenant_id": tenant});
    let created = admin.create(&ALL, KeyCreate { record, request_id: None }).await?;
    Ok(created.key["id"].as_str().expect("an id").to_owned())
}

fn revision(changed: &TenantChanged) -> u64 {
    changed.tenant["revision"].as_u64().expect("a number")
}

async fn listed(admin: &Admin, caller: &Caller, list: TenantList) -> Vec<String> {
    let page = admin.list_tenants(caller, list).await.expect("a page");
    let id = |tenant: &Value| tenant["id"].as_str().expect("an id").to_owned();
    page.tenants.iter().map(id).collect()
}

#[tokio::test]
async fn a_tenant_is_made_once_and_to_make_it_again_is_no_error() {
    let admin = admin();
    let acme = || create(json!({"id": "acme", "name": "Acme Ltd"}));
    let made = admin.create_tenant(&ALL, acme()).await.expect("made");
    assert_eq!((revision(&made), made.notices.len()), (1, 0));
    assert_eq!(made.tenant["created_at"], made.tenant["updated_at"]);
    let again = admin.create_tenant(&ALL, acme()).await.expect("it is there");
    assert_eq!((revision(&again), again.notices.len()), (1, 1), "and is told to be");
    let other = create(json!({"id": "acme", "name": "Another"}));
    let (code, words) = refusal(admin.create_tenant(&ALL, other).await);
    assert_eq!(code, ErrorCode::Conflict);
    assert!(words.contains("keygate tenant update acme"), "{words}");
    // A tenant that only keys name gets its record by this.
    key_of(&admin, "globex").await.expect("made");
    let shown = admin.get_tenant(&ALL, named("globex")).await.expect("it is there");
    assert_eq!((&shown["recorded"], &shown["keys"]), (&json!(false), &json!(1)));
    let made = admin.create_tenant(&ALL, create(json!({"id": "globex"}))).await.expect("made");
    assert_eq!((&made.tenant["recorded"], &made.tenant["keys"]), (&json!(true), &json!(1)));
}

#[tokio::test]
async fn a_lost_update_of_a_tenant_is_refused_with_both_revisions() {
    let admin = admin();
    key_of(&admin, "acme").await.expect("made");
    let set = |name: &str| json!({ "name": name });
    let first = admin.update_tenant(&ALL, update("acme", set("a"), Some(0))).await;
    assert_eq!(revision(&first.expect("there was no record")), 1);
    let lost = admin.update_tenant(&ALL, update("acme", set("b"), Some(0))).await;
    let (code, words) = refusal(lost);
    assert_eq!(code, ErrorCode::Conflict);
    assert!(words.contains("revision 1, not 0"), "{words}");
    let second = admin.update_tenant(&ALL, update("acme", set("b"), Some(1))).await;
    assert_eq!(second.expect("read again").tenant["name"], "b");
    let nobody = admin.update_tenant(&ALL, update("nobody", set("b"), None)).await;
    assert_eq!(code_of(nobody), ErrorCode::NotFound);
    let bad = admin.update_tenant(&ALL, update("acme", json!({"status": "SUSPENDED"}), None)).await;
    let (code, words) = refusal(bad);
    assert_eq!(code, ErrorCode::Invalid);
    assert!(words.contains("status") && words.contains("tenant suspend"), "{words}");
}

fn code_of<T: std::fmt::Debug>(result: Result<T, AdminError>) -> ErrorCode {
    refusal(result).0
}

#[tokio::test]
async fn status_deletion_and_restoration_say_what_they_did_and_change_nothing_twice() {
    let admin = admin();
    key_of(&admin, "acme").await.expect("made");
    let nobody = admin.set_tenant_status(&ALL, status("nobody", "SUSPENDED", None)).await;
    assert_eq!(code_of(nobody), ErrorCode::NotFound, "it has neither a record nor a key");
    let revoked = admin.set_tenant_status(&ALL, status("acme", "REVOKED", None)).await;
    assert_eq!(code_of(revoked), ErrorCode::Invalid);
    let long = "x".repeat(257);
    let long = admin.set_tenant_status(&ALL, status("acme", "SUSPENDED", Some(&long))).await;
    assert_eq!(code_of(long), ErrorCode::Invalid);

    let suspend = || status("acme", "SUSPENDED", Some("unpaid"));
    let changed = admin.set_tenant_status(&ALL, suspend()).await.expect("suspended");
    assert_eq!((revision(&changed), &changed.tenant["status_reason"]), (1, &json!("unpaid")));
    let again = admin.set_tenant_status(&ALL, suspend()).await.expect("it is");
    assert_eq!(revision(&again), 1, "nothing was written");
    key_of(&admin, "acme").await.expect("a suspended tenant takes keys");

    let deleted = admin.delete_tenant(&ALL, delete("acme", false)).await.expect("deleted");
    let again = admin.delete_tenant(&ALL, delete("acme", false)).await.expect("it is");
    assert_eq!((revision(&deleted), revision(&again)), (2, 2));
    for (what, refused) in [
        ("create", admin.create_tenant(&ALL, create(json!({"id": "acme"}))).await),
        ("update", admin.update_tenant(&ALL, update("acme", json!({"name": "x"}), None)).await),
        ("resume", admin.set_tenant_status(&ALL, status("acme", "ACTIVE", None)).await),
    ] {
        let (code, words) = refusal(refused);
        assert_eq!(code, ErrorCode::Conflict, "{what}");
        assert!(words.contains("tenant restore acme"), "{what}: {words}");
    }
    let restored = admin.restore_tenant(&ALL, named("acme")).await.expect("restored");
    let again = admin.restore_tenant(&ALL, named("acme")).await.expect("it is");
    assert_eq!((revision(&restored), revision(&again)), (3, 3));
    assert_eq!(restored.tenant["status"], "SUSPENDED", "as it was before");
}

#[tokio::test]
async fn no_key_is_made_in_a_deleted_tenant_or_moved_or_imported_into_it() {
    let admin = admin();
    let inside = key_of(&admin, "acme").await.expect("made");
    let outside = key_of(&admin, "globex").await.expect("made");
    admin.delete_tenant(&ALL, delete("acme", false)).await.expect("deleted");
    let (code, words) = refusal(key_of(&admin, "acme").await);
    assert_eq!(code, ErrorCode::Conflict);
    assert!(words.contains("keygate tenant restore acme"), "{words}");
    let set = |id: &str, set: Value| KeyUpdate {
        id: id.to_owned(),
        set,
        mask: None,
        expected_revision: None,
        spent: None,
    };
    let moved = admin.update(&ALL, set(&outside, json!({"tenant_id": "acme"}))).await;
    assert_eq!(code_of(moved.map(drop)), ErrorCode::Conflict);
    let import = Import::begin(Arc::clone(&admin), ALL, true).await.expect("begun");
    let mut bad = record(2);
    bad["tenant_id"] = "acme".into();
    let import = import.take(records([record(1), bad, record(3)])).await.expect("taken");
    let report = import.finish().await.expect("a report");
    assert_eq!((report.imported, report.problems[0].field.as_deref()), (2, Some("tenant_id")));
    // What is inside can be read, and be moved out.
    let moved = admin.update(&ALL, set(&inside, json!({"tenant_id": "globex"}))).await;
    assert_eq!(moved.expect("out").key["tenant_id"], "globex");
    let view = |id| admin.engine.tenant(id).map(|view| (view.keys, view.state));
    assert_eq!(view("acme"), Some((0, TenantState::Deleted)));
    assert_eq!(view("globex"), Some((2, TenantState::Active)));
}

/// What is written counts: a refusal after it would say that nothing was.
#[tokio::test]
async fn a_key_moves_into_no_tenant_for_which_there_is_no_room() {
    let clock = Arc::new(ManualClock::new(START_US));
    let admin = admin_of(Arc::new(MemoryStore::new()), clock, 2);
    let key = key_of(&admin, "acme").await.expect("made");
    admin.create_tenant(&ALL, create(json!({"id": "globex"}))).await.expect("made");
    let moved = |tenant: &str| KeyUpdate {
        id: key.clone(),
        set: json!({ "tenant_id": tenant }),
        mask: None,
        expected_revision: None,
        spent: None,
    };
    let (code, words) = refusal(admin.update(&ALL, moved("third")).await.map(drop));
    assert!(code == ErrorCode::Conflict && words.contains("2 tenants"), "{words}");
    let asked = KeyRef { id: key.clone(), deleted: false };
    let stored = admin.get(&ALL, asked).await.expect("there");
    assert_eq!((&stored["tenant_id"], &stored["revision"]), (&json!("acme"), &json!(1)));
    assert_eq!(code_of(key_of(&admin, "third").await), ErrorCode::Conflict);
    assert!(admin.update(&ALL, moved("globex")).await.is_ok());
}

#[tokio::test]
async fn lists_have_tenants_with_records_and_those_that_only_keys_name() {
    let admin = admin();
    for id in ["b", "d"] {
        admin.create_tenant(&ALL, create(json!({ "id": id }))).await.expect("made");
    }
    for id in ["a", "b", "c", "e"] {
        key_of(&admin, id).await.expect("made");
    }
    admin.set_tenant_status(&ALL, status("c", "SUSPENDED", None)).await.expect("suspended");
    admin.delete_tenant(&ALL, delete("e", false)).await.expect("deleted");
    let list = |status: Option<&str>, deleted| TenantList {
        status: status.map(str::to_owned),
        deleted,
        ..TenantList::default()
    };
    for (filter, expected) in [
        (list(None, false), "abcd"),
        (list(None, true), "abcde"),
        (list(Some("ACTIVE"), false), "abd"),
        (list(Some("SUSPENDED"), true), "c"),
        (list(Some("ACTIVE"), true), "abde"),
        (TenantList { after: Some("b".to_owned()), ..TenantList::default() }, "cd"),
    ] {
        let shown = format!("{filter:?}");
        assert_eq!(listed(&admin, &ALL, filter).await.join(""), expected, "{shown}");
    }
    let page = TenantList { limit: Some(2), ..TenantList::default() };
    let page = admin.list_tenants(&ALL, page).await.expect("a page");
    assert_eq!((page.tenants.len(), page.next.as_deref()), (2, Some("b")));
    for bad in [
        TenantList { limit: Some(0), ..TenantList::default() },
        TenantList { limit: Some(1001), ..TenantList::default() },
        list(Some("REVOKED"), false),
    ] {
        assert_eq!(code_of(admin.list_tenants(&ALL, bad).await), ErrorCode::Invalid);
    }
    // Records as large as they may be end a page before it outgrows a frame.
    for number in 0..40 {
        let description = "\u{1}".repeat(4096);
        let tenant = json!({"id": format!("large-{number:02}"), "description": description});
        admin.create_tenant(&ALL, create(tenant)).await.expect("made");
    }
    let (mut seen, mut after) = (0, None);
    loop {
        let request = TenantList { after, limit: Some(1000), ..TenantList::default() };
        let page = admin.list_tenants(&ALL, request).await.expect("a page");
        assert!(serde_json::to_vec(&page).expect("JSON").len() < 600_000);
        seen += page.tenants.len();
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(seen, 44, "none was passed over");
}

#[tokio::test]
async fn a_bound_caller_has_its_own_record_and_is_refused_what_concerns_others() {
    let admin = admin();
    let ours = Caller::of_tenant("ours");
    for id in ["ours", "theirs"] {
        admin.create_tenant(&ALL, create(json!({ "id": id }))).await.expect("made");
        key_of(&admin, id).await.expect("made");
    }
    assert_eq!(listed(&admin, &ours, TenantList::default()).await, ["ours"]);
    let after = TenantList { after: Some("ours".to_owned()), ..TenantList::default() };
    assert!(listed(&admin, &ours, after).await.is_empty());
    assert_eq!(admin.get_tenant(&ours, named("ours")).await.expect("its own")["keys"], 1);
    for id in ["theirs", "nobody"] {
        // There or not: the same words but for the name.
        let (code, words) = refusal(admin.get_tenant(&ours, named(id)).await);
        assert_eq!(code, ErrorCode::NotFound);
        assert_eq!(
            words,
            refusal(admin.get_tenant(&ALL, named("x")).await)
                .1
                .replace("\"x\"", &format!("{id:?}"))
        );
    }
    let renamed = admin.update_tenant(&ours, update("ours", json!({"name": "Ours"}), None)).await;
    assert_eq!(renamed.expect("its own").tenant["name"], "Ours");
    let joined = update("ours", json!({"organization_id": "theirs"}), None);
    assert_eq!(code_of(admin.update_tenant(&ours, joined).await), ErrorCode::Forbidden);
    for (what, refused) in [
        ("TenantCreate", admin.create_tenant(&ours, create(json!({"id": "ours"}))).await.map(drop)),
        (
            "TenantSetStatus",
            admin.set_tenant_status(&ours, status("ours", "ACTIVE", None)).await.map(drop),
        ),
        ("TenantDelete", admin.delete_tenant(&ours, delete("ours", false)).await.map(drop)),
        ("TenantDelete", admin.delete_tenant(&ours, delete("theirs", true)).await.map(drop)),
        ("TenantRestore", admin.restore_tenant(&ours, named("nobody")).await.map(drop)),
        ("Stats", admin.stats(&ours).await.map(drop)),
    ] {
        let (code, words) = refusal(refused);
        assert_eq!(code, ErrorCode::Forbidden, "{what}");
        assert!(words.contains(what) && words.contains("\"ours\""), "{words}");
    }
    assert!(admin.stats(&ALL).await.expect("figures").contains_key("tenants"));
    let told = admin.health(&ours, 3);
    assert!(!told.healthy && !told.reasons.join("").contains('3'), "{told:?}");
    assert!(admin.health(&ALL, 3).reasons.join("").contains("3 records"));
    assert!(admin.health(&ours, 0).reasons.is_empty());
}

#[tokio::test]
async fn an_import_tells_a_bound_caller_nothing_of_the_key_that_is_in_its_way() {
    let admin = admin();
    let of_tenant = |id: u64, hash: u64, tenant: &str| {
        let mut record = record(id);
        record["key_hash"] = format!("{hash:064x}").into();
        record["tenant_id"] = tenant.into();
        record
    };
    let theirs = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let theirs = theirs.take(records([of_tenant(777, 1, "theirs")])).await.expect("taken");
    theirs.finish().await.expect("whole");
    for (caller, tells) in [(ALL, true), (Caller::of_tenant("ours"), false)] {
        let import = Import::begin(Arc::clone(&admin), caller, true).await.expect("begun");
        let import = import.take(records([of_tenant(5, 1, "ours")])).await.expect("taken");
        let report = import.finish().await.expect("a report");
        let problem = &report.problems[0];
        assert_eq!(problem.field.as_deref(), Some("key_hash"));
        assert_eq!(problem.reason.contains("777"), tells, "{}", problem.reason);
    }
}

#[tokio::test]
async fn a_tenants_limits_are_set_by_whoever_is_not_bound_to_it() {
    let admin = admin();
    let acme = || create(json!({"id": "acme", "requests_per_second": 5, "max_uses": "100"}));
    let made = admin.create_tenant(&ALL, acme()).await.expect("made");
    assert_eq!(made.tenant["requests_per_second"], 5);
    assert_eq!(made.tenant["max_uses"], "100");
    assert!(made.tenant["burst"].is_null());
    assert_eq!(revision(&admin.create_tenant(&ALL, acme()).await.expect("as it is")), 1);
    let other = create(json!({"id": "acme", "requests_per_second": 6, "max_uses": "100"}));
    assert_eq!(refusal(admin.create_tenant(&ALL, other).await).0, ErrorCode::Conflict);

    let own = Caller::of_tenant("acme");
    for (caller, set, expected) in [
        (&own, json!({"name": "Acme Ltd"}), None),
        (&own, json!({"max_uses": 100}), None),
        (&own, json!({"max_uses": 101}), Some(ErrorCode::Forbidden)),
        (&own, json!({"max_uses": null}), Some(ErrorCode::Forbidden)),
        (&own, json!({"slot_ttl_seconds": 5}), Some(ErrorCode::Forbidden)),
        (&ALL, json!({"max_uses": null, "slotTtlSeconds": 5}), None),
    ] {
        let updated = admin.update_tenant(caller, update("acme", set.clone(), None)).await;
        assert_eq!(code(updated), expected, "{set}");
    }
    let shown = admin.get_tenant(&own, named("acme")).await.expect("its own");
    assert_eq!((&shown["max_uses"], &shown["slot_ttl_seconds"]), (&Value::Null, &json!(5)));
    for (set, notice) in [
        (json!({"requests_per_second": 0}), "every request of the tenant's keys is denied"),
        (json!({"requests_per_second": null, "burst": 9}), "burst does nothing by itself"),
    ] {
        let updated = admin.update_tenant(&ALL, update("acme", set, None)).await.expect("set");
        assert!(updated.notices.iter().any(|line| line.contains(notice)), "{:?}", updated.notices);
    }
}
