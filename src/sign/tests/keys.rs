//! Public keys in the forms that people have them in.

use crate::sign::public_key::{KeyError, Kind, PublicKey};

const RSA_PRIVATE: &str = include_str!("rsa_private.pem");

/// RFC 8037, appendix A.2.
const OKP: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// RFC 7517, appendix A.1.
const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1","alg":"ES256"}"#;
/// The same curve's, with its last byte another.
const EC_OFF_CURVE: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyQ"}"#;
/// RFC 7517, appendix A.1.
const RSA: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}"#;

#[test]
fn a_jwk_is_the_key_that_its_pem_is() {
    for (jwk, kind) in [(OKP, Kind::Ed25519), (EC, Kind::P256), (RSA, Kind::Rsa)] {
        let key = PublicKey::parse(jwk).expect("a key");
        assert_eq!(key.kind(), kind);
        assert_eq!(PublicKey::parse(&format!("\n{}\n", key.to_pem())).as_ref(), Ok(&key));
        assert_eq!(PublicKey::from_spki(key.spki()), Ok(key));
    }
}

#[test]
fn what_is_no_public_key_says_why() {
    let with = |member: &str| OKP.replacen('{', &format!("{{{member},"), 1);
    for (text, words) in [
        (String::new(), "neither a PEM block"),
        ("ssh-ed25519 AAAA".to_owned(), "neither a PEM block"),
        ("x".repeat(20_000), "more than 16384 bytes"),
        (RSA_PRIVATE.to_owned(), "private key, which stays"),
        (with(r#""d":"AA""#), "private key, which stays"),
        (r#"{"kty":"oct","k":"AA"}"#.to_owned(), "is a shared secret"),
        (format!(r#"{{"keys":[{OKP}]}}"#), "set of keys"),
        (with(r#""use":"enc""#), "other than \"sig\""),
        (with(r#""key_ops":["sign"]"#), "without \"verify\""),
        (with(r#""alg":"ES256""#), "no signature here"),
        (OKP.replace("Ed25519", "X25519"), "none of RSA"),
        (OKP.replace("\"x\"", "\"z\""), "lacks \"x\""),
        (OKP.replace("URo", "UR"), "not base64url"),
        (OKP.replace("11qY", ""), "not an uncompressed"),
        (EC_OFF_CURVE.to_owned(), "not an uncompressed"),
        (RSA.replace("AQAB", "AQAC"), "odd exponent"),
        (RSA.replace("AQAB", "AAEAAQ"), "zero byte"),
        (RSA.replace("AQAB", "AQ"), "odd exponent"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            "\"CERTIFICATE\"; a public key",
        ),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned(), "not DER"),
    ] {
        let said = PublicKey::parse(&text).expect_err(&text).to_string();
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn more_bytes_than_the_key_are_refused() {
    let mut der = PublicKey::parse(OKP).expect("a key").spki().to_owned();
    der.push(0);
    assert!(matches!(PublicKey::from_spki(&der), Err(KeyError::Der(_))));
}

#[test]
fn points_of_ed25519_that_anybody_can_sign_for_are_refused() {
    use crate::sign::{Algorithm, Material, check};
    // Of order 1, 2, 4 and 8 (twice), then p, p + 1 and the most that 255 bits have.
    let points = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in points {
        for sign in [0, 0x80] {
            let byte = |at| u8::from_str_radix(&point[at..at + 2], 16).expect("hexadecimal");
            let mut key: Vec<_> = (0..64).step_by(2).map(byte).collect();
            key[31] |= sign;
            let refused = PublicKey::from_key(Kind::Ed25519, &key);
            assert_eq!(refused, Err(KeyError::Weak), "{point} {sign}");
        }
    }
    // A neighbour in number is none of them, and verifies nothing that nobody signed.
    let mut other = [0; 32];
    other[0] = 3;
    let key = PublicKey::from_key(Kind::Ed25519, &other).expect("another");
    let mut forged = [0; 64];
    forged[0] = 1;
    assert!(!check::is_right(&Material::Public(key), Algorithm::Ed25519, b"any", &forged));
}
