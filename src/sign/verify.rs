//! Verification: which signature of a request counts, and whether it is right.

use zeroize::Zeroizing;

use super::input::Component;
use super::{Algorithms, PublicKey, Request};

/// What verifies.
pub enum Material {
    /// A public key.
    Public(PublicKey),
    /// A secret that the signer has too.
    Shared(Zeroizing<Vec<u8>>),
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
    /// What a replay of it is told by: a digest of its verification key's id and its nonce, or the
    /// signature where it has none.
    pub replay: [u8; 32],
}

/// Why a request's signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There is none.
    Missing,
    /// None is right, or covers what it must.
    Invalid,
    /// It is too old, or of a time to come, or past its end.
    Expired,
    /// The key does not allow its algorithm.
    Algorithm,
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
    /// # Errors
    /// [`Failure`].
    pub fn verify(
        &self,
        request: &Request<'_>,
        policy: &Policy,
        now_s: i64,
    ) -> Result<Signature, Failure> {
        let _ = (request, policy, now_s, &self.keys, self.allowed);
        Err(Failure::Invalid)
    }
}
