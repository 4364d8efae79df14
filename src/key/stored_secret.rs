//! A secret as it is kept: encrypted, with all that opening it needs but the key.

use serde::{Deserialize, Serialize};

/// Bytes of the nonce of XChaCha20-Poly1305: enough that random ones never meet.
pub const NONCE_BYTES: usize = 24;

/// A secret under the authenticated encryption of `vault/`. Not a secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoredSecret {
    /// The id of the master key that it is encrypted under.
    pub master: u64,
    /// The nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// Ciphertext and tag.
    pub sealed: Vec<u8>,
}
