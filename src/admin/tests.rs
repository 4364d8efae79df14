//! The operations against a store in memory.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{
    ImportChunk, KeyCreate, KeyDelete, KeyList, KeyRef, KeySetStatus, KeyUpdate,
};
use keygate_protocol::limits::ADMIN_FRAME_BYTES_MAX;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Admin, AdminError, Caller, Import, Source};
use crate::clock::ManualClock;
use crate::engine::{Engine, EngineLimits};
use crate::key::Pepper;
use crate::key::token::Prefixes;
use crate::store::rows::{IDS_SCHEMA, IdChunk};
use crate::store::{
    Committer, CommitterOptions, Keys, MemoryStore, Op, Store as _, StoreEngine, VALUE_BYTES_MAX,
    Write,
};

const ALL: Caller = Caller::unbound();

fn admin() -> Arc<Admin> {
    Arc::new(admin_over(Arc::new(MemoryStore::new())))
}

fn admin_over(store: Arc<MemoryStore>) -> Admin {
    let keys = Keys::open(store).expect("a store");
    let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
    let limits = EngineLimits {
        keys_max: 100_000,
        expiry_warning_us: 0,
        increment_id_window_us: 1_000_000,
        increment_ids_max: 1000,
    };
    let engine = Engine::new(Pepper::new(&[1; 32]), Prefixes::default(), limits);
    let clock = Arc::new(ManualClock::new(1_800_000_000_000_000));
    Admin::new(Arc::new(engine), keys, Arc::new(committer), clock, 1000)
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
    assert!(admin.list(&ALL, KeyList::default()).await.expect("a list")[0].keys.is_empty());
    assert!(admin.export(&ALL, None).await.expect("an export").0[0].keys.is_empty());
    assert_eq!(admin.engine.key_count(), 0, "nothing above has shown it to decisions");
    assert_eq!(import.finish().await.expect("whole").imported, 2);
    assert_eq!(code(admin.set_status(&ALL, revoke).await), None);
    assert_eq!(admin.list(&ALL, KeyList::default()).await.expect("a list")[0].keys.len(), 2);
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
    let create = |record| KeyCreate { record };
    let made = admin.create(&ours, create(json!({"name": "a"}))).await.expect("made");
    assert_eq!(made.key["tenant_id"], "ours", "it is its own tenant's if nothing else is said");
    let id = made.key["id"].as_str().expect("an id").to_owned();
    let key = || KeyRef { id: id.clone() };
    assert_eq!(code(admin.get(&theirs, key()).await), Some(ErrorCode::NotFound));
    assert_eq!(code(admin.usage(&theirs, key()).await), Some(ErrorCode::NotFound));
    let purge = KeyDelete { id: id.clone(), purge: true };
    assert_eq!(code(admin.delete(&theirs, purge).await), Some(ErrorCode::NotFound));
    assert!(admin.list(&theirs, KeyList::default()).await.expect("a list")[0].keys.is_empty());
    assert!(admin.export(&theirs, None).await.expect("an export").0[0].keys.is_empty());
    let of_ours = KeyList { tenant_id: Some("ours".to_owned()), ..KeyList::default() };
    assert!(admin.list(&theirs, of_ours).await.expect("a list")[0].keys.is_empty());

    let foreign = create(json!({"name": "b", "tenantId": "theirs"}));
    assert_eq!(code(admin.create(&ours, foreign).await), Some(ErrorCode::Invalid));
    let set = json!({"tenant_id": "theirs"});
    let away = KeyUpdate { id: id.clone(), set, expected_revision: None };
    assert_eq!(code(admin.update(&ours, away).await), Some(ErrorCode::Invalid));
    assert_eq!(admin.get(&ours, key()).await.expect("still there")["tenant_id"], "ours");
    assert_eq!(admin.export(&ours, None).await.expect("an export").0[0].keys.len(), 1);

    let import = Import::begin(Arc::clone(&admin), ours, false).await.expect("begun");
    let import = import.take(records([record(1)])).await.expect("taken");
    let report = import.finish().await.expect("a report");
    assert_eq!((report.imported, report.problems.len()), (0, 1), "it is the default tenant's");
}

fn backup_frames(
    admin: &Admin,
    caller: &Caller,
) -> Result<Vec<keygate_protocol::admin::BackupFrame>, AdminError> {
    let mut frames = Vec::new();
    let request = keygate_protocol::admin::Backup::default();
    admin.backup(caller, request, &mut |json, more| {
        assert!(json.len() < ADMIN_FRAME_BYTES_MAX as usize, "it fits a frame");
        assert!(!json.is_empty());
        frames.push((serde_json::from_slice(&json).expect("a frame"), more));
        ControlFlow::Continue(())
    })?;
    let last = frames.len() - 1;
    assert!(frames.iter().enumerate().all(|(at, (_, more))| *more == (at < last)));
    Ok(frames.into_iter().map(|(frame, _)| frame).collect())
}

fn whole_admin(rows: &[(Vec<u8>, Vec<u8>)]) -> (Arc<MemoryStore>, Admin) {
    let store = Arc::new(MemoryStore::new());
    for (key, value) in rows {
        let put = Op::Put { key: key.clone(), value: value.clone() };
        store.apply(&[put]).expect("applied");
    }
    let admin = admin_over(Arc::<MemoryStore>::clone(&store));
    let source = Source { engine: StoreEngine::Redb, pepper: None };
    (store, admin.with_source(source))
}

#[test]
fn a_backup_has_every_row_whole_whatever_its_length() {
    let lengths = [0, 1, 256 * 1024, 256 * 1024 + 1, VALUE_BYTES_MAX];
    let rows = lengths.map(|len| (format!("z{len}").into_bytes(), vec![b'v'; len]));
    let (store, admin) = whole_admin(&rows);
    let frames = backup_frames(&admin, &ALL).expect("a backup");
    assert_eq!(frames[0].engine.as_deref(), Some("redb"));
    assert!(frames.iter().skip(1).all(|frame| frame.engine.is_none()));
    let mut copied: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut open = false;
    for row in frames.iter().flat_map(|frame| &frame.rows) {
        let key = STANDARD.decode(&row.k).expect("base64");
        let part = STANDARD.decode(row.v.as_ref().expect("nothing is removed")).expect("base64");
        match copied.last_mut().filter(|_| open) {
            Some((of, value)) => {
                assert_eq!(*of, key, "the parts of a value follow each other");
                value.extend(part);
            }
            None => copied.push((key, part)),
        }
        open = row.more;
    }
    assert_eq!(copied, store.scan(&[], None, 100).expect("readable"));
    let rows = copied.len() as u64;
    assert_eq!(frames.last().map(|frame| frame.progress.rows), Some(rows));
}

#[test]
fn the_whole_store_is_for_who_sees_all_of_it_and_for_one_at_a_time() {
    let (_, admin) = whole_admin(&[]);
    let bound = Caller::of_tenant("acme");
    assert_eq!(code(backup_frames(&admin, &bound)), Some(ErrorCode::Invalid));
    let mut seen = 0;
    let mut each = |_, _| {
        seen += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(code(admin.verify(&bound, &mut each)), Some(ErrorCode::Invalid));
    assert_eq!(seen, 0, "nothing was shown");
    let request = keygate_protocol::admin::Backup::default();
    let outcome = admin.backup(&ALL, request, &mut |_, _| {
        assert_eq!(code(backup_frames(&admin, &ALL)), Some(ErrorCode::Busy));
        ControlFlow::Break(())
    });
    assert!(outcome.is_ok(), "nobody wants the rest");
    assert!(backup_frames(&admin, &ALL).is_ok(), "and the turn is given back");
    let memory = admin_over(Arc::new(MemoryStore::new()));
    assert_eq!(code(backup_frames(&memory, &ALL)), Some(ErrorCode::Invalid));
}

#[test]
fn a_backup_whose_reader_is_too_slow_is_told_so_and_harms_nobody() {
    let long = |name: &str| (name.as_bytes().to_vec(), vec![0; 400 * 1024]);
    let (_, admin) = whole_admin(&[long("z1"), long("z2")]);
    let write = |seq| {
        let ids = IdChunk { at_us: 0, ids: vec![u128::MAX; 50_000] };
        let write = Write::increments(seq, IDS_SCHEMA, &ids).expect("it fits");
        admin.committer.commit(vec![write], false).expect("writes go on");
    };
    let request = keygate_protocol::admin::Backup::default();
    let mut frames = 0;
    let outcome = admin.backup(&ALL, request, &mut |_, _| {
        frames += 1;
        // The first frame, of the first rows, is taken only after a lot was written.
        if frames == 1 {
            (0..90).for_each(write);
        }
        ControlFlow::Continue(())
    });
    let error = outcome.expect_err("what was written meanwhile is lost to it");
    assert_eq!(error.code, ErrorCode::Busy, "{error}");
    assert!(error.message.contains("64 MiB"), "{error}");
    write(91);
}
