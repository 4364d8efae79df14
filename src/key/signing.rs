//! What requests that are signed with a key are verified by (RFC 9421): records of the key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::digest::Pepper;
use super::field::{Codec, kind};
use super::{StoredSecret, Time};

/// One verification key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SigningKey {
    /// What the `keyid` parameter of a signature calls it; 1 to 64 bytes, unique within the record.
    pub id: String,
    /// What verifies.
    pub material: SigningMaterial,
    /// When it was added.
    pub added_at: Option<Time>,
}

/// What verifies a signature.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SigningMaterial {
    /// A public key: a `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1).
    Public(Vec<u8>),
    /// A secret that the signer shares with the daemon.
    Shared(StoredSecret),
}

/// Their form in a record's JSON. A shared secret is not told.
pub(in crate::key) struct SigningKeys;

impl Codec<Vec<SigningKey>> for SigningKeys {
    fn read(value: &Value, _: &Pepper) -> Result<Vec<SigningKey>, String> {
        let items = value
            .as_array()
            .ok_or_else(|| format!("it is a list of verification keys, not {}", kind(value)))?;
        items.iter().map(signing_key).collect()
    }

    fn write(field: &Vec<SigningKey>, _: &Pepper) -> Value {
        let key = |key: &SigningKey| match &key.material {
            SigningMaterial::Public(der) => {
                json!({"id": key.id, "public_key": STANDARD.encode(der)})
            }
            SigningMaterial::Shared(_) => json!({"id": key.id, "shared_secret": true}),
        };
        field.iter().map(key).collect()
    }
}

fn signing_key(item: &Value) -> Result<SigningKey, String> {
    let member = |name: &str| item.get(name).and_then(Value::as_str);
    let id = member("id").ok_or("each has an id")?.to_owned();
    let der = member("public_key").and_then(|text| STANDARD.decode(text).ok());
    let der = der.ok_or("each has a public_key in base64; a shared secret is added anew")?;
    Ok(SigningKey { id, material: SigningMaterial::Public(der), added_at: None })
}
