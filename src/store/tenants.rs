//! Records of tenants: rows of their own, beside those of keys.
//!
//! The committer is where a key and its tenant meet: no key comes to be in a tenant that is
//! deleted, and no record is removed while a key names the tenant. Both are checked where nothing
//! can come in between.

use std::borrow::Cow;

use super::envelope::EnvelopeError;
use super::keys::Keys;
use super::layout::Whose;
use super::plan::{Plan, from_envelope};
use super::write::{Conflict, WriteError};
use super::{Op, Store, StoreError, envelope, layout};
use crate::key::{TenantLimits, TenantRecord};

/// The newest schema of a tenant's record. Raised with every change of [`TenantRecord`].
pub const TENANT_SCHEMA: u16 = 3;

/// Operations that removing a tenant's record takes: with it go the ledger's figures.
pub(super) const TENANT_OPS: usize = 2;

/// Rows that are read at a time.
const CHUNK_ROWS: usize = 512;

impl Plan<'_> {
    pub(super) fn insert_tenant(&mut self, record: &TenantRecord) -> Result<(), WriteError> {
        if self.get(&layout::tenant_record(&record.id))?.is_some() {
            return Err(Conflict::TenantExists { id: record.id.clone() }.into());
        }
        // No figures of an earlier tenant of this name: they went with its record.
        self.put_tenant(record)
    }

    pub(super) fn replace_tenant(
        &mut self,
        before_revision: u64,
        after: &TenantRecord,
    ) -> Result<(), WriteError> {
        self.tenant_at(&after.id, before_revision)?;
        self.put_tenant(after)
    }

    pub(super) fn remove_tenant(&mut self, id: &str, revision: u64) -> Result<(), WriteError> {
        self.tenant_at(id, revision)?;
        if self.any(&layout::tenant(id))? {
            return Err(Conflict::TenantHasKeys { id: id.to_owned() }.into());
        }
        self.drop_tenant(id);
        self.push(Op::Remove { key: Whose::Tenant(id).rows(layout::SUM) });
        Ok(self.remove_history(Whose::Tenant(id))?)
    }

    /// Removes the record if the import that is under way brought it; otherwise leaves it. What was
    /// there before and names the tenant stays.
    pub(super) fn roll_back_tenant(&mut self, id: &str, import: u64) -> Result<(), WriteError> {
        self.check_pending(import)?;
        if self.tenant(id)?.is_some_and(|stored| stored.import == import) {
            self.drop_tenant(id);
        }
        Ok(())
    }

    fn drop_tenant(&mut self, id: &str) {
        self.tenants_open.clear();
        self.push(Op::Remove { key: layout::tenant_record(id) });
        self.push(Op::Remove { key: layout::account_of_tenant(id) });
    }

    /// Refuses a key that would come to be in a deleted tenant.
    pub(super) fn check_tenant_takes_keys(&mut self, id: &str) -> Result<(), WriteError> {
        if self.tenants_open.contains(id) {
            return Ok(());
        }
        if self.tenant(id)?.is_some_and(|tenant| tenant.deleted_at.is_some()) {
            return Err(Conflict::TenantDeleted { id: id.to_owned() }.into());
        }
        self.tenants_open.insert(id.to_owned());
        Ok(())
    }

    fn tenant(&self, id: &str) -> Result<Option<TenantRecord>, StoreError> {
        self.get(&layout::tenant_record(id))?.map(|bytes| read_tenant(id, &bytes)).transpose()
    }

    fn tenant_at(&self, id: &str, revision: u64) -> Result<(), WriteError> {
        let missing = || Conflict::TenantMissing { id: id.to_owned() };
        let stored = self.tenant(id)?.ok_or_else(missing)?.revision;
        if stored != revision {
            let id = id.to_owned();
            return Err(Conflict::TenantRevision { id, stored, expected: revision }.into());
        }
        Ok(())
    }

    fn put_tenant(&mut self, record: &TenantRecord) -> Result<(), WriteError> {
        let value = envelope::seal(TENANT_SCHEMA, record)
            .map_err(|source| WriteError::TenantRecord { id: record.id.clone(), source })?;
        self.tenants_open.clear();
        self.push(Op::Put { key: layout::tenant_record(&record.id), value });
        Ok(())
    }
}

impl Keys {
    /// One tenant's record.
    ///
    /// # Errors
    /// As [`super::Store::get`], [`StoreError::NewerSchema`].
    pub fn tenant(&self, id: &str) -> Result<Option<TenantRecord>, StoreError> {
        let row = self.store().get(&layout::tenant_record(id))?;
        row.map(|bytes| read_tenant(id, &bytes)).transpose()
    }

    /// Every tenant's record by ascending id, for start-up. One that cannot be read is handed over
    /// as the error it is: the callee decides whether to go on.
    ///
    /// # Errors
    /// As [`super::Store::scan`], and whatever `each` returns.
    pub fn for_each_tenant<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(&str, Result<TenantRecord, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let prefix = [layout::TENANT_RECORD];
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.store().scan(&prefix, after.as_deref(), CHUNK_ROWS)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in rows {
                let id = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
                let record = read_tenant(&id, &value);
                each(&id, record)?;
            }
        }
    }

    /// At most `limit` records of tenants after an id, by ascending id; fewer than that only at the
    /// end.
    ///
    /// # Errors
    /// As [`Keys::tenant`], for the first that cannot be read.
    pub fn tenants(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<TenantRecord>, StoreError> {
        let prefix = [layout::TENANT_RECORD];
        let after = after.map(layout::tenant_record);
        let rows = self.store().scan(&prefix, after.as_deref(), limit)?;
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            read_tenant(&String::from_utf8_lossy(&key[prefix.len()..]), value)
        };
        rows.iter().map(read).collect()
    }

    /// The ids of at most `limit` keys that name a tenant, deleted ones and those of a pending
    /// import among them.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn ids_of_tenant(&self, id: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        let rows = self.store().scan(&layout::tenant(id), None, limit)?;
        rows.iter().map(|(key, _)| super::keys::id_of(key)).collect()
    }
}

/// Reads a tenant's record of any schema up to [`TENANT_SCHEMA`]: schema 2 added the import, schema 3
/// the limits, each behind what was there.
pub(super) fn open_tenant(bytes: &[u8]) -> Result<TenantRecord, EnvelopeError> {
    let sealed = envelope::check(bytes, TENANT_SCHEMA)?;
    let mut payload = Cow::Borrowed(sealed.payload());
    if sealed.schema < 2 {
        payload.to_mut().extend(envelope::payload_of(&0_u64)?);
    }
    if sealed.schema < 3 {
        payload.to_mut().extend(envelope::payload_of(&TenantLimits::default())?);
    }
    envelope::decode(&payload)
}

fn read_tenant(id: &str, bytes: &[u8]) -> Result<TenantRecord, StoreError> {
    let record =
        open_tenant(bytes).map_err(|error| from_envelope(&format!("tenant {id:?}"), error))?;
    if record.id == id {
        return Ok(record);
    }
    Err(StoreError::corrupt(format!("the row of tenant {id:?} holds tenant {:?}", record.id)))
}
