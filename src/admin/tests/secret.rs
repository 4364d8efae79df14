//! Client secrets, over a store in memory.

use bytes::BytesMut;
use keygate_protocol::admin::{KeySecret, KeySecretMade};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Validate, ValidateFlags, VerdictCode};

use super::super::{Retention, Swept};
use super::life::Bench;
use super::*;
use crate::clock::Clock;
use crate::engine::Answers;
use crate::key::Status;

impl Bench {
    async fn secret(
        &self,
        id: &str,
        with: impl FnOnce(&mut KeySecret),
    ) -> Result<KeySecretMade, AdminError> {
        let mut request = KeySecret { id: id.to_owned(), ..KeySecret::default() };
        with(&mut request);
        self.admin.client_secret(&ALL, request).await
    }

    fn shows(&self, token: &str, secret: Option<&str>) -> VerdictCode {
        let mut payload = BytesMut::new();
        let mut writer =
            ValidateWriter::new(&mut payload, ValidateFlags::NONE, 1, token.as_bytes());
        secret.iter().for_each(|secret| writer.client_secret(secret.as_bytes()));
        let question = Validate::decode(&payload).expect("well-formed");
        let mut answers = Answers::default();
        self.admin.engine.validate(&[question], self.clock.now(), &mut answers);
        answers[0].verdict.code
    }
}

#[tokio::test]
async fn a_secret_is_made_demanded_exchanged_and_taken_away() {
    use VerdictCode::{ClientSecretRequired, ClientSecretWrong, Valid};
    let bench = Bench::new();
    let (id, token) = bench.create(json!({"name": "a"})).await;
    let first = bench.secret(&id, |_| {}).await.expect("made");
    let first_secret = first.client_secret.expect("shown once");
    assert!(first_secret.starts_with("kg_secret_"), "{first_secret}");
    assert!(first.notices[0].contains("--require-client-secret"), "{:?}", first.notices);
    assert_eq!(first.old_secret_ends_at, None);
    assert_eq!(bench.shows(&token, None), Valid, "it is not demanded yet");

    let grace = |request: &mut KeySecret| {
        (request.require, request.grace_ms) = (true, Some(60_000));
    };
    let second = bench.secret(&id, grace).await.expect("made");
    assert_eq!(second.notices, [""; 0]);
    let second_secret = second.client_secret.expect("shown once");
    assert!(second.old_secret_ends_at.is_some());
    assert_eq!(bench.shows(&token, None), ClientSecretRequired);
    assert_eq!(bench.shows(&token, Some(&first_secret)), Valid);
    assert_eq!(bench.shows(&token, Some(&second_secret)), Valid);
    // The record tells hashes alone.
    let text = bench.admin.get(&ALL, KeyRef { id: id.clone(), deleted: false }).await;
    let text = text.expect("there").to_string();
    assert!(!text.contains(&second_secret) && !text.contains(&first_secret));

    bench.clock.advance_us(60_000_000);
    assert_eq!(bench.shows(&token, Some(&first_secret)), ClientSecretWrong);
    let mut retention = Retention::new(Arc::clone(&bench.admin));
    let swept = retention.look(&|| true).await.expect("a look");
    assert_eq!(swept, Swept { secrets: 1, ..Swept::default() });
    let stored = bench.admin.keys.get(id.parse().expect("an id")).expect("read").expect("there");
    assert_eq!(stored.previous_client_secret_hash, None, "what is over is wiped");
    assert_eq!(retention.look(&|| true).await.expect("a look"), Swept::default());

    let removed = bench.secret(&id, |request| request.remove = true).await.expect("removed");
    assert_eq!((removed.client_secret, removed.old_secret_ends_at), (None, None));
    assert_eq!(bench.shows(&token, None), Valid, "and it is demanded no more");
}

#[tokio::test]
async fn an_exchange_without_grace_and_a_second_one_end_the_older_secret_at_once() {
    use VerdictCode::{ClientSecretWrong, Valid};
    let bench = Bench::new();
    let (id, token) = bench.create(json!({"name": "a", "requires_client_secret": true})).await;
    let made = async |grace_ms| {
        let made = bench.secret(&id, |request| request.grace_ms = Some(grace_ms)).await;
        made.expect("made").client_secret.expect("shown")
    };
    let first = made(60_000).await;
    let second = made(60_000).await;
    let third = made(60_000).await;
    for (secret, code) in [(&first, ClientSecretWrong), (&second, Valid), (&third, Valid)] {
        assert_eq!(bench.shows(&token, Some(secret)), code);
    }
    let fourth = made(0).await;
    for (secret, code) in [(&third, ClientSecretWrong), (&fourth, Valid)] {
        assert_eq!(bench.shows(&token, Some(secret)), code);
    }
}

#[tokio::test]
async fn what_cannot_be_done_says_why() {
    let bench = Bench::new();
    let (id, _) = bench.create(json!({"name": "a"})).await;
    let too_long = bench.secret(&id, |request| request.grace_ms = Some(u64::MAX)).await;
    let both = bench.secret(&id, |it| (it.remove, it.require) = (true, true)).await;
    let stale = bench.secret(&id, |request| request.expected_revision = Some(9)).await;
    let nobody = bench.secret("7", |_| {}).await;
    bench.set_status(&id, Status::Revoked, (None, None)).await.expect("revoked");
    let revoked = bench.secret(&id, |_| {}).await;
    for (refused, code, words) in [
        (too_long, ErrorCode::Invalid, "rotation_grace_max_ms"),
        (both, ErrorCode::Invalid, "leave out"),
        (stale, ErrorCode::Conflict, "revision 9 was expected"),
        (nobody, ErrorCode::NotFound, "7"),
        (revoked, ErrorCode::Conflict, "REVOKED"),
    ] {
        let error = refused.map(|_| ()).expect_err("refused");
        assert!(error.code == code && error.message.contains(words), "{error:?}");
    }
}

#[tokio::test]
async fn a_hash_that_a_writer_sets_ends_the_overlap() {
    let bench = Bench::new();
    let (id, token) = bench.create(json!({"name": "a", "requires_client_secret": true})).await;
    let first = bench.secret(&id, |_| {}).await.expect("made").client_secret.expect("shown");
    bench.secret(&id, |request| request.grace_ms = Some(60_000)).await.expect("made");
    assert_eq!(bench.shows(&token, Some(&first)), VerdictCode::Valid);
    let set = json!({"client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"});
    let update = KeyUpdate { id, set, mask: None, expected_revision: None, spent: None };
    bench.admin.update(&ALL, update).await.expect("updated");
    assert_eq!(bench.shows(&token, Some(&first)), VerdictCode::ClientSecretWrong);
    assert_eq!(bench.shows(&token, Some("secret")), VerdictCode::Valid);
}
