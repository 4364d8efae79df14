//! The store: what must survive.
//!
//! In reading order: the seam ([`Store`], [`StoreError`]) and its implementations (`sled.rs` and
//! `redb.rs`, each the only file that names its library, behind [`open`]; and [`MemoryStore`], which
//! fails on request); how bytes lie in it ([`envelope`], [`layout`]); what is read from it ([`keys`]:
//! records, usage, imports; [`list`]: pages and counts; `deleted.rs`: deleted keys by their time;
//! `accounts.rs`: the ledger's figures;
//! `alerts.rs`: alerts);
//! what encrypts records on their way (`sealed.rs`), and the exchange of its secrets (`rotation.rs`,
//! `renew.rs`);
//! what can be asked of it ([`mod@write`]) and what that becomes (`prepare.rs`: a record's rows;
//! [`plan`]: what is written of them, checked for conflicts); and the one thread that writes
//! ([`committer`]).
//!
//! Invariants:
//! 1. Only the committer's thread writes (and [`keys::Keys::open`], before that thread starts), so
//!    a conflict check and the write that it allows cannot be torn apart.
//! 2. A record and its index rows change in one atomic batch.
//! 3. A write is acknowledged after the [`Store::sync`] that follows it.
//! 4. After a failed write or sync nothing more is written (`latch.rs`); reads go on.
//! 5. No call here is made on a data-plane thread: every one may wait for a disk.

mod accounts;
mod alerts;
mod caught;
pub mod committer;
pub mod copy;
mod deleted;
mod dir;
mod draft;
mod engine;
pub mod envelope;
mod error;
mod held_file;
pub mod jobs;
pub mod keys;
mod latch;
pub mod layout;
pub mod list;
pub mod memory;
mod outdated;
mod overflow;
mod owner;
pub mod plan;
mod prepare;
mod redb;
mod renew;
mod rotation;
pub mod rows;
mod sealed;
mod sled;
#[cfg(test)]
mod suite;
mod swap;
mod sweep;
pub mod tap;
mod tenants;
mod usage;
pub mod verify;
pub mod write;

use std::ops::ControlFlow;

pub use accounts::AccountOf;
pub use committer::{CommitError, Committer, CommitterOptions, CommitterStats, Job, SubmitError};
pub use draft::Draft;
pub use engine::{StoreEngine, StoreOptions, found_in, open, open_existing};
pub use error::{MEND, StoreError};
pub use keys::Keys;
use latch::Latch;
pub use layout::Whose;
pub use list::{Filter, Page, Tally};
pub use memory::MemoryStore;
pub use outdated::Outdated;
pub use plan::RECORD_SCHEMA;
pub use prepare::Prepared;
pub use rotation::{Rotating, Seals, secret_ids};
pub use sealed::SealedStore;
pub use swap::{Compacted, compact};
pub use tenants::TENANT_SCHEMA;
pub use usage::History;
pub use write::{Conflict, Fact, KeyWrite, TenantWrite, Write, WriteError};

/// Most operations of one [`Store::apply`]. Measured on sled: batches of 1,000 counters held
/// 94 MB of memory, batches of 10,000 held 8 GB.
pub const OPS_MAX: usize = 500;

/// Most bytes of keys and values in one [`Store::apply`].
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes of a key. Bounds the size of an index page; see `sled.rs`.
pub const KEY_BYTES_MAX: usize = 384;

/// Most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// The first byte of no key: an implementation may keep rows of its own there.
pub const RESERVED_PREFIX: u8 = 0xFF;

/// One change to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes the row, over whatever was there.
    Put {
        /// 1 to [`KEY_BYTES_MAX`] bytes, not beginning with [`RESERVED_PREFIX`].
        key: Vec<u8>,
        /// At most [`VALUE_BYTES_MAX`] bytes.
        value: Vec<u8>,
    },
    /// Removes the row, if there is one.
    Remove {
        /// As in [`Op::Put`].
        key: Vec<u8>,
    },
}

impl Op {
    /// The row that is changed.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Remove { key } => key,
        }
    }

    /// Bytes of key and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Remove { key } => key.len(),
        }
    }
}

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Takes the key and the value of one row, and says whether it wants the next.
pub type EachRow<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An ordered map of bytes that survives. Five verbs, so that an implementation is small and a
/// failing one for tests is honest.
///
/// Keys are ordered bytewise. Calls may wait for a disk.
pub trait Store: Send + Sync {
    /// The value of a row.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`]; never because of the latch.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Hands over the rows whose keys begin with `prefix`, ascending, strictly after `after`, until
    /// there are no more or `each` breaks off. Not a snapshot: rows written meanwhile may or may
    /// not be seen. `each` must not call the store, which may hold a lock.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn scan_each(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut EachRow<'_>,
    ) -> Result<(), StoreError>;

    /// At most `limit` rows, copied; otherwise [`Store::scan_each`].
    ///
    /// # Errors
    /// As [`Store::get`].
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        if limit > 0 {
            self.scan_each(prefix, after, &mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        Ok(rows)
    }

    /// Applies all operations or none, in order. They are visible on return, and durable after the
    /// next [`Store::sync`]. A crash in between keeps all of them or none, and keeps no batch
    /// without the batches before it. An empty batch asks whether writes are accepted.
    ///
    /// # Errors
    /// [`StoreError::BatchTooLarge`] and [`StoreError::RowSize`] refuse the batch and nothing else.
    /// Any other error latches the store; from then on [`StoreError::Latched`].
    fn apply(&self, ops: &[Op]) -> Result<(), StoreError>;

    /// Returns when everything applied before the call is durable: it survives a power loss.
    ///
    /// # Errors
    /// Any error latches the store; from then on [`StoreError::Latched`].
    fn sync(&self) -> Result<(), StoreError>;

    /// How much disk the store takes, in bytes; 0 for one that lives in memory.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn bytes_on_disk(&self) -> Result<u64, StoreError>;
}

/// The bounds of a batch, the same for every implementation.
fn check_batch(ops: &[Op]) -> Result<(), StoreError> {
    let too_large = |found, max, unit| Err(StoreError::BatchTooLarge { found, max, unit });
    if ops.len() > OPS_MAX {
        return too_large(ops.len(), OPS_MAX, "operations");
    }
    let bytes = ops.iter().map(Op::bytes).sum();
    if bytes > BATCH_BYTES_MAX {
        return too_large(bytes, BATCH_BYTES_MAX, "bytes");
    }
    for op in ops {
        let found = op.key().len();
        if !(1..=KEY_BYTES_MAX).contains(&found) || op.key().starts_with(&[RESERVED_PREFIX]) {
            return Err(StoreError::RowSize { what: "key", found, min: 1, max: KEY_BYTES_MAX });
        }
        if let Op::Put { value, .. } = op
            && value.len() > VALUE_BYTES_MAX
        {
            let found = value.len();
            return Err(StoreError::RowSize { what: "value", found, min: 0, max: VALUE_BYTES_MAX });
        }
    }
    Ok(())
}

/// Whether there is anything to write. Refuses what no batch may be, and all once the latch is shut.
fn admits(latch: &Latch, ops: &[Op]) -> Result<bool, StoreError> {
    check_batch(ops)?;
    latch.check()?;
    Ok(!ops.is_empty())
}

/// The first key after every key that begins with `prefix`; `None` where there is none.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// Where a scan starts and ends; `None` when no key can be in it.
fn scan_range<'a>(
    prefix: &'a [u8],
    after: Option<&'a [u8]>,
) -> Option<(std::ops::Bound<&'a [u8]>, Vec<u8>)> {
    use std::ops::Bound;
    // Every key that may be stored is below the reserved prefix.
    let end = prefix_end(prefix).unwrap_or_else(|| vec![RESERVED_PREFIX]);
    let start = match after {
        Some(after) if after >= end.as_slice() => return None,
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    Some((start, end))
}
