//! Sinks, as what stands behind them gets alerts: a UDP socket, a Unix socket, a file, a journal.

mod delivery;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use delivery::{DEADLINE, alert, courier, courier_of, now_us, shown};
use keygate::config::{Sink, SinkKind};
use keygate::deliver::{Courier, Outcome};
use keygate::event::{Alert, Destination};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

fn named(name: &str) -> Destination {
    Destination::Sink { name: name.to_owned() }
}

/// A courier with the one sink `s`.
fn courier_to(kind: SinkKind, target: &str) -> Courier {
    let sink = Sink { kind, target: target.to_owned() };
    courier_of(BTreeMap::from([("s".to_owned(), sink)]), "alerts.sink_timeout_ms = 5000\n")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// One attempt at the sink `s`, which must come to an end.
async fn attempt(courier: &Courier, alerts: &[Alert]) -> Outcome {
    let to = named("s");
    let attempt = courier.deliver(&to, alerts, &[], now_us());
    tokio::time::timeout(DEADLINE, attempt).await.expect("it ends")
}

fn expected(id: &str) -> Value {
    let alert = alert(id);
    json!({
        "id": id,
        "type": "key.quota_threshold",
        "timestamp": "2026-11-25T12:30:05.250Z",
        "data": {
            "subject": {"kind": "key", "id": "42", "tenant": "acme"},
            "name": alert.name,
            "summary": alert.summary,
            "detail": alert.detail,
        },
    })
}

#[tokio::test]
async fn a_statsd_counts_each_kind() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let statsd = UdpSocket::bind(at).await.expect("a socket");
        let target = statsd.local_addr().expect("its address").to_string();
        let courier = courier_to(SinkKind::Statsd, &target);
        let outcome = attempt(&courier, &[alert("msg_1"), alert("msg_2")]).await;
        assert_eq!(outcome, Outcome::Delivered);
        for _ in 0..2 {
            let mut datagram = [0; 100];
            let length = statsd.recv(&mut datagram).await.expect("a datagram");
            assert_eq!(&datagram[..length], b"keygate.alerts.key_quota_threshold:1|c");
        }
    }
}

#[tokio::test]
async fn a_socket_gets_a_line_a_datagram() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("alerts.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let courier = courier_to(SinkKind::Socket, text(&path));
    let outcome = attempt(&courier, &[alert("msg_1"), alert("msg_2")]).await;
    assert_eq!(outcome, Outcome::Delivered);
    for id in ["msg_1", "msg_2"] {
        let mut datagram = [0; 4096];
        let length = socket.recv(&mut datagram).expect("a datagram");
        assert_eq!(datagram[length - 1], b'\n');
        let line: Value = serde_json::from_slice(&datagram[..length]).expect("JSON");
        assert_eq!(line, expected(id));
    }
}

#[tokio::test]
async fn a_file_gets_a_line_an_alert_also_after_it_was_rotated() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("alerts.jsonl");
    let courier = courier_to(SinkKind::File, text(&path));
    let lines = |path: &Path| -> Vec<Value> {
        let text = fs::read_to_string(path).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let outcome = attempt(&courier, &[alert("msg_1"), alert("msg_2")]).await;
    assert_eq!(outcome, Outcome::Delivered);
    let rotated = place.path().join("alerts.jsonl.1");
    fs::rename(&path, &rotated).expect("rotated");
    assert_eq!(attempt(&courier, &[alert("msg_3")]).await, Outcome::Delivered);
    assert_eq!(lines(&rotated), [expected("msg_1"), expected("msg_2")]);
    assert_eq!(lines(&path), [expected("msg_3")]);
}

#[tokio::test]
async fn the_journal_gets_fields() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("journal");
    let journal = UnixDatagram::bind(&path).expect("a socket");
    let courier = courier_to(SinkKind::Journald, "").with_journal(path);
    assert_eq!(attempt(&courier, &[alert("msg_1")]).await, Outcome::Delivered);
    let mut datagram = [0; 4096];
    let length = journal.recv(&mut datagram).expect("a datagram");
    let entry = std::str::from_utf8(&datagram[..length]).expect("UTF-8");
    let fields: BTreeMap<&str, &str> =
        entry.lines().map(|line| line.split_once('=').expect("a field")).collect();
    for (name, value) in [
        ("KEYGATE_ALERT", "key.quota_threshold"),
        ("KEYGATE_ALERT_ID", "msg_1"),
        ("KEYGATE_KEY_ID", "42"),
        ("KEYGATE_TENANT", "acme"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "keygate"),
    ] {
        assert_eq!(fields.get(name), Some(&value), "{entry}");
    }
    assert!(fields["MESSAGE"].contains("key 42 of tenant acme: 80 %"), "{entry}");
    assert!(!fields.contains_key("X-Thief") && !fields.contains_key("Bcc"), "{entry}");
}

#[tokio::test]
async fn a_sink_that_is_dead_is_told_and_holds_up_nobody() {
    let place = tempfile::tempdir().expect("a directory");
    let missing = place.path().join("missing/sink");
    let closed = place.path().join("closed.sock");
    drop(UnixDatagram::bind(&closed).expect("a socket"));
    for (kind, target) in [
        (SinkKind::Socket, text(&missing)),
        (SinkKind::Socket, text(&closed)),
        (SinkKind::File, text(&missing)),
        (SinkKind::File, text(place.path())),
        (SinkKind::Statsd, "does-not-exist.invalid:8125"),
    ] {
        let outcome = shown(&attempt(&courier_to(kind, target), &[alert("msg_1")]).await);
        assert!(outcome.starts_with("Retry"), "{target}: {outcome}");
        assert!(outcome.contains("sink \\\"s\\\": "), "{target}: {outcome}");
    }
    let journal = courier_to(SinkKind::Journald, "").with_journal(missing.clone());
    let outcome = shown(&attempt(&journal, &[alert("msg_1")]).await);
    assert!(outcome.starts_with("Retry"), "{outcome}");
    let outcome = shown(&attempt(&courier(""), &[alert("msg_1")]).await);
    assert!(outcome.starts_with("Retry") && outcome.contains("[sinks]"), "{outcome}");
}

#[tokio::test]
async fn a_reader_that_is_behind_is_waited_for_and_not_for_ever() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("alerts.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let sink = Sink { kind: SinkKind::Socket, target: text(&path).to_owned() };
    let sinks = BTreeMap::from([("s".to_owned(), sink)]);
    let courier = courier_of(sinks, "alerts.sink_timeout_ms = 100\n");
    // As many as the system queues, and one more.
    let mut queued = 0;
    let outcome = loop {
        match attempt(&courier, &[alert("msg_1")]).await {
            Outcome::Delivered if queued < 100_000 => queued += 1,
            other => break shown(&other),
        }
    };
    assert!(outcome.contains("it took nothing within 100 ms"), "{queued}: {outcome}");
    let mut datagram = [0; 4096];
    socket.recv(&mut datagram).expect("a datagram");
    assert_eq!(attempt(&courier, &[alert("msg_2")]).await, Outcome::Delivered);

    socket.recv(&mut datagram).expect("a datagram");
    let mut long = alert("msg_3");
    long.summary = "x".repeat(8 << 20);
    let outcome = shown(&attempt(&courier, &[long]).await);
    assert!(outcome.starts_with("Refused") && outcome.contains("one datagram"), "{outcome}");
}
