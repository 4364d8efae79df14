//! Requests of any kind: what our signer signs is right, and nothing else is.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::made::{NOW_S, Owned, RSA_PUBLIC, STAMP, names, sign, verify};
use crate::sign::{Algorithm, PublicKey, input};

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
