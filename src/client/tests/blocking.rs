//! The blocking client, against the same daemon on a thread of its own.

use std::future::Future;
use std::time::Duration;

use keygate_protocol::{
    ErrorCode, Flags, Increment, IncrementOutcome, LimitName, Opcode, RenewOutcome, SlotRenew,
    Validate, Verdict, VerdictCode,
};
use serde_json::json;

use super::fake::FakeDaemon;
use crate::client::blocking::Client;
use crate::client::{Endpoint, Error, Report, ValidateRequest};

/// Runs the daemon's part on another thread and answers what the client's part answers.
fn with_daemon<F, T>(
    server: impl FnOnce(FakeDaemon) -> F + Send + 'static,
    calls: impl FnOnce(Endpoint) -> T,
) -> T
where
    F: Future<Output = ()>,
{
    let (ready, started) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let daemon = FakeDaemon::start();
            ready.send(Endpoint::unix(daemon.path())).expect("the test waits");
            server(daemon).await;
        });
    });
    let result = calls(started.recv().expect("the daemon starts"));
    thread.join().expect("the daemon saw what it expected");
    result
}

async fn usual(daemon: FakeDaemon) {
    let mut peer = daemon.accept().await;
    while let Some(asked) = peer.asked().await {
        peer.answer_as_usual(&asked).await;
    }
}

#[test]
fn questions_reports_and_pings_are_answered() {
    with_daemon(usual, |endpoint| {
        let mut client = Client::connect(endpoint).expect("it listens");
        assert!(client.validate(&ValidateRequest::new("valid")).expect("an answer").is_valid());
        let stated = ValidateRequest::new("valid").address([10, 0, 0, 1]).https(true).metadata();
        assert_eq!(client.validate(&stated).expect("an answer").metadata, None, "it tells none");
        let outcome = client.increment(&Report::new(7)).expect("an answer");
        assert_eq!(outcome, IncrementOutcome::Counted);
        client.increment_detached(&Report::new(7)).expect("it is written");
        client.ping().expect("an answer");
        assert_eq!(client.hello().and_then(|hello| hello.name.as_deref()), Some("fake/1"));
        let error = client.health().expect_err("not on this daemon");
        assert_eq!(error.code(), Some(ErrorCode::UnknownOpcode));
        client.ping().expect("the connection lives on");
        let error = client.validate(&ValidateRequest::new("t").scope("")).expect_err("no scope");
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    });
}

#[test]
fn pipelined_questions_are_written_together_and_matched_whatever_the_order() {
    let server = async |daemon: FakeDaemon| {
        let mut peer = daemon.accept().await;
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(peer.asked().await.expect("all before any answer"));
        }
        for asked in asked.iter().rev() {
            let key_id = asked.token().parse().expect("tokens are numbers here");
            peer.answer_code(asked, VerdictCode::Valid, key_id).await;
        }
    };
    with_daemon(server, |endpoint| {
        let mut client = Client::connect(endpoint).expect("it listens");
        let questions = ["1", "2", "3"].map(ValidateRequest::new);
        let answers = client.validate_pipelined(&questions).expect("answers");
        assert_eq!(answers.iter().map(|one| one.key_id).collect::<Vec<_>>(), [1, 2, 3]);
    });
}

#[test]
fn slots_are_renewed_and_limits_told_by_the_names_of_each_question() {
    let server = async |daemon: FakeDaemon| {
        let mut peer = daemon.accept().await;
        for _ in 0..3 {
            let asked = peer.asked().await.expect("a question");
            let request = Validate::decode(&asked.payload).expect("it is readable");
            assert!(request.facts.limits().count() != 1);
            let verdict = Verdict::of(VerdictCode::Valid, 7);
            peer.answer(&asked, |out| verdict.encode(out)).await;
        }
        let asked = peer.asked().await.expect("a renewal");
        assert_eq!(SlotRenew::decode(&asked.payload), Ok(SlotRenew { key_id: 7, slot: 5 }));
        peer.answer(&asked, |out| RenewOutcome::Gone.encode(out)).await;
    };
    with_daemon(server, |endpoint| {
        let mut client = Client::connect(endpoint).expect("it listens");
        let names = ["a", "b"];
        let both = names.into_iter().fold(ValidateRequest::new("t"), ValidateRequest::limit);
        let questions = [both.clone(), ValidateRequest::new("t")];
        let answers = client.validate_pipelined(&questions).expect("answers");
        assert_eq!(answers[0].name_of(LimitName::Named2), "b");
        assert_eq!(answers[1].name_of(LimitName::Named2), "named_2");
        let answer = client.validate(&both).expect("an answer");
        assert_eq!(answer.name_of(LimitName::Named1), "a");
        assert_eq!(client.renew_slot(7, 5).expect("an answer"), RenewOutcome::Gone);
    });
}

#[test]
fn the_slots_of_a_pipeline_that_is_refused_in_part_are_given_back() {
    let server = async |daemon: FakeDaemon| {
        let mut peer = daemon.accept().await;
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(peer.asked().await.expect("all before any answer"));
        }
        let taken = Verdict { slot: Some(5), ..Verdict::of(VerdictCode::Valid, 7) };
        peer.answer(&asked[0], |out| taken.encode(out)).await;
        peer.refuse(asked[1].correlation, ErrorCode::Internal, "so it is").await;
        peer.answer_code(&asked[2], VerdictCode::Valid, 7).await;
        let asked = peer.asked().await.expect("the slot comes back");
        assert_eq!((asked.opcode, asked.flags), (Opcode::Increment, Flags::NO_REPLY));
        let expected = Increment { slot: Some(5), ..Increment::new(7) };
        assert_eq!(Increment::decode(&asked.payload), Ok(expected));
        let asked = peer.asked().await.expect("the connection lives on");
        assert_eq!(asked.opcode, Opcode::Ping);
        peer.answer_as_usual(&asked).await;
    };
    with_daemon(server, |endpoint| {
        let mut client = Client::connect(endpoint).expect("it listens");
        let questions = ["1", "2", "3"].map(ValidateRequest::new);
        let error = client.validate_pipelined(&questions).expect_err("one is refused");
        assert_eq!(error.code(), Some(ErrorCode::Internal));
        client.ping().expect("an answer");
    });
}

#[test]
fn what_was_written_and_lost_may_have_been_executed_and_the_next_call_connects_anew() {
    let server = async |daemon: FakeDaemon| {
        let mut peer = daemon.accept().await;
        peer.asked().await.expect("a question");
        drop(peer);
        usual(daemon).await;
    };
    with_daemon(server, |endpoint| {
        let mut client = Client::connect(endpoint).expect("it listens");
        let error = client.validate(&ValidateRequest::new("x")).expect_err("nobody answers");
        let lost = matches!(error, Error::Disconnected { .. });
        assert!(lost && error.may_have_been_executed(), "{error}");
        assert!(client.validate(&ValidateRequest::new("valid")).expect("an answer").is_valid());
    });
}

#[test]
fn a_timeout_ends_the_connection_so_that_no_late_reply_is_taken_for_another() {
    let server = async |daemon: FakeDaemon| {
        let mut peer = daemon.accept().await;
        peer.asked().await.expect("a question that is not answered");
        assert!(peer.asked().await.is_none(), "the client has closed");
        usual(daemon).await;
    };
    with_daemon(server, |endpoint| {
        let mut client = Client::connect(endpoint).expect("it listens");
        client.set_timeout(Duration::from_millis(10));
        let error = client.validate(&ValidateRequest::new("x")).expect_err("nobody answers");
        let timed_out = matches!(error, Error::TimedOut { .. });
        assert!(timed_out && error.may_have_been_executed(), "{error}");
        client.set_timeout(Duration::from_secs(60));
        assert!(client.validate(&ValidateRequest::new("valid")).expect("an answer").is_valid());
    });
}

#[test]
fn a_daemon_that_is_not_there_or_speaks_another_version_is_told_at_once() {
    let error = Client::connect(Endpoint::unix("/nonexistent/keygate.sock")).expect_err("nobody");
    assert!(error.is_unreachable() && !error.may_have_been_executed(), "{error}");

    let server = async |daemon: FakeDaemon| {
        let mut peer = daemon.accept_silent().await;
        let hello = peer.asked().await.expect("a greeting");
        peer.refuse(hello.correlation, ErrorCode::UnsupportedVersion, "speak version 2").await;
    };
    with_daemon(server, |endpoint| {
        let error = Client::connect(endpoint).expect_err("no common version");
        assert_eq!(error.code(), Some(ErrorCode::UnsupportedVersion));
        assert!(!error.may_have_been_executed(), "{error}");
    });
}

#[test]
fn admin_calls_carry_json_both_ways() {
    let server = async |daemon: FakeDaemon| {
        let mut peer = daemon.accept().await;
        let asked = peer.asked().await.expect("a key is asked for");
        assert_eq!(
            (asked.opcode, asked.payload.as_slice()),
            (Opcode::KeyGet, br#"{"id":"7"}"# as &[u8])
        );
        peer.answer(&asked, |out| out.extend_from_slice(br#"{"id":"7","name":"n"}"#)).await;
        let asked = peer.asked().await.expect("a tenant's limits are asked for");
        let expected = (Opcode::TenantUsage, br#"{"id":"acme"}"# as &[u8]);
        assert_eq!((asked.opcode, asked.payload.as_slice()), expected);
        let usage = json!({ "id": "acme", "limits": [{
            "name": "tenant_day", "limit": 1000, "spent": 1, "remaining": 999,
            "leased": 9, "stranded": 0, "ends_at": "2026-11-02T00:00:00Z",
        }] });
        peer.answer(&asked, |out| out.extend_from_slice(usage.to_string().as_bytes())).await;
    };
    with_daemon(server, |endpoint| {
        let mut client = Client::connect(endpoint).expect("it listens");
        assert_eq!(client.get(7).expect("an answer"), json!({ "id": "7", "name": "n" }));
        let usage = client.tenant_usage("acme").expect("an answer");
        assert_eq!((usage.id.as_str(), usage.limits[0].remaining), ("acme", 999));
    });
}
