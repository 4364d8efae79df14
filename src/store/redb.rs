//! The other store on disk: redb 4. The only file that names it.
//!
//! # What redb does, and what we do about it
//!
//! * **A commit says how durable it is.** [`Store::apply`] commits with `Durability::None`: visible
//!   at once, and in memory. [`Store::sync`] commits nothing with `Durability::Immediate`, which
//!   writes every page of the commits before it, swaps the root and calls `fdatasync`, once. A crash
//!   goes back to the last root that was swapped whole: all that was synced, and no batch without
//!   those before it.
//! * **Commits that are not durable free no page of the last one that is**, so a long row of them
//!   makes the file grow, and keeps its pages in memory. An apply that comes after
//!   `UNSYNCED_BYTES_MAX` makes durable what came before it, which a crash may then keep.
//! * **It panics** on some states that it takes to be impossible, in builds for tests on more of
//!   them. Every call is caught; the panic becomes an error and trips the latch.
//! * **After a failed write it refuses reads too**, of pages that are not in its cache. So the file is
//!   ours (`held_file.rs`): redb does not hear of the failure, our latch does, and whoever asked for
//!   the write. Dropping the database would write once more: a latched one is leaked.
//! * **After a crash, opening walks the whole file**, to find which pages are in use: about two
//!   seconds for a million keys. After a clean stop it does not.
//! * Its checksums find torn pages of the last commit when it is opened after a crash. What a disk
//!   has changed later is found by our envelopes, where a record is read.
//!
//! # Files
//!
//! `keys.redb` everything, in one table · `LOCK` ours.

use std::fs::OpenOptions;
use std::io;
use std::ops::{Bound, ControlFlow};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use redb::{
    Database, Durability, Error, ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition,
};

use super::caught::caught;
use super::dir::DataDir;
use super::held_file::HeldFile;
use super::latch::Latch;
use super::{EachRow, Op, Store, StoreError, admits, scan_range};

/// The file of everything.
pub(super) const FILE: &str = "keys.redb";

/// The one table.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// Bytes of keys and values after which an apply makes durable what was applied before it.
const UNSYNCED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The store on disk.
pub(super) struct RedbStore {
    /// `None` only while this is dropped.
    db: Option<Database>,
    path: PathBuf,
    file: Arc<HeldFile>,
    /// Bytes applied since the last sync. One thread writes, so what stands here is exact for it.
    unsynced: AtomicUsize,
    latch: Latch,
    /// Last, so that the directory is let go of after the database is closed.
    _dir: DataDir,
}

impl RedbStore {
    /// Opens the store in a directory, or makes it there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`], [`StoreError::Panicked`].
    pub(super) fn open(dir: DataDir, cache_bytes: u64) -> Result<Self, StoreError> {
        let path = dir.path().join(FILE);
        let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        let latch = Latch::default();
        let options = OpenOptions::new().read(true).write(true).create(true).mode(0o600).to_owned();
        let handle = options.open(&path).map_err(|error| StoreError::io("open", &path, error))?;
        let file = Arc::new(HeldFile::new(handle, path.clone(), latch.clone()));
        let opened = caught("open the data", || {
            let backend = Backend(Arc::clone(&file));
            let mut builder = Database::builder();
            let opened = builder.set_cache_size(cache_bytes).create_with_backend(backend);
            let db = opened.map_err(|error| from_redb("open", &path, error))?;
            // A read finds no table where nothing was ever written.
            let made = || -> Result<(), Error> {
                let write = db.begin_write()?;
                write.open_table(ROWS)?;
                Ok(write.commit()?)
            };
            if matches!(table(&db), Err(Error::TableDoesNotExist(_))) {
                made().map_err(|error| from_redb("write", &path, error))?;
            }
            Ok(db)
        });
        let db = file.guard(opened)?;
        dir.settle(is_ours)?;
        let unsynced = AtomicUsize::new(0);
        Ok(Self { db: Some(db), path, file, unsynced, latch, _dir: dir })
    }

    /// Runs one call of redb's. A panic in it becomes an error and trips the latch.
    fn guarded<T>(
        &self,
        doing: &'static str,
        call: impl FnOnce(&Database) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let Some(db) = &self.db else { unreachable!("the database is there until the drop") };
        let result =
            caught(doing, || call(db).map_err(|error| from_redb(doing, &self.path, error)));
        if let Err(error @ StoreError::Panicked { .. }) = &result {
            self.latch.trip(error);
        }
        result
    }

    /// Makes durable what was applied.
    fn persist(&self) -> Result<(), StoreError> {
        let synced = self.guarded("sync", |db| {
            let mut write = db.begin_write()?;
            write.set_durability(Durability::Immediate)?;
            Ok(write.commit()?)
        });
        self.file.guard(synced)?;
        self.unsynced.store(0, Relaxed);
        Ok(())
    }

    fn write(&self, ops: &[Op]) -> Result<(), StoreError> {
        let bytes: usize = ops.iter().map(Op::bytes).sum();
        if self.unsynced.load(Relaxed) > UNSYNCED_BYTES_MAX {
            self.persist()?;
        }
        let written = self.guarded("write", |db| {
            let mut write = db.begin_write()?;
            write.set_durability(Durability::None)?;
            {
                let mut table = write.open_table(ROWS)?;
                for op in ops {
                    match op {
                        Op::Put { key, value } => {
                            table.insert(key.as_slice(), value.as_slice())?;
                        }
                        Op::Remove { key } => {
                            table.remove(key.as_slice())?;
                        }
                    }
                }
            }
            Ok(write.commit()?)
        });
        self.file.guard(written)?;
        // At least one, so that a sync after it is one.
        self.unsynced.fetch_add(bytes.max(1), Relaxed);
        Ok(())
    }
}

impl Store for RedbStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.guarded("read", |db| Ok(table(db)?.get(key)?.map(|value| value.value().to_vec())))
    }

    fn scan_each(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut EachRow<'_>,
    ) -> Result<(), StoreError> {
        let Some((start, end)) = scan_range(prefix, after) else { return Ok(()) };
        let range = (start, Bound::Excluded(end.as_slice()));
        let mut rows = self.guarded("read", |db| Ok(table(db)?.range::<&[u8]>(range)?))?;
        while let Some((key, value)) = self.guarded("read", |_| Ok(rows.next().transpose()?))? {
            if let ControlFlow::Break(()) = each(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, ops: &[Op]) -> Result<(), StoreError> {
        if !admits(&self.latch, ops)? {
            return Ok(());
        }
        self.latch.guard(self.write(ops))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.latch.check()?;
        // What was opened, and what was synced before, is durable.
        if self.unsynced.load(Relaxed) == 0 {
            return Ok(());
        }
        self.latch.guard(self.persist())
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        let found = self.path.metadata();
        Ok(found.map_err(|error| StoreError::io("measure", &self.path, error))?.len())
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        let healthy = self.sync().is_ok();
        let Some(db) = self.db.take() else { return };
        if healthy {
            let _ = caught("close", || {
                drop(db);
                Ok(())
            });
        } else {
            // The drop would write once more.
            std::mem::forget(db);
        }
    }
}

/// The file as redb asks for it. It takes no lock of its own: the directory's is ours.
#[derive(Debug)]
struct Backend(Arc<HeldFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data);
        Ok(())
    }
}

/// Whether a file of the data directory is this engine's.
pub(super) fn is_ours(name: &str) -> bool {
    name == FILE
}

fn table(db: &Database) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, Error> {
    Ok(db.begin_read()?.open_table(ROWS)?)
}

fn from_redb(doing: &'static str, path: &Path, error: impl Into<Error>) -> StoreError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error.into() {
        // A file that is no database, or has lost its end.
        Error::Io(source) if matches!(source.kind(), InvalidData | UnexpectedEof) => {
            StoreError::corrupt(format!("{} ({source})", path.display()))
        }
        Error::Io(source) => StoreError::io(doing, path, source),
        // What follows an I/O error, which was told where it happened.
        error @ Error::PreviousIo => {
            StoreError::io(doing, path, std::io::Error::other(error.to_string()))
        }
        Error::LockPoisoned(_) => {
            StoreError::Panicked { doing, what: "after an earlier panic".to_owned() }
        }
        error => StoreError::corrupt(format!("{} ({error})", path.display())),
    }
}
