//! `keygate simulate` through the real binary: traces with what must come of them, and what is said
//! of a trace that cannot be judged. The traces and the keys are in `data/traces/`.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::{BINARY, Ran, run};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces").join(name)
}

/// A simulation of the keys in `data/traces/`.
fn simulate(args: &[&str], trace: &str) -> Ran {
    simulate_with(&data("keys.json").to_string_lossy(), args, trace)
}

fn simulate_with(keys: &str, args: &[&str], trace: &str) -> Ran {
    let mut command = Command::new(BINARY);
    command.env_remove("KEYGATE_CONFIG").args(["simulate", "--keys", keys, "--trace", "-"]);
    command.args(args);
    run(command, trace.as_bytes())
}

/// A line of the output in a few words: when, what, which slot was taken, and what is left of each
/// limit.
fn brief(line: &str) -> String {
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut words = word(&line["at"]);
    if let Some(outcome) = line["outcome"].as_str() {
        return words + " " + outcome;
    }
    words += " ";
    words += &word(&line["code"]);
    for limit in line["limits"].as_array().expect("limits") {
        let _ = write!(words, " {}={}", word(&limit["name"]), limit["remaining"]);
        if line["denied_by"] == limit["name"] {
            let wait = limit["retry_after_ms"].as_f64();
            words += &wait.map_or(" (denies)".to_owned(), |ms| format!(" (denies for {ms} ms)"));
        }
    }
    if let Some(slot) = line["slot"].as_str() {
        let _ = write!(words, " slot {slot}");
    }
    words
}

fn expect(name: &str) {
    let trace = fs::read_to_string(data(&format!("{name}.jsonl"))).expect("a trace");
    let expected = fs::read_to_string(data(&format!("{name}.txt"))).expect("what must come of it");
    let ran = simulate(&[], &trace);
    ran.expect(0);
    let found: Vec<String> = ran.stdout.lines().map(brief).collect();
    let expected: Vec<&str> = expected.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(found, expected, "{name}");
    let again = simulate(&[], &trace);
    assert_eq!(
        (again.stdout, again.stderr),
        (ran.stdout, ran.stderr),
        "the same trace gives the same bytes"
    );
}

#[test]
fn a_month_ends_with_its_last_microsecond() {
    expect("month_end");
}

#[test]
fn february_has_29_days_in_a_leap_year() {
    expect("leap_day");
}

#[test]
fn a_crash_strands_what_was_leased_and_no_more_passes_than_the_cap() {
    expect("crash");
}

#[test]
fn a_restart_loses_no_unit_and_begins_rates_and_slots_anew() {
    expect("restart");
}

#[test]
fn slots_are_given_back_once_and_end_by_their_time() {
    expect("slots");
}

#[test]
fn a_refill_on_the_31st_comes_on_the_last_day_of_a_short_month() {
    expect("credits");
}

#[test]
fn an_update_keeps_shares_or_forgets_what_was_spent() {
    expect("updates");
}

#[test]
fn the_keys_of_a_tenant_share_its_limits() {
    expect("tenant");
}

#[test]
fn named_limits_are_spent_by_whoever_names_them() {
    expect("named");
}

#[test]
fn scopes_and_addresses_are_judged_before_limits() {
    expect("rules");
}

#[test]
fn a_verdict_is_what_validate_prints_and_when() {
    let ran = simulate(
        &[],
        r#"{"at":1768035600000.5,"op":"validate","key_id":"13","scopes":["a:b"],"ip":"203.0.113.7"}"#,
    );
    ran.expect(0);
    assert_eq!(
        ran.stdout,
        "{\"at\":1768035600000.5,\"valid\":true,\"code\":\"VALID\",\"message\":\"the key may do this \
         now\",\"key_id\":\"13\",\"tenant_id\":\"default\",\"scopes\":[\"a:b\"],\"denied_by\":null,\
         \"limits\":[{\"name\":\"lifetime\",\"limit\":7,\"remaining\":6,\"retry_after_ms\":null,\
         \"reset_after_ms\":null}],\"slot\":null,\"warnings\":[],\"metadata\":null}\n"
    );
}

#[test]
fn the_summary_counts_by_code_and_by_limit_and_knows_the_peaks() {
    let named = fs::read_to_string(data("named.jsonl")).expect("a trace");
    let slots = r#"{"at":"2026-01-10T11:00:00Z","op":"validate","key_id":"4"}
{"at":"2026-01-10T11:00:00.5Z","op":"validate","key_id":"4","peek":true}
{"at":"2026-01-10T11:00:00.999Z","op":"validate","key_id":"4"}
{"at":"2026-01-10T11:00:01Z","op":"validate","key_id":"99","cost":9}
"#;
    let trace = named + slots;
    let ran = simulate(&["--json"], &trace);
    ran.expect(0);
    let summary: Value = serde_json::from_str(&ran.stderr).expect("one line of JSON");
    assert_eq!(
        summary,
        json!({
            "lines": 12, "from": "2026-01-10T09:15:00Z", "to": "2026-01-10T11:00:01Z",
            "requests": 11, "admitted": 7, "denied": 4, "peeks": 1, "units": 7,
            "denied_by_code": {"LIMIT_UNKNOWN": 1, "NOT_FOUND": 1, "QUOTA_EXCEEDED": 2},
            "denied_by_limit": {"reports": 2},
            "peak_second": {"admitted": 3, "at": "2026-01-10T09:15:00Z"},
            "peak_slots": {"held": 2, "at": "2026-01-10T11:00:00.999Z"},
            "most_denied": [{"key_id": "9", "admitted": 5, "denied": 3}],
            "unknown_keys": {"count": 1, "key_ids": ["99"]},
        })
    );
    let words = simulate(&[], &trace).stderr;
    for line in [
        "requests   11",
        "admitted   7 (7 units)",
        "denied     4",
        "  NOT_FOUND: 1 (1 id that --keys does not have: 99)",
        "  QUOTA_EXCEEDED: 2",
        "  by reports: 2",
        "peak       3 admitted in the second of 2026-01-10T09:15:00Z",
        "           2 slots held at 2026-01-10T11:00:00.999Z",
        "9            3       5",
    ] {
        assert!(words.lines().any(|found| found == line), "{line}: {words}");
    }
    assert_eq!(words.matches('\n').count(), words.lines().count(), "it ends with its last line");
}

#[test]
fn a_line_that_cannot_be_judged_is_named_and_ends_the_run() {
    let good = r#"{"at":1000,"op":"validate","key_id":"2"}"#;
    for (bad, words) in [
        ("x", "is not a JSON object; "),
        (r#"203.0.113.7 - - [31/Jan/2026:23:59:57 +0000] "GET / HTTP/1.1" 200"#, "access log"),
        (r#"[1000,"crash"]"#, "is not a JSON object; "),
        ("[1000]", "is not a JSON object; "),
        (r#"{"at":1000,"op":"increment","key_id":"2","count":"two"}"#, "expected a whole number"),
        (r#"{"at":1000,"op":"crash""#, "the line is cut off"),
        (r#"{"at":1000,"op":"validate","key_id":"2","cost":1"#, "the line is cut off"),
        (r#"{"op":"crash"}"#, "missing field `at`"),
        (r#"{"at":1000}"#, "missing field `op`"),
        (r#"{"at":1000,"at":1000,"op":"crash"}"#, "duplicate field `at`"),
        (r#"{"at":1000,"op":"validat","key_id":"2"}"#, "there is no \"validat\"; it is validate,"),
        (r#"{"at":1000,"op":"crash","key_id":"2"}"#, "unknown field `key_id`"),
        (r#"{"at":1000,"op":"validate"}"#, "missing field `key_id`"),
        (r#"{"at":1000,"op":"validate","key_id":"x"}"#, "a key id is a whole number"),
        (r#"{"at":1000,"op":"validate","key_id":"2","scope":["a"]}"#, "unknown field `scope`"),
        (r#"{"at":1000,"op":"validate","key_id":"2","cost":4294967297}"#, "it is 0 to 2^32"),
        (r#"{"at":1000,"op":"validate","key_id":"2","limits":["a","a"]}"#, "it stands twice"),
        (r#"{"at":1000,"op":"validate","key_id":"2","ip":"x"}"#, "invalid IP address"),
        (r#"{"at":1000,"op":"increment","key_id":"2","slot":"first"}"#, "\"oldest\" or \"last\""),
        (r#"{"at":1000,"op":"increment","key_id":"2","refund":1}"#, "it needs an id"),
        (r#"{"at":1000,"op":"increment","key_id":"2","id":"7"}"#, "it is a UUID"),
        (r#"{"at":1000,"op":"increment","key_id":"2","status":99}"#, "0 or 100 to 999"),
        (r#"{"at":1000,"op":"renew","key_id":"2"}"#, "missing field `slot`"),
        (r#"{"at":1000,"op":"update","set":{}}"#, "either \"key_id\" or \"tenant\""),
        (r#"{"at":1000,"op":"update","key_id":"99","set":{}}"#, "there is no key 99"),
        (r#"{"at":1000,"op":"update","tenant":"x","set":{}}"#, "there is no tenant \"x\""),
        (r#"{"at":1000,"op":"update","key_id":"2","set":{"rps":1}}"#, "rps: no such field"),
        (r#"{"at":1000,"op":"update","key_id":"2","set":{"max_uses":1,"max_uses":2}}"#, "twice"),
        (r#"{"at":1000,"op":"update","key_id":"2","set":{"billing_tier":"gold"}}"#, "--config"),
        (r#"{"at":1000,"op":"update","key_id":"2","set":{},"spent":"no"}"#, "\"proportional\""),
        (r#"{"at":999.999,"op":"crash"}"#, "is earlier than 1970-01-01T00:00:01Z"),
        (r#"{"at":"1970-01-01T00:00:00Z","op":"crash"}"#, "sort the trace by time"),
        (r#"{"at":"1000","op":"crash"}"#, "is not an RFC 3339 time"),
        (r#"{"at":[1],"op":"crash"}"#, "neither an RFC 3339 time nor milliseconds"),
        (r#"{"at":1e18,"op":"crash"}"#, "is not within the years 1970 to 9999"),
    ] {
        let ran = simulate(&[], &format!("{good}\n\n{bad}\n{good}\n"));
        ran.expect(1);
        assert!(
            ran.stderr.starts_with("keygate: standard input: line 3: "),
            "{bad}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(words), "{bad}: {}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), 1, "what was before is told: {bad}");
        for told in ["what was judged before that:", "requests   1", "admitted   1 (1 units)"] {
            assert!(ran.stderr.lines().any(|line| line == told), "{bad}: {}", ran.stderr);
        }
    }
    let long = format!("{{\"at\":1,\"op\":\"{}\"}}", "x".repeat(1 << 20));
    let ran = simulate(&[], &long);
    ran.expect(1);
    assert!(ran.stderr.contains("line 1: it is longer than 1 MiB"), "{}", ran.stderr);
}

#[test]
fn a_trace_that_is_empty_is_a_run_of_nothing() {
    let ran = simulate(&["--json"], "");
    ran.expect(0);
    let summary: Value = serde_json::from_str(&ran.stderr).expect("JSON");
    assert_eq!((&summary["requests"], &summary["from"]), (&json!(0), &Value::Null));
    assert_eq!(ran.stdout, "");
}

#[test]
fn records_are_read_as_an_import_reads_them_and_tiers_come_from_the_configuration() {
    let place = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).expect("it is written");
        path.to_string_lossy().into_owned()
    };
    let line = r#"{"at":1000,"op":"validate","key_id":"42","cost":2}"#;
    let gold = r#"{"id":"42","billing_tier":"gold","tenant_id":"acme"}"#;
    for (records, words) in [
        (gold, "record 1: billing_tier: key 42 has the tier \"gold\", which is not there; give"),
        ("{\"id\":1}\n{\"id\":1}", "record 2: id: there are two records of key 1"),
        ("{\"name\":\"x\"}", "record 1: id: it is missing"),
        ("{\"id\":1,\"colour\":1}", "record 1: colour: no such field"),
        (r#"{"tenants":[{"id":"a/b"}],"api_keys":[]}"#, "tenant record 1: id: "),
        ("{", "EOF while parsing"),
    ] {
        let keys = file("keys.json", records);
        let ran = simulate_with(&keys, &[], line);
        ran.expect(1);
        assert!(ran.stderr.starts_with(&format!("keygate: {keys}: ")), "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{records}: {}", ran.stderr);
    }
    let keys = file("keys.json", gold);
    let config = file("keygate.toml", "[tiers.gold]\nrequests_per_second = 1\nburst = 3\n");
    let ran = simulate_with(&keys, &["--config", &config], &format!("{line}\n{line}"));
    ran.expect(0);
    let found: Vec<String> = ran.stdout.lines().map(brief).collect();
    assert_eq!(found, ["1000 VALID second=1", "1000 RATE_EXCEEDED second=1 (denies for 1000 ms)"]);

    let missing = simulate_with("/nowhere/keys.json", &[], line);
    missing.expect(1);
    assert!(missing.stderr.contains("cannot read /nowhere/keys.json"), "{}", missing.stderr);
    let both = simulate_with("-", &[], line);
    both.expect(2);
    assert!(both.stderr.contains("cannot both be standard input"), "{}", both.stderr);
    let bound = simulate_with(&keys, &["--as-tenant", "acme"], line);
    bound.expect(2);
}

/// The source system's own record, with hashes and all: its token is not needed.
#[test]
fn the_example_record_is_judged_by_its_rules() {
    let place = tempfile::tempdir().expect("a directory");
    let config = place.path().join("keygate.toml");
    fs::write(&config, support::EXAMPLE_NAMES).expect("it is written");
    let id = support::example_record()["id"].as_str().expect("an id").to_owned();
    let line = json!({
        "at": "2026-11-01T09:00:00Z", "op": "validate", "key_id": id, "ip": "203.0.113.7",
        "origin": "https://app.example.com", "environment": "production", "region": "eu-west-1",
        "integration": "salesforce", "api_version": "v1", "https": true,
    });
    let keys = support::example_path();
    let args = ["--config", &*config.to_string_lossy()];
    let ran = simulate_with(&keys.to_string_lossy(), &args, &line.to_string());
    ran.expect(0);
    let verdict: Value = serde_json::from_str(&ran.stdout).expect("a verdict");
    assert_eq!((&verdict["code"], &verdict["key_id"]), (&json!("VALID"), &json!(id)));
}

/// The keys of a file, and a trace of these lines.
fn simulate_keys(keys: &Value, args: &[&str], lines: &[Value]) -> Ran {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("keys.json");
    fs::write(&path, keys.to_string()).expect("it is written");
    let trace: String = lines.iter().map(|line| format!("{line}\n")).collect();
    simulate_with(&path.to_string_lossy(), args, &trace)
}

fn codes(ran: &Ran) -> Vec<String> {
    let code = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        line["code"].as_str().expect("a verdict").to_owned()
    };
    ran.stdout.lines().map(code).collect()
}

#[test]
fn seconds_in_the_place_of_milliseconds_are_noticed_once() {
    let line = |at: Value| json!({"at": at, "op": "validate", "key_id": "2"});
    let seconds = [line(json!(1_769_903_997.123)), line(json!(1_769_903_998))];
    let keys = json!([{"id": "2"}]);
    let ran = simulate_keys(&keys, &[], &seconds);
    ran.expect(0);
    let notice = "notice: line 1: at: 1769903997.123 is 1970-01-21T11:38:23.997123Z: \
                  at is in milliseconds";
    assert!(ran.stderr.contains(notice), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("notice:").count(), 1, "{}", ran.stderr);
    let ran = simulate_keys(&keys, &["--json"], &seconds);
    let summary: Value = serde_json::from_str(&ran.expect(0).stderr).expect("one line of JSON");
    let notices = summary["notices"].as_array().expect("a list");
    assert!(notices.len() == 1 && notices[0].as_str().expect("text").contains("milliseconds"));

    for fine in [json!(1000), json!(1_769_903_997_123_u64), json!("1970-01-21T11:38:23Z")] {
        let ran = simulate_keys(&keys, &["--json"], &[line(fine.clone())]);
        let summary: Value = serde_json::from_str(&ran.expect(0).stderr).expect("JSON");
        assert_eq!(summary["notices"], Value::Null, "{fine}");
    }
}

#[test]
fn an_update_does_to_a_key_what_the_daemon_does() {
    let expired = "2026-01-01T00:00:00Z";
    let keys = json!({
        "tenants": [{"id": "gone", "deleted_at": expired}],
        "api_keys": [
            {"id": "1", "status": "EXPIRED", "expires_at": expired},
            {"id": "2", "deleted_at": expired},
            {"id": "3"},
        ],
    });
    let at = "2026-02-01T00:00:00Z";
    let validate = |id: &str| json!({"at": at, "op": "validate", "key_id": id});
    let update = |id: &str, set: Value| json!({"at": at, "op": "update", "key_id": id, "set": set});
    let later = json!({"expires_at": "2027-01-01T00:00:00Z"});
    let lines = [
        validate("1"),
        update("1", json!({"name": "n"})),
        validate("1"),
        update("1", later.clone()),
        validate("1"),
    ];
    let ran = simulate_keys(&keys, &[], &lines);
    ran.expect(0);
    assert_eq!(codes(&ran), ["EXPIRED", "EXPIRED", "VALID"]);
    let tenant = json!({"at": at, "op": "update", "tenant": "gone", "set": {"name": "n"}});
    for (line, words) in [
        (update("2", later), "there is no key 2: it is deleted"),
        (update("3", json!({"tenant_id": "gone"})), "tenant \"gone\" is deleted"),
        (tenant, "tenant \"gone\" is deleted"),
    ] {
        let ran = simulate_keys(&keys, &[], &[line]);
        ran.expect(1);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
}

#[test]
fn a_trace_lasts_no_longer_than_the_clock_can_count() {
    let keys = json!([{"id": "2", "requests_per_second": 1}]);
    let line = |at: &str| json!({"at": at, "op": "validate", "key_id": "2"});
    let first = line("1970-01-01T00:00:00Z");
    simulate_keys(&keys, &[], &[first.clone(), line("2469-12-01T00:00:00Z")]).expect(0);
    let ran = simulate_keys(&keys, &[], &[first, line("2470-02-01T00:00:00Z")]);
    ran.expect(1);
    assert!(ran.stderr.contains("line 2: at: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("more than 500 years after the first line"), "{}", ran.stderr);
}

#[test]
fn keys_that_are_not_there_are_told_by_their_ids() {
    let line = |id: &str| json!({"at": 1000, "op": "validate", "key_id": id});
    for none in [json!([]), json!({"tenants": [{"id": "acme"}], "api_keys": []})] {
        let ran = simulate_keys(&none, &[], &[line("2")]);
        ran.expect(1);
        assert!(ran.stderr.contains("keys.json: there are no keys in it"), "{}", ran.stderr);
    }
    let keys = json!([{"id": "2"}, {"id": "3", "deleted_at": "1970-01-01T00:00:00Z"}]);
    let lines = [line("99"), line("2"), line("98"), line("99"), line("3")];
    let ran = simulate_keys(&keys, &[], &lines);
    ran.expect(0);
    let message = |at: usize| {
        let verdict = ran.stdout.lines().nth(at).expect("a line");
        serde_json::from_str::<Value>(verdict).expect("JSON")["message"].clone()
    };
    assert_eq!(message(0), "no key of --keys has this id");
    assert_eq!(message(4), "no key has this token", "as the daemon says it of a deleted one");
    let told = "  NOT_FOUND: 4 (2 ids that --keys does not have: 98, 99)";
    assert!(ran.stderr.lines().any(|found| found == told), "{}", ran.stderr);
    let ran = simulate_keys(&keys, &["--json"], &lines);
    let summary: Value = serde_json::from_str(&ran.expect(0).stderr).expect("JSON");
    assert_eq!(summary["unknown_keys"], json!({"count": 2, "key_ids": ["98", "99"]}));
}
