//! Encryption of what is kept secret: XChaCha20-Poly1305 under a master key, which never lies in the
//! store (README, "Secrets").
//!
//! What a ciphertext is for is authenticated with it: the master key's id, a version, the purpose and
//! whose it is. So no ciphertext opens in another's place.

use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::key::StoredSecret;

/// Bytes of a master key.
pub const MASTER_BYTES: usize = 32;
/// How ciphertexts of this release are made; authenticated with each.
const VERSION: u8 = 1;

/// What a ciphertext is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A secret that signers of requests share with the daemon.
    Signing,
    /// A secret that web hooks are signed with.
    Webhook,
    /// A record.
    Record,
}

impl Purpose {
    const fn byte(self) -> u8 {
        match self {
            Self::Signing => 1,
            Self::Webhook => 2,
            Self::Record => 3,
        }
    }
}

/// Why there is no ciphertext, or no plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// It was encrypted under a master key that is not here.
    #[error("it is encrypted under the master key {0:016x}, which is not here")]
    OtherMaster(u64),
    /// It is not what was encrypted, or not for this.
    #[error("it does not decrypt: it was changed, or belongs elsewhere")]
    Changed,
    /// The system gives no random bytes, or the plaintext is too long.
    #[error("it cannot be encrypted")]
    Failed,
}

/// A master key, and the id by which ciphertexts name it.
pub struct Master {
    id: u64,
    cipher: XChaCha20Poly1305,
}

impl Master {
    /// Takes a key. Its id is derived from it, so two files cannot be taken for each other.
    #[must_use]
    pub fn new(secret: &[u8; MASTER_BYTES]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"keygate master key id");
        hash.update(secret);
        let digest: [u8; 32] = hash.finalize().into();
        let (id, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self { id: u64::from_be_bytes(*id), cipher: XChaCha20Poly1305::new(secret.into()) }
    }

    /// The id, which tells nothing of the key.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The id in words.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{:016x}", self.id)
    }
}

/// Seals and opens. While a master key is exchanged for another, both open and the new one seals.
pub struct Vault {
    ring: RwLock<Ring>,
}

#[derive(Clone)]
struct Ring {
    current: Arc<Master>,
    /// What still opens what was sealed under it.
    retired: Option<Arc<Master>>,
}

impl Vault {
    /// A vault of one master key.
    #[must_use]
    pub fn new(master: Master) -> Self {
        Self { ring: RwLock::new(Ring { current: Arc::new(master), retired: None }) }
    }

    /// From here on another key seals; the present one goes on opening until [`Vault::forget`].
    pub fn rotate(&self, next: Master) {
        let mut ring = self.ring.write();
        let retired = std::mem::replace(&mut ring.current, Arc::new(next));
        ring.retired = Some(retired);
    }

    /// The key that was exchanged opens nothing any more.
    pub fn forget(&self) {
        self.ring.write().retired = None;
    }

    /// The id of the key that is sealed with.
    #[must_use]
    pub fn master_id(&self) -> u64 {
        self.ring.read().current.id
    }

    /// Whether another one still opens what was sealed under it.
    #[must_use]
    pub fn is_rotating(&self) -> bool {
        self.ring.read().retired.is_some()
    }

    /// Encrypts for a purpose and an owner, such as the id of a key's record.
    ///
    /// # Errors
    /// [`VaultError::Failed`].
    pub fn seal(
        &self,
        purpose: Purpose,
        owner: &[u8],
        plain: &[u8],
    ) -> Result<StoredSecret, VaultError> {
        let master = Arc::clone(&self.ring.read().current);
        let mut nonce = [0; crate::key::NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| VaultError::Failed)?;
        let aad = associated(master.id, purpose, owner);
        let payload = Payload { msg: plain, aad: &aad };
        let sealed = master.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| VaultError::Failed)?;
        Ok(StoredSecret { master: master.id, nonce, sealed })
    }

    /// Decrypts what was sealed for this purpose and this owner.
    ///
    /// # Errors
    /// [`VaultError::OtherMaster`], [`VaultError::Changed`].
    pub fn open(
        &self,
        purpose: Purpose,
        owner: &[u8],
        secret: &StoredSecret,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let ring = self.ring.read().clone();
        let master = [Some(ring.current), ring.retired].into_iter().flatten();
        let master = { master }.find(|master| master.id == secret.master);
        let master = master.ok_or(VaultError::OtherMaster(secret.master))?;
        let aad = associated(secret.master, purpose, owner);
        let payload = Payload { msg: &secret.sealed, aad: &aad };
        let opened = master.cipher.decrypt(&XNonce::from(secret.nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| VaultError::Changed)
    }

    /// What was sealed under another key than the present one, sealed under that; `None` where it
    /// is already.
    ///
    /// # Errors
    /// As [`Vault::open`] and [`Vault::seal`].
    pub fn renewed(
        &self,
        purpose: Purpose,
        owner: &[u8],
        secret: &StoredSecret,
    ) -> Result<Option<StoredSecret>, VaultError> {
        if secret.master == self.master_id() {
            return Ok(None);
        }
        let plain = self.open(purpose, owner, secret)?;
        self.seal(purpose, owner, &plain).map(Some)
    }
}

/// The owner of what is sealed for [`Purpose::Signing`]: the key's record, and what the record calls
/// the secret.
#[must_use]
pub fn signing_owner(id: u64, name: &str) -> Vec<u8> {
    [&id.to_be_bytes()[..], name.as_bytes()].concat()
}

/// What is authenticated beside the plaintext.
fn associated(master: u64, purpose: Purpose, owner: &[u8]) -> Vec<u8> {
    let mut aad = vec![VERSION, purpose.byte()];
    aad.extend_from_slice(&master.to_be_bytes());
    aad.extend_from_slice(owner);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_in_its_place_and_unchanged() {
        let vault = Vault::new(Master::new(&[7; 32]));
        let sealed = vault.seal(Purpose::Signing, b"1", b"shared").expect("sealed");
        let open = |secret: &StoredSecret, purpose, owner: &[u8]| {
            vault.open(purpose, owner, secret).map(|plain| plain.to_vec())
        };
        assert_eq!(open(&sealed, Purpose::Signing, b"1"), Ok(b"shared".to_vec()));
        assert_eq!(open(&sealed, Purpose::Webhook, b"1"), Err(VaultError::Changed));
        assert_eq!(open(&sealed, Purpose::Signing, b"2"), Err(VaultError::Changed));
        for at in 0..sealed.sealed.len() {
            let mut changed = sealed.clone();
            changed.sealed[at] ^= 1;
            assert_eq!(open(&changed, Purpose::Signing, b"1"), Err(VaultError::Changed), "{at}");
        }
        let other = Vault::new(Master::new(&[8; 32]));
        let refused = other.open(Purpose::Signing, b"1", &sealed).expect_err("another key");
        assert_eq!(refused, VaultError::OtherMaster(vault.master_id()));
        vault.rotate(Master::new(&[9; 32]));
        assert_eq!(open(&sealed, Purpose::Signing, b"1"), Ok(b"shared".to_vec()));
        let renewed = vault.renewed(Purpose::Signing, b"1", &sealed).expect("opened");
        let renewed = renewed.expect("it was under the one before");
        assert_eq!(vault.renewed(Purpose::Signing, b"1", &renewed), Ok(None));
        vault.forget();
        assert_eq!(open(&renewed, Purpose::Signing, b"1"), Ok(b"shared".to_vec()));
        let gone = VaultError::OtherMaster(sealed.master);
        assert_eq!(open(&sealed, Purpose::Signing, b"1"), Err(gone));
        let again = vault.seal(Purpose::Signing, b"1", b"shared").expect("sealed");
        assert_ne!(again.sealed, sealed.sealed, "a nonce is never used twice");
    }
}
