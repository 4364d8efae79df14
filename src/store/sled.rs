//! The store on disk: sled 0.34.7. The only file that names it.
//!
//! # What sled does, and what we do about it
//!
//! * **`flush()` is not durable.** It writes the log and calls `sync_file_range`, which flushes no
//!   disk cache and no file size (spacejam/sled #1452, #1351). [`Store::sync`] therefore calls
//!   `flush()` and then `sync_data` on a handle of our own on `db`. The handle is our own for a
//!   second reason: Linux reports a failed write-back once per open file, so an error that sled's
//!   handle has already eaten is still reported on ours.
//! * **Its background flusher only logs a failed fsync.** It is switched off
//!   (`flush_every_ms(None)`): nothing is durable but through `sync`, and whoever calls that hears
//!   of the failure. `flush_async` is not used: it can deadlock (#1308).
//! * **An I/O error stays.** A failed write of the log sets an error inside sled that fails every
//!   later write and flush until the process ends. Our latch says the same, with the cause.
//!   Reads of pages that are not in its cache fail too: what a latched sled still shows is what it
//!   has in memory. (With redb all of it can be read; see `held_file.rs`.)
//! * **A flush may miss that error and wait for ever**: one of the two places that set it does not
//!   wake who waits (`Log::exit_reservation`). A thread of ours looks for the error four times a
//!   second; it trips the latch and calls `flush()` once more, which does wake them.
//! * **It panics** on states that it takes to be impossible, mostly on damaged pages. Every call is
//!   caught here: the panic becomes an error and trips the latch. A panic on one of sled's own I/O
//!   threads is caught by sled, which then stops answering: a flush waits for ever. That, like a
//!   disk that hangs, shows only as silence; the committer answers its callers after a time limit.
//! * **After a failure, dropping a database would write again**: what was left of the failed batch,
//!   without its atomicity, and with an `unwrap` on the fsync. So a latched database is leaked,
//!   not dropped, and a healthy one is synced first.
//! * **Pages over 128 KiB go to files that are never synced** (`blobs/`). Long values are cut into
//!   short rows (`overflow.rs`) so that pages stay small. Rows gathered by many deletions can still
//!   make such a page, so `sync` makes these files durable as well.
//! * **A damaged page of the log ends recovery there**, as a torn write would: sled cannot tell the
//!   two apart. Rows after it are lost; `keygate export` is the backup.
//!
//! # Files
//!
//! `db` the log · `conf` the format's parameters, written once and never synced by sled, so synced
//! here at every open together with the directory · `snap.*` where recovery starts, written by each
//! open · `blobs/` see above · `LOCK` ours.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{self, RecvTimeoutError, Sender};
use parking_lot::{Mutex, RwLock};
use sled::{Batch, Db};

use super::caught::caught;
use super::dir::{DataDir, sync_path};
use super::latch::Latch;
use super::overflow::{self, Head};
use super::{EachRow, KEY_BYTES_MAX, Op, RESERVED_PREFIX, Store, StoreError, admits, scan_range};

/// The log.
pub(super) const FILE: &str = "db";

/// How often the watch looks for an error inside sled.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// How long a closed database is waited for, and how often: 5 seconds in all.
const CLOSE_WAIT: Duration = Duration::from_millis(5);
const CLOSE_WAITS_MAX: u32 = 1000;

/// sled's limits for a page that stays in the log: a quarter of a segment, 512 KiB by default.
const PAGE_BYTES_MAX: usize = 512 * 1024 / 4 - 64;
/// A leaf splits above 16 rows and takes in a neighbour of fewer than 4 first.
const LEAF_ROWS_MAX: usize = 16 + 1 + 4;
/// An index page splits above 256 children and takes in a neighbour of fewer than 64 first.
const INDEX_ROWS_MAX: usize = 256 + 64;
/// What sled spends on a row beside key and value, rounded up.
const ROW_OVERHEAD: usize = 20;

const _: () =
    assert!(LEAF_ROWS_MAX * (KEY_BYTES_MAX + overflow::PART_BYTES + ROW_OVERHEAD) < PAGE_BYTES_MAX);
const _: () = assert!(INDEX_ROWS_MAX * (KEY_BYTES_MAX + ROW_OVERHEAD) < PAGE_BYTES_MAX);

/// The store on disk.
#[derive(Debug)]
pub(super) struct SledStore {
    /// `None` only while this is dropped.
    db: Option<Db>,
    /// Our own handle of `db`, the one that is synced.
    log: File,
    log_path: PathBuf,
    /// Files in `blobs/` that are known to be durable.
    blobs: Mutex<Blobs>,
    /// Whether any value lies in several rows. Held to read such a value whole, and to write while
    /// there is one.
    parted: RwLock<bool>,
    latch: Latch,
    watch: Option<Watch>,
    /// Last, so that the directory is let go of after the database is closed.
    dir: DataDir,
}

#[derive(Debug)]
struct Blobs {
    path: PathBuf,
    durable: HashSet<OsString>,
}

#[derive(Debug)]
struct Watch {
    /// Dropped to end the thread.
    stop: Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl SledStore {
    /// Opens the store in a directory, or makes it there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`], [`StoreError::Panicked`].
    pub(super) fn open(dir: DataDir, cache_bytes: u64) -> Result<Self, StoreError> {
        let config =
            sled::Config::new().path(dir.path()).cache_capacity(cache_bytes).flush_every_ms(None);
        let db = call("open the data", dir.path(), || config.open())?;
        let log_path = dir.path().join(FILE);
        let log = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&log_path)
            .map_err(|error| StoreError::io("open", &log_path, error))?;
        // Recovery may have cut the log, and written a snapshot whose name is not durable yet.
        dir.settle(is_ours)?;

        let latch = Latch::default();
        let blobs = Mutex::new(Blobs { path: dir.path().join("blobs"), durable: HashSet::new() });
        let watch = Some(Watch::start(db.clone(), latch.clone(), log_path.clone())?);
        let store = Self {
            db: Some(db),
            log,
            log_path,
            blobs,
            parted: RwLock::new(false),
            latch,
            watch,
            dir,
        };
        let parted =
            store.guarded("read", |db| db.scan_prefix([RESERVED_PREFIX]).next().transpose())?;
        *store.parted.write() = parted.is_some();
        Ok(store)
    }

    /// Runs one call of sled's. A panic in it becomes an error and trips the latch.
    fn guarded<T>(
        &self,
        doing: &'static str,
        call: impl FnOnce(&Db) -> Result<T, sled::Error>,
    ) -> Result<T, StoreError> {
        let Some(db) = &self.db else { unreachable!("the database is there until the drop") };
        let result = self::call(doing, self.dir.path(), || call(db));
        match &result {
            Err(error @ StoreError::Panicked { .. }) => self.latch.trip(error),
            // A read that fails because a write has: sooner than the watch sees it.
            Err(_) => trip_on_error_inside(db, &self.latch, &self.log_path),
            Ok(_) => {}
        }
        result
    }

    /// The value whose own row this is.
    fn value(&self, key: &[u8], row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Head::Whole(value) = Head::read(row)? {
            return Ok(Some(value.to_vec()));
        }
        // The rows of a long value must be read as one: no write may come in between, and the head
        // is read again because one may have come before.
        let _parted = self.parted.read();
        let Some(row) = self.guarded("read", |db| db.get(key))? else { return Ok(None) };
        let head = Head::read(&row)?;
        let (len, first) = match head {
            Head::Whole(value) => return Ok(Some(value.to_vec())),
            Head::Parted { len, first } => (len, first),
        };
        let mut value = Vec::with_capacity(len);
        value.extend_from_slice(first);
        for part in 1..=head.parts() {
            let row = self.guarded("read", |db| db.get(overflow::part_key(key, part)))?;
            value.extend_from_slice(&row.ok_or_else(|| missing_part(part))?);
        }
        if value.len() == len { Ok(Some(value)) } else { Err(missing_part(head.parts())) }
    }

    /// Writes while values may lie in several rows: those of the old value that the new one does
    /// not write over are removed.
    fn apply_parted(&self, ops: &[Op]) -> Result<(), StoreError> {
        let mut parted = self.parted.write();
        let mut batch = Batch::default();
        // The parts that a row has by the operations before: a batch may write a row twice.
        let mut parts_now = std::collections::HashMap::new();
        for op in ops {
            let key = op.key();
            let before = match parts_now.get(key) {
                Some(parts) => *parts,
                None => match self.guarded("read", |db| db.get(key))? {
                    Some(row) => Head::read(&row)?.parts(),
                    None => 0,
                },
            };
            let after = match op {
                Op::Put { value, .. } => {
                    batch.insert(key, overflow::head_row(value));
                    let parts = overflow::parts(value.len());
                    for part in 1..=parts {
                        batch.insert(overflow::part_key(key, part), overflow::part_of(value, part));
                    }
                    parts
                }
                Op::Remove { .. } => {
                    batch.remove(key);
                    0
                }
            };
            for part in after + 1..=before {
                batch.remove(overflow::part_key(key, part));
            }
            *parted |= after > 0;
            parts_now.insert(key, after);
        }
        self.guarded("write", |db| db.apply_batch(batch))
    }

    fn apply_whole(&self, ops: &[Op]) -> Result<(), StoreError> {
        // One row needs no batch, which costs a write of its own.
        if let [op] = ops {
            return self.guarded("write", |db| match op {
                Op::Put { key, value } => db.insert(key, overflow::head_row(value)).map(drop),
                Op::Remove { key } => db.remove(key).map(drop),
            });
        }
        let mut batch = Batch::default();
        for op in ops {
            match op {
                Op::Put { key, value } => {
                    batch.insert(key.as_slice(), overflow::head_row(value));
                }
                Op::Remove { key } => batch.remove(key.as_slice()),
            }
        }
        self.guarded("write", |db| db.apply_batch(batch))
    }

    /// sled's I/O threads may have the log in their hands for a moment after the database is
    /// dropped. Until they let go of its lock, the files are in use, and so is the directory.
    fn wait_for_its_threads(&self) {
        for _ in 0..CLOSE_WAITS_MAX {
            // The lock is of the open file, so that of our own handle waits for sled's.
            if !matches!(self.log.try_lock(), Err(TryLockError::WouldBlock)) {
                return;
            }
            thread::sleep(CLOSE_WAIT);
        }
    }

    /// Makes the files in `blobs/` durable. There are none as a rule: one empty directory is read.
    fn sync_blobs(&self) -> Result<(), StoreError> {
        let mut blobs = self.blobs.lock();
        let Blobs { path, durable } = &mut *blobs;
        let io = |error| StoreError::io("list", path, error);
        let mut found = HashSet::new();
        for entry in path.read_dir().map_err(io)? {
            found.insert(entry.map_err(io)?.file_name());
        }
        let mut news = found.difference(durable).peekable();
        if news.peek().is_none() {
            *durable = found;
            return Ok(());
        }
        for name in news {
            match sync_path(&path.join(name)) {
                // sled removes such a file when its page has been written anew.
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                result => result?,
            }
        }
        sync_path(path)?;
        *durable = found;
        Ok(())
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.guarded("read", |db| db.get(key))? {
            Some(row) => self.value(key, &row),
            None => Ok(None),
        }
    }

    fn scan_each(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut EachRow<'_>,
    ) -> Result<(), StoreError> {
        let Some((start, end)) = scan_range(prefix, after) else { return Ok(()) };
        let range = (start, Bound::Excluded(end.as_slice()));
        let mut rows = self.guarded("read", |db| Ok(db.range::<&[u8], _>(range)))?;
        while let Some((key, row)) = self.guarded("read", |_| rows.next().transpose())? {
            let next = match Head::read(&row)? {
                // Nearly always: handed over where it lies.
                Head::Whole(value) => each(&key, value),
                Head::Parted { .. } => match self.value(&key, &row)? {
                    Some(value) => each(&key, &value),
                    None => continue,
                },
            };
            if next.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, ops: &[Op]) -> Result<(), StoreError> {
        if !admits(&self.latch, ops)? {
            return Ok(());
        }
        let long =
            |op: &Op| matches!(op, Op::Put { value, .. } if overflow::parts(value.len()) > 0);
        let parted = *self.parted.read() || ops.iter().any(long);
        self.latch.guard(if parted { self.apply_parted(ops) } else { self.apply_whole(ops) })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.latch.check()?;
        let synced = self.guarded("flush", |db| db.flush().map(drop)).and_then(|()| {
            self.sync_blobs()?;
            self.log.sync_data().map_err(|error| StoreError::io("sync", &self.log_path, error))
        });
        self.latch.guard(synced)
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.guarded("measure", Db::size_on_disk)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let healthy = self.sync().is_ok();
        let (Some(db), Some(Watch { stop, thread })) = (self.db.take(), self.watch.take()) else {
            return;
        };
        drop(stop);
        if healthy {
            // It has a handle of the database: until it has ended, the files are in use.
            let _ = thread.join();
            let _ = caught("close", || {
                drop(db);
                Ok(())
            });
            self.wait_for_its_threads();
        } else {
            // The drop would write once more; see the head of this file. Nor is the thread waited
            // for: it may hang where the writer hung.
            std::mem::forget(db);
        }
    }
}

impl Watch {
    /// Starts the thread that finds errors which sled keeps to itself.
    fn start(db: Db, latch: Latch, log_path: PathBuf) -> Result<Self, StoreError> {
        let (stop, stopped) = channel::bounded(0);
        let path = log_path.clone();
        let watch = move || {
            while stopped.recv_timeout(WATCH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                trip_on_error_inside(&db, &latch, &log_path);
                if db.context.global_error().is_ok() {
                    continue;
                }
                // Wakes whoever waits for a write that will not come; returns the error at once.
                let _ = call("flush", &log_path, || db.flush());
            }
        };
        let thread = thread::Builder::new()
            .name("store-watch".to_owned())
            .spawn(watch)
            .map_err(|error| StoreError::io("start a thread for", &path, error))?;
        Ok(Self { stop, thread })
    }
}

/// Trips the latch if a write has failed that sled keeps to itself.
fn trip_on_error_inside(db: &Db, latch: &Latch, log_path: &Path) {
    if let Err(error) = db.context.global_error() {
        latch.trip(&from_sled("write", log_path, error));
    }
}

/// Whether a file of the data directory is this engine's.
pub(super) fn is_ours(name: &str) -> bool {
    matches!(name, FILE | "conf" | "blobs") || name.starts_with("snap.")
}

/// Runs a call of sled's and catches its panic.
fn call<T>(
    doing: &'static str,
    path: &Path,
    call: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, StoreError> {
    caught(doing, || call().map_err(|error| from_sled(doing, path, error)))
}

fn from_sled(doing: &'static str, path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => {
            // sled keeps the first error and hands out copies, with its innards as their text.
            let copy = source.raw_os_error().is_none() && source.kind() != ErrorKind::Other;
            let source = if copy { io::Error::from(source.kind()) } else { source };
            StoreError::io(doing, path, source)
        }
        other => StoreError::corrupt(format!("{} ({other})", path.display())),
    }
}

fn missing_part(part: u16) -> StoreError {
    StoreError::corrupt(format!("part {part} of a long value is missing or short"))
}
