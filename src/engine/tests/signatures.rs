//! Keys that demand signed requests, as they are decided. What makes a signature right is tested
//! where it is verified; here is what becomes of it.

use keygate_protocol::LimitName;

use super::super::signatures as desk;
use super::*;
use crate::key::{SigningKey, SigningMaterial};
use crate::limit::LedgerState;
use crate::sign::input::Component;
use crate::sign::{Policy, Request, Signer, Stamp};
use crate::vault::{Master, Purpose, Vault, signing_owner};

const SECRET: [u8; 32] = [9; 32];
const COVERED: [&str; 4] = ["@method", "@authority", "@path", "@query"];
const NOW_S: i64 = START_US / 1_000_000;

struct Signing {
    bench: Bench,
    token: String,
    record: KeyRecord,
}

/// A question that states a signed request.
#[derive(Clone, Copy)]
struct Signed<'a> {
    created: i64,
    nonce: &'a str,
    /// What is stated, where `/leads` was signed.
    path: &'a str,
    flags: ValidateFlags,
    scope: Option<&'a str>,
}

fn signed(nonce: &str) -> Signed<'_> {
    Signed { created: NOW_S, nonce, path: "/leads", flags: ValidateFlags::NONE, scope: None }
}

impl Signed<'_> {
    fn encode(&self, token: &str) -> BytesMut {
        let request = Request {
            method: Some("GET"),
            scheme: Some("https"),
            authority: Some("api.example.com"),
            path: Some("/leads"),
            ..Request::default()
        };
        let signer = Signer::from_secret("ci", &SECRET).expect("a secret");
        let stamp = Stamp { created: self.created, nonce: Some(self.nonce), expires: None };
        let made = signer.sign(&request, &COVERED, &stamp).expect("signed");
        let mut out = BytesMut::new();
        let mut writer = ValidateWriter::new(&mut out, self.flags, 1, token.as_bytes());
        writer.method("GET");
        writer.scheme("https");
        writer.authority("api.example.com");
        writer.path(self.path);
        writer.header("Signature-Input", made.input.as_bytes());
        writer.header("Signature", made.signature.as_bytes());
        if let Some(scope) = self.scope {
            writer.scope_all(scope);
        }
        out
    }
}

impl Signing {
    fn new(fields: impl FnOnce(&mut KeyRecord)) -> Self {
        let bench = Bench::new();
        bench.engine.set_vault(Arc::new(Vault::new(Master::new(&[5; 32]))));
        bench.engine.set_signing(policy(), 1024);
        bench.engine.replays().lead().kept(5);
        let token = bench.token(1);
        let mut record = bench.record(7, &token);
        record.enforce_signing = true;
        record.signing_keys = vec![bench.shared("ci", "ci")];
        fields(&mut record);
        bench.put(&record);
        Self { bench, token, record }
    }

    fn ask(&self, question: Signed<'_>) -> VerdictCode {
        self.ask_all(&[question])[0].verdict.code
    }

    fn ask_all(&self, questions: &[Signed<'_>]) -> Vec<Answer> {
        let frames: Vec<_> = questions.iter().map(|it| it.encode(&self.token)).collect();
        let questions: Vec<_> =
            frames.iter().map(|frame| Validate::decode(frame).expect("well-formed")).collect();
        let mut answers = Answers::default();
        self.bench.engine.validate(&questions, self.bench.clock.now(), &mut answers);
        answers.to_vec()
    }

    fn remembered(&self) -> usize {
        self.bench.engine.replays().len()
    }
}

impl Bench {
    /// A verification key that was sealed under this name.
    fn shared(&self, id: &str, sealed_as: &str) -> SigningKey {
        let vault = self.engine.vault().expect("a vault");
        let owner = signing_owner(7, sealed_as);
        let secret = vault.seal(Purpose::Signing, &owner, &SECRET).expect("sealed");
        SigningKey { id: id.to_owned(), material: SigningMaterial::Shared(secret), added_at: None }
    }
}

fn policy() -> Policy {
    let components = COVERED.iter().filter_map(|name| Component::new(name)).collect();
    Policy { max_age_s: 300, skew_s: 30, components, covers_body: true }
}

#[test]
fn a_signature_counts_once_and_no_other_does() {
    use VerdictCode::{
        SignatureAlgorithmNotAllowed, SignatureExpired, SignatureInvalid, SignatureReplayed,
        SignatureRequired, Valid,
    };
    for demand in [
        |record: &mut KeyRecord| record.enforce_signing = true,
        |record: &mut KeyRecord| {
            (record.enforce_signing, record.require_request_signing) = (false, true);
        },
    ] {
        let key = Signing::new(demand);
        assert_eq!(key.bench.ask(&of(&key.token)).verdict.code, SignatureRequired);
        assert_eq!(key.ask(signed("a")), Valid);
        assert_eq!(key.ask(signed("a")), SignatureReplayed);
        assert_eq!(key.ask(Signed { path: "/other", ..signed("b") }), SignatureInvalid);
        assert_eq!(key.ask(signed("b")), Valid, "what was wrong used nothing");
        assert_eq!(key.ask(Signed { created: NOW_S - 301, ..signed("c") }), SignatureExpired);
        assert_eq!(key.ask(Signed { created: NOW_S + 31, ..signed("c") }), SignatureExpired);
    }
    let listed = Signing::new(|it| it.allowed_signature_algorithms = vec!["ed25519".to_owned()]);
    assert_eq!(listed.ask(signed("a")), SignatureAlgorithmNotAllowed);
    let lax = Signing::new(|it| it.enforce_signing = false);
    assert_eq!(lax.bench.ask(&of(&lax.token)).verdict.code, Valid);
    assert_eq!(lax.ask(Signed { path: "/other", ..signed("a") }), Valid, "it is not looked at");
}

#[test]
fn a_request_that_is_denied_or_only_asked_about_uses_no_signature() {
    use VerdictCode::{InsufficientScope, SignatureReplayed, Valid};
    let key = Signing::new(|_| {});
    assert_eq!(key.ask(Signed { scope: Some("leads:read"), ..signed("a") }), InsufficientScope);
    let peek = Signed { flags: ValidateFlags::PEEK, ..signed("a") };
    assert_eq!((key.ask(peek), key.remembered()), (Valid, 0));
    assert_eq!((key.ask(signed("a")), key.remembered()), (Valid, 1));
    assert_eq!(key.ask(peek), SignatureReplayed, "a peek learns what a use would");
    // A limit denies behind it.
    let mut record = key.record.clone();
    (record.requests_per_second, record.burst) = (Some(1), Some(1));
    key.bench.put(&record);
    let answers = key.ask_all(&[signed("b"), signed("c")]);
    let denied = answers.iter().find(|it| !it.verdict.code.is_valid()).expect("one is denied");
    assert_eq!(denied.verdict.denied_by, Some(LimitName::Second));
    assert_eq!(key.remembered(), 2);
}

#[test]
fn a_question_that_waits_for_the_ledger_keeps_its_signature() {
    let key = Signing::new(|record| record.requests_per_day = Some(50));
    key.bench.engine.set_ledger(LedgerState::Open);
    let answer = key.ask_all(&[signed("a")]).remove(0);
    assert!(answer.wait.is_some(), "{answer:?}");
    assert_eq!(key.remembered(), 0);
    let again = key.ask_all(&[signed("a")]).remove(0);
    assert!(again.wait.is_some(), "it is judged anew, and is no replay: {again:?}");
}

#[test]
fn of_equal_requests_of_one_batch_one_counts_and_each_answer_stands_in_its_place() {
    let key = Signing::new(|_| {});
    let wrong = Signed { path: "/other", ..signed("b") };
    let answers = key.ask_all(&[signed("a"), wrong, signed("a"), signed("c")]);
    let codes: Vec<_> = answers.iter().map(|answer| answer.verdict.code).collect();
    use VerdictCode::{SignatureInvalid, SignatureReplayed, Valid};
    assert_eq!(codes, [Valid, SignatureInvalid, SignatureReplayed, Valid]);
    assert!(answers.iter().all(|answer| answer.verdict.key_id == 7));
}

#[test]
fn what_cannot_be_checked_is_denied_as_that() {
    use VerdictCode::{SignatureInvalid, SignatureUnchecked, Valid};
    let key = Signing::new(|_| {});
    let mut record = key.record.clone();
    record.signing_keys = vec![key.bench.shared("ci", "of another name")];
    key.bench.put(&record);
    assert_eq!(key.ask(signed("a")), SignatureUnchecked, "its secret does not open");
    record.signing_keys.clear();
    key.bench.put(&record);
    assert_eq!(key.ask(signed("a")), SignatureInvalid, "it has none");
    key.bench.put(&key.record);
    key.bench.engine.replays().raise_floor(NOW_S);
    assert_eq!(key.ask(signed("a")), SignatureUnchecked, "whether it was used is not known");
    let later = Signed { created: NOW_S + 1, ..signed("a") };
    assert_eq!(key.ask(later), Valid);
    key.bench.engine.set_signing(policy(), 0);
    assert_eq!(key.ask(Signed { nonce: "b", ..later }), SignatureUnchecked, "there is no room");
}

#[test]
fn what_is_further_ahead_than_is_kept_is_asked_for_once_and_passes_when_it_is() {
    use VerdictCode::{SignatureUnchecked, Valid};
    let key = Signing::new(|_| {});
    let ahead = Signed { created: NOW_S + 29, ..signed("a") };
    assert_eq!(key.ask(ahead), SignatureUnchecked, "nobody keeps it");
    let key = Signing::new(|_| {});
    let asked = Arc::new(RwLock::new(Vec::new()));
    let of = Arc::clone(&asked);
    key.bench.engine.keep_lead_by(Box::new(move |seconds| of.write().push(seconds)));
    let nearer = Signed { created: NOW_S + 7, ..signed("b") };
    let answers = key.ask_all(&[ahead, signed("c"), nearer]);
    let codes: Vec<_> = answers.iter().map(|answer| answer.verdict.code).collect();
    assert_eq!(codes, [SignatureUnchecked, Valid, SignatureUnchecked]);
    assert_eq!(key.ask(ahead), SignatureUnchecked);
    assert_eq!(*asked.read(), [30], "once, and for the furthest");
    key.bench.engine.replays().lead().kept(30);
    assert_eq!((key.ask(ahead), key.ask(nearer)), (Valid, Valid), "it used nothing before");
    let checked: Vec<_> = key.bench.engine.signatures_checked().collect();
    assert_eq!(checked[..3], [("right", 6), ("missing", 0), ("invalid", 0)]);
}

#[test]
fn what_was_verified_counts_only_for_the_keys_that_it_was_verified_by() {
    let key = Signing::new(|_| {});
    let (frame, now) = (signed("a").encode(&key.token), key.bench.clock.now());
    let questions = [Validate::decode(&frame).expect("well-formed")];
    let compile = || {
        let vault = key.bench.engine.vault().map(Arc::as_ref);
        desk::Signing::compile(&key.record.view(), vault).expect("it demands signatures")
    };
    let engine = &key.bench.engine;
    let mut seen = Vec::new();
    // The key is another one whenever it is looked at.
    engine.settle_signatures([(0, compile())].into_iter().collect(), &questions, now, |proofs| {
        let outcome = engine.check_signature(&compile(), (7, 0), &proofs[0].1, &questions[0], now);
        seen.push(format!("{outcome:?}"));
        match outcome {
            desk::Outcome::Open(signing) => [(0, signing)].into_iter().collect(),
            _ => desk::Open::new(),
        }
    });
    assert!(seen[0].starts_with("Open") && seen[1].starts_with("Open"), "{seen:?}");
    assert_eq!(seen[2..], ["Denied(SignatureUnchecked)"]);
    assert_eq!(key.remembered(), 0);
}

#[test]
fn one_verification_key_that_cannot_be_used_hides_nothing_of_the_others() {
    use VerdictCode::{SignatureInvalid, SignatureUnchecked, Valid};
    let key = Signing::new(|_| {});
    let mut record = key.record.clone();
    record.signing_keys.push(key.bench.shared("broken", "of another name"));
    key.bench.put(&record);
    assert_eq!(key.ask(signed("a")), Valid);
    assert_eq!(key.ask(Signed { path: "/other", ..signed("b") }), SignatureInvalid);
    record.signing_keys = vec![key.bench.shared("ci", "of another name")];
    record.signing_keys.push(key.bench.shared("sound", "sound"));
    key.bench.put(&record);
    assert_eq!(key.ask(signed("b")), SignatureUnchecked);
}

#[test]
fn wrong_signatures_slow_down_whoever_sends_them() {
    use crate::limit::{FailureRate, Throttle};
    use VerdictCode::{SignatureInvalid, SignatureRequired, Throttled, Valid};
    let key = Signing::new(|_| {});
    let frames = [signed("a"), Signed { path: "/other", ..signed("b") }];
    let [right, wrong] = frames.map(|it| it.encode(&key.token));
    let mut none = BytesMut::new();
    ValidateWriter::new(&mut none, ValidateFlags::NONE, 1, key.token.as_bytes());
    key.bench.engine.set_throttle(Throttle::new(None, FailureRate::new(60, 1), 64));
    let ask = |frame: &[u8]| {
        let question = Validate::decode(frame).expect("well-formed");
        let mut answers = Answers::default();
        let standing = Standing { peer: 5, ..Standing::default() };
        let asker = Asker { standing, ..Asker::default() };
        key.bench.engine.validate_for(asker, &[question], key.bench.clock.now(), &mut answers);
        answers[0].verdict.code
    };
    for _ in 0..3 {
        assert_eq!(ask(&none), SignatureRequired, "that costs nothing");
    }
    assert_eq!(ask(&right), Valid);
    assert_eq!(ask(&wrong), SignatureInvalid);
    assert_eq!(ask(&wrong), Throttled);
}
