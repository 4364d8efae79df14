//! What a connection may do to the daemon, and what becomes of one that does more.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use keygate_protocol::limits::{ADMIN_FRAME_BYTES_MAX, DATA_FRAME_BYTES_MAX};
use keygate_protocol::{ErrorCode, Flags, IncrementOutcome, Opcode, VerdictCode};
use serde_json::{Value, json};

use support::wire::{Wire, increment, request, validate};
use support::{DEADLINE, EXAMPLE_TOKEN, Home, example_record, text};

/// The header of a frame, as it is told to be.
fn header(length: u32, opcode: u8, flags: u8, reserved: u16, correlation: u32) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend([opcode, flags]);
    bytes.extend(reserved.to_le_bytes());
    bytes.extend(correlation.to_le_bytes());
    bytes
}

#[test]
fn what_is_no_frame_is_told_and_closes() {
    let home = Home::new();
    let _daemon = home.start();
    let ping = Opcode::Ping.byte();
    let both = [home.socket(), home.admin_socket()];
    let bounds = [DATA_FRAME_BYTES_MAX, ADMIN_FRAME_BYTES_MAX];
    for (socket, bound) in both.iter().zip(bounds) {
        let cases = [
            ("too long", header(bound + 1, ping, 0, 0, 1), bound.to_string()),
            ("as long as can be", header(u32::MAX, ping, 0, 0, 1), bound.to_string()),
            ("too short", header(7, ping, 0, 0, 1), "8-byte header".to_owned()),
            ("a reserved bit", header(8, ping, 0, 1, 1), "reserved".to_owned()),
            ("an undefined flag", header(8, ping, 0x80, 0, 1), "0x80".to_owned()),
            ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "longer than".to_owned()),
        ];
        for (name, bytes, says) in cases {
            let mut wire = Wire::unix(socket);
            // What came whole before it is answered first.
            wire.write(&[request(Opcode::Ping, Flags::NONE, 5, b"first"), bytes].concat());
            assert_eq!(wire.read().correlation, 5, "{name}");
            let message = wire.closes_with(ErrorCode::BadFrame);
            assert!(message.contains(&says), "{name}: {message}");
        }
    }
    // The longest frame is one.
    let mut wire = home.wire();
    wire.send(Opcode::Ping, 1, &vec![7; DATA_FRAME_BYTES_MAX as usize - 8]);
    assert_eq!(wire.read().payload.len(), DATA_FRAME_BYTES_MAX as usize - 8);
    wire.answers();
}

#[test]
fn what_cannot_be_judged_is_told_and_the_connection_lives_on() {
    let home = Home::new();
    let _daemon = home.start();
    let token = validate("kg_live_x");
    let mut demand = token.clone();
    demand.extend([200, 1, 0, 7]);
    let mut many = validate("x");
    many.extend([128, 0, 0]);
    let data = [
        (header(8, 0x7e, 0, 0, 3), ErrorCode::UnknownOpcode),
        (header(8, Opcode::Ping.reply(), 0, 0, 3), ErrorCode::UnknownOpcode),
        (request(Opcode::KeyList, Flags::NONE, 3, b"{}"), ErrorCode::NotOnThisSocket),
        (request(Opcode::Import, Flags::NONE, 3, b"{}"), ErrorCode::NotOnThisSocket),
        (request(Opcode::Validate, Flags::NONE, 3, b""), ErrorCode::BadPayload),
        (request(Opcode::Validate, Flags::NONE, 3, &token[..12]), ErrorCode::BadPayload),
        (request(Opcode::Validate, Flags::NONE, 3, &demand), ErrorCode::UnknownDemand),
        (request(Opcode::Validate, Flags::NONE, 3, &many), ErrorCode::BadPayload),
        (request(Opcode::Validate, Flags::NO_REPLY, 3, &token), ErrorCode::BadPayload),
        (request(Opcode::Ping, Flags::MORE, 3, b""), ErrorCode::BadPayload),
        (request(Opcode::ValidateBatch, Flags::NONE, 3, &[0, 0]), ErrorCode::BadPayload),
        (request(Opcode::Hello, Flags::NONE, 3, &[0, 0]), ErrorCode::BadPayload),
    ];
    let admin = [
        (header(8, 0x7e, 0, 0, 3), ErrorCode::UnknownOpcode),
        (request(Opcode::KeyGet, Flags::NONE, 3, b"{"), ErrorCode::BadPayload),
        (request(Opcode::KeyGet, Flags::NONE, 3, b"{}"), ErrorCode::BadPayload),
        (request(Opcode::KeyGet, Flags::NONE, 3, b"{\"id\":1}"), ErrorCode::BadPayload),
        (request(Opcode::KeyGet, Flags::NONE, 3, b"{\"id\":\"1\",\"x\":1}"), ErrorCode::BadPayload),
        (request(Opcode::KeyGet, Flags::NONE, 3, b"{\"id\":\"x\"}"), ErrorCode::Invalid),
        (request(Opcode::KeyGet, Flags::NONE, 3, b"{\"id\":\"1\"}"), ErrorCode::NotFound),
        (request(Opcode::KeyGet, Flags::MORE, 3, b"{\"id\":\"1\"}"), ErrorCode::BadPayload),
        (request(Opcode::Stats, Flags::NONE, 3, b"[]"), ErrorCode::BadPayload),
        (request(Opcode::Import, Flags::NONE, 3, b"{}"), ErrorCode::BadPayload),
        (request(Opcode::Validate, Flags::NONE, 3, b""), ErrorCode::BadPayload),
    ];
    for (socket, cases) in [(home.socket(), &data[..]), (home.admin_socket(), &admin[..])] {
        let mut wire = Wire::unix(&socket);
        for (frame, code) in cases {
            wire.write(frame);
            let reply = wire.read();
            assert_eq!((reply.error().0, reply.correlation), (*code, 3), "{frame:?}: {reply:?}");
            wire.answers();
        }
    }
}

#[test]
fn the_admin_socket_takes_the_data_plane_too() {
    let home = Home::new();
    let _daemon = home.start();
    let (_, token) = home.create(&["--name", "x"]);
    let mut wire = home.admin_wire();
    wire.send(Opcode::Validate, 8, &validate(&token));
    assert_eq!(wire.read().verdict().code, VerdictCode::Valid);
}

#[test]
fn versions_that_do_not_meet_close_and_those_that_do_are_agreed() {
    let home = Home::new();
    let _daemon = home.start();
    for (socket, role) in [(home.socket(), 0), (home.admin_socket(), 1)] {
        let mut wire = Wire::unix(&socket);
        wire.send(Opcode::Hello, 2, &[1, 9]);
        let reply = wire.read();
        assert_eq!((reply.opcode, &reply.payload[..2]), (Opcode::Hello.reply(), &[1, role][..]));
        wire.send(Opcode::Hello, 2, &[2, 9]);
        let refused = wire.read();
        assert_eq!((refused.error().0, refused.correlation), (ErrorCode::UnsupportedVersion, 2));
        assert!(wire.next().is_none());
    }
}

#[test]
fn half_a_frame_and_then_silence_is_closed_at_its_deadline() {
    let home = Home::with("[limits]\nframe_timeout_ms = 200\nidle_timeout_ms = 60000\n");
    let _daemon = home.start();
    for socket in [home.socket(), home.admin_socket()] {
        let frame = request(Opcode::Ping, Flags::NONE, 1, b"half");
        let mut wire = Wire::unix(&socket);
        wire.answers();
        let began = Instant::now();
        wire.write(&frame[..7]);
        wire.closes_with(ErrorCode::TimedOut);
        let took = began.elapsed();
        assert!((200..5000).contains(&took.as_millis()), "{took:?}");
    }
    // A trickle does not extend it: each byte comes 50 ms after the one before.
    let long = request(Opcode::Ping, Flags::NONE, 1, &[0; 500]);
    for socket in [home.socket(), home.admin_socket()] {
        let mut wire = Wire::unix_impatient(&socket, Duration::from_millis(50));
        let began = Instant::now();
        let closed = long.iter().any(|byte| {
            wire.try_write(&[*byte]).is_err()
                || !matches!(&wire.try_next(), Err(error) if is_wait(error))
        });
        let took = began.elapsed();
        assert!(
            closed && took < Duration::from_secs(10),
            "{closed} after {took:?}: {}",
            socket.display()
        );
    }
}

fn is_wait(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[test]
fn a_silent_connection_is_closed_and_one_that_asks_now_and_then_is_not() {
    let home = Home::with("[limits]\nidle_timeout_ms = 1500\n");
    let _daemon = home.start();
    for socket in [home.socket(), home.admin_socket()] {
        let mut asks = Wire::unix_impatient(&socket, Duration::from_millis(50));
        let mut silent = Wire::unix(&socket);
        silent.answers();
        let closed = thread::spawn(move || silent.closes_with(ErrorCode::TimedOut));
        while !closed.is_finished() {
            asks.answers();
            let nothing = asks.try_next().map(|reply| reply.is_some());
            assert!(nothing.as_ref().is_err_and(is_wait), "{nothing:?}");
        }
        let message = closed.join().expect("it was closed");
        assert!(message.contains("1500") || message.contains("1.5s"), "{message}");
        asks.answers();
    }
}

#[test]
fn one_connection_too_many_is_told_so_and_the_others_stay() {
    let home = Home::with("[limits]\nconnections_max = 2\nadmin_connections_max = 2\n");
    let _daemon = home.start();
    for socket in [home.socket(), home.admin_socket()] {
        let mut places: Vec<Wire> = (0..2).map(|_| Wire::unix(&socket)).collect();
        places.iter_mut().for_each(Wire::answers);
        let message = Wire::unix(&socket).closes_with(ErrorCode::TooManyConnections);
        assert!(message.contains("2 connections"), "{message}");
        places.iter_mut().for_each(Wire::answers);
        // A place that is given up is free as soon as the daemon has seen it.
        drop(places.pop());
        let began = Instant::now();
        loop {
            let mut next = Wire::unix(&socket);
            // It may be refused before it has written.
            let _ = next.try_write(&request(Opcode::Ping, Flags::NONE, 4, b""));
            if next.next().is_some_and(|reply| reply.opcode == Opcode::Ping.reply()) {
                break;
            }
            assert!(began.elapsed() < DEADLINE, "the place is never free");
        }
    }
}

#[test]
fn a_peer_that_never_reads_is_closed_and_its_neighbours_do_not_notice() {
    let home =
        Home::with("threads = 1\n[limits]\nwrite_timeout_ms = 1500\nreply_bytes_max = 4096\n");
    let _daemon = home.start();
    let (_, token) = home.create(&["--name", "neighbour"]);
    let mut deaf = home.wire();
    let began = Instant::now();
    let closed = thread::spawn(move || {
        let question = request(Opcode::Ping, Flags::NONE, 1, &[0; 32 * 1024]);
        while deaf.try_write(&question).is_ok() {}
        began.elapsed()
    });
    let mut neighbour = home.wire();
    let mut slowest = Duration::ZERO;
    while !closed.is_finished() {
        let asked = Instant::now();
        neighbour.send(Opcode::Validate, 2, &validate(&token));
        assert_eq!(neighbour.read().verdict().code, VerdictCode::Valid);
        slowest = slowest.max(asked.elapsed());
    }
    let took = closed.join().expect("no panic");
    assert!((1500..30_000).contains(&took.as_millis()), "closed after {took:?}");
    assert!(slowest < Duration::from_millis(1000), "a neighbour waited {slowest:?}");
}

#[test]
fn a_report_without_reply_is_counted_and_answered_only_if_it_cannot_be_judged() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&["--name", "quiet"]);
    let report = increment(id.parse().expect("an id"));
    let mut batch = vec![2, 0];
    for _ in 0..2 {
        batch.extend(u16::try_from(report.len()).expect("short").to_le_bytes());
        batch.extend(&report);
    }
    let mut wire = home.wire();
    for frame in [
        request(Opcode::Increment, Flags::NO_REPLY, 21, &report),
        request(Opcode::Increment, Flags::NO_REPLY, 22, &increment(7)),
        request(Opcode::Increment, Flags::NO_REPLY, 23, &report[..5]),
        request(Opcode::IncrementBatch, Flags::NO_REPLY, 24, &batch),
        request(Opcode::IncrementBatch, Flags::NO_REPLY, 25, &batch[..9]),
        request(Opcode::Increment, Flags::NONE, 26, &report),
    ] {
        wire.write(&frame);
    }
    let replies: Vec<_> = (0..3).map(|_| wire.read()).collect();
    for (reply, correlation) in replies.iter().zip([23, 25]) {
        assert_eq!((reply.correlation, reply.error().0), (correlation, ErrorCode::BadPayload));
    }
    let outcome = IncrementOutcome::decode(&replies[2].payload).expect("an outcome");
    assert_eq!((replies[2].correlation, outcome), (26, IncrementOutcome::Counted));
    wire.answers();
    assert_eq!(home.json(["usage", &id])["reported_requests"], 4);
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

#[test]
fn tcp_serves_the_data_plane_alone() {
    let home = Home::new();
    let addresses = [free_address(), free_address()];
    let mut serve = home.serve();
    for address in addresses {
        serve.args(["--tcp", &address.to_string()]);
    }
    let daemon = support::Daemon::start(serve);
    home.import(&[example_record()]);
    for address in addresses {
        let mut wire = Wire::tcp(address);
        wire.send(Opcode::Validate, 1, &validate(EXAMPLE_TOKEN));
        // It was judged: its key has rules, and nothing was stated.
        assert_eq!(wire.read().verdict().code, VerdictCode::ClientSecretRequired);
        wire.send(Opcode::Health, 2, b"{}");
        assert_eq!(wire.read().error().0, ErrorCode::NotOnThisSocket);
        wire.answers();
    }
    daemon.stop();
}

#[test]
fn an_import_under_way_is_seen_by_nobody() {
    let home = Home::new();
    let _daemon = home.start();
    let mut import = home.admin_wire();
    let body = json!({ "records": [example_record()] }).to_string();
    let before = home.json(["status"])["stats"]["commit_ops"].as_u64().expect("a number");
    import.write(&request(Opcode::Import, Flags::MORE, 1, body.as_bytes()));
    let mut admin = home.admin_wire();
    let written = |reply: Value| reply["commit_ops"].as_u64().expect("a number") > before + 1;
    while !written(admin.ask(Opcode::Stats, &json!({})).json()) {}

    assert_eq!(home.code(EXAMPLE_TOKEN), "NOT_FOUND");
    home.run(["key", "get", "42"]).expect(5);
    home.run(["key", "suspend", "42"]).expect(5);
    home.run(["key", "delete", "42", "--purge"]).expect(5);
    home.run(["usage", "42"]).expect(5);
    assert_eq!(home.json(["key", "list"])["keys"], json!([]));
    let export: Value = serde_json::from_str(&home.run(["export"]).stdout).expect("JSON");
    assert_eq!(export["api_keys"], json!([]));
    // A second one is told to wait.
    let refused = home.run_with(&["import", "-"], "[]");
    refused.expect(1).says(&["BUSY", "another import"]);

    // Broken off, it leaves nothing.
    drop(import);
    let began = Instant::now();
    let mut report = home.run_with(&["import", "-", "--json"], &body_of(&example_record()));
    while report.code() == 1 && began.elapsed() < DEADLINE {
        report = home.run_with(&["import", "-", "--json"], &body_of(&example_record()));
    }
    assert_eq!(report.expect(0).json()["imported"], 1);
    assert_eq!(text(&home.json(["key", "get", "42"])["id"]), "42");
}

fn body_of(record: &Value) -> String {
    json!([record]).to_string()
}
