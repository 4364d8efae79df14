//! Verification: which signature of a request counts, and whether it is right.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::base::signature_base;
use super::input::{self, Component, Labelled};
use super::{Algorithm, Algorithms, PublicKey, Request, check, content};

/// What verifies.
pub enum Material {
    /// A public key.
    Public(PublicKey),
    /// A secret that the signer has too.
    Shared(Zeroizing<Vec<u8>>),
    /// Neither, since what was kept cannot be used.
    Unusable,
}

/// One verification key.
pub struct Verifier {
    /// What the `keyid` parameter calls it.
    pub id: String,
    /// What verifies.
    pub material: Material,
}

/// What a signature must be, whatever its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long ago it may have been made, in seconds.
    pub max_age_s: u32,
    /// How far ahead of this clock the signer's may be, in seconds.
    pub skew_s: u32,
    /// What it must cover.
    pub components: Box<[Component]>,
    /// Whether it must cover `content-digest` where there is a body.
    pub covers_body: bool,
}

/// A signature that is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// When it was made: seconds since 1970.
    pub created: i64,
    /// What a replay of it is told by: a digest of its verification key's id and its nonce, or what
    /// was signed where it has none.
    pub replay: [u8; 32],
}

/// Why a request's signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There is none.
    Missing,
    /// None is right and covers what it must.
    Invalid,
    /// It is too old, or of a time to come, or past its end.
    Expired,
    /// The key does not allow its algorithm.
    Algorithm,
    /// What would verify it cannot be used.
    Unusable,
}

/// The verification keys of one API key, and the algorithms that it allows.
pub struct Verifiers {
    keys: Vec<Verifier>,
    allowed: Algorithms,
}

impl Verifiers {
    /// Takes them.
    #[must_use]
    pub const fn new(keys: Vec<Verifier>, allowed: Algorithms) -> Self {
        Self { keys, allowed }
    }

    /// Verifies the request's signature at a time in seconds since 1970.
    ///
    /// The signature that counts is the one whose `keyid` names a key of these. Where two do, neither
    /// counts: each alone would be right, so that whoever copies such a request could send it twice.
    /// What costs nothing is looked at first, so that one question verifies one signature at most.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn verify(
        &self,
        request: &Request<'_>,
        policy: &Policy,
        now_s: i64,
    ) -> Result<Signature, Failure> {
        let (one, verifier) = self.find(request)?;
        if matches!(verifier.material, Material::Unusable) {
            return Err(Failure::Unusable);
        }
        let created = one.created.ok_or(Failure::Invalid)?;
        if !policy.is_covered(&one.components, request.body.is_some()) {
            return Err(Failure::Invalid);
        }
        if !policy.is_timely(created, one.expires, now_s) {
            return Err(Failure::Expired);
        }
        let algorithm = self.algorithm(&one, &verifier.material)?;
        let base = signature_base(request, &one.components, &one.params);
        let base = base.ok_or(Failure::Invalid)?;
        let is_right =
            check::is_right(&verifier.material, algorithm, base.as_bytes(), &one.signature)
                && (!covers(&one.components, CONTENT_DIGEST) || content::is_of_body(request));
        if !is_right {
            return Err(Failure::Invalid);
        }
        Ok(Signature { created, replay: replay(&verifier.id, one.nonce.as_deref(), &base) })
    }

    /// The one signature that names one of these keys, and that key.
    fn find(&self, request: &Request<'_>) -> Result<(Labelled, &Verifier), Failure> {
        let has = |name| request.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        if !has(SIGNATURE_INPUT) && !has(SIGNATURE) {
            return Err(Failure::Missing);
        }
        let fields = request.field(SIGNATURE_INPUT).zip(request.field(SIGNATURE));
        let labelled = fields.and_then(|(input, signature)| input::read(&input, &signature));
        let ours = labelled.into_iter().flatten().filter_map(|one| {
            let verifier = self.keys.iter().find(|key| one.key_id.as_ref() == Some(&key.id))?;
            Some((one, verifier))
        });
        let mut ours = ours.fuse();
        match (ours.next(), ours.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(Failure::Invalid),
        }
    }

    /// What the signature says it is made with, or else what its key says.
    fn algorithm(&self, one: &Labelled, material: &Material) -> Result<Algorithm, Failure> {
        let implied = || Some(check::implied(material, self.allowed));
        let algorithm = one.alg.as_deref().map_or_else(implied, Algorithm::of_name);
        algorithm.filter(|algorithm| self.allowed.has(*algorithm)).ok_or(Failure::Algorithm)
    }
}

/// The ids alone.
impl fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Policy {
    fn is_covered(&self, components: &[Component], has_body: bool) -> bool {
        let demanded = self.components.iter().map(Component::name);
        let digest = (self.covers_body && has_body).then_some(CONTENT_DIGEST);
        demanded.chain(digest).all(|name| covers(components, name))
    }

    fn is_timely(&self, created: i64, expires: Option<i64>, now_s: i64) -> bool {
        let age_s = now_s.saturating_sub(created);
        age_s <= i64::from(self.max_age_s)
            && age_s >= -i64::from(self.skew_s)
            && expires.is_none_or(|expires| now_s <= expires)
    }
}

/// Whether a component is among them, itself or as a part of the whole target.
fn covers(components: &[Component], name: &str) -> bool {
    let is_part = matches!(name, "@scheme" | "@authority" | "@path" | "@query");
    components.iter().any(|own| own.name() == name || is_part && own.name() == "@target-uri")
}

/// The signature itself would not do where there is no nonce: of one of ECDSA, anybody can make a
/// second that is right too. So it is what was signed.
fn replay(key_id: &str, nonce: Option<&str>, base: &str) -> [u8; 32] {
    let (kind, text) = nonce.map_or((0, base), |nonce| (1, nonce));
    let mut digest = Sha256::new();
    // A length before the text, so that no two pairs are one row of bytes.
    digest.update((key_id.len() as u64).to_be_bytes());
    digest.update(key_id);
    digest.update([kind]);
    digest.update(text);
    digest.finalize().into()
}

const SIGNATURE_INPUT: &str = "signature-input";
const SIGNATURE: &str = "signature";
const CONTENT_DIGEST: &str = "content-digest";
