//! Verification keys, over a store in memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keygate_protocol::admin::{
    KeyChanged, SIGNING_KEYS_MAX, SigningAdd, SigningAdded, SigningKeys, SigningList, SigningRemove,
};

use super::life::Bench;
use super::*;
use crate::key::{SigningMaterial, Status};
use crate::vault::{Master, Purpose, Vault, signing_owner};

/// Of RFC 9421, appendix B.1.4.
const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
                       MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n\
                       -----END PUBLIC KEY-----\n";
/// Of RFC 9421, appendix B.1.3, as a JWK.
const P256: &str = r#"{"kty": "EC", "crv": "P-256", "kid": "test-key-ecc-p256",
    "x": "qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA",
    "y": "Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0"}"#;

impl Bench {
    fn with_vault() -> Self {
        let bench = Self::new();
        bench.admin.engine.set_vault(Arc::new(Vault::new(Master::new(&[7; 32]))));
        bench
    }

    async fn sign_with(
        &self,
        id: &str,
        name: &str,
        with: impl FnOnce(&mut SigningAdd),
    ) -> Result<SigningAdded, AdminError> {
        let (id, key_id) = (id.to_owned(), name.to_owned());
        let mut request = SigningAdd { id, key_id, ..SigningAdd::default() };
        with(&mut request);
        self.admin.add_signing_key(&ALL, request).await
    }

    async fn signers(&self, id: &str) -> SigningKeys {
        let keys = self.admin.signing_keys(&ALL, SigningList { id: id.to_owned() }).await;
        keys.expect("listed")
    }

    async fn unsign(&self, id: &str, name: &str) -> Result<KeyChanged, AdminError> {
        let (id, key_id) = (id.to_owned(), name.to_owned());
        let request = SigningRemove { id, key_id, expected_revision: None };
        self.admin.remove_signing_key(&ALL, request).await
    }
}

fn public(text: &str) -> impl FnOnce(&mut SigningAdd) {
    move |request| request.public_key = Some(text.to_owned())
}

#[tokio::test]
async fn keys_are_added_listed_and_removed() {
    let bench = Bench::with_vault();
    let (id, _) = bench.create(json!({"name": "a"})).await;
    let added = bench.sign_with(&id, "ci", public(ED25519)).await.expect("added");
    assert_eq!(added.signing_key.public_key.as_deref(), Some(ED25519));
    assert_eq!(added.key["signing_keys"][0]["public_key"], ED25519);
    assert_eq!(added.shared_secret, None);
    assert!(added.notices[0].contains("--enforce-signing"), "{:?}", added.notices);
    bench.sign_with(&id, "phone", public(P256)).await.expect("added");
    let made = bench.sign_with(&id, "batch", |it| it.generate = true).await.expect("added");
    let secret = STANDARD.decode(made.shared_secret.expect("shown once")).expect("base64");
    assert_eq!(secret.len(), 32);

    let listed = bench.signers(&id).await;
    let of = |key: &keygate_protocol::admin::SigningKey| {
        (key.key_id.clone(), key.kind.clone(), key.algorithms.join(" "))
    };
    let shown: Vec<_> = listed.signing_keys.iter().map(of).collect();
    let expected = [
        ("ci", "ed25519", "ed25519"),
        ("phone", "ecdsa-p256", "ecdsa-p256-sha256"),
        ("batch", "shared-secret", "hmac-sha256"),
    ];
    assert_eq!(shown, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    assert_eq!((listed.revision, listed.demanded), (4, false));

    // The secret is kept encrypted, and opens for this key and this name.
    let stored = bench.admin.keys.get(id.parse().expect("an id")).expect("read").expect("there");
    let SigningMaterial::Shared(sealed) = &stored.signing_keys[2].material else {
        panic!("a shared secret")
    };
    let vault = bench.admin.engine.vault().expect("a vault");
    let opened = vault.open(Purpose::Signing, &signing_owner(stored.id, "batch"), sealed);
    assert_eq!(*opened.expect("it opens"), secret);
    let text = bench.admin.json(&stored).to_string();
    assert!(text.contains(r#""id":"batch","shared_secret":true"#), "{text}");
    assert!(!text.contains(&STANDARD.encode(&secret)));

    bench.unsign(&id, "phone").await.expect("removed");
    let left = bench.signers(&id).await.signing_keys;
    assert_eq!(left.iter().map(|key| key.key_id.as_str()).collect::<Vec<_>>(), ["ci", "batch"]);
    let again = bench.unsign(&id, "phone").await.expect_err("it is gone");
    assert_eq!(again.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn what_cannot_be_added_says_why() {
    use ErrorCode::{Conflict, Invalid, NotFound};
    let bench = Bench::new();
    let (id, _) = bench.create(json!({"name": "a"})).await;
    let generate = |request: &mut SigningAdd| request.generate = true;
    let secret = |text: String| move |request: &mut SigningAdd| request.shared_secret = Some(text);
    let no_master = bench.sign_with(&id, "a", generate).await;
    bench.admin.engine.set_vault(Arc::new(Vault::new(Master::new(&[7; 32]))));
    let both = |request: &mut SigningAdd| {
        (request.generate, request.public_key) = (true, Some(ED25519.to_owned()));
    };
    let stale = |request: &mut SigningAdd| {
        (request.generate, request.expected_revision) = (true, Some(9));
    };
    let (short, long) = (STANDARD.encode([1; 31]), STANDARD.encode([1; 129]));
    for (refused, code, words) in [
        (no_master, Invalid, "no master key"),
        (bench.sign_with(&id, "", generate).await, Invalid, "key_id"),
        (bench.sign_with(&id, "a b", generate).await, Invalid, "visible ASCII"),
        (bench.sign_with(&id, &"a".repeat(65), generate).await, Invalid, "64"),
        (bench.sign_with(&id, "a", |_| {}).await, Invalid, "one alone"),
        (bench.sign_with(&id, "a", both).await, Invalid, "one alone"),
        (bench.sign_with(&id, "a", public("words")).await, Invalid, "public_key: "),
        (bench.sign_with(&id, "a", public(&"a".repeat(8193))).await, Invalid, "8192"),
        (bench.sign_with(&id, "a", secret(short)).await, Invalid, "32 to 128"),
        (bench.sign_with(&id, "a", secret(long)).await, Invalid, "32 to 128"),
        (bench.sign_with(&id, "a", secret("?".repeat(44))).await, Invalid, "base64"),
        (bench.sign_with(&id, "a", stale).await, Conflict, "revision 9 was expected"),
        (bench.sign_with("7", "a", generate).await, NotFound, "7"),
    ] {
        let error = refused.map(|_| ()).expect_err(words);
        assert!(error.code == code && error.message.contains(words), "{words}: {error:?}");
    }
    // The bound, a name that is taken, and a key that is stopped for good.
    for at in 0..SIGNING_KEYS_MAX {
        bench.sign_with(&id, &format!("k{at}"), generate).await.expect("added");
    }
    let taken = bench.sign_with(&id, "k3", generate).await.map(|_| ()).expect_err("taken");
    assert!(taken.code == Conflict && taken.message.contains("already"), "{taken:?}");
    let full = bench.sign_with(&id, "more", generate).await.map(|_| ()).expect_err("full");
    assert!(full.code == Conflict && full.message.contains("the most"), "{full:?}");
    bench.set_status(&id, Status::Revoked, (None, None)).await.expect("revoked");
    bench.unsign(&id, "k0").await.expect("what is not wanted goes");
    let revoked = bench.sign_with(&id, "k0", generate).await.map(|_| ()).expect_err("revoked");
    assert!(revoked.code == Conflict && revoked.message.contains("REVOKED"), "{revoked:?}");
}

#[tokio::test]
async fn a_key_that_can_take_no_signature_says_so() {
    let bench = Bench::with_vault();
    let demanding = json!({"name": "a", "enforce_signing": true});
    let created = bench
        .admin
        .create(&ALL, KeyCreate { record: demanding, request_id: None })
        .await
        .expect("made");
    assert!(created.notices[0].contains("has no verification key"), "{:?}", created.notices);
    let id = created.key["id"].as_str().expect("an id").to_owned();
    let added = bench.sign_with(&id, "ci", public(ED25519)).await.expect("added");
    assert!(added.notices[0].contains("every other API key"), "{:?}", added.notices);
    assert_eq!(added.notices.len(), 1);
    let set = json!({"allowed_signature_algorithms": ["hmac-sha256"]});
    let update =
        KeyUpdate { id: id.clone(), set, mask: None, expected_revision: None, spent: None };
    let changed = bench.admin.update(&ALL, update).await.expect("updated");
    assert!(changed.notices[0].contains("verify nothing: ci"), "{:?}", changed.notices);
    assert_eq!(bench.signers(&id).await.signing_keys[0].algorithms, [""; 0]);
    let removed = bench.unsign(&id, "ci").await.expect("removed");
    assert!(removed.notices[0].contains("has no verification key"), "{:?}", removed.notices);
}

#[tokio::test]
async fn an_export_carries_public_keys_and_names_shared_secrets() {
    let bench = Bench::with_vault();
    let (id, _) = bench.create(json!({"name": "a"})).await;
    bench.sign_with(&id, "ci", public(ED25519)).await.expect("added");
    bench.sign_with(&id, "batch", |it| it.generate = true).await.expect("added");
    let stored = bench.admin.keys.get(id.parse().expect("an id")).expect("read").expect("there");
    let exported = bench.admin.json(&stored);

    let other = Bench::with_vault();
    let import = Import::begin(Arc::clone(&other.admin), ALL, false).await.expect("begun");
    let import = import.take(records([exported])).await.expect("taken");
    let report = import.finish().await.expect("whole");
    assert_eq!((report.imported, report.problems), (1, vec![]));
    assert!(report.notices[0].contains("the shared secret \"batch\""), "{:?}", report.notices);
    let taken = other.admin.keys.get(stored.id).expect("read").expect("there");
    assert_eq!(taken.signing_keys, stored.signing_keys[..1]);
}
