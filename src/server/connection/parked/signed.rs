//! Signed requests among those of others: their turns, and their wait for the ledger.

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::*;
use crate::config::Signing;
use crate::key::{SigningKey, SigningMaterial};
use crate::vault::{Master, Purpose, Vault, signing_owner};

const SECRET: [u8; 32] = [9; 32];
const NOW_S: i64 = START_US / 1_000_000;
/// Has a lifetime of 1000, no unit of which is leased.
const METERED: u64 = 4;
/// Has no limit.
const FREE: u64 = 5;

impl Bench {
    /// With two keys more, which demand signed requests.
    fn signed() -> Self {
        let bench = Self::new(Limits::default());
        let engine = &bench.shared.engine;
        engine.set_vault(Arc::new(Vault::new(Master::new(&[5; 32]))));
        engine.set_signing(Signing::default().policy(), 10_000);
        for (id, max_uses) in [(METERED, Some(1000)), (FREE, None)] {
            let owner = signing_owner(id, "ci");
            let vault = engine.vault().expect("a vault");
            let secret = vault.seal(Purpose::Signing, &owner, &SECRET).expect("sealed");
            let material = SigningMaterial::Shared(secret);
            let record = KeyRecord {
                id,
                max_uses,
                enforce_signing: true,
                signing_keys: vec![SigningKey { id: "ci".to_owned(), material, added_at: None }],
                key_hash: Some(engine.pepper().seal_token(token(id).as_bytes())),
                ..KeyRecord::default()
            };
            engine.put(&record, bench.clock.now()).expect("room");
        }
        bench
    }
}

/// A question about a key with a request that is signed, as RFC 9421 has it.
fn signed_question(out: &mut BytesMut, key: u64, nonce: u32) {
    let covered = r#"("@method" "@authority" "@path" "@query")"#;
    let params = format!(r#"{covered};created={NOW_S};keyid="ci";nonce="{nonce}""#);
    let base = format!(
        "\"@method\": GET\n\"@authority\": api.example.com\n\"@path\": /leads\n\"@query\": ?\n\
         \"@signature-params\": {params}"
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).expect("any length");
    mac.update(base.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let token = token(key);
    let mut writer = ValidateWriter::new(out, ValidateFlags::NONE, 1, token.as_bytes());
    writer.method("GET");
    writer.scheme("https");
    writer.authority("api.example.com");
    writer.path("/leads");
    writer.header("Signature-Input", format!("sig={params}").as_bytes());
    writer.header("Signature", format!("sig=:{signature}:").as_bytes());
}

impl Peer {
    async fn ask_signed(&mut self, correlation: u32, key: u64, nonce: u32) {
        self.send(Opcode::Validate, correlation, |out| signed_question(out, key, nonce)).await;
    }
}

#[tokio::test]
async fn whoever_has_many_signatures_verified_lets_others_come_between() {
    const MANY: u32 = 400;
    let bench = &Bench::signed();
    let answered = &Cell::new(0);
    let busy = bench.with(|mut peer| async move {
        for correlation in 1..=MANY {
            peer.ask_signed(correlation, FREE, correlation).await;
        }
        for correlation in 1..=MANY {
            let (at, verdict) = peer.verdict().await;
            assert_eq!((at, verdict.code), (correlation, VerdictCode::Valid), "each in its place");
            answered.set(correlation);
        }
    });
    let plain = bench.with(|mut peer| async move {
        let mut seen = vec![0];
        while answered.get() < MANY {
            peer.ask(1, 2).await;
            assert_eq!(peer.verdict().await.1.code, VerdictCode::Valid);
            seen.push(bench.shared.engine.replays().len());
        }
        // A turn ends with the batch of questions that its last signature is in, and two may pass from
        // a question to its answer.
        let between = seen.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(between.max() < Some(4 * SIGNATURES_AT_ONCE), "{seen:?}");
    });
    let ends = tokio::join!(busy, plain);
    assert_eq!(ends, (End::PeerClosed, End::PeerClosed));
    assert_eq!(bench.shared.engine.replays().len(), 400);
}

#[tokio::test]
async fn a_signed_request_that_waits_for_the_ledger_is_not_taken_for_its_own_replay() {
    let bench = &Bench::signed();
    let end = bench.with(|mut peer| async move {
        peer.ask_signed(1, METERED, 1).await;
        peer.ask_signed(2, METERED, 1).await;
        bench.until_waiting(2).await;
        assert!(bench.shared.engine.replays().is_empty(), "what waits has used nothing");
        // Judged anew in vain, and then with a lease.
        bench.ledger.call_all();
        bench.until_waiting(2).await;
        bench.debit();
        let (correlation, verdict) = peer.verdict().await;
        assert_eq!((correlation, verdict.code), (1, VerdictCode::Valid));
        bench.ledger.call_all();
        let (correlation, verdict) = peer.verdict().await;
        assert_eq!((correlation, verdict.code), (2, VerdictCode::SignatureReplayed));
        peer.ask_signed(3, METERED, 2).await;
        assert_eq!(peer.verdict().await.1.code, VerdictCode::Valid);
        assert_eq!(bench.spent(METERED), 2);
    });
    assert_eq!(end.await, End::PeerClosed);
}

#[tokio::test]
async fn a_batch_of_signed_requests_waits_as_a_whole_and_uses_each_once() {
    let bench = &Bench::signed();
    let end = bench.with(|mut peer| async move {
        let items = [(FREE, 1), (METERED, 1), (FREE, 1), (METERED, 2), (METERED, 1)];
        let batch = |out: &mut BytesMut| {
            let mut batch = BatchWriter::new(out);
            let mut item = |(key, nonce)| batch.item(|out| signed_question(out, key, nonce));
            items.into_iter().for_each(&mut item);
            batch.finish();
        };
        peer.send(Opcode::ValidateBatch, 1, batch).await;
        bench.until_waiting(1).await;
        bench.ledger.call_all();
        bench.until_waiting(1).await;
        bench.debit();
        let (opcode, _, payload) = peer.next().await.expect("a reply");
        assert_eq!(opcode, Opcode::ValidateBatch.reply());
        let verdicts = Batch::decode(&payload).expect("a batch");
        let codes: Vec<_> =
            verdicts.map(|item| Verdict::decode(item).expect("a verdict").0.code).collect();
        use VerdictCode::{SignatureReplayed, Valid};
        assert_eq!(codes, [Valid, Valid, SignatureReplayed, Valid, SignatureReplayed]);
        assert_eq!(bench.spent(METERED), 2);
    });
    assert_eq!(end.await, End::PeerClosed);
}
