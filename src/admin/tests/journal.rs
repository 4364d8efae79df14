//! Every change is told once, after it is durable, with who asked for it.

use keygate_protocol::admin::{
    KeyRestore, KeyReview, KeyRotate, TenantCreate, TenantDelete, TenantRef, TenantSetStatus,
    TenantUpdate,
};
use parking_lot::Mutex;

use super::*;
use crate::event::{Actor, Change, Event, Journal, Subject, What};

#[derive(Default)]
struct Recorder(Mutex<Vec<Change>>);

impl Journal for Recorder {
    fn note(&self, event: &Event) {
        assert_eq!(event.at_us, START_US);
        if let What::Change(change) = &event.what {
            self.0.lock().push(change.clone());
        }
    }
}

fn bench() -> (Arc<Admin>, Arc<Recorder>, Caller) {
    let recorder = Arc::<Recorder>::default();
    let admin = Arc::into_inner(admin()).expect("nobody else has it");
    let admin = Arc::new(admin.with_journal(Arc::clone(&recorder) as Arc<dyn Journal>));
    let actor = Actor { uid: Some(7), pid: Some(8), ..Actor::default() };
    (admin, recorder, Caller::unbound().acting_as(actor))
}

#[tokio::test]
async fn what_becomes_of_a_key_is_told_with_the_fields_that_changed() {
    let (admin, recorder, caller) = bench();
    let create = KeyCreate { record: json!({"name": "a"}), request_id: None };
    let created = admin.create(&caller, create).await.expect("created");
    let id = created.key["id"].as_str().expect("an id").to_owned();
    let set = json!({"name": "b"});
    let update =
        KeyUpdate { id: id.clone(), set, mask: None, expected_revision: None, spent: None };
    admin.update(&caller, update).await.expect("updated");
    let reason = Some("it leaked".to_owned());
    let rotate = KeyRotate { id: id.clone(), reason: reason.clone(), grace_ms: None };
    let token = admin.rotate(&caller, rotate).await.expect("rotated").token;
    let suspend = KeySetStatus {
        id: id.clone(),
        status: "SUSPENDED".to_owned(),
        reason_code: None,
        reason: reason.clone(),
    };
    admin.set_status(&caller, suspend).await.expect("set");
    admin.review(&caller, KeyReview { id: id.clone() }).await.expect("reviewed");
    let delete = |purge| KeyDelete { id: id.clone(), purge };
    admin.delete(&caller, delete(false)).await.expect("deleted");
    admin.restore(&caller, KeyRestore { id: id.clone() }).await.expect("restored");
    admin.delete(&caller, delete(true)).await.expect("purged");
    // What was refused is no change.
    admin.delete(&caller, delete(true)).await.expect_err("gone");
    let told = std::mem::take(&mut *recorder.0.lock());
    let actions: Vec<&str> = told.iter().map(|change| change.action.as_str()).collect();
    let expected =
        ["create", "update", "rotate", "set_status", "review", "delete", "restore", "purge"];
    assert_eq!(actions, expected);
    for change in &told {
        assert_eq!((change.actor.uid, change.actor.pid), (Some(7), Some(8)));
        let subject = Subject::Key { id: id.parse().expect("a number"), tenant: "default".into() };
        assert_eq!(change.subject, subject);
        let text = serde_json::to_string(change).expect("JSON");
        assert!(!text.contains(&token) && !text.contains("\"updated_at\""), "{text}");
    }
    assert!(told[0].before.is_null() && told[7].after.is_null());
    assert_eq!(told[1].before, json!({"name": "a", "revision": 1}));
    assert_eq!(told[1].after, json!({"name": "b", "revision": 2}));
    assert_eq!((&told[2].reason, &told[3].reason), (&reason, &reason));
    assert_eq!(told[2].after["key_hash"], "(left out)");
    assert_eq!(told[3].after["status"], "STATUS_SUSPENDED");
    assert_eq!(told[5].before["deleted_at"], serde_json::Value::Null);
}

#[tokio::test]
async fn what_becomes_of_a_tenant_is_told_and_of_each_key_that_goes_with_it() {
    let (admin, recorder, caller) = bench();
    let tenant = json!({"id": "acme", "name": "A"});
    admin.create_tenant(&caller, TenantCreate { tenant: tenant.clone() }).await.expect("created");
    // What is there as it is asked for is no change.
    admin.create_tenant(&caller, TenantCreate { tenant }).await.expect("it is there");
    let set = json!({"name": "B"});
    let id = || "acme".to_owned();
    let update = TenantUpdate { id: id(), set, expected_revision: None, spent: None };
    admin.update_tenant(&caller, update).await.expect("updated");
    let reason = Some("unpaid".to_owned());
    let suspend = TenantSetStatus { id: id(), status: "SUSPENDED".to_owned(), reason };
    admin.set_tenant_status(&caller, suspend).await.expect("suspended");
    let record = json!({"name": "a", "tenant_id": "acme"});
    let create = KeyCreate { record, request_id: None };
    admin.create(&caller, create).await.expect("created");
    admin.delete_tenant(&caller, TenantDelete { id: id(), purge: false }).await.expect("deleted");
    admin.restore_tenant(&caller, TenantRef { id: id() }).await.expect("restored");
    admin.delete_tenant(&caller, TenantDelete { id: id(), purge: true }).await.expect("purged");
    let told = std::mem::take(&mut *recorder.0.lock());
    let actions: Vec<(&str, bool)> = told
        .iter()
        .map(|change| (change.action.as_str(), matches!(change.subject, Subject::Tenant { .. })))
        .collect();
    let expected = [
        ("create", true),
        ("update", true),
        ("set_status", true),
        ("create", false),
        ("delete", true),
        ("restore", true),
        ("purge_begin", true),
        ("purge", false),
        ("purge", true),
    ];
    assert_eq!(actions, expected);
    assert_eq!(told[1].before, json!({"name": "A", "revision": 1}));
    assert_eq!(told[1].after, json!({"name": "B", "revision": 2}));
    assert_eq!(told[2].reason.as_deref(), Some("unpaid"));
    assert!(told.iter().all(|change| change.subject.tenant() == Some("acme")));
}

#[tokio::test]
async fn what_is_done_to_the_daemon_as_a_whole_is_told_with_its_figures() {
    let (admin, recorder, caller) = bench();
    let import = Import::begin(Arc::clone(&admin), caller.clone(), true).await.expect("begun");
    let bad = json!({"id": "x"});
    let import = import.take(records([record(1), record(2), bad])).await.expect("taken");
    assert!(recorder.0.lock().is_empty(), "it is not whole");
    import.finish().await.expect("finished");
    drop(admin.export(&caller));
    let told = std::mem::take(&mut *recorder.0.lock());
    let told: Vec<_> =
        told.iter().map(|change| (change.action.as_str(), change.after.clone())).collect();
    let counts = json!({"keys": 2, "tenants": 0, "skipped": 1});
    let ids = json!({"key_ids": [record_id(1), record_id(2)]});
    let expected = [("import", counts), ("import", ids), ("export", serde_json::Value::Null)];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn an_import_of_a_bound_caller_is_told_to_its_tenant_and_names_its_keys() {
    let (admin, recorder, _) = bench();
    let caller = Caller::of_tenant("acme");
    let import = Import::begin(Arc::clone(&admin), caller.clone(), true).await.expect("begun");
    let of_acme = |number| {
        let mut record = record(number);
        record["tenant_id"] = "acme".into();
        record
    };
    let import = import.take(records([of_acme(1), of_acme(2)])).await.expect("taken");
    import.finish().await.expect("finished");
    let told = std::mem::take(&mut *recorder.0.lock());
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|change| change.subject.tenant() == Some("acme")), "{told:?}");
    let found = |id: u64| told.iter().any(|change| change.has_imported(id));
    let id = |number| record_id(number).as_str().and_then(|id| id.parse().ok()).expect("an id");
    assert!(found(id(1)) && found(id(2)) && !found(99));
}

/// The id of a record, as JSON has it.
fn record_id(number: u64) -> serde_json::Value {
    record(number)["id"].clone()
}
