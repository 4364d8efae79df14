//! The other side: whoever holds a key signs its requests.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaKeyPair,
};
use sfv::{BareItem, Integer, Item, Key, Parameters};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::base::signature_base;
use super::input::{COMPONENTS_MAX, Component, serialized};
use super::{Algorithm, KEY_ID_BYTES_MAX, Request, SECRET_BYTES_MAX, SECRET_BYTES_MIN};

/// Signs requests with one key.
///
/// ```
/// use keygate::sign::{Request, Signer, Stamp};
/// let signer = Signer::from_secret("2026-11", &[7; 32])?;
/// let request = Request {
///     method: Some("GET"),
///     scheme: Some("https"),
///     authority: Some("api.example.com"),
///     path: Some("/leads"),
///     query: Some("page=2"),
///     ..Request::default()
/// };
/// let covered = ["@method", "@authority", "@path", "@query"];
/// let stamp = Stamp { created: 1_795_625_999, nonce: Some("p3xz"), ..Stamp::default() };
/// let signed = signer.sign(&request, &covered, &stamp)?;
/// assert!(signed.input.starts_with(r#"sig=("@method" "@authority" "@path" "@query");created="#));
/// # Ok::<(), keygate::sign::SignError>(())
/// ```
pub struct Signer {
    key_id: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair, Algorithm),
    Ecdsa(EcdsaKeyPair, Algorithm),
    Ed25519(Ed25519KeyPair),
    Shared(Zeroizing<Vec<u8>>),
}

/// When a request is signed, and what makes it one of its kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// Now, in seconds since 1970.
    pub created: i64,
    /// From when on nobody is to take it, in seconds since 1970, if that is sooner than a verifier
    /// would say.
    pub expires: Option<i64>,
    /// What no other request of the same key has, such as 16 random bytes in base64. Without it, two
    /// equal requests of one second are one.
    pub nonce: Option<&'a str>,
}

/// The values of the two header fields that carry a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// That of `Signature-Input`.
    pub input: String,
    /// That of `Signature`.
    pub signature: String,
}

/// Why nothing can be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// What the verifier is to know the key by.
    #[error("a key id is 1 to {KEY_ID_BYTES_MAX} visible ASCII characters")]
    KeyId,
    /// Too short or long.
    #[error("a shared secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")]
    Secret,
    /// No key that signs so.
    #[error("it is no private key for {0}: a PKCS#8 key of its kind is (\"PRIVATE KEY\" in PEM)")]
    Key(&'static str),
    /// What is to be covered.
    #[error(
        "what is covered is at most {COMPONENTS_MAX} names of header fields in lower case and of \
         components such as @method, each once; {0:?} is not, or the request does not have it"
    )]
    Component(String),
    /// What a structured field cannot say.
    #[error("a nonce is printable ASCII, and times are within 15 digits")]
    Stamp,
    /// The signature itself failed.
    #[error("the key could not sign")]
    Failed,
}

impl Signer {
    /// With a private key in PEM: PKCS#8, unencrypted. `key_id` is what the API key's verification
    /// key is called.
    ///
    /// # Errors
    /// [`SignError::KeyId`], [`SignError::Key`].
    pub fn from_pem(key_id: &str, algorithm: Algorithm, text: &str) -> Result<Self, SignError> {
        let wrong = || SignError::Key(algorithm.name());
        let (label, der) = pem::decode_vec(text.trim().as_bytes()).map_err(|_| wrong())?;
        let der = Zeroizing::new(der);
        if label != "PRIVATE KEY" {
            return Err(wrong());
        }
        Self::from_pkcs8(key_id, algorithm, &der)
    }

    /// With a private key in DER: PKCS#8, unencrypted.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_pkcs8(key_id: &str, algorithm: Algorithm, der: &[u8]) -> Result<Self, SignError> {
        let wrong = |_| SignError::Key(algorithm.name());
        let ecdsa = |curve| {
            let pair = EcdsaKeyPair::from_pkcs8(curve, der, &SystemRandom::new());
            Ok(Pair::Ecdsa(pair.map_err(wrong)?, algorithm))
        };
        let pair = match algorithm {
            Algorithm::RsaPssSha512 | Algorithm::RsaV15Sha256 => {
                Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(wrong)?, algorithm)
            }
            Algorithm::EcdsaP256Sha256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Algorithm::EcdsaP384Sha384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
            // OpenSSL writes no public key beside it, so there is none to compare it with.
            Algorithm::Ed25519 => {
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(wrong)?)
            }
            Algorithm::HmacSha256 => return Err(SignError::Key(algorithm.name())),
        };
        Self::new(key_id, pair)
    }

    /// With a secret that the verifier has too, 32 to 128 bytes: `hmac-sha256`.
    ///
    /// # Errors
    /// [`SignError::KeyId`], [`SignError::Secret`].
    pub fn from_secret(key_id: &str, secret: &[u8]) -> Result<Self, SignError> {
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
            return Err(SignError::Secret);
        }
        Self::new(key_id, Pair::Shared(Zeroizing::new(secret.to_owned())))
    }

    fn new(key_id: &str, pair: Pair) -> Result<Self, SignError> {
        let sound = (1..=KEY_ID_BYTES_MAX).contains(&key_id.len())
            && key_id.bytes().all(|byte| byte.is_ascii_graphic());
        if sound { Ok(Self { key_id: key_id.to_owned(), pair }) } else { Err(SignError::KeyId) }
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.pair {
            Pair::Rsa(_, algorithm) | Pair::Ecdsa(_, algorithm) => *algorithm,
            Pair::Ed25519(_) => Algorithm::Ed25519,
            Pair::Shared(_) => Algorithm::HmacSha256,
        }
    }

    /// Signs these components of a request: `@method`, `@target-uri`, `@authority`, `@scheme`, `@path`,
    /// `@query`, and header fields in lower case. Of a body, cover the `content-digest` that its
    /// header fields have.
    ///
    /// # Errors
    /// [`SignError::Component`], [`SignError::Stamp`], [`SignError::Failed`].
    pub fn sign(
        &self,
        request: &Request<'_>,
        covered: &[&str],
        stamp: &Stamp<'_>,
    ) -> Result<Signed, SignError> {
        let mut components: Vec<Component> = Vec::with_capacity(covered.len());
        for name in covered {
            let component = Component::new(name).filter(|own| {
                components.len() < COMPONENTS_MAX
                    && !components.contains(own)
                    && request.component(own.name()).is_some()
            });
            let wrong = || SignError::Component((*name).to_owned());
            components.push(component.ok_or_else(wrong)?);
        }
        let params = self.params(&components, stamp).ok_or(SignError::Stamp)?;
        let base = signature_base(request, &components, &params).ok_or(SignError::Failed)?;
        let signature = self.pair.sign(base.as_bytes()).ok_or(SignError::Failed)?;
        let signature = format!("{LABEL}=:{}:", STANDARD.encode(signature));
        Ok(Signed { input: format!("{LABEL}={params}"), signature })
    }

    fn params(&self, components: &[Component], stamp: &Stamp<'_>) -> Option<String> {
        let text = |text: &str| sfv::String::from_string(text.to_owned()).ok().map(BareItem::from);
        let seconds = |at: i64| Integer::try_from(at).ok().map(BareItem::from);
        let mut params = Parameters::new();
        let mut put = |name: &'static str, value: BareItem| {
            drop(params.insert(Key::from_string(name.to_owned()).ok()?, value));
            Some(())
        };
        put("created", seconds(stamp.created)?)?;
        if let Some(expires) = stamp.expires {
            put("expires", seconds(expires)?)?;
        }
        if let Some(nonce) = stamp.nonce {
            put("nonce", text(nonce)?)?;
        }
        put("alg", text(self.algorithm().name())?)?;
        put("keyid", text(&self.key_id)?)?;
        let items = components.iter().map(|component| Some(Item::new(text(component.name())?)));
        let items = items.collect::<Option<Vec<_>>>()?;
        serialized(&sfv::InnerList { items, params })
    }
}

/// How the two fields call the signature.
const LABEL: &str = "sig";

impl Pair {
    fn sign(&self, base: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, algorithm) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = if *algorithm == Algorithm::RsaPssSha512 {
                    pair.sign(&RSA_PSS_SHA512, &random, base, &mut signature)
                } else {
                    pair.sign(&RSA_PKCS1_SHA256, &random, base, &mut signature)
                };
                signed.ok().map(|()| signature)
            }
            Self::Ecdsa(pair, _) => Some(pair.sign(&random, base).ok()?.as_ref().to_owned()),
            Self::Ed25519(pair) => Some(pair.sign(base).as_ref().to_owned()),
            Self::Shared(secret) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
                mac.update(base);
                Some(mac.finalize().into_bytes().to_vec())
            }
        }
    }
}

/// The key is not shown.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}
