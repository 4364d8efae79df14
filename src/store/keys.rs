//! The typed store: keys, their usage, and imports that are taken whole or not at all.
//!
//! Reads are here and may come from any thread that can wait for a disk; writes go through the
//! [`super::committer::Committer`].

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::copy::{Rows, Walked};
use super::plan::{self, FORMAT, IMPORTS, PENDING_IMPORT, Plan, RECORD_SCHEMA, ops_of};
use super::rotation::Seals;
use super::sealed::SealedStore;
use super::tenants::TENANT_OPS;
use super::verify::{self, Report, Writers};
use super::write::{Fact, KeyWrite, TenantWrite, Write, WriteError};
use super::{OPS_MAX, Op, Row, Store, StoreError, envelope, layout, sweep};
use crate::alert::StoredEndpoint;
use crate::key::{KeyRecord, KeyView};

/// The typed store. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    store: Arc<SealedStore>,
}

impl Keys {
    /// [`Keys::begin`] and [`Keys::settle`], for a store without encrypted records.
    ///
    /// # Errors
    /// As both.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let keys = Self::begin(store)?;
        keys.settle()?;
        Ok(keys)
    }

    /// Checks that this program can read the store. Called before anything else uses it; encrypted
    /// records are read once [`Keys::set_seals`] was called.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] and whatever reading and writing can fail with.
    pub fn begin(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let keys = Self { store: Arc::new(SealedStore::new(store)) };
        keys.check_format()?;
        Ok(keys)
    }

    /// Gives it what encrypts records, once.
    pub fn set_seals(&self, seals: Seals) {
        self.store.set_seals(seals);
    }

    /// What encrypts records, and what their digests are made by, where it was given.
    #[must_use]
    pub fn seals(&self) -> Option<&Seals> {
        self.store.seals()
    }

    /// Removes what an import left behind that was cut short.
    ///
    /// # Errors
    /// Whatever reading and writing can fail with.
    pub fn settle(&self) -> Result<(), StoreError> {
        if let Some(import) = self.pending_import()? {
            tracing::warn!(import, "an import was cut short; removing what it had brought");
            let removed =
                self.roll_back_import(import, |mut writes| self.write_alone(&mut writes))?;
            self.store.sync()?;
            tracing::warn!(import, removed, "removed; import the file again");
        }
        Ok(())
    }

    /// The ids of at most `limit` keys behind one, ascending.
    ///
    /// # Errors
    /// As [`Store::scan_each`].
    pub fn ids_after(&self, after: Option<u64>, limit: usize) -> Result<Vec<u64>, StoreError> {
        let mut ids = Vec::new();
        let from = after.map(layout::record);
        self.store.raw().scan_each(&[layout::RECORD], from.as_deref(), &mut |key, _| {
            ids.extend(layout::id_of(key));
            if ids.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(ids)
    }

    /// Whether anything is encrypted under a master key: a record, a signer's or a web hook's
    /// secret. Reads everything, or until it has found something.
    ///
    /// # Errors
    /// As [`Store::scan_each`].
    pub fn needs_master_key(&self) -> Result<bool, StoreError> {
        let mut found = false;
        self.store.raw().scan_each(&[layout::RECORD], None, &mut |_, row| {
            found |= envelope::is_encrypted(row)
                || plan::read_record(row).is_ok_and(|record| record.has_stored_secrets());
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.for_each_endpoint(|row| {
            let encrypted = |row| match row {
                StoredEndpoint::Present(row) => !row.secrets.is_empty(),
                StoredEndpoint::Old(_) => false,
            };
            found |= row.is_ok_and(encrypted);
            Ok::<(), StoreError>(())
        })?;
        Ok(found)
    }

    /// How much disk the store takes, in bytes.
    ///
    /// # Errors
    /// As [`Store::bytes_on_disk`].
    pub fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.store.bytes_on_disk()
    }

    /// One key; one of an import that is under way, too.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get(&self, id: u64) -> Result<Option<KeyRecord>, StoreError> {
        let row = self.store.get(&layout::record(id))?;
        row.map(|bytes| plan::stored_record(id, &bytes)).transpose()
    }

    /// The key that an earlier request of this id has made in a tenant.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn by_request(&self, tenant: &str, request_id: &str) -> Result<Option<u64>, StoreError> {
        let row = self.store.get(&layout::request(tenant, request_id))?;
        row.map(|bytes| plan::holder_in(&bytes)).transpose()
    }

    /// Every key by ascending id, for start-up. A record that cannot be read is handed over as the
    /// error it is: the callee decides whether to go on.
    ///
    /// # Errors
    /// As [`Store::scan`], and whatever `each` returns.
    pub fn for_each<E: From<StoreError>>(
        &self,
        each: impl FnMut(u64, Result<KeyRecord, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        sweep::for_each_row(&*self.store, &[layout::RECORD], plan::stored_record, each)
    }

    /// What `read` makes of every key, by ascending id and many at a time, for start-up; errors as
    /// in [`Keys::for_each`]. `read` runs on a thread of its own, beside `each`.
    ///
    /// # Errors
    /// As [`Keys::for_each`].
    pub fn load<T: Send, E: From<StoreError>>(
        &self,
        mut read: impl FnMut(u64, Result<KeyView<'_>, StoreError>) -> T + Send,
        each: impl FnMut(Vec<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let decode =
            move |id, bytes: &[u8]| plan::with_stored_view(id, bytes, |view| read(id, view));
        sweep::for_each_chunk(&*self.store, &[layout::RECORD], decode, each)
    }

    /// Every chunk of the ids of counted increments, oldest first; errors as in
    /// [`Keys::for_each`].
    ///
    /// # Errors
    /// As [`Keys::for_each`].
    pub fn for_each_increments<T: DeserializeOwned + Send, E: From<StoreError>>(
        &self,
        known_schema: u16,
        each: impl FnMut(u64, Result<T, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let read = |id, bytes: &[u8]| read_row("chunk of increments", id, bytes, known_schema);
        sweep::for_each_row(&*self.store, &[layout::INCREMENTS], read, each)
    }

    /// A fact about the whole.
    ///
    /// # Errors
    /// As [`Store::get`], [`StoreError::NewerSchema`].
    pub fn fact<T: DeserializeOwned>(
        &self,
        fact: Fact,
        known_schema: u16,
    ) -> Result<Option<T>, StoreError> {
        let row = self.store.get(&layout::meta(fact.0))?;
        let read = |bytes: Vec<u8>| {
            envelope::open(&bytes, known_schema)
                .map_err(|error| plan::from_envelope(&format!("the fact {:?}", fact.0), error))
        };
        row.map(read).transpose()
    }

    /// The number for an import that is to begin. Given to [`Write::BeginImport`], to the `import`
    /// of each of its records, and to [`Write::FinishImport`].
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn next_import(&self) -> Result<u64, StoreError> {
        Ok(self.number(IMPORTS)?.unwrap_or(0) + 1)
    }

    /// The import that has begun and not finished.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn pending_import(&self) -> Result<Option<u64>, StoreError> {
        self.number(PENDING_IMPORT)
    }

    /// Removes everything that the import brought, keys and tenants, and then its mark. `commit` writes one job; the
    /// last one, which removes the mark, must be durable to count. Returns how many keys it removed.
    ///
    /// # Errors
    /// Whatever reading or `commit` fails with. Calling it again goes on, and so does a restart.
    pub fn roll_back_import<E: From<StoreError>>(
        &self,
        import: u64,
        mut commit: impl FnMut(Vec<Write>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (mut job, mut ops, mut removed) = (Vec::new(), 0, 0);
        self.for_each(|id, record| {
            // One that cannot be read cannot be told to be of this import: it stays.
            let Ok(record) = record else { return Ok(()) };
            if record.import != import {
                return Ok(());
            }
            let takes = ops_of(&record);
            if ops + takes > OPS_MAX {
                commit(std::mem::take(&mut job))?;
                ops = 0;
            }
            job.push(Write::Key(KeyWrite::RollBack { id, import }));
            ops += takes;
            removed += 1;
            Ok::<(), E>(())
        })?;
        commit(job)?;
        let mut job = Vec::new();
        self.for_each_tenant(|_, record| {
            let Ok(record) = record else { return Ok(()) };
            if record.import == import {
                job.push(Write::Tenant(TenantWrite::RollBack { id: record.id, import }));
            }
            if job.len() < OPS_MAX / TENANT_OPS { Ok(()) } else { commit(std::mem::take(&mut job)) }
        })?;
        commit(job)?;
        commit(vec![Write::FinishImport { number: import }])?;
        Ok(removed)
    }

    /// The next rows of a walk over everything; none at the end.
    ///
    /// # Errors
    /// As [`Store::scan_each`].
    pub fn next_chunk(&self, rows: &mut Rows) -> Result<Vec<Row>, StoreError> {
        // As they lie there: what is encrypted stays so.
        rows.next_chunk(self.store.raw().as_ref())
    }

    /// Judges every row; see [`verify::verify`].
    ///
    /// # Errors
    /// As [`verify::verify`].
    pub fn verify(
        &self,
        writers: &dyn Writers,
        each: impl FnMut(Walked) -> ControlFlow<()>,
    ) -> Result<Report, StoreError> {
        verify::verify(self.store.as_ref(), writers, each)
    }

    /// The bytes below. Only the committer, and nothing else once it runs, writes to it.
    pub(super) fn store(&self) -> &Arc<SealedStore> {
        &self.store
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let key = layout::meta(FORMAT.0);
        let written = self.store.get(&key)?;
        let found = written.as_deref().map(read_format).transpose()?;
        match found {
            Some((found, written_by)) if found > RECORD_SCHEMA => {
                let written_by = format!("keygate {written_by}");
                Err(StoreError::NewerSchema { found, known: RECORD_SCHEMA, written_by })
            }
            Some((RECORD_SCHEMA, _)) => Ok(()),
            // New, or older: from here on records of the newest schema may be in it.
            older => {
                if older.is_some() {
                    self.index_deleted()?;
                }
                let mut value = RECORD_SCHEMA.to_le_bytes().to_vec();
                value.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
                self.store.apply(&[Op::Put { key, value }])?;
                self.store.sync()
            }
        }
    }

    /// Writes a job before there is a committer.
    pub(super) fn write_alone(&self, writes: &mut [Write]) -> Result<(), StoreError> {
        let mut plan = Plan::new(self.store.as_ref());
        match plan.add(writes) {
            Ok(_) => self.store.apply(plan.ops()),
            Err(WriteError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::corrupt(error.to_string())),
        }
    }

    fn number(&self, fact: Fact) -> Result<Option<u64>, StoreError> {
        let row = self.store.get(&layout::meta(fact.0))?;
        row.map(|bytes| plan::read_number(fact, &bytes)).transpose()
    }
}

pub(super) fn id_of(key: &[u8]) -> Result<u64, StoreError> {
    layout::id_of(key).ok_or_else(|| StoreError::corrupt("a row's key is too short for an id"))
}

fn read_row<T: DeserializeOwned>(
    what: &str,
    id: u64,
    bytes: &[u8],
    known_schema: u16,
) -> Result<T, StoreError> {
    envelope::open(bytes, known_schema)
        .map_err(|error| plan::from_envelope(&format!("{what} {id}"), error))
}

/// The schema of the records, and the version of the keygate that wrote this. Outside an envelope:
/// every keygate must be able to read it.
pub(super) fn read_format(bytes: &[u8]) -> Result<(u16, String), StoreError> {
    let (schema, version) = bytes
        .split_first_chunk()
        .ok_or_else(|| StoreError::corrupt("the format of the data is not stated"))?;
    Ok((u16::from_le_bytes(*schema), String::from_utf8_lossy(version).into_owned()))
}
