//! The rows of a record: what an insertion writes, worked out without the store.

use std::collections::BTreeMap;

use super::envelope::{self, EnvelopeError};
use super::plan::RECORD_SCHEMA;
use super::sealed::SEAL_BYTES;
use super::write::WriteError;
use super::{Op, VALUE_BYTES_MAX, layout};
use crate::key::{Digest, KeyRecord};

/// An insertion that is worked out as far as it can be without the store, on whatever thread has
/// time for it: the committer has the least.
#[derive(Debug)]
pub struct Prepared {
    pub(super) id: u64,
    pub(super) tenant: String,
    pub(super) digests: Vec<Digest>,
    /// The row of the request that made it.
    pub(super) request: Option<Vec<u8>>,
    /// The record, its index rows, and last the removals of what an earlier key of this id left,
    /// [`LEFTOVERS`] of them.
    pub(super) ops: Vec<Op>,
    pub(super) bytes: usize,
}

impl Prepared {
    /// Works out the insertion of a record.
    ///
    /// # Errors
    /// [`WriteError::Record`], [`WriteError::Unindexable`].
    pub fn new(record: &KeyRecord) -> Result<Self, WriteError> {
        let id = record.id;
        let rows = index_rows(record)?;
        let mut ops = Vec::with_capacity(rows.len() + 1 + LEFTOVERS);
        ops.push(record_row(record)?);
        ops.extend(rows.into_iter().map(|(key, value)| Op::Put { key, value }));
        ops.extend(leftovers(id).map(|key| Op::Remove { key }));
        let bytes = ops.iter().map(Op::bytes).sum();
        Ok(Self {
            id,
            tenant: record.tenant_id.clone(),
            digests: record.digests().collect(),
            request: request_row(record),
            ops,
            bytes,
        })
    }
}

/// Index rows: keys and values.
pub(super) type IndexRows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Rows beside a key's record and its index rows.
pub(super) const LEFTOVERS: usize = 3;

/// The keys of what a key has beside its record and its index rows: usage, what the ledger has of
/// it, and what alerts have said of it.
pub(super) fn leftovers(id: u64) -> [Vec<u8>; LEFTOVERS] {
    [layout::usage(id), layout::account_of_key(id), layout::alert_state(id)]
}

/// The record's own row; one that is to be encrypted is marked for that.
pub(super) fn record_row(record: &KeyRecord) -> Result<Op, WriteError> {
    let id = record.id;
    let failed = |source| WriteError::Record { id, source };
    let mut value = envelope::seal(RECORD_SCHEMA, record).map_err(failed)?;
    if record.encrypted {
        let found = value.len() + SEAL_BYTES;
        if found > VALUE_BYTES_MAX {
            return Err(failed(EnvelopeError::TooLarge { found }));
        }
        envelope::mark(&mut value, envelope::OPENED);
    }
    Ok(Op::Put { key: layout::record(id), value })
}

/// The key of the row of the request that made a key.
pub(super) fn request_row(record: &KeyRecord) -> Option<Vec<u8>> {
    // Also a deleted key's: what a request has made stays made until it is purged.
    (!record.request_id.is_empty()).then(|| layout::request(&record.tenant_id, &record.request_id))
}

/// Every index row of a record.
pub(super) fn index_rows(record: &KeyRecord) -> Result<IndexRows, WriteError> {
    let id = record.id;
    let texts = record.tags.iter().chain([&record.tenant_id, &record.request_id]);
    if !texts.into_iter().all(|text| layout::indexable(text)) {
        return Err(WriteError::Unindexable { id });
    }
    let prefixes = record.tags.iter().map(|tag| layout::tag(tag));
    let prefixes =
        prefixes.chain([layout::tenant(&record.tenant_id), layout::status(record.status.byte())]);
    let mut rows: BTreeMap<_, _> =
        prefixes.map(|prefix| (layout::with_id(&prefix, id), Vec::new())).collect();
    if let Some(at) = record.deleted_at {
        rows.insert(layout::deleted(at.micros_up(), id), Vec::new());
    }
    let current = record.key_hash.map(|hash| hash.digest);
    for digest in record.digests() {
        let kind = u8::from(current != Some(digest));
        rows.insert(layout::digest(&digest.0), layout::with_id_and_kind(id, kind));
    }
    rows.extend(request_row(record).map(|key| (key, id.to_be_bytes().to_vec())));
    Ok(rows)
}
