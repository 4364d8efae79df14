//! The verification keys of a key, which signed requests are verified by (RFC 9421): added, listed,
//! removed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keygate_protocol::admin as wire;
use keygate_protocol::admin::{
    PUBLIC_KEY_BYTES_MAX, SHARED_SECRET_BYTES_MAX, SHARED_SECRET_BYTES_MIN, SIGNING_KEYS_MAX,
};
use zeroize::{Zeroize, Zeroizing};

use super::keys::{key_id, lost_update, notices};
use super::{Admin, AdminError, Caller, random};
use crate::key::signing::{check_id, pem};
use crate::key::{KeyRecord, SigningKey, SigningMaterial, Status};
use crate::sign::{Algorithm, Algorithms, Kind, PublicKey};
use crate::vault::{Purpose, signing_owner};

/// What is to be added.
enum Offered {
    Public(Vec<u8>),
    /// A secret, and whether it was made here, so that it is shown.
    Shared(Zeroizing<Vec<u8>>, bool),
}

impl Admin {
    /// Adds a verification key. A key may have several, so that one can be exchanged for another:
    /// the new one is added, signers change over, the old one is removed.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` for a name or a key that cannot be used, and for a shared secret where
    /// the daemon has no master key; `CONFLICT` for a name that is taken, for one key too many, for
    /// a revoked key and for another revision than expected.
    pub async fn add_signing_key(
        &self,
        caller: &Caller,
        mut request: wire::SigningAdd,
    ) -> Result<wire::SigningAdded, AdminError> {
        let offered = offered(&request);
        request.shared_secret.zeroize();
        let offered = offered?;
        let id = key_id(&request.id)?;
        let name = request.key_id;
        check_id(&name).map_err(|reason| AdminError::invalid(format!("key_id: {reason}")))?;
        let record = self
            .change(caller, "signing_key_add", id, |before, now| {
                check_revision(before, request.expected_revision)?;
                check_room(before, &name)?;
                let material = self.material(id, &name, &offered)?;
                let mut after = before.clone();
                after.signing_keys.push(SigningKey {
                    id: name.clone(),
                    material,
                    added_at: Some(now),
                });
                Ok(after)
            })
            .await?;
        tracing::info!(key = id, signing_key = name, "a verification key was added");
        let mut notices = self.signing_notices(&record);
        if !demands_signing(&record) {
            notices.push(format!(
                "the key does not demand signed requests yet, so signatures are passed over: \
                 `keygate key update {id} --enforce-signing` has it do so"
            ));
        }
        if matches!(offered, Offered::Public(_)) && !self.engine.signatures_cover_a_field() {
            notices.push(
                "a request that is signed for this key passes for every other API key that has the \
                 same verification key: use a pair for this API key alone, or have signers cover the \
                 header that carries the token (signing.components can demand it)"
                    .to_owned(),
            );
        }
        let allowed = allowed(&record);
        let added = record.signing_keys.last().map(|key| told(key, allowed));
        Ok(wire::SigningAdded {
            signing_key: added.ok_or_else(AdminError::stopping)?,
            shared_secret: match &offered {
                Offered::Shared(secret, true) => Some(STANDARD.encode(secret.as_slice())),
                _ => None,
            },
            key: self.json(&record),
            notices,
        })
    }

    /// The verification keys of a key; of a shared secret its name alone.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID` for what is no id.
    pub async fn signing_keys(
        &self,
        caller: &Caller,
        request: wire::SigningList,
    ) -> Result<wire::SigningKeys, AdminError> {
        let record = self.record(caller, key_id(&request.id)?).await?;
        let allowed = allowed(&record);
        Ok(wire::SigningKeys {
            id: record.id.to_string(),
            revision: record.revision,
            demanded: demands_signing(&record),
            signing_keys: record.signing_keys.iter().map(|key| told(key, allowed)).collect(),
        })
    }

    /// Removes a verification key: what is signed by it does not pass any more, from the next
    /// question on.
    ///
    /// # Errors
    /// `NOT_FOUND` for the key and for the verification key; `CONFLICT` for another revision than
    /// expected.
    pub async fn remove_signing_key(
        &self,
        caller: &Caller,
        request: wire::SigningRemove,
    ) -> Result<wire::KeyChanged, AdminError> {
        let id = key_id(&request.id)?;
        let name = request.key_id;
        let record = self
            .change(caller, "signing_key_remove", id, |before, _| {
                check_revision(before, request.expected_revision)?;
                let mut after = before.clone();
                after.signing_keys.retain(|key| key.id != name);
                if after.signing_keys.len() == before.signing_keys.len() {
                    return Err(AdminError::new(
                        keygate_protocol::ErrorCode::NotFound,
                        format!(
                            "key {id} has no verification key {name:?}; `keygate key signing list \
                             {id}` shows those it has"
                        ),
                    ));
                }
                Ok(after)
            })
            .await?;
        tracing::info!(key = id, signing_key = name, "a verification key was removed");
        let notices = self.signing_notices(&record);
        Ok(wire::KeyChanged { key: self.json(&record), notices })
    }

    fn signing_notices(&self, record: &KeyRecord) -> Vec<String> {
        let mut notices = notices(record, &self.engine.rules());
        notices.extend(self.present_notices(record));
        notices
    }

    /// What is kept of what was offered: a shared secret only encrypted.
    fn material(
        &self,
        id: u64,
        name: &str,
        offered: &Offered,
    ) -> Result<SigningMaterial, AdminError> {
        let secret = match offered {
            Offered::Public(der) => return Ok(SigningMaterial::Public(der.clone())),
            Offered::Shared(secret, _) => secret,
        };
        let vault = self.engine.vault().ok_or_else(|| {
            AdminError::invalid(
                "this daemon has no master key, so it keeps no shared secrets; add a public key",
            )
        })?;
        let sealed = vault.seal(Purpose::Signing, &signing_owner(id, name), secret);
        let sealed = sealed.map_err(|error| {
            AdminError::new(keygate_protocol::ErrorCode::Busy, format!("the secret: {error}"))
        })?;
        Ok(SigningMaterial::Shared(sealed))
    }
}

/// Reads what a request offers, before anything is locked.
fn offered(request: &wire::SigningAdd) -> Result<Offered, AdminError> {
    match (&request.public_key, &request.shared_secret, request.generate) {
        (Some(text), None, false) => {
            if text.len() > PUBLIC_KEY_BYTES_MAX {
                return Err(AdminError::invalid(format!(
                    "public_key: it has {} bytes, at most {PUBLIC_KEY_BYTES_MAX} are taken",
                    text.len()
                )));
            }
            let key = PublicKey::parse(text)
                .map_err(|error| AdminError::invalid(format!("public_key: {error}")))?;
            Ok(Offered::Public(key.spki().to_vec()))
        }
        (None, Some(text), false) => {
            // What was given is not repeated.
            let secret = STANDARD.decode(text.trim_ascii()).map(Zeroizing::new).ok();
            let fits = SHARED_SECRET_BYTES_MIN..=SHARED_SECRET_BYTES_MAX;
            let secret = secret.filter(|secret| fits.contains(&secret.len()));
            let secret = secret.ok_or_else(|| {
                AdminError::invalid(format!(
                    "shared_secret: it is {SHARED_SECRET_BYTES_MIN} to {SHARED_SECRET_BYTES_MAX} \
                     bytes in base64; `openssl rand -base64 32` makes one, and so does keygate"
                ))
            })?;
            Ok(Offered::Shared(secret, false))
        }
        (None, None, true) => Ok(Offered::Shared(random::shared_secret()?, true)),
        _ => Err(AdminError::invalid(
            "a verification key is one of `public_key`, `shared_secret` and `generate`, and one alone",
        )),
    }
}

fn check_revision(before: &KeyRecord, expected: Option<u64>) -> Result<(), AdminError> {
    match expected.filter(|expected| *expected != before.revision) {
        Some(expected) => Err(AdminError::conflict(lost_update(before, expected))),
        None => Ok(()),
    }
}

fn check_room(before: &KeyRecord, name: &str) -> Result<(), AdminError> {
    let id = before.id;
    if before.status == Status::Revoked {
        return Err(AdminError::conflict(format!(
            "key {id} is REVOKED, which is final, so a verification key would be of no use; create \
             a new key"
        )));
    }
    if before.signing_keys.iter().any(|key| key.id == name) {
        return Err(AdminError::conflict(format!(
            "key {id} has a verification key {name:?} already; add this one under another name, or \
             remove that one first: `keygate key signing remove {id} --key-id {name}`"
        )));
    }
    if before.signing_keys.len() >= SIGNING_KEYS_MAX {
        return Err(AdminError::conflict(format!(
            "key {id} has {SIGNING_KEYS_MAX} verification keys, which is the most; remove one that \
             nobody signs with any more"
        )));
    }
    Ok(())
}

/// Whether a key demands that requests be signed.
pub(super) const fn demands_signing(record: &KeyRecord) -> bool {
    record.enforce_signing || record.require_request_signing
}

fn allowed(record: &KeyRecord) -> Algorithms {
    Algorithms::of_list(record.allowed_signature_algorithms.iter().map(String::as_str))
}

/// What a writer should know of a record's signing, first of all why no request can pass.
pub(super) fn signing_notice(record: &KeyRecord) -> Option<String> {
    if !demands_signing(record) {
        return None;
    }
    let id = record.id;
    if record.signing_keys.is_empty() {
        return Some(format!(
            "the key demands signed requests and has no verification key, so it is denied: \
             `keygate key signing add {id} --key-id NAME --public-key FILE` adds one"
        ));
    }
    let allowed = allowed(record);
    let idle = |key: &&SigningKey| told(key, allowed).algorithms.is_empty();
    let names: Vec<&str> =
        record.signing_keys.iter().filter(idle).map(|key| key.id.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "allowed_signature_algorithms has no algorithm of these verification keys, so they \
             verify nothing: {}",
            names.join(", ")
        )
    })
}

/// What is told of a verification key: of a shared secret, that it is one.
fn told(key: &SigningKey, allowed: Algorithms) -> wire::SigningKey {
    use Algorithm::{
        EcdsaP256Sha256, EcdsaP384Sha384, Ed25519, HmacSha256, RsaPssSha512, RsaV15Sha256,
    };
    let (kind, fitting, public_key): (_, &[Algorithm], _) = match &key.material {
        SigningMaterial::Shared(_) => ("shared-secret", &[HmacSha256], None),
        SigningMaterial::Public(der) => {
            let (kind, fitting): (_, &[Algorithm]) =
                match PublicKey::from_spki(der).map(|key| key.kind()) {
                    Ok(Kind::Rsa) => ("rsa", &[RsaPssSha512, RsaV15Sha256]),
                    Ok(Kind::P256) => ("ecdsa-p256", &[EcdsaP256Sha256]),
                    Ok(Kind::P384) => ("ecdsa-p384", &[EcdsaP384Sha384]),
                    Ok(Kind::Ed25519) => ("ed25519", &[Ed25519]),
                    Err(_) => ("unknown", &[]),
                };
            (kind, fitting, Some(pem(der)))
        }
    };
    let algorithms = fitting.iter().filter(|algorithm| allowed.has(**algorithm));
    wire::SigningKey {
        key_id: key.id.clone(),
        kind: kind.to_owned(),
        algorithms: algorithms.map(|algorithm| algorithm.name().to_owned()).collect(),
        public_key,
        added_at: key.added_at.map(|at| at.to_string()),
    }
}
