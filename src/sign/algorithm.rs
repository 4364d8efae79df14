//! The algorithms of the HTTP signature registry (RFC 9421, section 6.2.2).

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-512 (section 3.3.1).
    RsaPssSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (section 3.3.2). Used only where a key lists it.
    RsaV15Sha256,
    /// HMAC with SHA-256 (section 3.3.3).
    HmacSha256,
    /// ECDSA on P-256 with SHA-256, as r and s of 32 bytes each (section 3.3.4).
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384, as r and s of 48 bytes each (section 3.3.5).
    EcdsaP384Sha384,
    /// EdDSA on curve edwards25519 (section 3.3.6).
    Ed25519,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RsaPssSha512,
        Self::RsaV15Sha256,
        Self::HmacSha256,
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::Ed25519,
    ];

    /// The name in the registry, which the `alg` parameter has.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaPssSha512 => "rsa-pss-sha512",
            Self::RsaV15Sha256 => "rsa-v1_5-sha256",
            Self::HmacSha256 => "hmac-sha256",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The algorithm of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A set of algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithms(u8);

impl Algorithms {
    /// None.
    pub const NONE: Self = Self(0);
    /// What a key allows that lists none: all but `rsa-v1_5-sha256`, whose padding has a history of
    /// verifiers that were too lenient.
    pub const SAFE: Self = Self(0b11_1111 & !(1 << Algorithm::RsaV15Sha256 as u8));

    /// Those of a key's list; the safe ones where it is empty. A name that is not known allows
    /// nothing.
    pub fn of_list<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Self::SAFE;
        }
        let known = names.filter_map(Algorithm::of_name);
        known.fold(Self::NONE, |set, algorithm| Self(set.0 | 1 << algorithm as u8))
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn has(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u8) != 0
    }
}
