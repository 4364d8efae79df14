//! Requests of any kind: what our signer signs is right, and nothing else is.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use std::sync::LazyLock;
use zeroize::Zeroizing;

use crate::sign::input::{self, Component};
use crate::sign::public_key::Kind;
use crate::sign::{
    Algorithm, Algorithms, Body, Failure, Material, Policy, PublicKey, Request, Signed, Signer,
    Stamp, Verifier, Verifiers,
};

const RSA_PRIVATE: &str = include_str!("rsa_private.pem");
const RSA_PUBLIC: &str = include_str!("rsa_public.pem");
const SECRET: [u8; 32] = [7; 32];
const NOW_S: i64 = 1_795_625_999;

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

fn signer(algorithm: Algorithm) -> Signer {
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

fn verifiers(algorithms: &[Algorithm], allowed: &[Algorithm]) -> Verifiers {
    let key =
        |algorithm: &Algorithm| Verifier { id: "k".to_owned(), material: material(*algorithm) };
    let names = allowed.iter().map(|algorithm| algorithm.name());
    Verifiers::new(algorithms.iter().map(key).collect(), Algorithms::of_list(names))
}

const DEMANDED: [&str; 4] = ["@method", "@authority", "@path", "@query"];

fn policy() -> Policy {
    let components = DEMANDED.iter().map(|name| Component::new(name).expect("a component"));
    Policy { max_age_s: 300, skew_s: 60, components: components.collect(), covers_body: true }
}

/// A request that owns its parts, so that one of them can be changed.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    method: String,
    authority: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Owned {
    fn with<T>(&self, body: Option<Body<'_>>, then: impl FnOnce(&Request<'_>) -> T) -> T {
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

    fn carry(&mut self, signed: Signed) {
        self.headers.push(("Signature-Input".to_owned(), signed.input.into_bytes()));
        self.headers.push(("Signature".to_owned(), signed.signature.into_bytes()));
    }
}

fn request() -> impl Strategy<Value = Owned> {
    let headers = vec(("x-[a-c]", "[!-~]([ -~]{0,10}[!-~])?"), 0..4).prop_map(|headers| {
        headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect()
    });
    let target = ("(/[a-zA-Z0-9%._~-]{0,9}){1,3}", proptest::option::of("[a-zA-Z0-9&=%+]{0,20}"));
    ("[A-Z]{3,7}", "[a-z]{1,9}(\\.[a-z]{2,5}){1,2}(:80[0-9]{2})?", target, headers).prop_map(
        |(method, authority, (path, query), headers)| Owned {
            method,
            authority,
            path,
            query,
            headers,
        },
    )
}

fn names(request: &Owned) -> Vec<&str> {
    let mut fields: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    fields.sort_unstable();
    fields.dedup();
    [&DEMANDED, fields.as_slice()].concat()
}

fn sign(request: &mut Owned, algorithm: Algorithm, stamp: &Stamp<'_>) {
    let names = names(request);
    let signed = request.with(None, |request| signer(algorithm).sign(request, &names, stamp));
    let signed = signed.expect("what can be signed");
    request.carry(signed);
}

fn verify(request: &Owned, algorithm: Algorithm) -> Result<crate::sign::Signature, Failure> {
    let verifiers = verifiers(&[algorithm], &Algorithm::ALL);
    request.with(None, |request| verifiers.verify(request, &policy(), NOW_S))
}

const STAMP: Stamp<'_> = Stamp { created: NOW_S, expires: None, nonce: Some("n") };

/// Changes one part of a request, so that it means something else.
fn change(request: &mut Owned, which: usize, at: prop::sample::Index, bit: u8) {
    let flip = |text: &mut String| {
        let mut bytes = std::mem::take(text).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << (bit % 7);
        *text = String::from_utf8(bytes).expect("ASCII");
    };
    let headers = request.headers.len();
    match which % 5 {
        0 => flip(&mut request.method),
        1 => flip(&mut request.authority),
        2 => flip(&mut request.path),
        3 => request.query = request.query.as_deref().map_or(Some("a".to_owned()), |_| None),
        _ => {
            let value = &mut request.headers[at.index(headers)].1;
            let at = at.index(value.len());
            value[at] ^= 1 << (bit % 8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_our_signer_signs_is_right(
        mut request in request(),
        algorithm in select(Algorithm::ALL.to_vec()),
    ) {
        sign(&mut request, algorithm, &STAMP);
        let verified = verify(&request, algorithm).expect("right");
        prop_assert_eq!(verified.created, NOW_S);
    }

    /// A change that the base does not see is one of nothing: the case of a host, an empty query
    /// that stands for none, white space around a value, what is not signed in the two fields.
    #[test]
    fn a_request_that_was_changed_is_refused(
        mut request in request(),
        algorithm in select(vec![Algorithm::HmacSha256, Algorithm::Ed25519, Algorithm::EcdsaP256Sha256]),
        which in any::<usize>(),
        at in any::<prop::sample::Index>(),
        bit in any::<u8>(),
    ) {
        sign(&mut request, algorithm, &STAMP);
        let mut changed = request.clone();
        change(&mut changed, which, at, bit);
        let names = names(&request).into_iter().filter(|name| !name.starts_with("signature"));
        let meaning = |owned: &Owned| owned.with(None, |request| {
            let signatures = input::read(
                &request.field("signature-input")?,
                &request.field("signature")?,
            );
            let own = signatures?.into_iter().next()?;
            let values: Option<Vec<String>> =
                names.clone().map(|name| request.component(name)).collect();
            Some((values?, own))
        });
        prop_assume!(meaning(&changed) != meaning(&request));
        prop_assert!(verify(&changed, algorithm).is_err());
    }

    #[test]
    fn the_reader_takes_any_text(input in "\\PC{0,80}", signature in "\\PC{0,80}") {
        let _ = input::read(&input, &signature);
    }

    #[test]
    fn the_reader_takes_what_looks_like_a_signature(
        input in "(s=)?\\(?(\"[@a-z-]{0,9}\" ?){0,3}\\)?(;[a-z]{1,8}(=[0-9\"a-z:.-]{0,12})?){0,4}",
        signature in "s=:[A-Za-z0-9+/=]{0,20}:?",
    ) {
        for one in input::read(&input, &signature).unwrap_or_default() {
            prop_assert!(one.components.len() <= input::COMPONENTS_MAX);
            // Its one form is read as the same.
            let again = input::read(&format!("s={}", one.params), &signature);
            prop_assert_eq!(again, Some(vec![one]));
        }
    }

    #[test]
    fn no_text_or_bytes_break_the_reader_of_keys(
        text in "\\PC{0,200}",
        bytes in vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let _ = (PublicKey::parse(&text), PublicKey::from_spki(&bytes));
        let mut der = PublicKey::parse(RSA_PUBLIC).expect("a key").spki().to_owned();
        let at = at.index(der.len());
        der[at] = byte;
        if let Ok(key) = PublicKey::from_spki(&der) {
            prop_assert_eq!(PublicKey::parse(&key.to_pem()), Ok(key));
        }
    }
}

fn plain() -> Owned {
    Owned {
        method: "POST".to_owned(),
        authority: "api.example.com".to_owned(),
        path: "/leads".to_owned(),
        query: None,
        headers: Vec::new(),
    }
}

#[test]
fn a_key_verifies_only_what_it_allows() {
    use Algorithm::{Ed25519, HmacSha256, RsaPssSha512, RsaV15Sha256};
    for (signs, allowed, expected) in [
        (RsaV15Sha256, &[][..], Err(Failure::Algorithm)),
        (RsaV15Sha256, &[RsaPssSha512], Err(Failure::Algorithm)),
        (RsaV15Sha256, &[RsaV15Sha256], Ok(NOW_S)),
        (RsaPssSha512, &[], Ok(NOW_S)),
        (RsaPssSha512, &[RsaV15Sha256], Err(Failure::Algorithm)),
        (Ed25519, &[], Ok(NOW_S)),
        (Ed25519, &[HmacSha256], Err(Failure::Algorithm)),
    ] {
        let mut request = plain();
        sign(&mut request, signs, &STAMP);
        let verifiers = verifiers(&[signs], allowed);
        let verified = request.with(None, |request| verifiers.verify(request, &policy(), NOW_S));
        assert_eq!(verified.map(|one| one.created), expected, "{signs:?} of {allowed:?}");
    }
}

#[test]
fn a_signature_by_another_key_or_algorithm_is_wrong() {
    for signs in Algorithm::ALL {
        let mut request = plain();
        sign(&mut request, signs, &STAMP);
        for verifies in Algorithm::ALL {
            let is_rsa = |one: Algorithm| one.name().starts_with("rsa");
            let same = signs == verifies || is_rsa(signs) && is_rsa(verifies);
            assert_eq!(verify(&request, verifies).is_ok(), same, "{signs:?} by {verifies:?}");
        }
    }
}

#[test]
fn what_is_demanded_must_be_covered() {
    let signer = signer(Algorithm::Ed25519);
    let digest = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new()).into();
    let empty = ("Content-Digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
    let other = ("Content-Digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
    let parts = ["@method", "@authority", "@path", "@query"];
    let with_digest = ["@method", "@target-uri", "content-digest"];
    for (covered, header, body, expected) in [
        (&parts[..], None, None, true),
        (&parts[1..], None, None, false),
        (&["@method", "@target-uri"], None, None, true),
        (&["@target-uri"], None, None, false),
        // A body must be covered …
        (&parts, Some(empty), Some(Body::Sha256(&digest)), false),
        (&with_digest, Some(empty), Some(Body::Sha256(&digest)), true),
        (&with_digest, Some(other), Some(Body::Sha256(&digest)), false),
        (&with_digest, Some(other), Some(Body::Checked), true),
        // … by a digest that was made of it, of which there is none here.
        (&with_digest, Some(empty), Some(Body::Sha512(&[0; 64])), false),
        // Nobody says that there is one.
        (&with_digest, Some(empty), None, true),
        (&with_digest, Some(other), None, false),
    ] {
        let mut request = plain();
        if let Some((name, value)) = header {
            request.headers.push((name.to_owned(), value.as_bytes().to_owned()));
        }
        let signed = request.with(None, |request| signer.sign(request, covered, &STAMP));
        request.carry(signed.expect("what can be signed"));
        let verifiers = verifiers(&[Algorithm::Ed25519], &[]);
        let verified = request.with(body, |request| verifiers.verify(request, &policy(), NOW_S));
        assert_eq!(verified.is_ok(), expected, "{covered:?} {header:?} {body:?}");
    }
}

#[test]
fn times_count_to_the_second() {
    for (created, expires, expected) in [
        (NOW_S - 300, None, true),
        (NOW_S - 301, None, false),
        (NOW_S + 60, None, true),
        (NOW_S + 61, None, false),
        (NOW_S - 10, Some(NOW_S), true),
        (NOW_S - 10, Some(NOW_S - 1), false),
        (-999_999_999_999_999, None, false),
    ] {
        let mut request = plain();
        sign(&mut request, Algorithm::HmacSha256, &Stamp { created, expires, nonce: None });
        let verified = verify(&request, Algorithm::HmacSha256);
        let expected = if expected { Ok(created) } else { Err(Failure::Expired) };
        assert_eq!(verified.map(|one| one.created), expected);
    }
}

#[test]
fn a_replay_is_told_whatever_was_done_to_the_signature() {
    let replay = |algorithm, stamp: &Stamp<'_>| {
        let mut request = plain();
        sign(&mut request, algorithm, stamp);
        verify(&request, algorithm).expect("right").replay
    };
    let without = Stamp { nonce: None, ..STAMP };
    // Two signatures of one request by ECDSA differ; what they sign does not.
    let ecdsa = Algorithm::EcdsaP256Sha256;
    assert_eq!(replay(ecdsa, &without), replay(ecdsa, &without));
    assert_ne!(replay(ecdsa, &without), replay(ecdsa, &Stamp { created: NOW_S - 1, ..without }));
    // A nonce is one, whatever else.
    assert_eq!(replay(ecdsa, &STAMP), replay(ecdsa, &Stamp { created: NOW_S - 1, ..STAMP }));
    assert_ne!(replay(ecdsa, &STAMP), replay(ecdsa, &Stamp { nonce: Some("m"), ..STAMP }));
}

#[test]
fn of_several_signatures_the_one_of_our_key_counts_and_of_two_none() {
    let mut request = plain();
    sign(&mut request, Algorithm::Ed25519, &STAMP);
    let proxy = r#"proxy=("@status" "x";sf);created=1;keyid="other", "#;
    request.headers.push(("signature-input".to_owned(), proxy.trim_end_matches(", ").into()));
    request.headers.push(("signature".to_owned(), b"proxy=:AAAA:".to_vec()));
    assert!(verify(&request, Algorithm::Ed25519).is_ok());

    let again = plain().with(None, |request| {
        let covered = ["@method", "@authority", "@path", "@query"];
        let stamp = Stamp { nonce: Some("m"), ..STAMP };
        signer(Algorithm::Ed25519).sign(request, &covered, &stamp)
    });
    let Signed { input, signature } = again.expect("what can be signed");
    request.carry(Signed {
        input: input.replacen("sig", "sig2", 1),
        signature: signature.replacen("sig", "sig2", 1),
    });
    assert_eq!(verify(&request, Algorithm::Ed25519), Err(Failure::Invalid));
}

#[test]
fn what_no_sound_request_has_is_not_signed() {
    let signer = signer(Algorithm::HmacSha256);
    let sign = |request: &Owned, covered: &[&str], stamp: &Stamp<'_>| {
        request.with(None, |request| signer.sign(request, covered, stamp)).is_ok()
    };
    assert!(sign(&plain(), &["@target-uri"], &STAMP));
    for (authority, path) in
        [("a/b", "/c"), ("u@a", "/c"), ("a", "/c?d"), ("a", "/c#d"), ("a", "c"), ("a\n", "/")]
    {
        let request = Owned { authority: authority.to_owned(), path: path.to_owned(), ..plain() };
        assert!(!sign(&request, &["@target-uri"], &STAMP), "{authority:?} {path:?}");
    }
    for covered in [&["@status"][..], &["x-none"], &["@path", "@path"], &["X-A"], &[""]] {
        assert!(!sign(&plain(), covered, &STAMP), "{covered:?}");
    }
    assert!(!sign(&plain(), &[], &Stamp { nonce: Some("\u{e9}"), ..STAMP }));
    assert!(!sign(&plain(), &[], &Stamp { created: i64::MAX, ..STAMP }));
    assert!(Signer::from_secret("k", &[0; 31]).is_err());
    assert!(Signer::from_secret("a b", &[0; 32]).is_err());
}
