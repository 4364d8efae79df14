//! The generator against daemons that are not one: each answers as its test says.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use keygate_protocol::frame::{self, Flags};
use keygate_protocol::limits::DATA_FRAME_BYTES_MAX;
use keygate_protocol::opcode::ERROR;
use keygate_protocol::{ErrorCode, ErrorReply, Opcode, Validate, Verdict, VerdictCode};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::pace::Schedule;
use super::{BenchError, Plan, Report, run};

/// What was asked: the correlation and the token.
type Question = (u32, String);

/// A daemon that answers each read's questions with what `reply` writes; `None` closes.
struct Fake {
    _place: TempDir,
    socket: PathBuf,
}

impl Fake {
    fn new<R>(reply: R) -> Self
    where
        R: FnMut(Vec<Question>, &mut BytesMut) -> Option<()> + Clone + Send + 'static,
    {
        let place = tempfile::tempdir().expect("a temporary directory");
        let socket = place.path().join("fake.sock");
        let listener = UnixListener::bind(&socket).expect("a socket in it");
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let reply = reply.clone();
                thread::spawn(move || serve(stream, reply));
            }
        });
        Self { _place: place, socket }
    }

    /// A short run: 100 ms in one round, none of it warm-up.
    fn plan(&self, tokens: &[&str]) -> Plan {
        let tokens = tokens.iter().map(|token| Zeroizing::new((*token).to_owned())).collect();
        Plan {
            duration: Duration::from_millis(100),
            rounds: 1,
            warmup: Duration::ZERO,
            patience: Duration::from_secs(10),
            ..Plan::new(self.socket.clone(), tokens)
        }
    }
}

fn serve(
    mut stream: UnixStream,
    mut reply: impl FnMut(Vec<Question>, &mut BytesMut) -> Option<()>,
) {
    let (mut input, mut buffer) = (BytesMut::new(), [0; 4096]);
    // The generator may be gone before the last write; that ends this side too.
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        input.extend_from_slice(&buffer[..read]);
        let mut out = BytesMut::new();
        if reply(questions(&mut input), &mut out).is_none() || stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn questions(input: &mut BytesMut) -> Vec<Question> {
    let mut asked = Vec::new();
    while let Some((frame, taken)) =
        frame::decode(input, DATA_FRAME_BYTES_MAX).expect("the generator writes frames")
    {
        assert_eq!(frame.header.opcode, Opcode::Validate.byte());
        let question = Validate::decode(frame.payload).expect("and questions in them");
        let token = str::from_utf8(question.token).expect("about the tokens of its plan");
        asked.push((frame.header.correlation, token.to_owned()));
        input.advance(taken);
    }
    asked
}

fn verdict(out: &mut BytesMut, correlation: u32, code: VerdictCode) {
    let write = |out: &mut BytesMut| Verdict::of(code, 7).encode(out);
    frame::encode(out, Opcode::Validate.reply(), Flags::NONE, correlation, write);
}

fn error(out: &mut BytesMut, correlation: u32, code: ErrorCode) {
    let write = |out: &mut BytesMut| ErrorReply::encode(code, "so it is", out);
    frame::encode(out, ERROR, Flags::NONE, correlation, write);
}

/// Answers as the token says, the last question first.
fn by_token(asked: Vec<Question>, out: &mut BytesMut) -> Option<()> {
    for (correlation, token) in asked.into_iter().rev() {
        match token.as_str() {
            "good" => verdict(out, correlation, VerdictCode::Valid),
            "spent" => verdict(out, correlation, VerdictCode::RateExceeded),
            _ => error(out, correlation, ErrorCode::Busy),
        }
    }
    Some(())
}

fn measured(plan: Plan) -> Report {
    run(plan).expect("the fake answers all")
}

#[test]
fn verdicts_and_errors_are_counted_apart() {
    let fake = Fake::new(by_token);
    let plan = Plan { connections: 3, depth: 8, ..fake.plan(&["good", "spent", "busy"]) };
    let report = measured(plan);
    let ours = &report.keygate;
    let names = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&ours.verdicts), ["RATE_EXCEEDED", "VALID"]);
    assert_eq!(names(&ours.errors), ["BUSY"]);
    // What was asked in time and answered after it is among the verdicts alone.
    let judged: u64 = ours.verdicts.values().sum();
    assert!(ours.answered > 0 && ours.answered <= judged, "{ours:?}");
    assert!(judged - ours.answered <= 3 * 8, "{ours:?}");
    assert!(ours.late.is_none() && ours.unsent == 0, "{ours:?}");
    assert!(report.echo.answered > 0 && report.echo.verdicts.is_empty(), "{report:?}");
    assert!(ours.latency.p50_ns > 0 && ours.latency.p50_ns <= ours.latency.max_ns);
}

#[test]
fn every_round_counts_and_has_an_echo_beside_it() {
    let fake = Fake::new(by_token);
    let duration = Duration::from_millis(400);
    let plan = Plan { rounds: 4, rate: Some(1000), depth: 100, duration, ..fake.plan(&["good"]) };
    let report = measured(plan);
    assert_eq!(report.rounds.len(), 4);
    assert_eq!(report.keygate.verdicts["VALID"] + report.keygate.unsent, 400);
    let mean = report.rounds.iter().map(|round| round.keygate_per_second).sum::<f64>() / 4.0;
    assert!((mean - report.keygate.per_second).abs() < 1e-6, "{report:?}");
    assert!(report.rounds.iter().any(|round| round.echo_p50_ns > 0), "{report:?}");
}

#[test]
fn the_warm_up_is_not_measured() {
    let fake = Fake::new(by_token);
    let quick =
        Plan { warmup: Duration::from_millis(100), rate: Some(1000), ..fake.plan(&["good"]) };
    let judged: u64 = measured(quick).keygate.verdicts.values().sum();
    assert!((1..=100).contains(&judged), "{judged}");
}

#[test]
fn an_open_loop_asks_at_its_rate() {
    let fake = Fake::new(by_token);
    let plan = Plan { connections: 3, depth: 100, rate: Some(1000), ..fake.plan(&["good"]) };
    let report = measured(plan);
    // A machine under load may be too late for the last ones.
    let (judged, unsent) = (report.keygate.verdicts["VALID"], report.keygate.unsent);
    assert_eq!(judged + unsent, 100);
    assert!(judged > 0);
    assert!(report.keygate.late.is_some() && report.echo.late.is_some());
}

/// A daemon that stands still for 50 ms delays every request that was due meanwhile, not only the
/// one that a closed loop would have had in flight.
#[test]
fn queueing_is_in_the_latency() {
    let (mut seen, mut held) = (0, Vec::new());
    let fake = Fake::new(move |asked, out| {
        seen += asked.len();
        held.extend(asked);
        // The hundredth is due 49.5 ms after the first.
        if seen < 100 { Some(()) } else { by_token(std::mem::take(&mut held), out) }
    });
    let duration = Duration::from_millis(200);
    let plan = Plan { depth: 1000, rate: Some(2000), duration, ..fake.plan(&["good"]) };
    let latency = measured(plan).keygate.latency;
    assert!(latency.max_ns >= 49_000_000, "{latency:?}");
    // A tenth of the 400 waited longer than the first 40 at least did.
    assert!(latency.p90_ns >= 29_000_000, "{latency:?}");
}

#[test]
fn what_is_due_and_never_asked_is_told() {
    let fake = Fake::new(by_token);
    let report = measured(Plan { rate: Some(100_000_000), ..fake.plan(&["good"]) });
    let (judged, unsent) = (report.keygate.verdicts["VALID"], report.keygate.unsent);
    assert_eq!(judged + unsent, 10_000_000);
    assert!(unsent > 0 && report.to_string().contains("were not asked"), "{report}");
}

#[test]
fn a_daemon_that_fails_ends_the_run_and_says_why() {
    type Reply = fn(Vec<Question>, &mut BytesMut) -> Option<()>;
    let cases: [(&str, Reply, &str); 6] = [
        (
            "refuses",
            |_, out| {
                error(out, 0, ErrorCode::TooManyConnections);
                Some(())
            },
            "refuses connection 0: TOO_MANY_CONNECTIONS: so it is",
        ),
        ("closes", |_, _| None, "closed connection 0 with 2 requests unanswered"),
        ("is silent", |_, _| Some(()), "2 requests on connection 0 were not answered in time"),
        (
            "speaks of something else",
            |_, out| {
                out.extend_from_slice(b"HTTP/1.1 400 Bad Request");
                Some(())
            },
            "not keygate's protocol",
        ),
        (
            "answers what was not asked",
            |_, out| {
                verdict(out, 2, VerdictCode::Valid);
                Some(())
            },
            "a reply came to no request: opcode 0x90, correlation 2",
        ),
        (
            "answers twice",
            |asked, out| {
                verdict(out, asked[0].0, VerdictCode::Valid);
                verdict(out, asked[0].0, VerdictCode::Valid);
                Some(())
            },
            "a reply came to no request",
        ),
    ];
    for (name, reply, expected) in cases {
        let fake = Fake::new(reply);
        let plan = Plan {
            depth: 2,
            // One round, long enough that a thread which was not scheduled for a while still asks.
            rounds: 1,
            duration: Duration::from_millis(400),
            patience: Duration::from_millis(if name == "is silent" { 20 } else { 10_000 }),
            ..fake.plan(&["good"])
        };
        let said = run(plan).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(expected), "{name}: {said}");
    }
}

#[test]
fn a_plan_out_of_bounds_is_refused() {
    let nowhere = || Plan::new(PathBuf::from("/nowhere"), vec![Zeroizing::new("t".to_owned())]);
    let cases = [
        Plan { connections: 0, ..nowhere() },
        Plan { connections: 10_001, ..nowhere() },
        Plan { depth: 0, ..nowhere() },
        Plan { rate: Some(0), ..nowhere() },
        Plan { rounds: 0, ..nowhere() },
        Plan { duration: Duration::ZERO, ..nowhere() },
        Plan { tokens: Vec::new(), ..nowhere() },
        Plan { tokens: vec![Zeroizing::new("t".repeat(513))], ..nowhere() },
    ];
    for plan in cases {
        assert!(matches!(run(plan), Err(BenchError::Plan { .. })));
    }
    let unreachable =
        Plan { duration: Duration::from_millis(4), warmup: Duration::ZERO, ..nowhere() };
    assert!(matches!(run(unreachable), Err(BenchError::Connect { .. })));
}

#[test]
fn the_json_has_these_names() {
    let fake = Fake::new(by_token);
    let report = measured(Plan { rate: Some(1000), ..fake.plan(&["good"]) });
    let json = report.to_json();
    let names = |at: &str| {
        let object = json.pointer(at).and_then(|value| value.as_object()).expect("an object");
        let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(names(""), "echo keygate ratio round_ratio rounds shape");
    assert_eq!(
        names("/shape"),
        "connections depth keys question_bytes rate rounds seconds threads"
    );
    let side = "answered errors late latency per_second unsent verdicts";
    assert_eq!(names("/keygate"), side);
    assert_eq!(names("/keygate/latency"), "max_ns p50_ns p90_ns p999_ns p99_ns");
    assert_eq!(names("/ratio"), "max p50 p90 p99 p999 per_second");
    assert_eq!(names("/round_ratio"), "p50 per_second");
    assert_eq!(names("/rounds/0"), "echo keygate");
    assert!(json["ratio"]["p50"].as_f64().is_some_and(|ratio| ratio > 0.0));
    let table = report.to_string();
    for word in ["open loop, 1,000 requests/s due", "p99.9", "VALID ", "bare echo"] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
}

#[test]
fn a_schedule_deals_every_request_once_and_in_order() {
    for (lanes, rate, span_ns) in
        [(1, 1, 1), (1, 1000, 10_000_000), (3, 1000, 10_000_000), (4, 7, 3_000_000_001), (5, 3, 1)]
    {
        let (start, until) = (1_000, 1_000 + span_ns);
        let mut due = Vec::new();
        for lane in 0..lanes {
            let mut schedule = Schedule::new(start, lane, lanes, rate);
            let left = schedule.left_before(until);
            let before = due.len();
            while schedule.due_ns() < until {
                due.push(schedule.due_ns());
                schedule.advance();
            }
            assert_eq!(left, (due.len() - before) as u64, "lane {lane} of {lanes} at {rate}/s");
            assert_eq!(schedule.left_before(until), 0);
        }
        due.sort_unstable();
        let expected = (0..).map(|n: u64| start + n * 1_000_000_000 / u64::from(rate));
        let expected: Vec<u64> = expected.take_while(|due| *due < until).collect();
        assert_eq!(due, expected, "{lanes} lanes at {rate}/s");
    }
}
