//! What requests that are signed with a key are verified by (RFC 9421): records of the key.

use der::pem::{self, LineEnding};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::digest::Pepper;
use super::field::{Codec, kind, text};
use super::limits::json::members;
use super::{StoredSecret, Time};
use crate::sign::{KEY_ID_BYTES_MAX, PublicKey, VERIFIERS_MAX};

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

/// Whether a verification key may have this name: 1 to 64 visible ASCII characters but `"` and `\`,
/// so that it stands in a structured field's string as it is (RFC 9651, section 3.3.3).
///
/// # Errors
/// What a name is.
pub fn check_id(id: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if id.is_empty() || id.len() > KEY_ID_BYTES_MAX || !id.bytes().all(plain) {
        return Err(format!(
            "it is 1 to {KEY_ID_BYTES_MAX} visible ASCII characters without '\"' and '\\'"
        ));
    }
    Ok(())
}

/// A `SubjectPublicKeyInfo` as PEM (RFC 7468, section 13).
#[must_use]
pub fn pem(spki: &[u8]) -> String {
    // It fails for a length that overflows alone.
    pem::encode_string("PUBLIC KEY", LineEnding::LF, spki).unwrap_or_default()
}

/// Their form in a record's JSON: `id`, `public_key` as PEM, `added_at`. A shared secret is not told;
/// in its place stands `"shared_secret": true`, which is passed over when it is read
/// ([`untold`] names those).
pub(in crate::key) struct SigningKeys;

impl Codec<Vec<SigningKey>> for SigningKeys {
    fn read(value: &Value, _: &Pepper) -> Result<Vec<SigningKey>, String> {
        let items = value
            .as_array()
            .ok_or_else(|| format!("it is a list of verification keys, not {}", kind(value)))?;
        if items.len() > VERIFIERS_MAX {
            let entries = items.len();
            return Err(format!("it has {entries} entries, at most {VERIFIERS_MAX} are taken"));
        }
        let mut keys: Vec<SigningKey> = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let named = |reason| format!("entry {}: {reason}", at + 1);
            if let Some(key) = signing_key(item).map_err(named)? {
                if keys.iter().any(|other| other.id == key.id) {
                    return Err(named(format!("the id {:?} stands twice", key.id)));
                }
                keys.push(key);
            }
        }
        Ok(keys)
    }

    fn write(field: &Vec<SigningKey>, _: &Pepper) -> Value {
        let key = |key: &SigningKey| {
            let mut members = Map::from_iter([("id".to_owned(), json!(key.id))]);
            match &key.material {
                SigningMaterial::Public(der) => {
                    members.insert("public_key".to_owned(), pem(der).into());
                }
                SigningMaterial::Shared(_) => {
                    members.insert("shared_secret".to_owned(), true.into());
                }
            }
            if let Some(at) = key.added_at {
                members.insert("added_at".to_owned(), at.to_string().into());
            }
            Value::Object(members)
        };
        field.iter().map(key).collect()
    }
}

/// The names of shared secrets in a record's JSON, of which it does not tell the secret.
pub(in crate::key) fn untold(value: &Value) -> impl Iterator<Item = &str> {
    let items = value.as_array().into_iter().flatten();
    items.filter(|item| is_untold(item)).filter_map(|item| item.get("id")?.as_str())
}

fn is_untold(item: &Value) -> bool {
    members(item, MEMBERS).is_ok_and(|it| it.get("shared_secret") == Some(&&Value::Bool(true)))
}

/// What one has in a record's JSON.
const MEMBERS: &[&str] = &["id", "public_key", "shared_secret", "added_at"];

/// Reads one; `None` for a shared secret.
fn signing_key(item: &Value) -> Result<Option<SigningKey>, String> {
    let members = members(item, MEMBERS)?;
    let member = |name: &str| members.get(name).copied().unwrap_or(&Value::Null);
    let id = text(member("id")).map_err(|why| format!("id: {why}"))?;
    check_id(id).map_err(|why| format!("id: {why}"))?;
    if is_untold(item) && !members.contains_key("public_key") {
        return Ok(None);
    }
    let key = text(member("public_key"))
        .and_then(|text| PublicKey::parse(text).map_err(|error| error.to_string()))
        .map_err(|why| format!("public_key: {why}"))?;
    let added_at = match member("added_at") {
        Value::Null => None,
        at => Some(text(at).and_then(Time::parse).map_err(|why| format!("added_at: {why}"))?),
    };
    Ok(Some(SigningKey {
        id: id.to_owned(),
        material: SigningMaterial::Public(key.spki().to_vec()),
        added_at,
    }))
}
