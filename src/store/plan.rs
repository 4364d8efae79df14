//! From writes to operations: a record together with its index rows, checked for conflicts.
//!
//! A [`Plan`] is one group of the committer: writes of several jobs that become one atomic batch.
//! Checks see what the plan has gathered so far, so two jobs of one group that claim the same id
//! conflict just as two that come one after the other.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::envelope::{self, EnvelopeError};
use super::layout::Whose;
pub(super) use super::prepare::index_rows;
use super::prepare::{IndexRows, LEFTOVERS, Prepared, leftovers, record_row, request_row};
use super::sealed::{SEAL_BYTES, SealedStore, is_marked};
use super::usage::record_of_usage;
use super::write::{Conflict, Fact, KeyWrite, RowWrite, TenantWrite, Write, WriteError};
use super::{BATCH_BYTES_MAX, OPS_MAX, Op, Store, StoreError, layout};
use crate::key::record::{AddedBySchema2, AddedBySchema3, AddedBySchema4};
use crate::key::{Digest, KeyRecord, KeyView};

/// The newest schema of a record. Raised with every change of [`KeyRecord`]; a record of an older
/// schema is read by [`read_record`] and written in the newest.
pub const RECORD_SCHEMA: u16 = 4;

/// What the store itself keeps, as plain numbers outside an envelope: they must be readable by
/// every keygate, older or newer.
pub(super) const PENDING_IMPORT: Fact = Fact("pending_import");
pub(super) const IMPORTS: Fact = Fact("imports");
pub(super) const FORMAT: Fact = Fact("format");

/// Operations that inserting, or removing, this record takes.
#[must_use]
pub fn ops_of(record: &KeyRecord) -> usize {
    // The record, what it has beside it, its tenant and its status, and what not every record has.
    let request = usize::from(!record.request_id.is_empty());
    let deleted = usize::from(record.deleted_at.is_some());
    3 + LEFTOVERS + request + deleted + record.digests().count() + record.tags.len()
}

/// Reads a record of any schema up to [`RECORD_SCHEMA`].
///
/// # Errors
/// See [`EnvelopeError`].
pub(super) fn read_record(bytes: &[u8]) -> Result<KeyRecord, EnvelopeError> {
    envelope::decode(&newest_payload(bytes)?)
}

/// The payload of a record as the newest schema has it. Every schema appends to the one before, so
/// an older record is brought up by the bytes of what it lacks.
pub(super) fn newest_payload(bytes: &[u8]) -> Result<Cow<'_, [u8]>, EnvelopeError> {
    let sealed = envelope::check(bytes, RECORD_SCHEMA)?;
    let mut payload = Cow::Borrowed(sealed.payload());
    if sealed.schema < 2 {
        payload.to_mut().extend(envelope::payload_of(&AddedBySchema2::default())?);
    }
    if sealed.schema < 3 {
        payload.to_mut().extend(envelope::payload_of(&AddedBySchema3::default())?);
    }
    if sealed.schema < 4 {
        payload.to_mut().extend(envelope::payload_of(&AddedBySchema4::default())?);
    }
    Ok(payload)
}

/// One atomic batch in the making.
pub(super) struct Plan<'a> {
    pub(super) store: &'a SealedStore,
    ops: Vec<Op>,
    /// Where in `ops` a row was last written.
    pub(super) rows: HashMap<Vec<u8>, usize>,
    /// Tenants that were seen to take keys: many keys of one batch are of one tenant. Forgotten
    /// with every change of a tenant.
    pub(super) tenants_open: HashSet<String>,
    bytes: usize,
    /// Whether earlier keys of the ids that the job in hand inserts have left nothing behind.
    nothing_left: bool,
    /// Whether the prepared rows of the job in hand may be taken out of it.
    takes_prepared: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(store: &'a SealedStore) -> Self {
        Self {
            store,
            ops: Vec::new(),
            rows: HashMap::new(),
            tenants_open: HashSet::new(),
            bytes: 0,
            nothing_left: false,
            takes_prepared: false,
        }
    }

    /// The batch.
    pub(super) fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Adds all writes of a job, or none of them. `Ok(false)` when they are in order and do not
    /// fit into this batch together with what is there: they belong into the next.
    ///
    /// # Errors
    /// A job that no batch can take, conflicts, and failures of the store's reads.
    pub(super) fn add(&mut self, writes: &mut [Write]) -> Result<bool, WriteError> {
        // What plainly does not fit is not looked at twice.
        if !self.ops.is_empty() && self.ops.len() + least_ops(writes) > OPS_MAX {
            return Ok(false);
        }
        let (ops_before, bytes_before) = (self.ops.len(), self.bytes);
        self.nothing_left = self.has_nothing_left(writes)?;
        self.takes_prepared = self.surely_fits(writes);
        let added = writes.iter_mut().try_for_each(|write| {
            self.write(write)?;
            check_job(self.ops.len() - ops_before, self.bytes - bytes_before)
        });
        let fits = self.ops.len() <= OPS_MAX && self.bytes <= BATCH_BYTES_MAX;
        if added.is_err() || !fits {
            self.truncate(ops_before);
        }
        added.map(|()| fits)
    }

    /// Whether a job has nothing but prepared insertions, and room for all of them: then it is taken
    /// or refused here and now, and its rows need not be copied.
    fn surely_fits(&self, writes: &[Write]) -> bool {
        let (mut ops, mut bytes) = (self.ops.len(), self.bytes);
        let prepared = writes.iter().all(|write| match write {
            Write::Key(KeyWrite::InsertPrepared(new)) => {
                (ops, bytes) = (ops + new.ops.len(), bytes + new.bytes);
                true
            }
            _ => false,
        });
        prepared && ops <= OPS_MAX && bytes <= BATCH_BYTES_MAX
    }

    fn write(&mut self, write: &mut Write) -> Result<(), WriteError> {
        match write {
            Write::Key(KeyWrite::Insert(record)) => {
                self.renew(record);
                let new = Prepared::new(record)?;
                self.check_new(&new)?;
                self.check_retired_digests(record)?;
                self.insert(new.ops);
                Ok(())
            }
            Write::Key(KeyWrite::InsertPrepared(new)) => {
                self.check_new(new)?;
                let takes = self.takes_prepared;
                self.insert(if takes { std::mem::take(&mut new.ops) } else { new.ops.clone() });
                Ok(())
            }
            Write::Key(KeyWrite::Replace { before_revision, after }) => {
                self.renew(after);
                self.check_retired_digests(after)?;
                self.replace(*before_revision, after)
            }
            Write::Key(KeyWrite::Renew { id }) => self.renew_stored(*id),
            Write::Key(KeyWrite::Remove { id, revision }) => {
                let stored = self.stored_at(*id, *revision)?;
                self.remove(&stored)
            }
            Write::Key(KeyWrite::RollBack { id, import }) => {
                self.check_pending(*import)?;
                if let Some(stored) = self.stored(*id)?.filter(|stored| stored.import == *import) {
                    self.remove(&stored)?;
                }
                Ok(())
            }
            Write::Tenant(TenantWrite::Insert(record)) => self.insert_tenant(record),
            Write::Tenant(TenantWrite::Replace { before_revision, after }) => {
                self.replace_tenant(*before_revision, after)
            }
            Write::Tenant(TenantWrite::Remove { id, revision }) => {
                self.remove_tenant(id, *revision)
            }
            Write::Tenant(TenantWrite::RollBack { id, import }) => {
                self.roll_back_tenant(id, *import)
            }
            Write::Row(RowWrite(op)) => self.row(op),
            Write::BeginImport { number } => self.begin_import(*number),
            Write::FinishImport { number } => self.finish_import(*number),
            Write::BeginRotation { of, to } => self.begin_rotation(*of, to),
        }
    }

    /// Figures of a key or a tenant that is not there any more are not written: they may have been
    /// on their way while it was purged, and nobody would ever remove them.
    fn row(&mut self, op: &Op) -> Result<(), WriteError> {
        let owner = match (op, op.key().first()) {
            (Op::Put { key, .. }, Some(&(layout::USAGE | layout::HOUR | layout::MONTH))) => {
                record_of_usage(key)
            }
            (Op::Put { key, .. }, Some(&layout::LEDGER)) => layout::record_of_account(key),
            (Op::Put { key, .. }, Some(&layout::ALERT)) => layout::record_of_alert_state(key),
            _ => None,
        };
        let late = match owner {
            Some(record) => self.get(&record)?.is_none(),
            None => false,
        };
        if !late {
            self.push(op.clone());
        }
        Ok(())
    }

    fn check_new(&mut self, new: &Prepared) -> Result<(), WriteError> {
        let id = new.id;
        self.check_seals(new.ops.iter().any(is_marked))?;
        if self.get(&layout::record(id))?.is_some() {
            return Err(Conflict::Id { id }.into());
        }
        self.check_tenant_takes_keys(&new.tenant)?;
        self.check_digests(id, new.digests.iter().copied())?;
        self.check_request(id, new.request.as_deref())
    }

    fn insert(&mut self, mut ops: Vec<Op>) {
        if self.nothing_left {
            // The last remove what there is not.
            ops.truncate(ops.len().saturating_sub(LEFTOVERS));
        }
        ops.into_iter().for_each(|op| self.push(op));
    }

    /// Whether none of the keys that a job of insertions brings has left usage or figures of the
    /// ledger behind: one look at where each would lie, instead of a removal for each key.
    fn has_nothing_left(&self, writes: &[Write]) -> Result<bool, StoreError> {
        let ids = writes.iter().map(|write| match write {
            Write::Key(KeyWrite::InsertPrepared(new)) => Some(new.id),
            _ => None,
        });
        let Some(ids) = ids.collect::<Option<Vec<u64>>>() else { return Ok(false) };
        let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else {
            return Ok(false);
        };
        let figures = |op: &Op| {
            matches!(op.key().first(), Some(&(layout::USAGE | layout::LEDGER | layout::ALERT)))
        };
        if self.ops.iter().any(figures) {
            return Ok(false);
        }
        for space in [&[layout::USAGE][..], layout::ACCOUNTS_OF_KEYS, layout::ALERT_STATES] {
            let before = layout::with_id(space, first.saturating_sub(1));
            let rows = self.store.scan(space, Some(&before), 1)?;
            if rows.first().and_then(|(key, _)| layout::id_of(key)).is_some_and(|id| id <= *last) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn replace(&mut self, before_revision: u64, after: &KeyRecord) -> Result<(), WriteError> {
        let stored = self.stored_at(after.id, before_revision)?;
        if stored.tenant_id != after.tenant_id {
            self.check_tenant_takes_keys(&after.tenant_id)?;
        }
        let before = index_rows(&stored)?;
        let rows = index_rows(after)?;
        self.check_seals(after.encrypted)?;
        self.check_digests(after.id, after.digests())?;
        self.check_request(after.id, request_row(after).as_deref())?;
        self.exchange(&before, rows, record_row(after)?);
        Ok(())
    }

    /// Writes a record's row, and of its index rows those that differ.
    pub(super) fn exchange(&mut self, before: &IndexRows, rows: IndexRows, record: Op) {
        self.push(record);
        for key in before.keys().filter(|key| !rows.contains_key(*key)) {
            self.push(Op::Remove { key: key.clone() });
        }
        for (key, value) in rows.into_iter().filter(|(key, value)| before.get(key) != Some(value)) {
            self.push(Op::Put { key, value });
        }
    }

    fn remove(&mut self, stored: &KeyRecord) -> Result<(), WriteError> {
        // A stored record was indexed when it was written.
        let rows = index_rows(stored).unwrap_or_default().into_keys();
        let keys = std::iter::once(layout::record(stored.id)).chain(leftovers(stored.id));
        keys.chain(rows).for_each(|key| self.push(Op::Remove { key }));
        Ok(self.remove_history(Whose::Key(stored.id))?)
    }

    fn begin_import(&mut self, number: u64) -> Result<(), WriteError> {
        let pending = self.number(PENDING_IMPORT)?;
        let used = self.number(IMPORTS)?.unwrap_or(0);
        if pending.is_some() || number <= used {
            return Err(Conflict::Import { number, pending }.into());
        }
        self.check_no_rotation()?;
        self.put_number(IMPORTS, number);
        self.put_number(PENDING_IMPORT, number);
        Ok(())
    }

    fn finish_import(&mut self, number: u64) -> Result<(), WriteError> {
        self.check_pending(number)?;
        self.push(Op::Remove { key: layout::meta(PENDING_IMPORT.0) });
        Ok(())
    }

    /// Refuses what belongs to an import that is not under way: its rows may no longer be touched.
    pub(super) fn check_pending(&self, number: u64) -> Result<(), WriteError> {
        match self.number(PENDING_IMPORT)? {
            Some(pending) if pending == number => Ok(()),
            pending => Err(Conflict::Import { number, pending }.into()),
        }
    }

    /// Refuses a record whose digest finds another key already.
    pub(super) fn check_digests(
        &self,
        id: u64,
        digests: impl Iterator<Item = Digest>,
    ) -> Result<(), WriteError> {
        for digest in digests {
            let Some(row) = self.get(&layout::digest(&digest.0))? else { continue };
            let holder = holder_in(&row)?;
            if holder != id {
                return Err(Conflict::Digest { holder }.into());
            }
        }
        Ok(())
    }

    /// Refuses a record whose request has made another key of its tenant already.
    fn check_request(&self, id: u64, request: Option<&[u8]>) -> Result<(), WriteError> {
        let Some(request) = request else { return Ok(()) };
        match self.get(request)?.map(|row| holder_in(&row)).transpose()? {
            Some(holder) if holder != id => Err(Conflict::Request { holder }.into()),
            _ => Ok(()),
        }
    }

    fn stored_at(&self, id: u64, revision: u64) -> Result<KeyRecord, WriteError> {
        let stored = self.stored(id)?.ok_or(Conflict::Missing { id })?;
        if stored.revision != revision {
            let (stored, expected) = (stored.revision, revision);
            return Err(Conflict::Revision { id, stored, expected }.into());
        }
        Ok(stored)
    }

    fn stored(&self, id: u64) -> Result<Option<KeyRecord>, WriteError> {
        let row = self.get(&layout::record(id))?;
        Ok(row.map(|bytes| stored_record(id, &bytes)).transpose()?)
    }

    pub(super) fn number(&self, fact: Fact) -> Result<Option<u64>, StoreError> {
        self.get(&layout::meta(fact.0))?.map(|bytes| read_number(fact, &bytes)).transpose()
    }

    fn put_number(&mut self, fact: Fact, number: u64) {
        let (key, value) = (layout::meta(fact.0), number.to_le_bytes().to_vec());
        self.push(Op::Put { key, value });
    }

    /// Whether a row stands under a prefix after this batch.
    pub(super) fn any(&self, prefix: &[u8]) -> Result<bool, StoreError> {
        let put = |op: &Op| matches!(op, Op::Put { .. });
        let last = |key: &Vec<u8>| self.rows.get(key).and_then(|at| self.ops.get(*at));
        if self.rows.keys().any(|key| key.starts_with(prefix) && last(key).is_some_and(put)) {
            return Ok(true);
        }
        let mut found = false;
        self.store.scan_each(prefix, None, &mut |key, _| {
            found = !self.rows.contains_key(key);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    /// The keys of the rows that stand under a prefix before this batch; few.
    pub(super) fn stored_under(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows = self.store.scan(prefix, None, OPS_MAX)?;
        Ok(rows.into_iter().map(|(key, _)| key).collect())
    }

    /// A row as it will be after this batch.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.rows.get(key).and_then(|at| self.ops.get(*at)) {
            Some(Op::Put { value, .. }) => Ok(Some(value.clone())),
            Some(Op::Remove { .. }) => Ok(None),
            None => self.store.get(key),
        }
    }

    pub(super) fn push(&mut self, op: Op) {
        self.bytes += weight(&op);
        self.rows.insert(op.key().to_vec(), self.ops.len());
        self.ops.push(op);
    }

    /// Forgets everything from the operation `len` on.
    fn truncate(&mut self, len: usize) {
        self.ops.truncate(len);
        self.bytes = self.ops.iter().map(weight).sum();
        let rows = self.ops.iter().enumerate().map(|(at, op)| (op.key().to_vec(), at));
        self.rows = rows.collect();
        // Of what was just forgotten, a tenant may have been a part.
        self.tenants_open.clear();
    }
}

/// Bytes of an operation as it will be applied.
fn weight(op: &Op) -> usize {
    op.bytes() + if is_marked(op) { SEAL_BYTES } else { 0 }
}

/// Operations that writes take at the least.
fn least_ops(writes: &[Write]) -> usize {
    let least = |write: &Write| match write {
        Write::Key(KeyWrite::Insert(record)) => ops_of(record),
        // Without the removals of what may be left.
        Write::Key(KeyWrite::InsertPrepared(prepared)) => prepared.ops.len() - LEFTOVERS,
        _ => 1,
    };
    writes.iter().map(least).sum()
}

/// Refuses what no batch can take.
fn check_job(ops: usize, bytes: usize) -> Result<(), WriteError> {
    let (found, max, unit) = match (ops > OPS_MAX, bytes > BATCH_BYTES_MAX) {
        (true, _) => (ops, OPS_MAX, "operations"),
        (_, true) => (bytes, BATCH_BYTES_MAX, "bytes"),
        _ => return Ok(()),
    };
    Err(StoreError::BatchTooLarge { found, max, unit }.into())
}

/// The record in a row that was read.
pub(super) fn stored_record(id: u64, bytes: &[u8]) -> Result<KeyRecord, StoreError> {
    let record = read_record(bytes).map_err(|error| from_envelope(&format!("key {id}"), error))?;
    if record.id == id {
        return Ok(record);
    }
    Err(StoreError::corrupt(format!("the row of key {id} holds key {}", record.id)))
}

/// What `read` makes of [`stored_record`], without a copy of what the record says.
pub(super) fn with_stored_view<T>(
    id: u64,
    bytes: &[u8],
    read: impl FnOnce(Result<KeyView<'_>, StoreError>) -> T,
) -> T {
    let failed = |error| from_envelope(&format!("key {id}"), error);
    let payload = match newest_payload(bytes) {
        Ok(payload) => payload,
        Err(error) => return read(Err(failed(error))),
    };
    read(envelope::decode(&payload).map_err(failed).and_then(|view: KeyView<'_>| {
        if view.id == id {
            return Ok(view);
        }
        Err(StoreError::corrupt(format!("the row of key {id} holds key {}", view.id)))
    }))
}

/// What is wrong with a row that was read.
pub(super) fn from_envelope(row: &str, error: EnvelopeError) -> StoreError {
    match error {
        EnvelopeError::NewerSchema { found, known } => {
            StoreError::NewerSchema { found, known, written_by: "version not stated".to_owned() }
        }
        error => StoreError::corrupt(format!("{row}: {error}")),
    }
}

/// The key that a row of digests or of requests names.
pub(super) fn holder_in(row: &[u8]) -> Result<u64, StoreError> {
    row.first_chunk()
        .map(|id| u64::from_be_bytes(*id))
        .ok_or_else(|| StoreError::corrupt("a digest's or a request's row names no key"))
}

/// A number that the store keeps.
pub(super) fn read_number(fact: Fact, bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| {
        StoreError::corrupt(format!("the number {:?} has {} bytes", fact.0, bytes.len()))
    })
}
