//! What it costs to verify a signed request, by algorithm (RFC 9421).
//!
//! `cargo bench --bench sign`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use keygate::sign::input::Component;
use keygate::sign::{
    Algorithm, Algorithms, Material, Policy, PublicKey, Request, Signer, Stamp, Verifier, Verifiers,
};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use zeroize::Zeroizing;

const NOW_S: i64 = 1_795_625_999;
const COVERED: [&str; 4] = ["@method", "@authority", "@path", "@query"];

/// The DER of a `SubjectPublicKeyInfo` up to its key (RFC 5480, RFC 8410).
const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
const P384: &str = "3076301006072a8648ce3d020106052b81040022036200";
const ED25519: &str = "302a300506032b6570032100";

fn public(prefix: &str, key: &[u8]) -> Material {
    let byte = |at: usize| u8::from_str_radix(&prefix[at..at + 2], 16).expect("hexadecimal");
    let mut der: Vec<u8> = (0..prefix.len()).step_by(2).map(byte).collect();
    der.extend_from_slice(key);
    Material::Public(PublicKey::from_spki(&der).expect("a key"))
}

fn ecdsa(
    algorithm: Algorithm,
    curve: &'static EcdsaSigningAlgorithm,
    prefix: &str,
) -> (Signer, Material) {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("random");
    let pair = EcdsaKeyPair::from_pkcs8(curve, der.as_ref(), &random).expect("a key");
    let signer = Signer::from_pkcs8("k", algorithm, der.as_ref()).expect("a key");
    (signer, public(prefix, pair.public_key().as_ref()))
}

fn rsa(algorithm: Algorithm) -> (Signer, Material) {
    let private = include_str!("../src/sign/tests/rsa_private.pem");
    let key = PublicKey::parse(include_str!("../src/sign/tests/rsa_public.pem")).expect("a key");
    (Signer::from_pem("k", algorithm, private).expect("a key"), Material::Public(key))
}

fn pair(algorithm: Algorithm) -> (Signer, Material) {
    match algorithm {
        Algorithm::RsaPssSha512 | Algorithm::RsaV15Sha256 => rsa(algorithm),
        Algorithm::EcdsaP256Sha256 => ecdsa(algorithm, &ECDSA_P256_SHA256_FIXED_SIGNING, P256),
        Algorithm::EcdsaP384Sha384 => ecdsa(algorithm, &ECDSA_P384_SHA384_FIXED_SIGNING, P384),
        Algorithm::Ed25519 => {
            let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("random");
            let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("a key");
            let signer = Signer::from_pkcs8("k", algorithm, der.as_ref()).expect("a key");
            (signer, public(ED25519, pair.public_key().as_ref()))
        }
        Algorithm::HmacSha256 => {
            let signer = Signer::from_secret("k", &[7; 32]).expect("a secret");
            (signer, Material::Shared(Zeroizing::new(vec![7; 32])))
        }
    }
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sign_verify");
    let components = COVERED.iter().map(|name| Component::new(name).expect("a component"));
    let policy =
        Policy { max_age_s: 300, skew_s: 300, components: components.collect(), covers_body: true };
    for algorithm in Algorithm::ALL {
        let (signer, material) = pair(algorithm);
        let keys = vec![Verifier { id: "k".to_owned(), material }];
        let verifiers = Verifiers::new(keys, Algorithms::of_list([algorithm.name()]));
        let plain = Request {
            method: Some("POST"),
            scheme: Some("https"),
            authority: Some("api.example.com"),
            path: Some("/leads/42"),
            query: Some("page=2"),
            ..Request::default()
        };
        let stamp = Stamp { created: NOW_S, nonce: Some("p3xz"), ..Stamp::default() };
        let signed = signer.sign(&plain, &COVERED, &stamp).expect("what can be signed");
        let headers = [
            ("Signature-Input", signed.input.as_bytes()),
            ("Signature", signed.signature.as_bytes()),
        ];
        let request = Request { headers: &headers, ..plain };
        assert!(verifiers.verify(&request, &policy, NOW_S).is_ok());
        group.bench_function(algorithm.name(), |bencher| {
            bencher.iter(|| verifiers.verify(black_box(&request), &policy, NOW_S));
        });
    }
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
