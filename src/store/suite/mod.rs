//! One suite over every implementation of the store: what holds for one holds for all.
//!
//! [`rows`] asks the seam itself, [`typed`], [`tenants`] and [`accounts`] what is built on it, [`verify`] what is
//! found wrong with it; [`disk`] what only files can show, [`moves`] how data goes from one
//! directory to another, [`golden`] what earlier keygates wrote; [`faults`] and [`crashes`] need
//! failures on request and so the store in memory, which keeps the same contract.

mod accounts;
mod crashes;
mod disk;
mod faults;
mod golden;
mod moves;
mod rows;
mod sealed;
mod tenants;
mod typed;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::plan::read_record;
use super::prepare::index_rows;
use super::{
    Committer, CommitterOptions, KeyWrite, Keys, MemoryStore, Op, Row, Store, StoreEngine,
    StoreError, StoreOptions, Write, layout, open,
};
use crate::key::{KeyRecord, Pepper, Status};

/// Runs a test once over each implementation.
macro_rules! over_every_store {
    ($($name:ident)+) => {
        mod memory { $(#[test] fn $name() { super::$name(&mut $crate::store::suite::Home::memory()); })+ }
        $crate::store::suite::over_every_disk! { $($name)+ }
    };
}

/// Runs a test once over each implementation on disk.
macro_rules! over_every_disk {
    ($($name:ident)+) => {
        mod sled { $(#[test] fn $name() { super::$name(&mut $crate::store::suite::Home::disk($crate::store::StoreEngine::Sled)); })+ }
        mod redb { $(#[test] fn $name() { super::$name(&mut $crate::store::suite::Home::disk($crate::store::StoreEngine::Redb)); })+ }
    };
}
use {over_every_disk, over_every_store};

/// Where a store lives, so that a test can start it again.
enum Home {
    Memory(Arc<MemoryStore>),
    Disk { engine: StoreEngine, dir: TempDir, store: Option<Arc<dyn Store>> },
}

impl Home {
    fn memory() -> Self {
        Self::Memory(Arc::new(MemoryStore::new()))
    }

    fn disk(engine: StoreEngine) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut home = Self::Disk { engine, dir, store: None };
        home.restart();
        home
    }

    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::<MemoryStore>::clone(store),
            Self::Disk { store, .. } => Arc::clone(store.as_ref().expect("started")),
        }
    }

    /// Ends the process, so to speak, and starts the next. Every handle must be gone.
    fn restart(&mut self) {
        match self {
            Self::Memory(store) => {
                store.sync().expect("healthy");
                *store = Arc::new(store.crash());
            }
            Self::Disk { engine, dir, store } => {
                *store = None;
                *store = Some(open_small(*engine, &data_of(dir)).expect("opened"));
            }
        }
    }

    /// Ends the process; the directory of its data and its engine. Memory has none.
    fn stop(&mut self) -> (PathBuf, StoreEngine) {
        let Self::Disk { engine, dir, store } = self else { panic!("it is not on disk") };
        *store = None;
        (data_of(dir), *engine)
    }
}

fn data_of(dir: &TempDir) -> PathBuf {
    dir.path().join("data")
}

/// Opens a store on disk with a small cache, so that pages are read and written.
fn open_small(engine: StoreEngine, dir: &Path) -> Result<Arc<dyn Store>, StoreError> {
    open(engine, dir, &StoreOptions { cache_bytes: 1 << 20 })
}

/// Keys and a committer over a store.
fn start(store: Arc<dyn Store>) -> (Keys, Committer) {
    let keys = Keys::open(store).expect("readable");
    let committer = Committer::start(&keys, &CommitterOptions::default()).expect("a thread");
    (keys, committer)
}

fn put(key: &[u8], value: &[u8]) -> Op {
    Op::Put { key: key.to_vec(), value: value.to_vec() }
}

fn remove(key: &[u8]) -> Op {
    Op::Remove { key: key.to_vec() }
}

fn pepper() -> Pepper {
    Pepper::new(&[7; Pepper::BYTES])
}

/// A record whose token is its id.
fn record(id: u64) -> KeyRecord {
    KeyRecord {
        id,
        revision: 1,
        name: format!("key {id}"),
        tenant_id: format!("tenant-{}", id % 3),
        status: if id.is_multiple_of(2) { Status::Active } else { Status::Suspended },
        tags: vec![format!("tag-{}", id % 2), "every".to_owned()],
        key_hash: Some(pepper().seal_token(id.to_string().as_bytes())),
        request_id: if id.is_multiple_of(2) { format!("request-{id}") } else { String::new() },
        ..KeyRecord::default()
    }
}

/// The record as an update leaves it.
fn changed(before: &KeyRecord, change: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
    let mut after = before.clone();
    after.revision += 1;
    change(&mut after);
    after
}

fn insert(record: &KeyRecord) -> Write {
    Write::Key(KeyWrite::Insert(Box::new(record.clone())))
}

fn replace(before: &KeyRecord, after: &KeyRecord) -> Write {
    let before_revision = before.revision;
    Write::Key(KeyWrite::Replace { before_revision, after: Box::new(after.clone()) })
}

/// Everything in a store.
fn rows_of(store: &dyn Store) -> Vec<Row> {
    let mut rows = Vec::new();
    loop {
        let after = rows.last().map(|(key, _): &Row| key.clone());
        let more = store.scan(&[], after.as_deref(), 100).expect("readable");
        if more.is_empty() {
            return rows;
        }
        rows.extend(more);
    }
}

/// Every record in a store, after a check that the indexes say exactly what the records do.
fn records_of(store: &dyn Store) -> BTreeMap<u64, KeyRecord> {
    let mut records = BTreeMap::new();
    let mut indexes = BTreeMap::new();
    for (key, value) in rows_of(store) {
        match key.first() {
            Some(&layout::RECORD) => {
                let record = read_record(&value).expect("a record of ours");
                records.insert(layout::id_of(&key).expect("an id"), record);
            }
            Some(
                &(layout::DIGEST
                | layout::TENANT
                | layout::STATUS
                | layout::TAG
                | layout::DELETED
                | layout::REQUEST),
            ) => {
                indexes.insert(key, value);
            }
            _ => {}
        }
    }
    let derived: BTreeMap<_, _> =
        records.values().flat_map(|record| index_rows(record).expect("indexable")).collect();
    assert_eq!(indexes, derived, "the indexes are those of the records");
    records
}
