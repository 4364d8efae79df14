//! The exchange of a secret that the store was written under, the pepper or the master key: what the
//! store says of it, and what is renewed of each record.
//!
//! From the fact that it has begun until the fact that it is over both secrets are there. Whatever
//! record the committer writes meanwhile is renewed in the same batch, so the walk that renews the
//! others ([`KeyWrite::Renew`](super::KeyWrite::Renew)) passes each once, in whatever state it finds
//! it, and nothing under the old secret comes behind it.

use std::sync::Arc;

use parking_lot::RwLock;

use super::envelope::EnvelopeError;
use super::write::{Fact, RowWrite, Write};
use super::{Keys, Op, Store, StoreError, envelope, layout, plan};
use crate::key::{KeyRecord, Pepper, SealedHash, SigningMaterial};
use crate::vault::{Purpose, Vault, signing_owner};

/// The newest schema of the facts below: a text.
const FACT_SCHEMA: u16 = 1;

/// Which secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotating {
    /// The secret of the digests of tokens and client secrets.
    Pepper,
    /// The secret of everything that is encrypted.
    Master,
}

impl Rotating {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pepper, Self::Master];

    /// The command that is about it: `keygate pepper …`.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Pepper => "pepper",
            Self::Master => "master",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pepper => "pepper",
            Self::Master => "master key",
        }
    }

    /// What the store knows the secret by that it was written under: an id, which tells nothing of it.
    const fn known(self) -> Fact {
        match self {
            Self::Pepper => Fact("pepper_fingerprint"),
            Self::Master => Fact("master_key"),
        }
    }

    /// The id of the secret that takes its place, while that is under way.
    pub(super) const fn next(self) -> Fact {
        match self {
            Self::Pepper => Fact("pepper_next"),
            Self::Master => Fact("master_key_next"),
        }
    }
}

/// The ids of the secrets that a store needs, read without a write: of the one that it was written
/// under, and of the one that takes its place while that is under way. None in a new store.
///
/// # Errors
/// As [`Store::get`], and what is said in another form.
pub fn secret_ids(store: &dyn Store, of: Rotating) -> Result<Vec<String>, StoreError> {
    let mut ids = Vec::new();
    for fact in [of.known(), of.next()] {
        let Some(row) = store.get(&layout::meta(fact.0))? else { continue };
        let unreadable = |error| plan::from_envelope(&format!("the fact {:?}", fact.0), error);
        ids.push(envelope::open(&row, FACT_SCHEMA).map_err(unreadable)?);
    }
    Ok(ids)
}

impl Keys {
    /// The id of the secret that the store was written under; `None` in a new one.
    ///
    /// # Errors
    /// As [`Keys::fact`].
    pub fn secret_id(&self, of: Rotating) -> Result<Option<String>, StoreError> {
        self.fact(of.known(), FACT_SCHEMA)
    }

    /// The id of the secret that is taking its place.
    ///
    /// # Errors
    /// As [`Keys::fact`].
    pub fn next_secret_id(&self, of: Rotating) -> Result<Option<String>, StoreError> {
        self.fact(of.next(), FACT_SCHEMA)
    }

    /// Says what secret the store is written under. Before there is a committer.
    ///
    /// # Errors
    /// As [`super::Store::apply`] and [`super::Store::sync`].
    pub fn set_secret_id(&self, of: Rotating, id: &str) -> Result<(), StoreError> {
        let fact = Write::fact(of.known(), FACT_SCHEMA, &id.to_owned());
        let fact = fact.map_err(|error| StoreError::corrupt(error.to_string()))?;
        self.write_alone(&mut [fact])?;
        self.store().sync()
    }
}

impl Write {
    /// Says that a secret's exchange is over.
    ///
    /// # Errors
    /// None that can come of a text of this length.
    pub fn finish_rotation(of: Rotating, to: &str) -> Result<Vec<Self>, EnvelopeError> {
        let over = Op::Remove { key: layout::meta(of.next().0) };
        Ok(vec![Self::fact(of.known(), FACT_SCHEMA, &to.to_owned())?, Self::Row(RowWrite(over))])
    }

    /// The row that says that an exchange has begun.
    pub(super) fn next_secret(of: Rotating, to: &str) -> Result<Self, EnvelopeError> {
        Self::fact(of.next(), FACT_SCHEMA, &to.to_owned())
    }
}

/// What records are encrypted by, and what their digests are made by: two of each in a rotation.
pub struct Seals {
    vault: Arc<Vault>,
    pepper: RwLock<Arc<Pepper>>,
}

impl Seals {
    /// These.
    #[must_use]
    pub fn new(vault: Arc<Vault>, pepper: Arc<Pepper>) -> Self {
        Self { vault, pepper: RwLock::new(pepper) }
    }

    /// What encrypts.
    #[must_use]
    pub const fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// From here on digests are made by another pepper.
    pub fn set_pepper(&self, pepper: Arc<Pepper>) {
        *self.pepper.write() = pepper;
    }

    pub(super) fn pepper(&self) -> Arc<Pepper> {
        Arc::clone(&self.pepper.read())
    }

    /// Has everything in a record be under the present secrets; whether anything was not. What opens
    /// under none of them stays as it is; [`Keys::outdated`] finds it.
    pub(super) fn renew(&self, record: &mut KeyRecord) -> bool {
        let pepper = self.pepper();
        let mut renewed = false;
        if pepper.is_rotating() {
            for hash in record.hashes_mut() {
                if let Some(new) = pepper.renewed(hash) {
                    *hash = new;
                    renewed = true;
                }
            }
        }
        if self.vault.is_rotating() {
            for key in &mut record.signing_keys {
                let SigningMaterial::Shared(secret) = &mut key.material else { continue };
                let owner = signing_owner(record.id, &key.id);
                match self.vault.renewed(Purpose::Signing, &owner, secret) {
                    Ok(Some(new)) => {
                        *secret = new;
                        renewed = true;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(key = record.id, name = key.id, %error, "a shared secret");
                    }
                }
            }
        }
        renewed
    }

    /// The digests by which a record's token may stand under the retired pepper.
    pub(super) fn retired_digests(&self, record: &KeyRecord) -> Vec<crate::key::Digest> {
        let pepper = self.pepper();
        if !pepper.is_rotating() || record.deleted_at.is_some() {
            return Vec::new();
        }
        let hashes = [&record.key_hash, &record.previous_key_hash];
        let retired = |hash: &SealedHash| pepper.retired_digest(hash);
        hashes.into_iter().flatten().filter_map(retired).collect()
    }
}
