//! States, rotation and review, over a store in memory.

use keygate_protocol::admin::{KeyRestore, KeyReview, KeyRotate, KeyRotated};
use keygate_protocol::{Validate, VerdictCode};

use super::*;
use crate::engine::Answers;
use crate::key::{ReasonCode, Status};
use crate::store::Store;

pub(super) const DAY_US: i64 = 86_400_000_000;

/// Operations, with what a test looks at behind them.
pub(super) struct Bench {
    pub(super) admin: Arc<Admin>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<MemoryStore>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(ManualClock::new(START_US));
        let admin = admin_over(Arc::<MemoryStore>::clone(&store), Arc::clone(&clock));
        Self { admin, clock, store }
    }

    /// Makes a key; its id and its token.
    pub(super) async fn create(&self, record: serde_json::Value) -> (String, String) {
        let created =
            self.admin.create(&ALL, KeyCreate { record, request_id: None }).await.expect("made");
        (
            created.key["id"].as_str().expect("an id").to_owned(),
            created.token.expect("a new key's token"),
        )
    }

    pub(super) async fn import(&self, record: serde_json::Value) {
        let import = Import::begin(Arc::clone(&self.admin), ALL, false).await.expect("begun");
        let import = import.take(records([record])).await.expect("taken");
        let report = import.finish().await.expect("whole");
        assert_eq!((report.imported, report.problems), (1, vec![]));
    }

    pub(super) async fn rotate(
        &self,
        id: &str,
        grace_ms: Option<u64>,
    ) -> Result<KeyRotated, AdminError> {
        let reason = Some("scheduled".to_owned());
        self.admin.rotate(&ALL, KeyRotate { id: id.to_owned(), grace_ms, reason }).await
    }

    pub(super) async fn set_status(
        &self,
        id: &str,
        status: Status,
        reason: (Option<&str>, Option<&str>),
    ) -> Result<serde_json::Value, AdminError> {
        let request = KeySetStatus {
            id: id.to_owned(),
            status: status.name().to_owned(),
            reason_code: reason.0.map(str::to_owned),
            reason: reason.1.map(str::to_owned),
        };
        self.admin.set_status(&ALL, request).await.map(|changed| changed.key)
    }

    pub(super) async fn delete(
        &self,
        id: &str,
        purge: bool,
    ) -> Result<serde_json::Value, AdminError> {
        let request = KeyDelete { id: id.to_owned(), purge };
        self.admin.delete(&ALL, request).await.map(|changed| changed.key)
    }

    pub(super) async fn restore(&self, id: &str) -> Result<serde_json::Value, AdminError> {
        let request = KeyRestore { id: id.to_owned() };
        self.admin.restore(&ALL, request).await.map(|changed| changed.key)
    }

    pub(super) async fn get(
        &self,
        id: &str,
        deleted: bool,
    ) -> Result<serde_json::Value, AdminError> {
        self.admin.get(&ALL, KeyRef { id: id.to_owned(), deleted }).await
    }

    pub(super) async fn update(
        &self,
        id: &str,
        set: serde_json::Value,
    ) -> Result<Vec<String>, AdminError> {
        let update =
            KeyUpdate { id: id.to_owned(), set, mask: None, expected_revision: None, spent: None };
        self.admin.update(&ALL, update).await.map(|changed| changed.notices)
    }

    pub(super) fn code(&self, token: &str) -> VerdictCode {
        let mut answers = Answers::default();
        let mut payload = bytes::BytesMut::new();
        keygate_protocol::validate::ValidateWriter::new(
            &mut payload,
            keygate_protocol::ValidateFlags::PEEK,
            1,
            token.as_bytes(),
        );
        let question = Validate::decode(&payload).expect("well-formed");
        self.admin.engine.validate(&[question], self.admin.clock.now(), &mut answers);
        answers[0].verdict.code
    }

    pub(super) fn rows(&self) -> Vec<crate::store::Row> {
        self.store.scan(&[], None, 100_000).expect("readable")
    }

    pub(super) fn now_us(&self) -> i64 {
        self.admin.clock.now().wall_us
    }

    /// Ends the process, so to speak, and starts the next on what is durable.
    pub(super) fn restart(&mut self) {
        self.store = Arc::new(self.store.crash());
        self.admin = admin_over(Arc::clone(&self.store), Arc::clone(&self.clock));
        let load = |_, record: Result<crate::key::KeyRecord, crate::store::StoreError>| {
            self.admin.publish(&record?).expect("it was there before");
            Ok::<(), crate::store::StoreError>(())
        };
        self.admin.keys.for_each(load).expect("readable");
    }

    pub(super) fn seconds(&self, seconds: i64) {
        self.clock.step_wall_us(seconds * 1_000_000);
    }
}

pub(super) fn refused<T>(result: Result<T, AdminError>) -> (ErrorCode, String) {
    let error = result.err().expect("refused");
    (error.code, error.message)
}

#[tokio::test]
async fn every_transition_is_enforced_and_a_refusal_changes_nothing() {
    let bench = Bench::new();
    for from in Status::ALL {
        for to in Status::ALL {
            let id = 1 + u64::from(from.byte()) * 100 + u64::from(to.byte());
            let mut imported = record(id);
            imported["status"] = from.source_name().into();
            bench.import(imported).await;
            let id = id.to_string();
            match (bench.set_status(&id, to, (None, None)).await, from.may_become(to)) {
                (Ok(key), Ok(())) => assert_eq!(key["status"], to.source_name()),
                (Err(error), Err(expected)) => {
                    assert_eq!(error.code, ErrorCode::Conflict);
                    assert_eq!(error.message, expected.to_string());
                    let key = bench.get(&id, false).await.expect("there");
                    assert_eq!(
                        (&key["status"], &key["revision"]),
                        (&json!(from.source_name()), &json!(1))
                    );
                }
                (done, expected) => panic!("{from:?} to {to:?}: {done:?} where {expected:?}"),
            }
        }
    }
    for status in [Status::Revoked, Status::Expired] {
        let record = json!({"name": "n", "status": status.name()});
        let made = bench.admin.create(&ALL, KeyCreate { record, request_id: None }).await;
        let (code, message) = refused(made);
        assert_eq!(code, ErrorCode::Invalid);
        assert!(message.starts_with("status: ") && message.contains("MAINTENANCE"), "{message}");
    }
    let (id, _) = bench.create(json!({"name": "n", "status": "PENDING_VERIFICATION"})).await;
    assert_eq!(refused(bench.update(&id, json!({"status": "ACTIVE"})).await).0, ErrorCode::Invalid);
}

#[tokio::test]
async fn a_change_of_status_keeps_its_reason_and_its_instant() {
    let bench = Bench::new();
    let (id, _) = bench.create(json!({"name": "n"})).await;
    let reason = (Some("key_compromise"), Some("seen in a repository"));
    let key = bench.set_status(&id, Status::Suspended, reason).await.expect("allowed");
    assert_eq!(key["status_reason_code"], "key_compromise");
    assert_eq!(key["status_reason"], "seen in a repository");
    assert_eq!(key["status_changed_at"], key["updated_at"]);
    let changed_at = key["status_changed_at"].clone();
    bench.seconds(1);
    bench.update(&id, json!({"name": "m"})).await.expect("updated");
    let key = bench.get(&id, false).await.expect("there");
    assert_eq!(
        (&key["status_changed_at"], &key["status_reason"]),
        (&changed_at, &json!("seen in a repository"))
    );
    let key = bench.set_status(&id, Status::Active, (None, None)).await.expect("allowed");
    assert_eq!((&key["status_reason_code"], &key["status_reason"]), (&json!(""), &json!("")));
    assert_ne!(key["status_changed_at"], changed_at);

    let long = "x".repeat(257);
    for reason in [(Some("stolen"), None), (Some("other"), None), (None, Some(long.as_str()))] {
        let (code, _) = refused(bench.set_status(&id, Status::Revoked, reason).await);
        assert_eq!(code, ErrorCode::Invalid, "{reason:?}");
    }
    for code in ReasonCode::ALL {
        let (id, token) = bench.create(json!({"name": "n"})).await;
        let reason = (Some(code.name()), Some("text"));
        bench.set_status(&id, Status::Revoked, reason).await.expect("allowed");
        assert_eq!(bench.code(&token), VerdictCode::Revoked);
    }
}

#[tokio::test]
async fn an_expired_key_comes_back_by_a_later_expiry_and_by_nothing_else() {
    let bench = Bench::new();
    let (id, token) = bench.create(json!({"name": "n"})).await;
    bench.set_status(&id, Status::Expired, (None, None)).await.expect("allowed");
    assert_eq!(bench.code(&token), VerdictCode::Expired);
    let (code, message) = refused(bench.set_status(&id, Status::Active, (None, None)).await);
    assert_eq!(code, ErrorCode::Conflict);
    assert!(message.contains("key update ID --expires"), "{message}");
    bench.update(&id, json!({"name": "other field"})).await.expect("updated");
    assert_eq!(bench.code(&token), VerdictCode::Expired);
    let notices = bench.update(&id, json!({"expires_at": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(notices.expect("updated"), [""; 0], "its state says that it is EXPIRED");
    assert_eq!(bench.code(&token), VerdictCode::Expired);
    let notices = bench.update(&id, json!({"expiresAt": "2127-01-01T00:00:00Z"})).await;
    assert_eq!(notices.expect("updated"), ["the key was EXPIRED and is ACTIVE again"]);
    assert_eq!(bench.code(&token), VerdictCode::Valid);

    // By time, in whatever state: only expires_at counts.
    let notices = bench.update(&id, json!({"expires_at": "2020-01-01T00:00:00Z"})).await;
    assert!(notices.expect("updated")[0].contains("expires_at has passed"));
    assert_eq!(bench.code(&token), VerdictCode::Expired);
    bench.update(&id, json!({"expires_at": null})).await.expect("updated");
    assert_eq!(bench.code(&token), VerdictCode::Valid);
}

#[tokio::test]
async fn a_rotation_has_two_tokens_until_its_overlap_ends() {
    use VerdictCode::{NotFound, RotatedOut, Valid};
    let bench = Bench::new();
    let (id, first) = bench.create(json!({"name": "n", "rotation_frequency_days": 1})).await;
    let rotated = bench.rotate(&id, Some(2000)).await.expect("rotated");
    let second = rotated.token;
    assert_eq!(rotated.key["id"], id.as_str());
    assert_eq!(rotated.key["last_rotated_at"], rotated.key["last_rotation_date"]);
    assert_eq!(rotated.key["last_rotation_reason"], "scheduled");
    assert_eq!(rotated.key["previous_key_ends_at"], rotated.old_token_ends_at.as_str());
    let codes =
        |tokens: &[&String]| -> Vec<_> { tokens.iter().map(|token| bench.code(token)).collect() };
    bench.clock.step_wall_us(1_999_999);
    assert_eq!(codes(&[&first, &second]), [Valid, Valid]);
    bench.clock.step_wall_us(1);
    assert_eq!(codes(&[&first, &second]), [RotatedOut, Valid]);

    // Twice within an overlap.
    let third = bench.rotate(&id, Some(60_000)).await.expect("rotated").token;
    assert_eq!(codes(&[&first, &second, &third]), [NotFound, Valid, Valid]);
    let fourth = bench.rotate(&id, Some(0)).await.expect("rotated").token;
    assert_eq!(codes(&[&second, &third, &fourth]), [NotFound, RotatedOut, Valid]);

    // The configuration's grace, and its bound.
    let fifth = bench.rotate(&id, None).await.expect("rotated").token;
    bench.clock.step_wall_us(999_999);
    assert_eq!(codes(&[&fourth, &fifth]), [Valid, Valid]);
    bench.clock.step_wall_us(1);
    assert_eq!(codes(&[&fourth, &fifth]), [RotatedOut, Valid]);
    let (code, message) = refused(bench.rotate(&id, Some(60_001)).await);
    assert_eq!(code, ErrorCode::Invalid);
    assert!(message.contains("60000 ms") && message.contains("rotation_grace_max_ms"), "{message}");
    bench.admin.set_life_rules(LifeRules { rotation_grace_max_ms: 500, ..RULES });
    let rotated = bench.rotate(&id, None).await.expect("the default keeps to the bound");
    bench.clock.step_wall_us(500_000);
    assert_eq!(codes(&[&fifth, &rotated.token]), [RotatedOut, Valid]);
}

#[tokio::test]
async fn an_overlap_never_outlasts_the_key() {
    let bench = Bench::new();
    let expires = "2027-01-15T08:00:05Z";
    assert_eq!(crate::key::Time::parse(expires).expect("a time").micros_up(), START_US + 5_000_000);
    let (id, old) = bench.create(json!({"name": "n", "expires_at": expires})).await;
    let rotated = bench.rotate(&id, Some(60_000)).await.expect("rotated");
    assert_eq!(rotated.old_token_ends_at, expires);
    // A longer life of the key is none of its old token.
    bench.update(&id, json!({"expires_at": null})).await.expect("updated");
    bench.seconds(5);
    assert_eq!(
        (bench.code(&old), bench.code(&rotated.token)),
        (VerdictCode::RotatedOut, VerdictCode::Valid)
    );
}

#[tokio::test]
async fn what_is_over_cannot_be_rotated_and_what_is_stopped_can() {
    let bench = Bench::new();
    for status in Status::ALL {
        let id = u64::from(status.byte());
        let mut imported = record(id);
        imported["status"] = status.source_name().into();
        bench.import(imported).await;
        let rotated = bench.rotate(&id.to_string(), None).await;
        if status == Status::Revoked {
            assert_eq!(refused(rotated).0, ErrorCode::Conflict);
        } else {
            assert_eq!(rotated.expect("rotated").key["status"], status.source_name());
        }
    }
    bench.delete("1", false).await.expect("deleted");
    assert_eq!(refused(bench.rotate("1", None).await).0, ErrorCode::NotFound);
}

#[tokio::test]
async fn an_overdue_rotation_is_told_with_every_change_until_it_is_made() {
    let bench = Bench::new();
    let (id, token) = bench.create(json!({"name": "n", "rotation_frequency_days": 2})).await;
    bench.clock.step_wall_us(2 * DAY_US);
    let notices = bench.update(&id, json!({"name": "m"})).await.expect("updated");
    assert!(notices[0].contains("overdue") && notices[0].contains("warned of"), "{notices:?}");
    bench.admin.engine.set_deny_rotation_overdue(true);
    assert_eq!(bench.code(&token), VerdictCode::RotationOverdue);
    let notices = bench.update(&id, json!({"name": "o"})).await.expect("updated");
    assert!(notices[0].contains("is denied"), "{notices:?}");
    let rotated = bench.rotate(&id, Some(1000)).await.expect("rotated");
    assert_eq!(rotated.notices, [""; 0]);
    assert_eq!(
        (bench.code(&token), bench.code(&rotated.token)),
        (VerdictCode::Valid, VerdictCode::Valid)
    );
}

#[tokio::test]
async fn a_review_is_stamped_and_raises_the_revision() {
    let bench = Bench::new();
    let (id, _) = bench.create(json!({"name": "n"})).await;
    bench.seconds(7);
    let review = || KeyReview { id: id.clone() };
    let key = bench.admin.review(&ALL, review()).await.expect("reviewed").key;
    assert_eq!(key["last_security_review_at"], "2027-01-15T08:00:07Z");
    assert_eq!(
        (&key["revision"], &key["updated_at"]),
        (&json!(2), &key["last_security_review_at"])
    );
    let theirs = Caller::of_tenant("theirs");
    assert_eq!(code(admin_review(&bench, &theirs, review()).await), Some(ErrorCode::NotFound));
}

async fn admin_review(
    bench: &Bench,
    caller: &Caller,
    request: KeyReview,
) -> Result<serde_json::Value, AdminError> {
    bench.admin.review(caller, request).await.map(|changed| changed.key)
}
