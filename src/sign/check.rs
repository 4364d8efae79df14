//! The algorithms themselves (RFC 9421, section 3.3), by `ring` and `hmac`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use sha2::Sha256;

use super::public_key::Kind;
use super::verify::Material;
use super::{Algorithm, Algorithms};

/// The algorithm that a key of this kind verifies where the signature does not say: of RSA's two PSS,
/// unless the other is the only one that is allowed.
pub(super) fn implied(material: &Material, allowed: Algorithms) -> Algorithm {
    match material {
        // What is unusable is refused before that.
        Material::Shared(_) | Material::Unusable => Algorithm::HmacSha256,
        Material::Public(key) => match key.kind() {
            Kind::P256 => Algorithm::EcdsaP256Sha256,
            Kind::P384 => Algorithm::EcdsaP384Sha384,
            Kind::Ed25519 => Algorithm::Ed25519,
            Kind::Rsa
                if allowed.has(Algorithm::RsaV15Sha256)
                    && !allowed.has(Algorithm::RsaPssSha512) =>
            {
                Algorithm::RsaV15Sha256
            }
            Kind::Rsa => Algorithm::RsaPssSha512,
        },
    }
}

/// Whether the signature of these bytes is right. One of an algorithm that the key is not for is not.
pub(super) fn is_right(
    material: &Material,
    algorithm: Algorithm,
    base: &[u8],
    signature: &[u8],
) -> bool {
    let key = match (material, algorithm) {
        (Material::Shared(secret), Algorithm::HmacSha256) => {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
            mac.update(base);
            // The whole of it, in constant time.
            return mac.verify_slice(signature).is_ok();
        }
        (Material::Public(key), _) => key,
        (Material::Shared(_) | Material::Unusable, _) => return false,
    };
    let ring: &'static dyn VerificationAlgorithm = match (key.kind(), algorithm) {
        (Kind::Rsa, Algorithm::RsaPssSha512) => &RSA_PSS_2048_8192_SHA512,
        (Kind::Rsa, Algorithm::RsaV15Sha256) => &RSA_PKCS1_2048_8192_SHA256,
        (Kind::P256, Algorithm::EcdsaP256Sha256) => &ECDSA_P256_SHA256_FIXED,
        (Kind::P384, Algorithm::EcdsaP384Sha384) => &ECDSA_P384_SHA384_FIXED,
        (Kind::Ed25519, Algorithm::Ed25519) => &ED25519,
        _ => return false,
    };
    UnparsedPublicKey::new(ring, key.key()).verify(base, signature).is_ok()
}
