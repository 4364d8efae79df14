//! The operations against a store in memory.

mod lists;
mod writes;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{
    ImportChunk, KeyCreate, KeyDelete, KeyList, KeyPage, KeyRef, KeySetStatus, KeyUpdate,
};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Admin, AdminError, Caller, Import, Listing};
use crate::clock::ManualClock;
use crate::engine::{Engine, EngineLimits};
use crate::key::Pepper;
use crate::key::token::Prefixes;
use crate::store::{Committer, CommitterOptions, Keys, MemoryStore};

const ALL: Caller = Caller::unbound();

fn admin() -> Arc<Admin> {
    let keys = Keys::open(Arc::new(MemoryStore::new())).expect("a store");
    let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
    let limits = EngineLimits {
        keys_max: 100_000,
        expiry_warning_us: 0,
        increment_id_window_us: 1_000_000,
        increment_ids_max: 1000,
    };
    let engine = Engine::new(Pepper::new(&[1; 32]), Prefixes::default(), limits);
    let clock = Arc::new(ManualClock::new(1_800_000_000_000_000));
    Arc::new(Admin::new(Arc::new(engine), keys, Arc::new(committer), clock, 1000))
}

fn records(records: impl IntoIterator<Item = serde_json::Value>) -> ImportChunk {
    let raw = |record: serde_json::Value| RawValue::from_string(record.to_string()).expect("JSON");
    ImportChunk { skip_bad: false, records: records.into_iter().map(raw).collect() }
}

fn record(id: u64) -> serde_json::Value {
    json!({"id": id.to_string(), "key_hash": format!("{id:064x}"), "name": "imported"})
}

fn of(id: u64) -> KeyRef {
    KeyRef { id: id.to_string() }
}

fn code<T>(result: Result<T, AdminError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

/// All frames of a listing, as a client joins them.
async fn joined(admin: &Admin, mut listing: Listing) -> KeyPage {
    let mut keys = Vec::new();
    loop {
        let (mut frames, more) = admin.next_page(&mut listing).await.expect("a page");
        frames.iter_mut().for_each(|frame| keys.append(&mut frame.keys));
        if !more {
            let last = frames.pop().expect("a last frame");
            return KeyPage { keys, ..last };
        }
    }
}

async fn listed(admin: &Admin, caller: &Caller, list: KeyList) -> Result<KeyPage, AdminError> {
    Ok(joined(admin, admin.list(caller, list).await?).await)
}

async fn exported(admin: &Admin, caller: &Caller) -> Vec<serde_json::Value> {
    joined(admin, admin.export(caller)).await.keys
}

#[tokio::test]
async fn keys_of_an_import_are_not_there_until_it_is_whole() {
    let admin = admin();
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let import = import.take(records([record(1), record(2)])).await.expect("taken");
    let revoke = KeySetStatus { id: "1".to_owned(), status: "REVOKED".to_owned(), reason: None };
    let purge = KeyDelete { id: "1".to_owned(), purge: true };
    assert_eq!(code(admin.get(&ALL, of(1)).await), Some(ErrorCode::NotFound));
    assert_eq!(code(admin.set_status(&ALL, revoke.clone()).await), Some(ErrorCode::NotFound));
    assert_eq!(code(admin.delete(&ALL, purge).await), Some(ErrorCode::NotFound));
    assert!(listed(&admin, &ALL, KeyList::default()).await.expect("a list").keys.is_empty());
    assert!(exported(&admin, &ALL).await.is_empty());
    assert_eq!(admin.engine.key_count(), 0, "nothing above has shown it to decisions");
    assert_eq!(import.finish().await.expect("whole").imported, 2);
    assert_eq!(code(admin.set_status(&ALL, revoke).await), None);
    assert_eq!(listed(&admin, &ALL, KeyList::default()).await.expect("a list").keys.len(), 2);
    assert_eq!(admin.engine.key_count(), 2);
}

#[tokio::test]
async fn an_import_that_was_left_behind_does_not_stop_the_next() {
    let admin = admin();
    // Its roll-back failed because the store was busy, so its mark and its rows are still there.
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    drop(import.take(records([record(1)])).await.expect("taken"));
    assert_ne!(admin.pending_import.load(Ordering::Acquire), 0);
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let import = import.take(records([record(1), record(2)])).await.expect("taken");
    let report = import.finish().await.expect("whole");
    assert_eq!((report.imported, report.problems), (2, vec![]));
}

#[tokio::test]
async fn the_first_of_two_records_that_contradict_is_taken_wherever_jobs_are_cut() {
    let admin = admin();
    // Several jobs: in the first something is wrong, and what a later one has taken meanwhile
    // belongs to a record of the first.
    let mut given: Vec<_> = (1..=400).map(record).collect();
    given[2]["key_hash"] = given[0]["key_hash"].clone();
    given[249]["key_hash"] = given[3]["key_hash"].clone();
    given[349]["id"] = given[4]["id"].clone();
    let import = Import::begin(Arc::clone(&admin), ALL, true).await.expect("begun");
    let (first, second) = given.split_at(380);
    let import = import.take(records(first.iter().cloned())).await.expect("taken");
    let import = import.take(records(second.iter().cloned())).await.expect("taken");
    let report = import.finish().await.expect("whole");
    let problems: Vec<_> =
        report.problems.iter().map(|problem| (problem.record, problem.field.as_deref())).collect();
    let expected = [(3, Some("key_hash")), (250, Some("key_hash")), (350, Some("id"))];
    assert_eq!((report.imported, problems.as_slice()), (397, &expected[..]));
    assert_eq!((admin.engine.key_count(), exported(&admin, &ALL).await.len()), (397, 397));
    for id in [1, 4, 5] {
        assert!(admin.get(&ALL, of(id)).await.is_ok(), "{id} came first");
    }
}

#[tokio::test]
async fn a_report_fits_a_frame_whatever_the_records_say() {
    let admin = admin();
    let import = Import::begin(Arc::clone(&admin), ALL, true).await.expect("begun");
    let bad = (0..2000).map(|n| json!({ format!("{n}{}", "\u{1}".repeat(300)): n }));
    let import = import.take(records(bad)).await.expect("taken");
    let report = import.finish().await.expect("a report");
    assert_eq!((report.imported, report.skipped), (0, 2000));
    assert!(report.problems.len() > 100);
    let bytes = serde_json::to_vec(&report).expect("JSON").len();
    assert!(bytes < 600_000, "{bytes}");
}

#[tokio::test]
async fn a_bound_caller_sees_its_tenant_and_nothing_else() {
    let admin = admin();
    let (ours, theirs) = (Caller::of_tenant("ours"), Caller::of_tenant("theirs"));
    let create = |record| KeyCreate { record, request_id: None };
    let made = admin.create(&ours, create(json!({"name": "a"}))).await.expect("made");
    assert_eq!(made.key["tenant_id"], "ours", "it is its own tenant's if nothing else is said");
    let id = made.key["id"].as_str().expect("an id").to_owned();
    let key = || KeyRef { id: id.clone() };
    assert_eq!(code(admin.get(&theirs, key()).await), Some(ErrorCode::NotFound));
    assert_eq!(code(admin.usage(&theirs, key()).await), Some(ErrorCode::NotFound));
    let purge = KeyDelete { id: id.clone(), purge: true };
    assert_eq!(code(admin.delete(&theirs, purge).await), Some(ErrorCode::NotFound));
    assert!(listed(&admin, &theirs, KeyList::default()).await.expect("a list").keys.is_empty());
    assert!(exported(&admin, &theirs).await.is_empty());
    let of_ours = KeyList { tenant_id: Some("ours".to_owned()), ..KeyList::default() };
    assert!(listed(&admin, &theirs, of_ours).await.expect("a list").keys.is_empty());

    let foreign = create(json!({"name": "b", "tenantId": "theirs"}));
    assert_eq!(code(admin.create(&ours, foreign).await), Some(ErrorCode::Invalid));
    let set = json!({"tenant_id": "theirs"});
    let away = KeyUpdate { id: id.clone(), set, mask: None, expected_revision: None };
    assert_eq!(code(admin.update(&ours, away).await), Some(ErrorCode::Invalid));
    assert_eq!(admin.get(&ours, key()).await.expect("still there")["tenant_id"], "ours");
    assert_eq!(exported(&admin, &ours).await.len(), 1);

    let import = Import::begin(Arc::clone(&admin), ours, false).await.expect("begun");
    let import = import.take(records([record(1)])).await.expect("taken");
    let report = import.finish().await.expect("a report");
    assert_eq!((report.imported, report.problems.len()), (0, 1), "it is the default tenant's");
}
