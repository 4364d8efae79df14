//! What a job can ask for, and why it may be refused.

use serde::Serialize;

use super::envelope::{self, EnvelopeError};
use super::prepare::Prepared;
use super::rotation::Rotating;
use super::{Op, StoreError, layout};
use crate::key::{KeyRecord, TenantRecord};

/// One change that a job asks for.
#[derive(Debug)]
pub enum Write {
    /// A change to a key.
    Key(KeyWrite),
    /// A change to a tenant's record.
    Tenant(TenantWrite),
    /// A row outside the records: usage, the ledger's figures, alerts, increment ids, a fact. Made by the functions below.
    Row(RowWrite),
    /// Marks an import as begun. Durable before the first of its rows.
    BeginImport {
        /// From [`super::keys::Keys::next_import`].
        number: u64,
    },
    /// Marks the import as whole: from here on its rows stay.
    FinishImport {
        /// The import that was begun.
        number: u64,
    },
    /// Marks the exchange of a secret as begun; refused beside an import, and beside another exchange.
    BeginRotation {
        /// Which secret.
        of: Rotating,
        /// The id of the secret that takes its place, which is where a start finds it.
        to: String,
    },
}

/// A change to a key: the record and all its index rows.
#[derive(Debug)]
pub enum KeyWrite {
    /// A new key. What an earlier key of this id left behind, usage, the ledger's figures and what
    /// alerts have said, is removed.
    Insert(Box<KeyRecord>),
    /// The same, worked out before: an import has many.
    InsertPrepared(Prepared),
    /// The key as it is to be, if the stored one is the one that was read.
    Replace {
        /// The revision of the record that was read.
        before_revision: u64,
        /// Has the same id, and another revision.
        after: Box<KeyRecord>,
    },
    /// Has all of a record be under the present pepper and master key, as it stands when this is
    /// written. It stays what it says, so its revision stays too.
    Renew {
        /// The key; one that is not there any more needs nothing.
        id: u64,
    },
    /// Removes the key with its usage, the ledger's figures and what alerts have said, if the stored one is the one that was read.
    Remove {
        /// The key.
        id: u64,
        /// The revision of the record that was read.
        revision: u64,
    },
    /// Removes the key with all that it has, if the import that is under way brought it; otherwise
    /// leaves it.
    RollBack {
        /// The key.
        id: u64,
        /// The import.
        import: u64,
    },
}

/// A change to a tenant's record.
#[derive(Debug)]
pub enum TenantWrite {
    /// A new record.
    Insert(Box<TenantRecord>),
    /// The record as it is to be, if the stored one is the one that was read.
    Replace {
        /// The revision of the record that was read.
        before_revision: u64,
        /// Has the same id, and another revision.
        after: Box<TenantRecord>,
    },
    /// Removes the record with the ledger's figures, if the stored one is the one that was read and
    /// no key names the tenant any more.
    Remove {
        /// The tenant.
        id: String,
        /// The revision of the record that was read.
        revision: u64,
    },
    /// Removes the record, if the import that is under way brought it; otherwise leaves it.
    RollBack {
        /// The tenant.
        id: String,
        /// The import.
        import: u64,
    },
}

/// A row outside the records.
#[derive(Debug)]
pub struct RowWrite(pub(super) Op);

/// Why a write contradicts what is stored. Nothing of its job was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The id is taken.
    #[error("a key with id {id} exists already")]
    Id {
        /// The id.
        id: u64,
    },
    /// A digest is taken: the same token would find two keys.
    #[error("key {holder} has the same token digest")]
    Digest {
        /// The key that has it.
        holder: u64,
    },
    /// An earlier request of the same id has made a key in the same tenant.
    #[error("key {holder} of the same tenant was made by a request of the same request_id")]
    Request {
        /// The key that it made.
        holder: u64,
    },
    /// The record has changed since it was read.
    #[error("key {id} has changed meanwhile: revision {stored} where {expected} was read")]
    Revision {
        /// The key.
        id: u64,
        /// The revision in the store.
        stored: u64,
        /// The revision that the writer had read.
        expected: u64,
    },
    /// There is no such key.
    #[error("there is no key with id {id}")]
    Missing {
        /// The id.
        id: u64,
    },
    /// A key would come to be in a deleted tenant.
    #[error(
        "the tenant {id} is deleted: no key can be made in it or moved into it; \
         `keygate tenant restore {id}` brings it back"
    )]
    TenantDeleted {
        /// The tenant.
        id: String,
    },
    /// The tenant has a record.
    #[error("the tenant {id} has a record already")]
    TenantExists {
        /// The tenant.
        id: String,
    },
    /// The tenant has no record.
    #[error("the tenant {id} has no record")]
    TenantMissing {
        /// The tenant.
        id: String,
    },
    /// The tenant's record has changed since it was read.
    #[error("tenant {id} has changed meanwhile: revision {stored} where {expected} was read")]
    TenantRevision {
        /// The tenant.
        id: String,
        /// The revision in the store.
        stored: u64,
        /// The revision that the writer had read.
        expected: u64,
    },
    /// The tenant cannot be removed before its keys are.
    #[error("the tenant {id} still has keys")]
    TenantHasKeys {
        /// The tenant.
        id: String,
    },
    /// A secret is being exchanged.
    #[error("the {what} is being rotated; wait for its end (`keygate status`), then try again")]
    Rotation {
        /// Which.
        what: &'static str,
    },
    /// Another import is under way, or this one is not.
    #[error("import {number} does not fit: {}", pending.map_or_else(
        || "no import is under way, or its number is used".to_owned(),
        |pending| format!("import {pending} is under way")
    ))]
    Import {
        /// The import of the write.
        number: u64,
        /// The import that is under way.
        pending: Option<u64>,
    },
}

/// Why a job was not written, or is not known to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// It contradicts what is stored.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The store failed. What the job wrote may or may not survive a restart.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be stored.
    #[error("key {id} cannot be stored: {source}")]
    Record {
        /// The key.
        id: u64,
        /// Why.
        source: EnvelopeError,
    },
    /// A tenant's record cannot be stored.
    #[error("tenant {id} cannot be stored: {source}")]
    TenantRecord {
        /// The tenant.
        id: String,
        /// Why.
        source: EnvelopeError,
    },
    /// A tenant, a tag or a request's id cannot be indexed.
    #[error("key {id} has a tenant, a tag or a request_id that is too long or holds a NUL")]
    Unindexable {
        /// The key.
        id: u64,
    },
}

impl Write {
    /// What the ledger has of a key, as absolute figures: writing it twice debits once. Nothing is
    /// written where there is no such key.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn account_of_key<T: Serialize>(
        id: u64,
        schema: u16,
        figures: &T,
    ) -> Result<Self, EnvelopeError> {
        Self::row(layout::account_of_key(id), schema, figures)
    }

    /// What the ledger has of a tenant; as [`Write::account_of_key`]. Nothing is written where the
    /// tenant has no record.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn account_of_tenant<T: Serialize>(
        tenant: &str,
        schema: u16,
        figures: &T,
    ) -> Result<Self, EnvelopeError> {
        Self::row(layout::account_of_tenant(tenant), schema, figures)
    }

    /// Removes what the ledger has of a key.
    #[must_use]
    pub fn remove_account_of_key(id: u64) -> Self {
        Self::Row(RowWrite(Op::Remove { key: layout::account_of_key(id) }))
    }

    /// Removes what the ledger has of a tenant.
    #[must_use]
    pub fn remove_account_of_tenant(tenant: &str) -> Self {
        Self::Row(RowWrite(Op::Remove { key: layout::account_of_tenant(tenant) }))
    }

    /// A chunk of the ids of counted increments.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn increments<T: Serialize>(seq: u64, schema: u16, ids: &T) -> Result<Self, EnvelopeError> {
        Self::row(layout::increments(seq), schema, ids)
    }

    /// Removes a chunk of the ids of counted increments.
    #[must_use]
    pub fn remove_increments(seq: u64) -> Self {
        Self::Row(RowWrite(Op::Remove { key: layout::increments(seq) }))
    }

    /// A fact about the whole.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn fact<T: Serialize>(name: Fact, schema: u16, fact: &T) -> Result<Self, EnvelopeError> {
        Self::row(layout::meta(name.0), schema, fact)
    }

    pub(super) fn row<T: Serialize>(
        key: Vec<u8>,
        schema: u16,
        value: &T,
    ) -> Result<Self, EnvelopeError> {
        let value = envelope::seal(schema, value)?;
        Ok(Self::Row(RowWrite(Op::Put { key, value })))
    }
}

/// The name of a fact about the whole, declared once by its owner.
#[derive(Debug, Clone, Copy)]
pub struct Fact(pub &'static str);
