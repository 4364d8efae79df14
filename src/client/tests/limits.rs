//! Named limits, slots and refunds: what travels, and what comes back.

use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::{
    Increment, IncrementOutcome, LimitName, LimitReport, Opcode, RenewOutcome, SlotRenew, Validate,
    ValidateFlags, Verdict, VerdictCode,
};

use super::builder;
use super::fake::{Asked, FakeDaemon, Peer};
use crate::client::{Error, Report, ValidateRequest};

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
