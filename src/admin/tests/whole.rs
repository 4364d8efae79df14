//! Backup and verification against a store in memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{Backup, BackupFrame};
use keygate_protocol::limits::ADMIN_FRAME_BYTES_MAX;
use zeroize::Zeroizing;

use super::super::{Admin, AdminError, Caller, Import, Origin, SecretFiles};
use super::{ALL, START_US, admin_over, code, record, records};
use crate::clock::ManualClock;
use crate::store::rows::{IDS_SCHEMA, IdChunk};
use crate::store::verify::{NoWriters, verify};
use crate::store::{
    Keys, MemoryStore, Op, Rotating, Store as _, StoreEngine, VALUE_BYTES_MAX, Write,
};

fn backup_frames(admin: &Admin, caller: &Caller) -> Result<Vec<BackupFrame>, AdminError> {
    let mut frames = Vec::new();
    let request = Backup::default();
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

/// Secrets that are all the same, or that cannot be had.
struct Kept(Result<[u8; 32], &'static str>);

impl SecretFiles for Kept {
    fn next(&self, _: Rotating, _: &str) -> Result<Zeroizing<[u8; 32]>, String> {
        Err("nothing is rotated".to_owned())
    }

    fn settle(&self, _: Rotating, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn kept(&self, _: Rotating, _: &str) -> Result<Option<Zeroizing<[u8; 32]>>, String> {
        self.0.map(|secret| Some(Zeroizing::new(secret))).map_err(str::to_owned)
    }

    fn is_credential(&self, _: Rotating) -> bool {
        false
    }
}

fn over(store: Arc<MemoryStore>) -> Admin {
    let admin = admin_over(store, Arc::new(ManualClock::new(START_US)));
    Arc::into_inner(admin).expect("nobody else has it")
}

fn whole_admin(rows: &[(Vec<u8>, Vec<u8>)]) -> (Arc<MemoryStore>, Admin) {
    let store = Arc::new(MemoryStore::new());
    for (key, value) in rows {
        let put = Op::Put { key: key.clone(), value: value.clone() };
        store.apply(&[put]).expect("applied");
    }
    let admin = over(Arc::<MemoryStore>::clone(&store));
    let origin = Origin { engine: StoreEngine::Redb };
    (store, admin.with_origin(origin))
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

/// What outgrows its buffer is left behind in memory: the pepper never shares one with rows.
#[test]
fn the_pepper_comes_first_and_alone() {
    let store = Arc::new(MemoryStore::new());
    store.apply(&[Op::Put { key: b"z".to_vec(), value: vec![0; 1000] }]).expect("applied");
    let admin = over(store).with_origin(Origin { engine: StoreEngine::Sled });
    let admin = admin.with_secret_files(Arc::new(Kept(Ok([7; 32]))));
    admin.keys.set_secret_id(Rotating::Pepper, "present").expect("written");
    let frames = backup_frames(&admin, &ALL).expect("a backup");
    assert_eq!(frames[0].pepper, Some(STANDARD.encode([7; 32])));
    assert!(frames[0].engine.is_some() && frames[0].pepper_from.is_some());
    assert!(frames[0].rows.is_empty());
    assert!(frames[1..].iter().all(|frame| frame.pepper.is_none() && frame.engine.is_none()));
    assert!(frames[1..].iter().any(|frame| !frame.rows.is_empty()));
    let mut shown = 0;
    let without = Backup { without_pepper: true, ..Backup::default() };
    let outcome = admin.backup(&ALL, without, &mut |json, _| {
        let frame: BackupFrame = serde_json::from_slice(&json).expect("a frame");
        shown += usize::from(frame.pepper.is_some());
        ControlFlow::Continue(())
    });
    assert_eq!((outcome.is_ok(), shown), (true, 0));
}

#[test]
fn there_is_no_backup_without_the_secret_that_it_needs() {
    for of in Rotating::ALL {
        let (_, admin) = whole_admin(&[]);
        let admin = admin.with_secret_files(Arc::new(Kept(Err("it is nowhere"))));
        assert!(backup_frames(&admin, &ALL).is_ok(), "a store that knows none");
        admin.keys.set_secret_id(of, "present").expect("written");
        assert_eq!(code(backup_frames(&admin, &ALL)), Some(ErrorCode::Storage));
        let (_, admin) = whole_admin(&[]);
        let begun = Write::BeginRotation { of, to: "next".to_owned() };
        admin.committer.commit(vec![begun], true).expect("begun");
        let error = backup_frames(&admin, &ALL).err().expect("a rotation that stands still");
        assert_eq!(error.code, ErrorCode::Busy);
        assert!(error.message.contains(of.name()), "{error}");
    }
}

#[test]
fn the_whole_store_is_for_who_sees_all_of_it_and_for_one_at_a_time() {
    let (_, admin) = whole_admin(&[]);
    let bound = Caller::of_tenant("acme");
    assert_eq!(code(backup_frames(&admin, &bound)), Some(ErrorCode::Forbidden));
    let mut seen = 0;
    let mut each = |_, _| {
        seen += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(code(admin.verify(&bound, &mut each)), Some(ErrorCode::Forbidden));
    assert_eq!(seen, 0, "nothing was shown");
    let request = Backup::default();
    let outcome = admin.backup(&ALL, request, &mut |_, _| {
        assert_eq!(code(backup_frames(&admin, &ALL)), Some(ErrorCode::Busy));
        ControlFlow::Break(())
    });
    assert!(outcome.is_ok(), "nobody wants the rest");
    assert!(backup_frames(&admin, &ALL).is_ok(), "and the turn is given back");
    let memory = over(Arc::new(MemoryStore::new()));
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
    let request = Backup::default();
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

/// What a start on the backup finds.
fn start_on(frames: &[BackupFrame]) -> (Arc<MemoryStore>, Keys) {
    let store = Arc::new(MemoryStore::new());
    for row in frames.iter().flat_map(|frame| &frame.rows) {
        assert!(!row.more, "nothing here is long");
        let key = STANDARD.decode(&row.k).expect("base64");
        let value = row.v.as_ref().map(|value| STANDARD.decode(value).expect("base64"));
        let op = value.map_or(Op::Remove { key: key.clone() }, |value| Op::Put { key, value });
        store.apply(&[op]).expect("applied");
    }
    let keys = Keys::open(Arc::<MemoryStore>::clone(&store)).expect("it is opened");
    (store, keys)
}

/// The import is taken back where the backup is restored, and goes on where it was begun.
#[tokio::test]
async fn a_backup_in_the_middle_of_an_import_has_nothing_of_it() {
    let store = Arc::new(MemoryStore::new());
    let admin = admin_over(Arc::clone(&store), Arc::new(ManualClock::new(START_US)));
    let admin = Arc::into_inner(admin).expect("nobody else has it");
    let admin = Arc::new(admin.with_origin(Origin { engine: StoreEngine::Sled }));
    let before = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let before = before.take(records([record(1), record(2)])).await.expect("taken");
    before.finish().await.expect("whole");
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let import = import.take(records((3..40).map(record))).await.expect("taken");
    // What was handed over is written by then.
    admin.committer.commit(Vec::new(), false).expect("written");
    assert!(admin.keys.get(39).expect("readable").is_some());
    let (backup, keys) = start_on(&backup_frames(&admin, &ALL).expect("a backup"));
    assert_eq!(keys.pending_import().expect("readable"), None);
    let report = verify(backup.as_ref(), &NoWriters, |_| ControlFlow::Continue(()));
    let report = report.expect("readable");
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.records, 2);
    assert_eq!(import.finish().await.expect("whole").imported, 37);
}
