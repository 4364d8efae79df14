//! What a batch has to do with the secrets that the store is written under: see `rotation.rs`.

use super::plan::{PENDING_IMPORT, Plan, stored_record};
use super::prepare::{index_rows, record_row};
use super::rotation::Rotating;
use super::sealed::master_of;
use super::write::{Conflict, RowWrite, Write, WriteError};
use super::{StoreError, layout};
use crate::key::KeyRecord;

impl Plan<'_> {
    /// Has what is written of a record be under the present secrets, while one of them is exchanged.
    pub(super) fn renew(&self, record: &mut KeyRecord) {
        if let Some(seals) = self.store.seals() {
            seals.renew(record);
        }
    }

    /// The same of a record that is there, or that this batch writes: it may have been planned before
    /// the new secret was there. One that cannot be read stays as it is, and [`Keys::outdated`] finds
    /// it before the rotation ends.
    ///
    /// [`Keys::outdated`]: super::Keys::outdated
    pub(super) fn renew_stored(&mut self, id: u64) -> Result<(), WriteError> {
        let key = layout::record(id);
        let Some(seals) = self.store.seals() else { return Ok(()) };
        let planned = self.rows.contains_key(&key);
        let row = if planned { self.get(&key)? } else { self.store.raw().get(&key)? };
        let Some(row) = row else { return Ok(()) };
        // What is planned is in clear yet: it is sealed when it is applied.
        let read = stored_record(id, &self.store.opened(&key, &row));
        let read = read.map_err(WriteError::from).and_then(|it| Ok((index_rows(&it)?, it)));
        let (before, mut record) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(key = id, %error, "a record could not be renewed and stays as it is");
                return Ok(());
            }
        };
        let stale = master_of(&key, &row).is_some_and(|id| id != seals.vault().master_id());
        if seals.renew(&mut record) || stale {
            self.exchange(&before, index_rows(&record)?, record_row(&record)?);
        }
        Ok(())
    }

    /// Refuses what is to be encrypted where nothing encrypts.
    pub(super) fn check_seals(&self, encrypted: bool) -> Result<(), StoreError> {
        if encrypted && self.store.seals().is_none() {
            return Err(StoreError::Unsealed { why: "there is no master key" });
        }
        Ok(())
    }

    pub(super) fn begin_rotation(&mut self, of: Rotating, to: &str) -> Result<(), WriteError> {
        self.check_no_rotation()?;
        // What an import has worked out ahead is under the pepper that was.
        if let Some(number) = self.number(PENDING_IMPORT)? {
            return Err(Conflict::Import { number, pending: Some(number) }.into());
        }
        let begun =
            Write::next_secret(of, to).map_err(|error| StoreError::corrupt(error.to_string()))?;
        if let Write::Row(RowWrite(op)) = begun {
            self.push(op);
        }
        Ok(())
    }

    /// Refuses a record whose token stands under the retired pepper, as another key's.
    pub(super) fn check_retired_digests(&self, record: &KeyRecord) -> Result<(), WriteError> {
        let Some(seals) = self.store.seals() else { return Ok(()) };
        self.check_digests(record.id, seals.retired_digests(record).into_iter())
    }

    /// Refuses what may not be begun while a secret is exchanged.
    pub(super) fn check_no_rotation(&self) -> Result<(), WriteError> {
        for of in Rotating::ALL {
            if self.get(&layout::meta(of.next().0))?.is_some() {
                return Err(Conflict::Rotation { what: of.name() }.into());
            }
        }
        Ok(())
    }
}
