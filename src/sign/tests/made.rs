//! Keys of each kind, and requests that are signed with them.

use std::sync::LazyLock;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use zeroize::Zeroizing;

use crate::sign::input::Component;
use crate::sign::public_key::Kind;
use crate::sign::{
    Algorithm, Algorithms, Body, Failure, Material, Policy, PublicKey, Request, Signature, Signed,
    Signer, Stamp, Verifier, Verifiers,
};

/// Made for these tests, since `ring` makes no keys of RSA. It opens nothing.
const RSA_PRIVATE: &str = include_str!("rsa_private.pem");
pub(super) const RSA_PUBLIC: &str = include_str!("rsa_public.pem");
const SECRET: [u8; 32] = [7; 32];
pub(super) const NOW_S: i64 = 1_795_625_999;

struct Pairs {
    ed25519: Vec<u8>,
    p256: Vec<u8>,
    p384: Vec<u8>,
}

static PAIRS: LazyLock<Pairs> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let ecdsa =
        |curve| EcdsaKeyPair::generate_pkcs8(curve, &random).expect("random").as_ref().to_owned();
    Pairs {
        ed25519: Ed25519KeyPair::generate_pkcs8(&random).expect("random").as_ref().to_owned(),
        p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
        p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
    }
});

pub(super) fn signer(algorithm: Algorithm) -> Signer {
    let pairs = &*PAIRS;
    let of = |der: &[u8]| Signer::from_pkcs8("k", algorithm, der).expect("a key");
    match algorithm {
        Algorithm::RsaPssSha512 | Algorithm::RsaV15Sha256 => {
            Signer::from_pem("k", algorithm, RSA_PRIVATE).expect("a key")
        }
        Algorithm::HmacSha256 => Signer::from_secret("k", &SECRET).expect("a secret"),
        Algorithm::EcdsaP256Sha256 => of(&pairs.p256),
        Algorithm::EcdsaP384Sha384 => of(&pairs.p384),
        Algorithm::Ed25519 => of(&pairs.ed25519),
    }
}

fn material(algorithm: Algorithm) -> Material {
    let pairs = &*PAIRS;
    let ecdsa = |curve, der: &[u8], kind| {
        let pair = EcdsaKeyPair::from_pkcs8(curve, der, &SystemRandom::new()).expect("a key");
        PublicKey::from_key(kind, pair.public_key().as_ref()).expect("a key")
    };
    Material::Public(match algorithm {
        Algorithm::RsaPssSha512 | Algorithm::RsaV15Sha256 => {
            PublicKey::parse(RSA_PUBLIC).expect("a key")
        }
        Algorithm::HmacSha256 => return Material::Shared(Zeroizing::new(SECRET.to_vec())),
        Algorithm::EcdsaP256Sha256 => {
            ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &pairs.p256, Kind::P256)
        }
        Algorithm::EcdsaP384Sha384 => {
            ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &pairs.p384, Kind::P384)
        }
        Algorithm::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8(&pairs.ed25519).expect("a key");
            PublicKey::from_key(Kind::Ed25519, pair.public_key().as_ref()).expect("a key")
        }
    })
}

pub(super) fn verifiers(algorithms: &[Algorithm], allowed: &[Algorithm]) -> Verifiers {
    let key =
        |algorithm: &Algorithm| Verifier { id: "k".to_owned(), material: material(*algorithm) };
    let names = allowed.iter().map(|algorithm| algorithm.name());
    Verifiers::new(algorithms.iter().map(key).collect(), Algorithms::of_list(names))
}

pub(super) const DEMANDED: [&str; 4] = ["@method", "@authority", "@path", "@query"];

pub(super) fn policy() -> Policy {
    let components = DEMANDED.iter().map(|name| Component::new(name).expect("a component"));
    Policy { max_age_s: 300, skew_s: 60, components: components.collect(), covers_body: true }
}

/// A request that owns its parts, so that one of them can be changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Owned {
    pub(super) method: String,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

impl Owned {
    pub(super) fn with<T>(
        &self,
        body: Option<Body<'_>>,
        then: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        then(&Request {
            method: Some(&self.method),
            scheme: Some("https"),
            authority: Some(&self.authority),
            path: Some(&self.path),
            query: self.query.as_deref(),
            headers: &headers,
            body,
        })
    }

    pub(super) fn carry(&mut self, signed: Signed) {
        self.headers.push(("Signature-Input".to_owned(), signed.input.into_bytes()));
        self.headers.push(("Signature".to_owned(), signed.signature.into_bytes()));
    }
}

pub(super) fn names(request: &Owned) -> Vec<&str> {
    let mut fields: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    fields.sort_unstable();
    fields.dedup();
    [&DEMANDED, fields.as_slice()].concat()
}

pub(super) fn sign(request: &mut Owned, algorithm: Algorithm, stamp: &Stamp<'_>) {
    let names = names(request);
    let signed = request.with(None, |request| signer(algorithm).sign(request, &names, stamp));
    let signed = signed.expect("what can be signed");
    request.carry(signed);
}

pub(super) fn verify(request: &Owned, algorithm: Algorithm) -> Result<Signature, Failure> {
    let verifiers = verifiers(&[algorithm], &Algorithm::ALL);
    request.with(None, |request| verifiers.verify(request, &policy(), NOW_S))
}

pub(super) const STAMP: Stamp<'_> = Stamp { created: NOW_S, expires: None, nonce: Some("n") };

/// A request of no header fields.
pub(super) fn plain() -> Owned {
    Owned {
        method: "POST".to_owned(),
        authority: "api.example.com".to_owned(),
        path: "/leads".to_owned(),
        query: None,
        headers: Vec::new(),
    }
}
