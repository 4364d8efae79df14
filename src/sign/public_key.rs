//! Public keys: read from PEM, JWK or DER, and kept as a `SubjectPublicKeyInfo`.

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RSA of 2,048 to 8,192 bits.
    Rsa,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// EdDSA on curve edwards25519.
    Ed25519,
}

/// Why a text or bytes are no public key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor JWK.
    #[error("it is neither a PEM block of a public key nor a JWK")]
    Form,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    spki: Box<[u8]>,
}

impl PublicKey {
    /// Reads a PEM block or a JWK.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let _ = text;
        Err(KeyError::Form)
    }

    /// Reads a `SubjectPublicKeyInfo` in DER.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let _ = der;
        Err(KeyError::Form)
    }

    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub const fn spki(&self) -> &[u8] {
        &self.spki
    }
}
