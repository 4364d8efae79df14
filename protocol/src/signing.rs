//! The JSON of verification keys on the admin socket (SPEC §9): what signed requests are verified by.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Verification keys that one key may have.
pub const SIGNING_KEYS_MAX: usize = 8;
/// Most bytes of a verification key's name; at least 1.
pub const SIGNING_KEY_ID_BYTES_MAX: usize = 64;
/// Most bytes of a public key, as PEM or JWK.
pub const PUBLIC_KEY_BYTES_MAX: usize = 8192;
/// Least bytes of a shared secret.
pub const SHARED_SECRET_BYTES_MIN: usize = 32;
/// Most bytes of a shared secret.
pub const SHARED_SECRET_BYTES_MAX: usize = 128;

/// `SigningAdd`: exactly one of `public_key`, `shared_secret` and `generate`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningAdd {
    /// The key's id, in decimal.
    pub id: String,
    /// What signatures call the verification key (`keyid`): 1 to 64 visible ASCII characters but
    /// `"` and `\`, of no other one of this key.
    pub key_id: String,
    /// A public key, as a PEM block or a JWK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// A secret that the signer has too, in base64; 32 to 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_secret: Option<String>,
    /// Have the daemon make a secret, which the answer shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generate: bool,
    /// Refuse unless the record has this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// The secret is not shown.
impl fmt::Debug for SigningAdd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningAdd")
            .field("id", &self.id)
            .field("key_id", &self.key_id)
            .field("public_key", &self.public_key)
            .field("generate", &self.generate)
            .field("expected_revision", &self.expected_revision)
            .finish_non_exhaustive()
    }
}

/// The reply to `SigningAdd`.
#[derive(Clone, Serialize, Deserialize)]
pub struct SigningAdded {
    /// The record.
    pub key: Value,
    /// The verification key.
    pub signing_key: SigningKey,
    /// The secret that was made, in base64; this is the only time it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_secret: Option<String>,
    /// What the operator should know of this key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// `SigningList`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningList {
    /// The key's id, in decimal.
    pub id: String,
}

/// The reply to `SigningList`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SigningKeys {
    /// The key's id, in decimal.
    pub id: String,
    /// The record's revision, which a change may expect.
    pub revision: u64,
    /// Whether the key demands signed requests.
    pub demanded: bool,
    /// Its verification keys, in the order in which they were added.
    pub signing_keys: Vec<SigningKey>,
}

/// One verification key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SigningKey {
    /// What signatures call it.
    pub key_id: String,
    /// What it is: `rsa`, `ecdsa-p256`, `ecdsa-p384`, `ed25519` or `shared-secret`.
    pub kind: String,
    /// The algorithms by which it verifies, of those that the key allows. Empty where the key
    /// allows none of its kind: it is of no use then.
    pub algorithms: Vec<String>,
    /// A public key, as PEM; absent for a shared secret, which is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// When it was added, RFC 3339; absent where an import did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_at: Option<String>,
}

/// `SigningRemove`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningRemove {
    /// The key's id, in decimal.
    pub id: String,
    /// What signatures call the verification key.
    pub key_id: String,
    /// Refuse unless the record has this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}
