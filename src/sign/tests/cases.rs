//! What a verifier must tell apart, case by case.

use super::made::{NOW_S, Owned, STAMP, plain, policy, sign, signer, verifiers, verify};
use crate::sign::{Algorithm, Body, Failure, Signed, Signer, Stamp};

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
