//! Encrypted records: in clear to whoever asks the store here, and under the vault in the rows below.
//!
//! A record that is `encrypted` is marked when its row is made (`prepare.rs`), sealed when its batch
//! is applied, and opened where its row is read, so nothing in between knows of it. Of rows that are
//! not, one comparison of four bytes is all that this costs.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use super::envelope::{self, EnvelopeError};
use super::rotation::Seals;
use super::{EachRow, Op, Store, StoreError, layout};
use crate::key::{NONCE_BYTES, StoredSecret};
use crate::vault::{Purpose, Vault};

/// Bytes of a master key's id before the nonce.
const MASTER_BYTES: usize = 8;
/// Bytes of the tag behind the ciphertext.
const TAG_BYTES: usize = 16;
/// What a row grows by when it is sealed.
pub(super) const SEAL_BYTES: usize =
    envelope::HEADER_BYTES + MASTER_BYTES + NONCE_BYTES + TAG_BYTES;

/// A store whose encrypted records are read and written in clear.
pub struct SealedStore {
    raw: Arc<dyn Store>,
    seals: OnceLock<Seals>,
}

impl SealedStore {
    /// Over this store; until it has seals, encrypted records are neither read nor written.
    #[must_use]
    pub fn new(raw: Arc<dyn Store>) -> Self {
        Self { raw, seals: OnceLock::new() }
    }

    /// Gives it what opens and seals, once.
    pub fn set_seals(&self, seals: Seals) {
        let first = self.seals.set(seals);
        debug_assert!(first.is_ok(), "a store has one vault");
    }

    pub(super) fn seals(&self) -> Option<&Seals> {
        self.seals.get()
    }

    /// The rows as they lie there.
    pub(super) const fn raw(&self) -> &Arc<dyn Store> {
        &self.raw
    }

    /// Operations as they are to be applied: marked records are sealed.
    ///
    /// # Errors
    /// [`StoreError::Unsealed`].
    pub(super) fn sealed<'a>(&self, ops: &'a [Op]) -> Result<Cow<'a, [Op]>, StoreError> {
        if !ops.iter().any(is_marked) {
            return Ok(Cow::Borrowed(ops));
        }
        let vault = self.seals().map(Seals::vault);
        let vault = vault.ok_or(StoreError::Unsealed { why: "there is no master key" })?;
        let sealed = ops.iter().map(|op| match op {
            Op::Put { key, value } if is_marked(op) => {
                Ok(Op::Put { key: key.clone(), value: seal(vault, key, value)? })
            }
            op => Ok(op.clone()),
        });
        Ok(Cow::Owned(sealed.collect::<Result<_, StoreError>>()?))
    }

    /// A row of a record in clear; as it is where it does not open.
    pub(super) fn opened<'a>(&self, key: &[u8], value: &'a [u8]) -> Cow<'a, [u8]> {
        match self.seals() {
            Some(seals) if is_sealed(key, value) => {
                Cow::Owned(open(seals.vault(), key, value).unwrap_or_else(|| {
                    let mut unopened = value.to_vec();
                    envelope::mark(&mut unopened, envelope::UNOPENED);
                    unopened
                }))
            }
            _ => Cow::Borrowed(value),
        }
    }
}

impl Store for SealedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.raw.get(key)?;
        Ok(row.map(|value| match self.opened(key, &value) {
            Cow::Owned(opened) => opened,
            Cow::Borrowed(_) => value,
        }))
    }

    fn scan_each(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut EachRow<'_>,
    ) -> Result<(), StoreError> {
        self.raw.scan_each(prefix, after, &mut |key, value| -> ControlFlow<()> {
            each(key, &self.opened(key, value))
        })
    }

    fn apply(&self, ops: &[Op]) -> Result<(), StoreError> {
        self.raw.apply(&self.sealed(ops)?)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.raw.sync()
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.raw.bytes_on_disk()
    }
}

/// The id of the master key that a row is sealed under, if it is.
pub(super) fn master_of(key: &[u8], value: &[u8]) -> Option<u64> {
    if !is_sealed(key, value) {
        return None;
    }
    let (master, _) = value.get(envelope::HEADER_BYTES..)?.split_first_chunk()?;
    Some(u64::from_be_bytes(*master))
}

fn is_sealed(key: &[u8], value: &[u8]) -> bool {
    value.starts_with(&envelope::SEALED) && key.first() == Some(&layout::RECORD)
}

/// Whether an operation puts a record that is to be sealed.
pub(super) fn is_marked(op: &Op) -> bool {
    matches!(op, Op::Put { key, value }
        if value.starts_with(&envelope::OPENED) && key.first() == Some(&layout::RECORD))
}

/// Whose a row is, to the vault: the id behind its space.
fn owner(key: &[u8]) -> &[u8] {
    key.get(1..).unwrap_or_default()
}

fn seal(vault: &Vault, key: &[u8], row: &[u8]) -> Result<Vec<u8>, StoreError> {
    let failed = |why| move |_| StoreError::Unsealed { why };
    let sealed = vault
        .seal(Purpose::Record, owner(key), row)
        .map_err(failed("the system gives no random bytes"))?;
    let payload = [&sealed.master.to_be_bytes()[..], &sealed.nonce, &sealed.sealed].concat();
    let schema = envelope::schema_of(row).unwrap_or_default();
    envelope::wrap(envelope::SEALED, schema, &payload)
        .map_err(|_: EnvelopeError| StoreError::Unsealed { why: "it is too large" })
}

fn open(vault: &Vault, key: &[u8], row: &[u8]) -> Option<Vec<u8>> {
    let payload = envelope::unwrap(envelope::SEALED, row).ok()?;
    let (master, rest) = payload.split_first_chunk()?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let master = u64::from_be_bytes(*master);
    let secret = StoredSecret { master, nonce: *nonce, sealed: sealed.to_vec() };
    let mut opened = vault.open(Purpose::Record, owner(key), &secret).ok()?;
    Some(std::mem::take(&mut *opened)).filter(|row| row.starts_with(&envelope::OPENED))
}
