//! Connections that end, refuse, hang or lie.

use std::time::Duration;

use keygate_protocol::{ErrorCode, Flags, Opcode, VerdictCode, opcode};

use super::fake::{FakeDaemon, Peer};
use super::{LONG, builder, let_time_pass};
use crate::client::{Client, Endpoint, Error, Loss, Report, ValidateRequest};

async fn validate(client: &Client, token: &'static str) -> tokio::task::JoinHandle<Answer> {
    let client = client.clone();
    tokio::spawn(async move { client.validate(ValidateRequest::new(token)).await })
}

type Answer = Result<crate::client::Validation, Error>;

#[tokio::test]
async fn what_was_written_and_lost_may_have_been_executed_and_the_next_call_connects_anew() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let call = validate(&client, "lost").await;
    let mut peer = daemon.accept().await;
    peer.asked().await.expect("it was written");
    drop(peer);
    let error = call.await.expect("no panic").expect_err("nobody answers");
    assert!(error.may_have_been_executed(), "{error}");
    assert!(
        matches!(&error, Error::Disconnected { source, .. } if matches!(**source, Loss::Closed))
    );

    let call = validate(&client, "valid").await;
    let mut peer = daemon.accept().await;
    let asked = peer.asked().await.expect("it is asked on the new connection");
    peer.answer_as_usual(&asked).await;
    assert!(call.await.expect("no panic").expect("an answer").is_valid());
}

#[tokio::test]
async fn calls_wait_while_the_daemon_is_away_and_are_answered_when_it_returns() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let call = validate(&client, "valid").await;
    let mut peer = daemon.accept().await;
    let asked = peer.asked().await.expect("a question");
    peer.answer_as_usual(&asked).await;
    call.await.expect("no panic").expect("an answer");

    drop(peer);
    let directory = daemon.stop();
    let calls = [validate(&client, "valid").await, validate(&client, "unknown").await];
    client.try_increment_detached(&Report::new(5)).expect("there is room");
    let brief = client.with_timeout(Duration::from_millis(20));
    let error = brief.validate(ValidateRequest::new("hasty")).await.expect_err("it is away");
    assert!(error.is_unreachable() && !error.may_have_been_executed(), "{error}");

    let daemon = FakeDaemon::start_in(directory);
    let mut peer = daemon.accept().await;
    let mut reports = 0;
    for _ in 0..3 {
        let asked = peer.asked().await.expect("what had waited");
        reports += usize::from(asked.opcode == Opcode::Increment);
        peer.answer_as_usual(&asked).await;
    }
    assert_eq!(reports, 1);
    for (call, valid) in calls.into_iter().zip([true, false]) {
        assert_eq!(call.await.expect("no panic").expect("an answer").is_valid(), valid);
    }
    client.ping_with(&mut peer).await;
}

impl Client {
    /// Shows that nothing else is on its way: the hasty question was taken back.
    async fn ping_with(&self, peer: &mut Peer) {
        let server = async {
            let asked = peer.asked().await.expect("a ping");
            assert_eq!(asked.opcode, Opcode::Ping);
            peer.answer_as_usual(&asked).await;
        };
        let (pinged, ()) = tokio::join!(self.ping(), server);
        pinged.expect("the ping comes back");
    }
}

#[tokio::test]
async fn without_a_common_version_calls_fail_at_once_and_say_so() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let call = validate(&client, "valid").await;
    let mut peer = daemon.accept_silent().await;
    let hello = peer.asked().await.expect("a greeting");
    peer.refuse(hello.correlation, ErrorCode::UnsupportedVersion, "speak version 2").await;
    let error = call.await.expect("no panic").expect_err("it cannot be asked");
    assert_eq!(error.code(), Some(ErrorCode::UnsupportedVersion));
    assert!(!error.may_have_been_executed() && error.to_string().contains("speak version 2"));
    assert!(peer.asked().await.is_none(), "nothing was asked on that connection");
}

#[tokio::test]
async fn a_daemon_with_too_many_connections_is_tried_again() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let call = validate(&client, "valid").await;
    let mut refused = daemon.accept_silent().await;
    refused.refuse(0, ErrorCode::TooManyConnections, "1 of 1").await;
    drop(refused);
    let mut peer = daemon.accept().await;
    let asked = peer.asked().await.expect("the question had waited");
    peer.answer_as_usual(&asked).await;
    assert!(call.await.expect("no panic").expect("an answer").is_valid());
}

#[tokio::test]
async fn what_a_closing_daemon_has_not_answered_was_not_executed() {
    const CLOSING: [(u8, bool); 3] = [
        (ErrorCode::Stopping as u8, false),
        (ErrorCode::TimedOut as u8, false),
        // A code of a later release: nobody knows.
        (200, true),
    ];
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    for (byte, may_have_been_executed) in CLOSING {
        let calls = [validate(&client, "valid").await, validate(&client, "unread").await];
        let mut peer = daemon.accept().await;
        let first = peer.asked().await.expect("both");
        peer.asked().await.expect("both");
        peer.answer_as_usual(&first).await;
        let write = |out: &mut bytes::BytesMut| out.extend_from_slice(&[byte, b'w', b'y']);
        peer.send(opcode::ERROR, Flags::NONE, 0, write).await;
        let [first, second] = calls;
        assert!(first.await.expect("no panic").expect("it was answered").is_valid());
        let error = second.await.expect("no panic").expect_err("it was not");
        assert_eq!(error.code(), ErrorCode::from_byte(byte));
        assert_eq!(error.may_have_been_executed(), may_have_been_executed, "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_the_protocol_is_not_believed_again() {
    type Lie = fn(u32) -> (u8, u32);
    const LIES: [Lie; 4] = [
        // An answer to a question that was never asked, or under another's generation.
        |correlation| (Opcode::Validate.reply(), correlation + 1),
        |correlation| (Opcode::Validate.reply(), correlation ^ 0x8000_0000),
        // An answer of another kind.
        |correlation| (Opcode::Ping.reply(), correlation),
        // An error that nobody asked for.
        |correlation| (opcode::ERROR, correlation + 1),
    ];
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    for lie in LIES {
        let call = validate(&client, "valid").await;
        let mut peer = daemon.accept().await;
        let asked = peer.asked().await.expect("a question");
        let (opcode, correlation) = lie(asked.correlation);
        let payload = [ErrorCode::Internal as u8];
        let write = |out: &mut bytes::BytesMut| out.extend_from_slice(&payload);
        peer.send(opcode, Flags::NONE, correlation, write).await;
        let error = call.await.expect("no panic").expect_err("it cannot be believed");
        let told = matches!(&error, Error::Disconnected { source, .. }
            if matches!(**source, Loss::Protocol(_)));
        assert!(told && error.may_have_been_executed(), "{error}");
        assert!(peer.asked().await.is_none(), "the client has closed");
    }
}

#[tokio::test]
async fn an_unreadable_verdict_is_an_error_of_that_call_alone() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let call = validate(&client, "x").await;
    let mut peer = daemon.accept().await;
    let asked = peer.asked().await.expect("a question");
    peer.answer(&asked, |out| out.extend_from_slice(&[99; 13])).await;
    let error = call.await.expect("no panic").expect_err("code 99 is not known");
    assert!(matches!(error, Error::Protocol(_)) && error.may_have_been_executed(), "{error}");
    client.ping_with(&mut peer).await;
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let call = validate(&client, "x").await;
    let mut peer = daemon.accept().await;
    peer.asked().await.expect("a question");
    peer.send_raw(&[0xff; 64]).await;
    let error = call.await.expect("no panic").expect_err("that was no answer");
    assert!(error.to_string().contains("broke the protocol"), "{error}");
}

#[tokio::test]
async fn what_is_not_keygate_is_told_apart_at_once() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let call = validate(&client, "x").await;
    let mut peer = daemon.accept_silent().await;
    peer.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = call.await.expect("no panic").expect_err("that was no greeting");
    assert!(error.is_unreachable() && !error.may_have_been_executed(), "{error}");
    assert!(error.to_string().contains("does not answer as keygate"), "{error}");
}

#[tokio::test]
async fn silence_after_a_timeout_ends_the_connection_and_frees_its_slots() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).in_flight_max(1).silence_max(Duration::from_secs(10)).build();
    let call = validate(&client, "hangs").await;
    let mut peer = daemon.accept().await;
    peer.asked().await.expect("a question");
    let error = let_time_pass(call).await.expect("no panic").expect_err("nobody answers");
    assert!(matches!(error, Error::TimedOut { after: LONG, .. }));
    // The only slot is taken by a reply that may still come; then nobody believes that any more.
    let call = validate(&client, "valid").await;
    let_time_pass(tokio::time::sleep(Duration::from_secs(11))).await;
    assert!(peer.asked().await.is_none(), "the client has closed");
    let mut peer = daemon.accept().await;
    let asked = peer.asked().await.expect("there is room again");
    peer.answer_as_usual(&asked).await;
    assert!(call.await.expect("no panic").expect("an answer").is_valid());
}

#[tokio::test]
async fn a_call_that_is_dropped_before_it_is_written_is_never_written() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let dropped = validate(&client, "dropped").await;
    // Until it is queued; the connection waits for its greeting.
    let mut peer = daemon.accept_silent().await;
    let hello = peer.asked().await.expect("a greeting");
    dropped.abort();
    assert!(dropped.await.expect_err("it was aborted").is_cancelled());
    let call = validate(&client, "valid").await;
    peer.answer(&hello, |out| {
        let reply = keygate_protocol::hello::HelloReply {
            version: 1,
            admin: false,
            batch_items_max: 512,
            frame_bytes_max: 65_536,
            name: None,
        };
        reply.encode(out);
    })
    .await;
    let asked = peer.asked().await.expect("a question");
    assert_eq!(asked.token(), "valid");
    peer.answer_as_usual(&asked).await;
    assert!(call.await.expect("no panic").expect("an answer").is_valid());
}

#[tokio::test]
async fn a_frame_that_was_not_wholly_written_is_written_again_on_the_next_connection() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).in_flight_max(4096).build();
    // More than a socket takes at once, so that the last are cut or not begun.
    let scope = "s".repeat(128);
    let tokens: Vec<String> = (0..4096).map(|number| format!("{number:0>500}")).collect();
    let calls: Vec<_> = tokens
        .iter()
        .map(|token| {
            let (client, token, scope) = (client.clone(), token.clone(), scope.clone());
            tokio::spawn(async move {
                let many = (0..16).fold(ValidateRequest::new(&token), |one, _| one.scope(&scope));
                client.validate(many).await
            })
        })
        .collect();
    let mut peer = daemon.accept().await;
    // The first is read; by then all are handed to the connection, and most do not fit.
    peer.asked().await.expect("a question");
    drop(peer);
    let mut peer = daemon.accept().await;
    let again = tokio::spawn(async move {
        let mut again = 0;
        while let Some(asked) = peer.asked().await {
            peer.answer_code(&asked, VerdictCode::Valid, 1).await;
            again += 1;
        }
        again
    });
    let mut lost = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(answer) => assert!(answer.is_valid()),
            Err(error) => {
                assert!(error.may_have_been_executed(), "{error}");
                lost += 1;
            }
        }
    }
    drop(client);
    let again: usize = again.await.expect("no panic");
    assert!(again > 0 && lost > 0);
    assert_eq!(again + lost, 4096, "each was lost or answered, none both");
}

#[tokio::test]
async fn the_last_client_leaves_its_reports_behind_and_closes() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    client.increment_detached(Report::new(1)).await.expect("there is room");
    drop(client);
    let mut peer = daemon.accept().await;
    assert_eq!(peer.asked().await.expect("the report").opcode, Opcode::Increment);
    assert!(peer.asked().await.is_none(), "then it closes");
}

#[tokio::test]
async fn what_is_queued_behind_a_write_that_stood_still_is_written_when_it_goes_on() {
    const HELD: usize = 4000;
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).in_flight_max(HELD + 1).build();
    let mut peer = with_connection(&client, &daemon).await;
    // More than a socket takes at once, all handed to the connection together.
    let text = "t".repeat(1024);
    let report = Report::new(1).error(&text);
    for _ in 0..HELD {
        client.try_increment_detached(&report).expect("there is room");
    }
    tokio::task::yield_now().await;
    client.try_increment_detached(&report).expect("there is room");
    tokio::task::yield_now().await;
    for number in 0..=HELD {
        let read = tokio::time::timeout(Duration::from_secs(30), peer.asked()).await;
        let asked = read.unwrap_or_else(|_| panic!("report {number} does not come"));
        assert_eq!(asked.expect("the connection stands").opcode, Opcode::Increment);
    }
}

/// The daemon's side of a connection that has answered.
async fn with_connection(client: &Client, daemon: &FakeDaemon) -> Peer {
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = peer.asked().await.expect("a ping");
        peer.answer_as_usual(&asked).await;
        peer
    };
    let (pinged, peer) = tokio::join!(client.ping(), server);
    pinged.expect("the ping comes back");
    peer
}

#[test]
fn a_client_whose_runtime_has_ended_says_so() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let first = runtime();
    let client = {
        let _guard = first.enter();
        Client::builder(Endpoint::unix("/nowhere")).build()
    };
    drop(first);
    let error = runtime().block_on(client.ping()).expect_err("nobody serves it");
    assert!(matches!(error, Error::Closed) && !error.may_have_been_executed(), "{error}");
}
