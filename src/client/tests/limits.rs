//! Named limits, slots and refunds: what travels, and what comes back.

use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::{
    Flags, Increment, IncrementOutcome, LimitName, LimitReport, Opcode, RenewOutcome, SlotRenew,
    Validate, ValidateFlags, Verdict, VerdictCode,
};

use super::fake::{Asked, FakeDaemon, Peer};
use super::{LONG, builder, let_time_pass};
use crate::client::{Client, Error, Report, ValidateRequest};

const SLOT: u64 = (1 << 40) + 7;

fn report(name: LimitName, remaining: u64) -> LimitReport {
    let (limit, reset_after_us) = (10, Some(1_000_000));
    LimitReport { name, limit, remaining, retry_after_us: None, reset_after_us }
}

/// Admits a question and says of each limit that it names its place as what remains.
fn admit(asked: &[u8]) -> Verdict {
    let request = Validate::decode(asked).expect("it is readable");
    let mut verdict = Verdict::of(VerdictCode::Valid, 9);
    verdict.limits.push(report(LimitName::Second, 99));
    let named = request.facts.limits().zip(LimitName::NAMED).zip(0..);
    named.for_each(|((_, name), place)| verdict.limits.push(report(name, place)));
    verdict.slot = Some(SLOT);
    verdict
}

async fn next(peer: &mut Peer, opcode: Opcode) -> Asked {
    let asked = peer.asked().await.expect("something is asked");
    assert_eq!(asked.opcode, opcode);
    asked
}

#[tokio::test]
async fn limits_are_spent_by_name_and_told_by_name() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let question = ValidateRequest::new("kg_live_x").limit("exports").limit("été").keep_slot();
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = next(&mut peer, Opcode::Validate).await;
        let request = Validate::decode(&asked.payload).expect("it is readable");
        assert_eq!(request.flags, ValidateFlags::KEEP_SLOT);
        let named: [&[u8]; 2] = [b"exports", "été".as_bytes()];
        assert_eq!(request.facts.limits().collect::<Vec<_>>(), named);
        peer.answer(&asked, |out| admit(&asked.payload).encode(out)).await;
    };
    let (answer, ()) = tokio::join!(client.validate(question), server);
    let answer = answer.expect("the daemon answers");
    assert_eq!(answer.slot, Some(SLOT));
    assert_eq!(answer.named("exports").map(|one| one.remaining), Some(0));
    assert_eq!(answer.named("été").map(|one| one.remaining), Some(1));
    assert_eq!(answer.named("second"), None, "it was not named");
    assert_eq!(answer.limits.get(LimitName::Second).map(|one| one.remaining), Some(99));
    let names: Vec<_> = answer.limits.iter().map(|one| answer.name_of(one.name)).collect();
    assert_eq!(names, ["second", "exports", "été"]);
    assert_eq!(answer.name_of(LimitName::Named4), "named_4", "nobody named a fourth");
}

#[tokio::test]
async fn each_answer_of_a_batch_knows_the_names_of_its_own_question() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let questions =
        [ValidateRequest::new("a").limit("x").limit("y"), ValidateRequest::new("b").limit("y")];
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = next(&mut peer, Opcode::ValidateBatch).await;
        peer.answer(&asked, |out| {
            let mut batch = BatchWriter::new(out);
            for question in Batch::decode(&asked.payload).expect("a batch") {
                batch.item(|out| admit(question).encode(out));
            }
            batch.finish();
        })
        .await;
    };
    let (answers, ()) = tokio::join!(client.validate_batch(&questions), server);
    let answers = answers.expect("the daemon answers");
    let remaining = |name: &'static str| {
        answers.iter().map(move |one| one.named(name).map(|one| one.remaining))
    };
    assert!(remaining("x").eq([Some(0), None]));
    assert!(remaining("y").eq([Some(1), Some(0)]));
}

#[tokio::test]
async fn a_denial_by_a_named_limit_says_when_to_come_back() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = next(&mut peer, Opcode::Validate).await;
        let mut verdict = Verdict::of(VerdictCode::QuotaExceeded, 9);
        verdict.denied_by = Some(LimitName::Named1);
        let retry_after_us = Some(5_000_000);
        verdict.limits.push(LimitReport { retry_after_us, ..report(LimitName::Named1, 0) });
        peer.answer(&asked, |out| verdict.encode(out)).await;
    };
    let question = ValidateRequest::new("t").limit("exports");
    let (answer, ()) = tokio::join!(client.validate(question), server);
    let answer = answer.expect("the daemon answers");
    assert_eq!(answer.retry_after().map(|wait| wait.as_secs()), Some(5));
    assert_eq!(answer.denied_by.map(|limit| answer.name_of(limit)), Some("exports"));
    assert_eq!(answer.slot, None);
}

#[tokio::test]
async fn a_report_gives_its_slot_and_its_credits_back() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let report = Report::new(9).slot(Some(SLOT)).refund(3).id(77);
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = next(&mut peer, Opcode::Increment).await;
        let expected =
            Increment { slot: Some(SLOT), refund: Some(3), id: Some(77), ..Increment::new(9) };
        assert_eq!(Increment::decode(&asked.payload), Ok(expected));
        peer.answer(&asked, |out| IncrementOutcome::SlotGone.encode(out)).await;
    };
    let (outcome, ()) = tokio::join!(client.increment(report), server);
    assert_eq!(outcome.expect("the daemon answers"), IncrementOutcome::SlotGone);
    assert_eq!(Report::new(9).slot(None), Report::new(9), "a verdict without one");
    assert_eq!(Report::new(9).slot(SLOT), Report::new(9).slot(Some(SLOT)));
}

/// What the client asks of its own accord when it has read all that it was sent.
async fn asks_by_itself(client: &Client, peer: &mut Peer) -> Vec<Asked> {
    let mut asked = Vec::new();
    // With the first the client has read what was sent before, so before the second comes whatever
    // it had to say of that.
    for _ in 0..2 {
        let server = async {
            loop {
                let next = peer.asked().await.expect("a ping");
                if next.opcode == Opcode::Ping {
                    break peer.answer_as_usual(&next).await;
                }
                asked.push(next);
            }
        };
        let (pinged, ()) = tokio::join!(client.ping(), server);
        pinged.expect("the ping comes back");
    }
    asked
}

fn gives_back(asked: &Asked) -> bool {
    let expected = Increment { slot: Some(SLOT), ..Increment::new(9) };
    asked.flags == Flags::NO_REPLY && Increment::decode(&asked.payload) == Ok(expected)
}

#[tokio::test]
async fn the_slot_of_an_answer_that_comes_too_late_is_given_back() {
    let daemon = FakeDaemon::start();
    // Not so soon that what was dropped ends the connection before the others have waited.
    let client = builder(&daemon).in_flight_max(3).silence_max(2 * LONG).build();
    let ask = || {
        let client = client.clone();
        tokio::spawn(async move { client.validate(ValidateRequest::new("t").keep_slot()).await })
    };
    let (late, dropped, denied) = (ask(), ask(), ask());
    let mut peer = daemon.accept().await;
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(next(&mut peer, Opcode::Validate).await);
    }
    dropped.abort();
    dropped.await.expect_err("it was dropped");
    let ended = let_time_pass(async { [late.await, denied.await] }).await;
    assert!(ended.iter().flatten().all(|one| matches!(one, Err(Error::TimedOut { .. }))));
    for asked in &asked[..2] {
        peer.answer(asked, |out| admit(&asked.payload).encode(out)).await;
    }
    peer.answer_code(&asked[2], VerdictCode::RateExceeded, 9).await;
    // There is room for the pings, too: what was given up counts no more.
    let asked = asks_by_itself(&client, &mut peer).await;
    assert!(asked.len() == 2 && asked.iter().all(gives_back), "{asked:?}");
    assert!(asks_by_itself(&client, &mut peer).await.is_empty());
}

#[tokio::test]
async fn the_slot_of_an_answer_that_came_and_was_not_fetched_is_given_back() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).in_flight_max(2).build();
    let mut call = Box::pin(client.validate(ValidateRequest::new("t")));
    let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
    assert!(begun.is_pending());
    let mut peer = daemon.accept().await;
    let asked = next(&mut peer, Opcode::Validate).await;
    peer.answer(&asked, |out| admit(&asked.payload).encode(out)).await;
    assert!(asks_by_itself(&client, &mut peer).await.is_empty(), "it may still be fetched");
    drop(call);
    let asked = asks_by_itself(&client, &mut peer).await;
    assert!(asked.len() == 1 && gives_back(&asked[0]), "{asked:?}");
    assert!(asks_by_itself(&client, &mut peer).await.is_empty());
}

#[tokio::test]
async fn the_slots_of_a_batch_that_is_answered_too_late_are_given_back_together() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).in_flight_max(1).build();
    let questions = ["a", "b", "c"].map(ValidateRequest::new);
    let mut peer = {
        let mut call = Box::pin(client.validate_batch(&questions));
        let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(begun.is_pending());
        let mut peer = daemon.accept().await;
        let asked = next(&mut peer, Opcode::ValidateBatch).await;
        drop(call);
        peer.answer(&asked, |out| {
            let mut batch = BatchWriter::new(out);
            for (place, question) in Batch::decode(&asked.payload).expect("a batch").enumerate() {
                let taken = admit(question);
                let denied = Verdict::of(VerdictCode::ConcurrencyExceeded, 9);
                batch.item(|out| if place == 1 { &denied } else { &taken }.encode(out));
            }
            batch.finish();
        })
        .await;
        peer
    };
    let asked = asks_by_itself(&client, &mut peer).await;
    assert!(asked.len() == 1 && asked[0].opcode == Opcode::IncrementBatch, "{asked:?}");
    assert_eq!(asked[0].flags, Flags::NO_REPLY);
    let reports = Batch::decode(&asked[0].payload).expect("a batch").map(Increment::decode);
    let expected = Increment { slot: Some(SLOT), ..Increment::new(9) };
    assert_eq!(reports.collect::<Vec<_>>(), [Ok(expected), Ok(expected)]);
    assert!(asks_by_itself(&client, &mut peer).await.is_empty());
}

#[tokio::test]
async fn a_slot_is_renewed() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let outcomes = [RenewOutcome::Renewed, RenewOutcome::Gone, RenewOutcome::NotFound];
    let calls = async {
        for outcome in outcomes {
            let told = client.renew_slot(9, SLOT).await.expect("the daemon answers");
            assert_eq!(told, outcome);
        }
    };
    let server = async {
        let mut peer = daemon.accept().await;
        for outcome in outcomes {
            let asked = next(&mut peer, Opcode::SlotRenew).await;
            let expected = SlotRenew { key_id: 9, slot: SLOT };
            assert_eq!(SlotRenew::decode(&asked.payload), Ok(expected));
            peer.answer(&asked, |out| outcome.encode(out)).await;
        }
    };
    tokio::join!(calls, server);
}

#[tokio::test]
async fn what_the_daemon_would_refuse_of_limits_and_refunds_is_refused_here() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let long = "n".repeat(65);
    let names = ["a", "b", "c", "d", "e"];
    let many = names.into_iter().fold(ValidateRequest::new("t"), ValidateRequest::limit);
    for (request, why) in [
        (ValidateRequest::new("t").limit(""), "1 to 64"),
        (ValidateRequest::new("t").limit(&long), "1 to 64"),
        (ValidateRequest::new("t").limit("a").limit("b").limit("a"), "twice"),
        (many, "at most 4"),
    ] {
        let error = client.validate(request).await.expect_err(why);
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(why), "{error}");
    }
    for (report, why) in [
        (Report::new(1).refund(1), "needs an id"),
        (Report::new(1).id(1).refund(0), "1 to 2^32"),
        (Report::new(1).id(1).refund((1 << 32) + 1), "1 to 2^32"),
    ] {
        let error = client.increment(report.clone()).await.expect_err(why);
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(why), "{error}");
        client.try_increment_detached(&report).expect_err(why);
    }
}
