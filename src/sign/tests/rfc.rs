//! The signatures of RFC 9421, Appendix B.2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use crate::sign::{
    Algorithm, Algorithms, Body, Failure, Material, Policy, PublicKey, Request, Signature,
    Verifier, Verifiers,
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("rfc9421.json")).expect("JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

fn verifiers(vectors: &Value) -> Verifiers {
    let public = vectors["public_keys"].as_object().expect("an object").iter();
    let mut keys: Vec<Verifier> = public
        .map(|(id, pem)| Verifier {
            id: id.clone(),
            material: Material::Public(
                PublicKey::parse(pem.as_str().expect("PEM")).expect("a key"),
            ),
        })
        .collect();
    let secret = STANDARD.decode(text(vectors, "shared_secret")).expect("base64");
    let material = Material::Shared(Zeroizing::new(secret));
    keys.push(Verifier { id: "test-shared-secret".to_owned(), material });
    Verifiers::new(keys, Algorithms::SAFE)
}

/// Nothing is demanded: the first of them covers nothing.
fn policy() -> Policy {
    Policy { max_age_s: 300, skew_s: 300, components: Box::default(), covers_body: false }
}

/// Verifies each of them, of a request that was changed so, at a time since it was signed.
fn verify(
    change: impl Fn(&mut Vec<(String, String)>),
    since_s: i64,
) -> Vec<(String, Result<Signature, Failure>)> {
    let vectors = vectors();
    let request = &vectors["request"];
    let digest = Sha512::digest(text(request, "body")).into();
    let created = vectors["created"].as_i64().expect("a number");
    let verified = |one: &Value| {
        let plain = request["headers"].as_array().expect("a list").iter();
        let mut headers: Vec<(String, String)> = plain
            .map(|pair| {
                let of = |at: usize| pair[at].as_str().expect("a text").to_owned();
                (of(0), of(1))
            })
            .collect();
        headers.push(("Signature-Input".to_owned(), text(one, "signature_input").to_owned()));
        headers.push(("Signature".to_owned(), text(one, "signature").to_owned()));
        change(&mut headers);
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = Request {
            method: Some(text(request, "method")),
            scheme: Some(text(request, "scheme")),
            authority: Some(text(request, "authority")),
            path: Some(text(request, "path")),
            query: Some(text(request, "query")),
            headers: &headers,
            body: Some(Body::Sha512(&digest)),
        };
        let verified = verifiers(&vectors).verify(&request, &policy(), created + since_s);
        (text(one, "name").to_owned(), verified)
    };
    vectors["signatures"].as_array().expect("a list").iter().map(verified).collect()
}

#[test]
fn all_are_right_a_second_after_they_were_made() {
    let verified = verify(|_| (), 1);
    assert_eq!(verified.len(), 5);
    for (name, verified) in verified {
        assert_eq!(verified.map(|one| one.created), Ok(1_618_884_473), "{name}");
    }
}

#[test]
fn all_are_too_old_today_and_too_early_before() {
    for since_s in [301, 150_000_000, -301] {
        for (name, verified) in verify(|_| (), since_s) {
            assert_eq!(verified, Err(Failure::Expired), "{name} after {since_s} s");
        }
    }
    for since_s in [300, -300] {
        assert!(verify(|_| (), since_s).iter().all(|(_, verified)| verified.is_ok()));
    }
}

#[test]
fn none_is_right_of_another_request() {
    let other = |headers: &mut Vec<(String, String)>| {
        for (name, value) in headers {
            match name.as_str() {
                "Date" => *value = "Tue, 20 Apr 2021 02:07:56 GMT".to_owned(),
                "Content-Digest" => value.replace_range(9..10, "X"),
                _ => {}
            }
        }
    };
    // The first covers nothing but its own parameters.
    for (name, verified) in verify(other, 1).into_iter().skip(1) {
        assert_eq!(verified, Err(Failure::Invalid), "{name}");
    }
    let nothing = |headers: &mut Vec<(String, String)>| headers.truncate(4);
    for (name, verified) in verify(nothing, 1) {
        assert_eq!(verified, Err(Failure::Missing), "{name}");
    }
}

#[test]
fn the_algorithms_are_those_of_the_registry() {
    let vectors = vectors();
    for one in vectors["signatures"].as_array().expect("a list") {
        assert!(Algorithm::of_name(text(one, "algorithm")).is_some());
    }
}
