//! Public keys: read from PEM, JWK or DER, and kept as a `SubjectPublicKeyInfo`.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::pem::{self, LineEnding};
use der::{Decode, Encode};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::jwk;

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

impl Kind {
    /// Bytes of a key that is one of a fixed length: an uncompressed point, or that of `Ed25519`.
    const fn key_bytes(self) -> Option<usize> {
        match self {
            Self::Rsa => None,
            Self::P256 => Some(1 + 2 * 32),
            Self::P384 => Some(1 + 2 * 48),
            Self::Ed25519 => Some(32),
        }
    }
}

/// Why a text or bytes are no public key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor JWK.
    #[error("it is neither a PEM block of a public key nor a JWK")]
    Form,
    /// More than a public key has.
    #[error("it has more than {TEXT_BYTES_MAX} bytes, and a public key has fewer")]
    TooLong,
    /// A block of PEM that is something else.
    #[error("it is a PEM block of {0:?}; a public key is in one of \"PUBLIC KEY\"")]
    Label(String),
    /// The other half.
    #[error(
        "it is a private key, which stays with whoever signs: give the public key made from it, \
         and make a new pair if others have seen this text"
    )]
    Private,
    /// The DER is broken.
    #[error("its content is not a public key in DER (SubjectPublicKeyInfo): {0}")]
    Der(&'static str),
    /// A kind of key that verifies none of the algorithms.
    #[error("it is none of RSA, P-256, P-384 and Ed25519 keys")]
    Kind,
    /// RSA that is too weak, too costly or wrong.
    #[error("its RSA key is not one of 2048 to 8192 bits with an odd exponent from 3 to 2^32")]
    Rsa,
    /// Not a point that can be used.
    #[error("its point is not an uncompressed one of its curve")]
    Point,
    /// A key of `Ed25519` that shows nothing.
    #[error(
        "its Ed25519 key is a point of small order, which anybody can sign for, or is not in its \
         canonical form"
    )]
    Weak,
    /// A JWK that breaks its rules.
    #[error("its JWK {0}")]
    Jwk(&'static str),
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    spki: Box<[u8]>,
    /// Where the key itself begins within `spki`, at whose end it stands.
    key_at: usize,
}

/// The longest text of a key that is read; one of 8,192 bits has a tenth of that.
const TEXT_BYTES_MAX: usize = 16 * 1024;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const RSA_EXPONENT_MIN: u64 = 3;
const RSA_EXPONENT_MAX: u64 = 1 << 32;

impl PublicKey {
    /// Reads a PEM block (RFC 7468) of a `SubjectPublicKeyInfo` or of PKCS#1 (`RSA PUBLIC KEY`), or a
    /// JWK (RFC 7517, 7518 and 8037). A point of P-256 and P-384 is shown to be on its
    /// curve; 32 bytes of `Ed25519` that are no point verify nothing.
    ///
    /// # Errors
    /// [`KeyError`] says what to give instead.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(KeyError::TooLong);
        }
        let text = text.trim();
        let key = if text.starts_with('{') { jwk::read(text)? } else { of_pem(text)? };
        if key.is_on_its_curve() { Ok(key) } else { Err(KeyError::Point) }
    }

    /// Reads a `SubjectPublicKeyInfo` in DER. A point that is not on its curve is not seen here, and
    /// verifies nothing.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let broken = KeyError::Der("it is not DER, or more follows");
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| broken)?;
        let key = info.subject_public_key.as_bytes();
        let key = key.ok_or(KeyError::Der("it does not end at a byte"))?;
        let kind = kind_of(&info.algorithm)?;
        match kind.key_bytes() {
            None => check_rsa(key)?,
            // 4 marks an uncompressed point (SEC 1, section 2.3.3).
            Some(bytes) if kind != Kind::Ed25519 => {
                if key.len() != bytes || key.first() != Some(&4) {
                    return Err(KeyError::Point);
                }
            }
            Some(bytes) if key.len() != bytes => return Err(KeyError::Point),
            Some(_) if is_weak(key) => return Err(KeyError::Weak),
            Some(_) => {}
        }
        Ok(Self { kind, spki: der.into(), key_at: der.len() - key.len() })
    }

    /// Puts the key itself into a `SubjectPublicKeyInfo`.
    pub(super) fn from_key(kind: Kind, key: &[u8]) -> Result<Self, KeyError> {
        let (oid, parameters) = match kind {
            Kind::Rsa => (RSA, Some(AnyRef::NULL)),
            Kind::P256 => (EC, Some(AnyRef::from(&P256))),
            Kind::P384 => (EC, Some(AnyRef::from(&P384))),
            Kind::Ed25519 => (ED25519, None),
        };
        let too_long = |_| KeyError::TooLong;
        let info = SubjectPublicKeyInfoRef {
            algorithm: AlgorithmIdentifierRef { oid, parameters },
            subject_public_key: BitStringRef::from_bytes(key).map_err(too_long)?,
        };
        Self::from_spki(&info.to_der().map_err(too_long)?)
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

    /// A PEM block of it, with a line end behind each line.
    #[must_use]
    pub fn to_pem(&self) -> String {
        // Only a length beyond what memory has fails.
        pem::encode_string("PUBLIC KEY", LineEnding::LF, &self.spki).unwrap_or_default()
    }

    /// The key itself: an uncompressed point, 32 bytes of `Ed25519`, or an `RSAPublicKey` in DER.
    pub(super) fn key(&self) -> &[u8] {
        self.spki.get(self.key_at..).unwrap_or_default()
    }

    /// Agrees on a secret with it, which nobody needs: that is where `ring` looks at a point before
    /// anything is signed with its key.
    fn is_on_its_curve(&self) -> bool {
        use ring::agreement::{
            ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral,
        };
        let curve = match self.kind {
            Kind::P256 => &ECDH_P256,
            Kind::P384 => &ECDH_P384,
            Kind::Rsa | Kind::Ed25519 => return true,
        };
        let own = EphemeralPrivateKey::generate(curve, &ring::rand::SystemRandom::new());
        let point = UnparsedPublicKey::new(curve, self.key());
        own.and_then(|own| agree_ephemeral(own, &point, |_| ())).is_ok()
    }
}

fn of_pem(text: &str) -> Result<PublicKey, KeyError> {
    let label = pem::decode_label(text.as_bytes()).map_err(|_| KeyError::Form)?;
    if label.ends_with("PRIVATE KEY") {
        return Err(KeyError::Private);
    }
    let broken = |_| KeyError::Der("the base64 of its PEM is broken");
    let content = || pem::decode_vec(text.as_bytes()).map_err(broken);
    match label {
        "PUBLIC KEY" => PublicKey::from_spki(&content()?.1),
        "RSA PUBLIC KEY" => PublicKey::from_key(Kind::Rsa, &content()?.1),
        other => Err(KeyError::Label(other.to_owned())),
    }
}

/// Whether bytes of `Ed25519` are one of the 8 points of small order, or are no canonical encoding
/// (RFC 8032, 5.1.3: y is below p). By a point of small order, a signature that is made without any
/// private key verifies, over whatever is signed, and `ring` does not look.
fn is_weak(key: &[u8]) -> bool {
    let Ok(mut y) = <[u8; 32]>::try_from(key) else { return true };
    // The sign of x; without it, points come in pairs.
    y[31] &= 0x7f;
    let is_at_least = |floor: &[u8; 32]| y.iter().rev().cmp(floor.iter().rev()).is_ge();
    is_at_least(&P) || SMALL_ORDER.contains(&y)
}

/// 2^255 - 19, the last byte of it first.
const P: [u8; 32] = near_p(0xed);

/// The y of the points of small order: of order 1, 2 and 4 (1, p - 1 and 0), and both of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    small(1),
    near_p(0xec),
    small(0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

const fn small(y: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = y;
    bytes
}

const fn near_p(first: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = first;
    bytes[31] = 0x7f;
    bytes
}

/// RFC 8017 (A.1), RFC 5480 (2.1.1) and RFC 8410 (3) say which parameters each has.
fn kind_of(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<Kind, KeyError> {
    let curve = || algorithm.parameters_oid().ok();
    match algorithm.oid {
        RSA if algorithm.parameters == Some(AnyRef::NULL) => Ok(Kind::Rsa),
        EC if curve() == Some(P256) => Ok(Kind::P256),
        EC if curve() == Some(P384) => Ok(Kind::P384),
        ED25519 if algorithm.parameters.is_none() => Ok(Kind::Ed25519),
        _ => Err(KeyError::Kind),
    }
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
#[derive(der::Sequence)]
pub(super) struct RsaKey<'a> {
    pub(super) modulus: UintRef<'a>,
    pub(super) exponent: UintRef<'a>,
}

fn check_rsa(key: &[u8]) -> Result<(), KeyError> {
    let broken = |_| KeyError::Der("the RSA key in it is not one");
    let key = RsaKey::from_der(key).map_err(broken)?;
    let (modulus, exponent) = (key.modulus.as_bytes(), key.exponent.as_bytes());
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let zeros = modulus.first().map_or(0, |first| first.leading_zeros());
    let bits = (8 * modulus.len()).saturating_sub(zeros as usize);
    let value = exponent.iter().try_fold(0_u64, |value, byte| {
        value.checked_mul(256).map(|value| value | u64::from(*byte))
    });
    let fits = value.is_some_and(|value| (RSA_EXPONENT_MIN..=RSA_EXPONENT_MAX).contains(&value));
    if RSA_BITS.contains(&bits) && is_odd(modulus) && is_odd(exponent) && fits {
        Ok(())
    } else {
        Err(KeyError::Rsa)
    }
}
