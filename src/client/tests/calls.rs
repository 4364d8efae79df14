//! Calls and their answers while the connection lasts.

use std::collections::HashSet;
use std::time::Duration;

use keygate_protocol::batch::BatchWriter;
use keygate_protocol::validate::Stated;
use keygate_protocol::verdict::{put_details, put_metadata};
use keygate_protocol::{
    ErrorCode, Flags, Increment, IncrementOutcome, LimitName, Opcode, Validate, ValidateFlags,
    Verdict, VerdictCode, opcode,
};

use super::fake::{FakeDaemon, Greeting};
use super::{builder, let_time_pass};
use crate::client::{Client, Endpoint, Error, ReplyError, Report, ValidateRequest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_share_a_connection_and_each_gets_its_own_answer() {
    const TASKS: u64 = 100;
    const CALLS: u64 = 20;
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let server = tokio::spawn(async move {
        let mut peer = daemon.accept().await;
        for _ in 0..TASKS * CALLS {
            let asked = peer.asked().await.expect("the client asks on");
            let key_id = asked.token().parse().expect("tokens are numbers here");
            peer.answer_code(&asked, VerdictCode::Valid, key_id).await;
        }
    });
    let tasks = (0..TASKS).map(|task| {
        let client = client.clone();
        tokio::spawn(async move {
            for call in 0..CALLS {
                let key_id = task * CALLS + call;
                let token = key_id.to_string();
                let verdict = client.validate(ValidateRequest::new(&token)).await;
                assert_eq!(verdict.expect("the daemon answers").key_id, key_id);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("each task sees its own answers");
    }
    server.await.expect("the daemon saw every call, on one connection");
}

#[tokio::test]
async fn what_waits_together_leaves_together_and_replies_may_come_in_any_order() {
    const CALLS: u64 = 32;
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let calls = async {
        let calls = (0..CALLS).map(|key_id| {
            let client = client.clone();
            tokio::spawn(
                async move { client.validate(ValidateRequest::new(&key_id.to_string())).await },
            )
        });
        for (key_id, call) in (0..).zip(calls.collect::<Vec<_>>()) {
            let verdict = call.await.expect("no panic").expect("the daemon answers");
            assert_eq!(verdict.key_id, key_id);
        }
    };
    let server = async {
        let mut peer = daemon.accept().await;
        let mut asked = Vec::new();
        for _ in 0..CALLS {
            asked.push(peer.asked().await.expect("all are asked before any is answered"));
        }
        let correlations: HashSet<u32> = asked.iter().map(|asked| asked.correlation).collect();
        assert_eq!(correlations.len(), asked.len());
        assert!(!correlations.contains(&0), "0 is the connection's own");
        for asked in asked.iter().rev() {
            let key_id = asked.token().parse().expect("tokens are numbers here");
            peer.answer_code(asked, VerdictCode::Valid, key_id).await;
        }
    };
    tokio::join!(calls, server);
}

#[tokio::test]
async fn a_question_travels_whole_and_its_answer_comes_back_whole() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let question = ValidateRequest::new("kg_live_x")
        .scope("leads:read")
        .any_scope("leads:write")
        .any_scope("admin:all")
        .cost(5)
        .peek()
        .details();
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = peer.asked().await.expect("a question");
        let request = Validate::decode(&asked.payload).expect("it is readable");
        assert_eq!((request.token, request.cost), (b"kg_live_x".as_slice(), 5));
        assert_eq!(request.flags, ValidateFlags::PEEK.with(ValidateFlags::DETAILS));
        assert_eq!(request.facts.scopes_all().collect::<Vec<_>>(), [b"leads:read"]);
        let any: [&[u8]; 2] = [b"leads:write", b"admin:all"];
        assert_eq!(request.facts.scopes_any().collect::<Vec<_>>(), any);
        peer.answer(&asked, |out| {
            Verdict::of(VerdictCode::Valid, 9).encode(out);
            put_details("acme", ["leads:read", "admin:all"], out);
        })
        .await;
    };
    let (answer, ()) = tokio::join!(client.validate(question), server);
    let answer = answer.expect("the daemon answers");
    assert!(answer.is_valid());
    assert_eq!(answer.tenant_id.as_deref(), Some("acme"));
    assert_eq!(answer.scopes, ["leads:read", "admin:all"]);
}

#[tokio::test]
async fn facts_travel_whole_and_metadata_comes_back() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let question = ValidateRequest::new("kg_live_x")
        .feature("bulk-import")
        .feature("export")
        .address([203, 0, 113, 7])
        .origin("https://bücher.example")
        .environment("production")
        .region("eu-west-1")
        .integration("salesforce")
        .api_version("v1")
        .https(true)
        .tenant("acme")
        .metadata();
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = peer.asked().await.expect("a question");
        let request = Validate::decode(&asked.payload).expect("it is readable");
        assert_eq!(request.flags, ValidateFlags::METADATA);
        let expected = Stated {
            address: Some([203, 0, 113, 7].into()),
            origin: Some("https://bücher.example".as_bytes()),
            environment: Some(b"production"),
            region: Some(b"eu-west-1"),
            integration: Some(b"salesforce"),
            api_version: Some(b"v1"),
            https: Some(true),
        };
        assert_eq!(request.facts.stated(), expected);
        assert_eq!(request.facts.tenant(), Some("acme"));
        let features: [&[u8]; 2] = [b"bulk-import", b"export"];
        assert_eq!(request.facts.features().collect::<Vec<_>>(), features);
        peer.answer(&asked, |out| {
            Verdict::of(VerdictCode::Valid, 9).encode(out);
            put_metadata(br#"{"owner":"growth"}"#, out);
        })
        .await;
    };
    let (answer, ()) = tokio::join!(client.validate(question), server);
    let answer = answer.expect("the daemon answers");
    assert_eq!(answer.metadata.as_deref(), Some(r#"{"owner":"growth"}"#));
    assert_eq!((answer.tenant_id, answer.scopes), (None, Vec::new()));
}

#[tokio::test]
async fn an_origin_that_could_match_nothing_is_not_stated() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let long = "o".repeat(513);
    for origin in ["", &long] {
        let question = client.validate(ValidateRequest::new("valid").origin(origin));
        let server = async {
            let mut peer = daemon.accept().await;
            let asked = peer.asked().await.expect("a question");
            let request = Validate::decode(&asked.payload).expect("it is readable");
            assert_eq!(request.facts.stated().origin, None);
            peer.answer_as_usual(&asked).await;
        };
        let (answer, ()) = tokio::join!(question, server);
        assert!(answer.expect("an answer").is_valid());
    }
}

#[tokio::test]
async fn a_denial_is_an_answer_that_says_when_to_come_back() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    tokio::spawn(daemon.serve(|_| ()));
    let spent = client.validate(ValidateRequest::new("spent")).await.expect("an answer");
    assert_eq!((spent.code, spent.denied_by), (VerdictCode::RateExceeded, Some(LimitName::Second)));
    assert_eq!(spent.retry_after(), Some(Duration::from_micros(1_200_000)));
    let unknown = client.validate(ValidateRequest::new("?")).await.expect("an answer");
    assert_eq!((unknown.code, unknown.retry_after()), (VerdictCode::NotFound, None));
}

#[tokio::test]
async fn an_error_reply_says_whether_the_request_may_have_been_executed() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let server = tokio::spawn(async move {
        let mut peer = daemon.accept().await;
        for (byte, _) in REFUSALS {
            let asked = peer.asked().await.expect("a question");
            let write = |out: &mut bytes::BytesMut| out.extend_from_slice(&[*byte, b'w', b'y']);
            peer.send(opcode::ERROR, Flags::NONE, asked.correlation, write).await;
        }
    });
    const REFUSALS: &[(u8, bool)] = &[
        (ErrorCode::BadPayload as u8, false),
        (ErrorCode::Busy as u8, false),
        (ErrorCode::ReadOnly as u8, false),
        (ErrorCode::Storage as u8, true),
        (ErrorCode::Internal as u8, true),
        // A code of a later release: nobody knows.
        (200, true),
    ];
    for (byte, may_have_been_executed) in REFUSALS {
        let error = client.increment(Report::new(1)).await.expect_err("the daemon refuses");
        assert_eq!(error.may_have_been_executed(), *may_have_been_executed, "{error}");
        assert_eq!(error.code(), ErrorCode::from_byte(*byte));
        assert!(error.to_string().ends_with("wy"), "{error}");
    }
    server.await.expect("all were asked on one connection");
}

#[tokio::test]
async fn a_late_reply_is_nobodys_and_its_correlation_is_not_given_to_another_before() {
    let daemon = FakeDaemon::start();
    // Room for two, so that the late one's slot would be the next to be taken.
    let client = builder(&daemon).in_flight_max(2).build();
    let late = tokio::spawn({
        let client = client.clone();
        async move { client.validate(ValidateRequest::new("late")).await }
    });
    let mut peer = daemon.accept().await;
    let first = peer.asked().await.expect("the late one");
    let error = let_time_pass(late).await.expect("no panic").expect_err("nobody answered");
    assert!(matches!(error, Error::TimedOut { may_have_been_executed: true, .. }), "{error}");

    let call = client.validate(ValidateRequest::new("next"));
    let server = async {
        let next = peer.asked().await.expect("the next one");
        assert_ne!(next.correlation, first.correlation);
        peer.answer_code(&first, VerdictCode::Valid, 1).await;
        peer.answer_code(&next, VerdictCode::Revoked, 2).await;
    };
    let (answer, ()) = tokio::join!(call, server);
    assert_eq!(answer.expect("the next one's own answer").key_id, 2);

    // The late reply has given its slot back: two fit again, under correlations never used.
    let calls = async {
        let pair = tokio::join!(
            client.validate(ValidateRequest::new("a")),
            client.validate(ValidateRequest::new("b"))
        );
        assert!(pair.0.is_ok() && pair.1.is_ok());
    };
    let server = async {
        let pair = [peer.asked().await, peer.asked().await].map(|asked| asked.expect("both"));
        for asked in pair {
            assert_ne!(asked.correlation, first.correlation);
            peer.answer_code(&asked, VerdictCode::Valid, 3).await;
        }
    };
    tokio::join!(calls, server);
}

#[tokio::test]
async fn a_full_client_makes_callers_wait_and_takes_back_what_was_never_sent() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).in_flight_max(1).build();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.validate(ValidateRequest::new("first")).await }
    });
    let mut peer = daemon.accept().await;
    let asked = peer.asked().await.expect("the first one");
    let full = client.try_increment_detached(&Report::new(1)).expect_err("there is no room");
    assert!(matches!(full, Error::Full) && !full.may_have_been_executed());

    let brief = client.with_timeout(Duration::from_millis(5));
    let waited = let_time_pass(brief.validate(ValidateRequest::new("second"))).await;
    let error = waited.expect_err("there was no room");
    assert!(matches!(error, Error::TimedOut { .. }) && !error.may_have_been_executed(), "{error}");

    peer.answer_code(&asked, VerdictCode::Valid, 1).await;
    first.await.expect("no panic").expect("the first one is answered");
    let third = async { client.validate(ValidateRequest::new("third")).await };
    let server = async {
        let asked = peer.asked().await.expect("a question");
        assert_eq!(asked.token(), "third", "the second was never sent");
        peer.answer_code(&asked, VerdictCode::Valid, 3).await;
    };
    let (answer, ()) = tokio::join!(third, server);
    assert_eq!(answer.expect("there is room again").key_id, 3);
}

#[tokio::test]
async fn a_detached_report_asks_for_no_reply_and_its_refusal_is_counted() {
    let daemon = FakeDaemon::start();
    // Room for one: each report must give its room back once it is written.
    let client = builder(&daemon).in_flight_max(1).build();
    let reports = async {
        for key_id in 0..3 {
            let report = Report::new(key_id)
                .status(503)
                .latency(Duration::from_secs(1 << 40))
                .endpoint("/leads/{id}")
                .error("upstream is away")
                .count(2)
                .id(77);
            client.increment_detached(report).await.expect("there comes to be room");
        }
        client.ping().await.expect("the daemon has read the reports")
    };
    let server = async {
        let mut peer = daemon.accept().await;
        for key_id in 0..3 {
            let asked = peer.asked().await.expect("a report");
            assert!(asked.flags.has(Flags::NO_REPLY));
            let expected = Increment {
                key_id,
                count: 2,
                latency_us: Some(u32::MAX - 1),
                status: Some(503),
                endpoint: Some("/leads/{id}"),
                error: Some("upstream is away"),
                id: Some(77),
                slot: None,
                ..Increment::new(key_id)
            };
            assert_eq!(Increment::decode(&asked.payload), Ok(expected));
            peer.refuse(asked.correlation, ErrorCode::BadPayload, "no").await;
        }
        let ping = peer.asked().await.expect("a ping");
        peer.answer_as_usual(&ping).await;
    };
    tokio::join!(reports, server);
    assert_eq!(client.reports_refused(), 3);
}

#[tokio::test]
async fn batches_are_answered_item_by_item_in_order() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let questions = [ValidateRequest::new("a").scope("x:y"), ValidateRequest::new("b").cost(0)];
    let reports = [Report::new(1), Report::new(2).status(404), Report::new(3)];
    let calls = async {
        let verdicts = client.validate_batch(&questions).await.expect("an answer");
        assert_eq!(verdicts.iter().map(|one| one.key_id).collect::<Vec<_>>(), [10, 11]);
        let outcomes = client.increment_batch(&reports).await.expect("an answer");
        assert_eq!(outcomes, OUTCOMES);
        let error = client.increment_batch(&reports).await.expect_err("one answer is missing");
        let missing = ReplyError::Count { asked: 3, answered: 2 }.to_string();
        assert!(error.to_string().contains(&missing), "{error}");
        assert!(error.may_have_been_executed());
    };
    const OUTCOMES: [IncrementOutcome; 3] =
        [IncrementOutcome::Counted, IncrementOutcome::Duplicate, IncrementOutcome::NotFound];
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = peer.asked().await.expect("a batch of questions");
        assert_eq!(asked.opcode, Opcode::ValidateBatch);
        peer.answer(&asked, |out| {
            let mut batch = BatchWriter::new(out);
            for key_id in [10, 11] {
                batch.item(|out| Verdict::of(VerdictCode::Valid, key_id).encode(out));
            }
            batch.finish();
        })
        .await;
        for answers in [3, 2] {
            let asked = peer.asked().await.expect("a batch of reports");
            assert_eq!(asked.opcode, Opcode::IncrementBatch);
            peer.answer(&asked, |out| {
                let mut batch = BatchWriter::new(out);
                OUTCOMES[..answers].iter().for_each(|one| batch.item(|out| one.encode(out)));
                batch.finish();
            })
            .await;
        }
    };
    tokio::join!(calls, server);
    assert!(client.validate_batch(&[]).await.expect("nothing asked").is_empty());
}

#[tokio::test]
async fn what_the_daemon_would_refuse_is_refused_here() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let long_scope = "s".repeat(129);
    let long_name = "n".repeat(65);
    let many = (0..65).fold(ValidateRequest::new("t"), |request, _| request.scope("a:b"));
    let features = (0..65).fold(ValidateRequest::new("t"), |request, _| request.feature("a"));
    for (request, why) in [
        (ValidateRequest::new("t").cost((1 << 32) + 1), "cost"),
        (ValidateRequest::new("t").scope(""), "scope"),
        (ValidateRequest::new("t").any_scope(&long_scope), "scope"),
        (many, "64"),
        (ValidateRequest::new("t").feature(""), "feature"),
        (ValidateRequest::new("t").feature(&long_name), "feature"),
        (features, "64"),
        (ValidateRequest::new("t").environment(&long_name), "environment"),
        (ValidateRequest::new("t").region(""), "region"),
        (ValidateRequest::new("t").integration(&long_name), "integration"),
        (ValidateRequest::new("t").api_version(""), "api_version"),
        (ValidateRequest::new("t").tenant(&long_name), "tenant"),
    ] {
        let error = client.validate(request).await.expect_err(why);
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(why), "{error}");
        assert!(!error.may_have_been_executed());
    }
    for request in [ValidateRequest::new("t").details(), ValidateRequest::new("t").metadata()] {
        let error = client.validate_batch(&[request]).await.expect_err("not in a batch");
        assert!(error.to_string().contains("batch"), "{error}");
    }
    for report in [Report::new(1).count(0), Report::new(1).status(99), Report::new(1).status(1000)]
    {
        let error = client.increment(report).await.expect_err("it is out of bounds");
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    let items = vec![ValidateRequest::new("t"); 513];
    let error = client.validate_batch(&items).await.expect_err("too many items");
    assert!(matches!(error, Error::TooLarge { is: 513, max: 512, .. }), "{error}");
    let token = "t".repeat(400);
    let items = vec![ValidateRequest::new(&token); 200];
    let error = client.validate_batch(&items).await.expect_err("too many bytes");
    assert!(matches!(error, Error::TooLarge { max: 65_536, .. }), "{error}");
}

#[tokio::test]
async fn a_strangers_endless_token_is_asked_about_in_a_frame_that_fits() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let token = "x".repeat(200_000);
    let server = async {
        let mut peer = daemon.accept().await;
        let asked = peer.asked().await.expect("a question");
        assert_eq!(asked.token().len(), 513, "one byte more than any token has");
        peer.answer_code(&asked, VerdictCode::Malformed, 0).await;
    };
    let (answer, ()) = tokio::join!(client.validate(ValidateRequest::new(&token)), server);
    assert_eq!(answer.expect("an answer").code, VerdictCode::Malformed);
}

#[tokio::test]
async fn the_bounds_of_a_daemon_are_learned_from_its_greeting() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let greeting = Greeting { batch_items_max: 2, frame_bytes_max: 64 };
    let scope = "s".repeat(64);
    let calls = async {
        // Queued before anything was learned.
        let error = client.validate(ValidateRequest::new("t").scope(&scope)).await;
        assert!(matches!(error, Err(Error::TooLarge { max: 64, .. })), "{error:?}");
        // And after.
        let error = client.validate(ValidateRequest::new("t").scope(&scope)).await;
        assert!(matches!(error, Err(Error::TooLarge { max: 64, .. })), "{error:?}");
        let batch = vec![ValidateRequest::new("t"); 3];
        let error = client.validate_batch(&batch).await;
        assert!(matches!(error, Err(Error::TooLarge { is: 3, max: 2, .. })), "{error:?}");
        let hello = client.hello().await.expect("the greeting is known");
        assert_eq!((hello.name.as_deref(), hello.frame_bytes_max), (Some("fake/1"), 64));
    };
    tokio::join!(calls, daemon.accept_with(greeting));
}

#[tokio::test]
async fn a_client_that_connects_first_tells_at_once_that_it_cannot() {
    let daemon = FakeDaemon::start();
    let path = daemon.path();
    let directory = daemon.stop();
    let error = Client::connect(Endpoint::unix(&path)).await.expect_err("nobody listens");
    assert!(error.is_unreachable() && !error.may_have_been_executed(), "{error}");
    assert!(error.to_string().contains("data.sock"), "{error}");

    let daemon = FakeDaemon::start_in(directory);
    let (client, _peer) = tokio::join!(Client::connect(Endpoint::unix(&path)), daemon.accept());
    let hello = client.expect("it listens").hello().await.expect("it has greeted");
    assert_eq!(hello.version, 1);
}

#[tokio::test]
async fn tcp_serves_as_well() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let client = Client::builder(Endpoint::tcp(address)).build();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("the client comes");
        super::fake::relay(tcp).await;
    });
    let answer = client.validate(ValidateRequest::new("valid")).await.expect("an answer");
    assert!(answer.is_valid());
}

#[tokio::test]
async fn nothing_that_is_shown_of_a_request_or_client_holds_the_token() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let request = ValidateRequest::new("kg_live_secret").scope("leads:read");
    let shown = format!("{request:?} {client:?}");
    assert!(shown.contains("leads:read") && !shown.contains("secret"), "{shown}");
}
