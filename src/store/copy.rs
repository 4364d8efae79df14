//! All rows of a store, in order and in constant memory: copied, compared, handed on.

use std::ops::ControlFlow;
use std::path::Path;

use super::{OPS_MAX, Op, Row, Store, StoreError, VALUE_BYTES_MAX};

/// Most rows of a chunk: they fit into one batch.
const CHUNK_ROWS: usize = OPS_MAX;

/// Bytes after which a chunk ends; its last row may have a whole value more.
const CHUNK_BYTES: usize = 256 * 1024;

const _: () = assert!(CHUNK_BYTES + VALUE_BYTES_MAX < super::BATCH_BYTES_MAX);

/// Batches between two syncs of a copy: few enough that an engine need not hold them all.
const BATCHES_UNSYNCED: u32 = 64;

/// How far a walk over all rows has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    /// Rows so far.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl Walked {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// Reads the rows of a store chunk by chunk.
#[derive(Debug, Default)]
pub struct Rows {
    after: Option<Vec<u8>>,
    ended: bool,
    walked: Walked,
}

impl Rows {
    /// The next rows; none at the end.
    ///
    /// # Errors
    /// As [`Store::scan_each`].
    pub fn next_chunk(&mut self, store: &dyn Store) -> Result<Vec<Row>, StoreError> {
        let mut rows: Vec<Row> = Vec::new();
        if self.ended {
            return Ok(rows);
        }
        let mut bytes = 0;
        let mut broken_off = false;
        store.scan_each(&[], self.after.as_deref(), &mut |key, value| {
            bytes += key.len() + value.len();
            self.walked.add(key, value);
            rows.push((key.to_vec(), value.to_vec()));
            broken_off = rows.len() == CHUNK_ROWS || bytes >= CHUNK_BYTES;
            if broken_off { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.ended = !broken_off;
        self.after = rows.last().map(|(key, _)| key.clone()).or_else(|| self.after.take());
        Ok(rows)
    }

    /// What was read so far.
    #[must_use]
    pub const fn walked(&self) -> Walked {
        self.walked
    }
}

/// Copies every row into an empty store, durably.
///
/// # Errors
/// Of either store.
pub fn copy_all(
    from: &dyn Store,
    to: &dyn Store,
    mut each: impl FnMut(Walked),
) -> Result<Walked, StoreError> {
    let mut rows = Rows::default();
    let mut writer = Writer::new(to);
    loop {
        let chunk = rows.next_chunk(from)?;
        if chunk.is_empty() {
            writer.finish()?;
            return Ok(rows.walked());
        }
        for (key, value) in chunk {
            writer.push(Op::Put { key, value })?;
        }
        each(rows.walked());
    }
}

/// Writes operations in batches, syncing now and then.
pub struct Writer<'a> {
    store: &'a dyn Store,
    batch: Vec<Op>,
    bytes: usize,
    unsynced: u32,
}

impl<'a> Writer<'a> {
    /// Into this store, which nobody else writes to.
    #[must_use]
    pub fn new(store: &'a dyn Store) -> Self {
        Self { store, batch: Vec::new(), bytes: 0, unsynced: 0 }
    }

    /// Takes an operation, and writes those before it when they are a batch.
    ///
    /// # Errors
    /// Of the store.
    pub fn push(&mut self, op: Op) -> Result<(), StoreError> {
        self.bytes += op.bytes();
        self.batch.push(op);
        if self.batch.len() < OPS_MAX && self.bytes < CHUNK_BYTES {
            return Ok(());
        }
        self.write()?;
        self.unsynced += 1;
        if self.unsynced == BATCHES_UNSYNCED {
            self.unsynced = 0;
            self.store.sync()?;
        }
        Ok(())
    }

    /// Writes what is left and makes all of it durable.
    ///
    /// # Errors
    /// Of the store.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.write()?;
        self.store.sync()
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        self.store.apply(&std::mem::take(&mut self.batch))
    }
}

/// Shows two stores to hold the same rows. `dir` is where the copy is.
///
/// # Errors
/// [`StoreError::CopyDiffers`], and those of either store.
pub fn compare(
    data: &dyn Store,
    copy: &dyn Store,
    dir: &Path,
    mut each: impl FnMut(Walked),
) -> Result<(), StoreError> {
    let (mut rows, mut copied) = (Rows::default(), Rows::default());
    loop {
        // Chunks end by number and bytes of rows alone, so equal rows come in equal chunks.
        let (chunk, of_copy) = (rows.next_chunk(data)?, copied.next_chunk(copy)?);
        if chunk != of_copy {
            let what = format!("they differ after row {}", rows.walked().rows);
            return Err(StoreError::CopyDiffers { dir: dir.to_owned(), what });
        }
        if chunk.is_empty() {
            return Ok(());
        }
        each(rows.walked());
    }
}
