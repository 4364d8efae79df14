//! Public keys as JSON Web Keys (RFC 7517; RFC 7518, section 6; RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::Encode as _;
use der::asn1::UintRef;
use serde_json::{Map, Value};

use super::public_key::{KeyError, Kind, PublicKey, RsaKey};

/// What stands in private keys alone: of RSA and curves, and of symmetric ones.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Reads one. What it says of its use must allow what it is here for.
pub(super) fn read(text: &str) -> Result<PublicKey, KeyError> {
    let jwk: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| KeyError::Jwk("is not JSON"))?;
    if jwk.contains_key("keys") {
        return Err(KeyError::Jwk("is a set of keys; give one of them"));
    }
    if member(&jwk, "kty")? == "oct" {
        return Err(KeyError::Jwk("is a shared secret; add it as one, not as a public key"));
    }
    if PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
        return Err(KeyError::Private);
    }
    let (key, algorithms): (_, &[&str]) = match member(&jwk, "kty")? {
        "RSA" => (rsa(&jwk)?, &["PS512", "RS256"]),
        "EC" => match member(&jwk, "crv")? {
            "P-256" => (point(&jwk, Kind::P256, 32)?, &["ES256"]),
            "P-384" => (point(&jwk, Kind::P384, 48)?, &["ES384"]),
            _ => return Err(KeyError::Kind),
        },
        "OKP" if member(&jwk, "crv")? == "Ed25519" => {
            (PublicKey::from_key(Kind::Ed25519, &bytes(&jwk, "x")?)?, &["EdDSA", "Ed25519"])
        }
        _ => return Err(KeyError::Kind),
    };
    check_use(&jwk, algorithms)?;
    Ok(key)
}

fn check_use(jwk: &Map<String, Value>, algorithms: &[&str]) -> Result<(), KeyError> {
    if jwk.get("use").is_some_and(|its_use| its_use != "sig") {
        return Err(KeyError::Jwk("has a \"use\" other than \"sig\""));
    }
    let verifies = |operations: &Value| {
        operations.as_array().is_some_and(|them| them.iter().any(|one| one == "verify"))
    };
    if !jwk.get("key_ops").is_none_or(verifies) {
        return Err(KeyError::Jwk("has \"key_ops\" without \"verify\""));
    }
    let suits = |alg: &Value| alg.as_str().is_some_and(|alg| algorithms.contains(&alg));
    if !jwk.get("alg").is_none_or(suits) {
        return Err(KeyError::Jwk("has an \"alg\" that no signature here is made with"));
    }
    Ok(())
}

fn rsa(jwk: &Map<String, Value>) -> Result<PublicKey, KeyError> {
    let (modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    // RFC 7518, section 2: a Base64urlUInt has the least number of bytes.
    if modulus.first() == Some(&0) || exponent.first() == Some(&0) {
        return Err(KeyError::Jwk("has a number that begins with a zero byte"));
    }
    let number = |bytes| UintRef::new(bytes).map_err(|_| KeyError::Rsa);
    let key = RsaKey { modulus: number(&modulus)?, exponent: number(&exponent)? };
    PublicKey::from_key(Kind::Rsa, &key.to_der().map_err(|_| KeyError::Rsa)?)
}

fn point(jwk: &Map<String, Value>, kind: Kind, bytes_each: usize) -> Result<PublicKey, KeyError> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != bytes_each || y.len() != bytes_each {
        return Err(KeyError::Point);
    }
    PublicKey::from_key(kind, &[&[4], x.as_slice(), y.as_slice()].concat())
}

fn member<'a>(jwk: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, KeyError> {
    let lacks = match name {
        "kty" => "lacks \"kty\"",
        "crv" => "lacks \"crv\"",
        "n" => "lacks \"n\"",
        "e" => "lacks \"e\"",
        "x" => "lacks \"x\"",
        _ => "lacks \"y\"",
    };
    jwk.get(name).and_then(Value::as_str).ok_or(KeyError::Jwk(lacks))
}

fn bytes(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let broken = KeyError::Jwk("has a value that is not base64url without padding");
    URL_SAFE_NO_PAD.decode(member(jwk, name)?).map_err(|_| broken)
}
