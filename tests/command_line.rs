//! The command line as scripts see it: exit codes, the JSON on standard output, the words on
//! standard error.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use keygate::key::Time;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use support::{Daemon, EXAMPLE_TOKEN, Home, example_path, example_record, finish, run, text};

const ABSENT: &str = "7340032001";
/// Of the right shape and checksum (SPEC §6.3), and nobody's.
const UNKNOWN_TOKEN: &str = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";

const UUID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

/// The names of an object's members.
fn names(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn every_command_ends_with_the_code_that_scripts_rely_on() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, token) = home.create(&["--name", "one", "--scope", "leads:read"]);
    let (id, token) = (id.as_str(), token.as_str());
    let (doomed, _) = home.create(&["--name", "doomed"]);
    let (doomed, export) = (doomed.as_str(), home.path("export.json"));
    let export = export.to_str().expect("UTF-8");
    let cases: &[(i32, &[&str])] = &[
        (0, &["ping"]),
        (0, &["status"]),
        (0, &["key", "create", "--name", "two"]),
        (0, &["key", "get", id]),
        (0, &["key", "list"]),
        (0, &["key", "update", id, "--description", "text"]),
        (0, &["key", "rotate", doomed]),
        (0, &["key", "suspend", doomed]),
        (0, &["key", "resume", doomed]),
        (0, &["key", "revoke", doomed]),
        (1, &["key", "resume", doomed]),
        (1, &["key", "rotate", doomed]),
        (0, &["key", "delete", doomed]),
        (5, &["key", "delete", doomed]),
        (5, &["key", "get", doomed]),
        (5, &["key", "suspend", doomed]),
        (0, &["key", "delete", doomed, "--purge"]),
        (5, &["key", "delete", doomed, "--purge"]),
        (0, &["validate", token]),
        (0, &["validate", token, "--scope", "leads:read", "--peek"]),
        (0, &["validate", token, "--any-scope", "x", "--any-scope", "leads:read", "--cost", "3"]),
        (3, &["validate", token, "--scope", "leads:write"]),
        (3, &["validate", UNKNOWN_TOKEN]),
        (3, &["validate", "kg_live_mistyped"]),
        (0, &["increment", id, "--status", "200", "--latency-ms", "1.5", "--count", "3"]),
        (5, &["increment", ABSENT]),
        (0, &["usage", id]),
        (5, &["usage", ABSENT]),
        (5, &["key", "get", ABSENT]),
        (5, &["key", "update", ABSENT, "--rps", "1"]),
        (5, &["key", "rotate", ABSENT]),
        (5, &["key", "revoke", ABSENT]),
        (0, &["export"]),
        (0, &["export", export]),
        // The same keys are there already.
        (1, &["import", export]),
        (1, &["import", "no-such-file.json"]),
        (1, &["key", "create", "--from", "no-such-file.json"]),
        (1, &["key", "create", "--name", "x", "--tenant", "a/b"]),
        (1, &["key", "update", id, "--set", "colour=red"]),
        (1, &["key", "update", id, "--rps", "1", "--expected-revision", "99"]),
        (2, &["key", "list", "--status", "GONE"]),
        // Arguments that make no sense.
        (2, &[]),
        (2, &["pnig"]),
        (2, &["ping", "--jsno"]),
        (2, &["key"]),
        (2, &["key", "create"]),
        (2, &["key", "create", "--name", "x", "--expires", "soon"]),
        (2, &["key", "create", "--name", "x", "--rps", "many"]),
        (2, &["key", "get"]),
        (2, &["key", "get", "forty-two"]),
        (2, &["key", "get", "0"]),
        (2, &["key", "list", "--limit", "1001"]),
        (2, &["key", "update", id]),
        (2, &["key", "update", id, "--set", "no-value"]),
        (2, &["key", "rotate", id, "--grace", "later"]),
        (2, &["validate", token, "--cost", "-1"]),
        (2, &["increment", id, "--status", "99"]),
        (2, &["increment", id, "--count", "0"]),
        (2, &["increment", id, "--latency-ms", "-1"]),
        (2, &["increment", id, "--id", "1234"]),
        (2, &["increment", id, "--refund", "1"]),
        (2, &["increment", id, "--refund", "0", "--id", UUID]),
        (2, &["increment", id, "--refund", "4294967297", "--id", UUID]),
        (2, &["increment", id, "--slot", "seven"]),
        (2, &["renew", id]),
        (2, &["renew", id, "seven"]),
        (2, &["key", "update", id, "--rps", "5", "--spent", "double"]),
        (2, &["tenant", "update", "acme", "--name", "x", "--spent", "double"]),
        (2, &["validate", token, "--limit", ""]),
        (2, &["validate", token, "--limit", "a", "--limit", "a"]),
        (2, &["validate", token, "--scope", ""]),
        (2, &["validate", token, "--ip", "localhost"]),
        (2, &["validate", token, "--environment", ""]),
        (2, &["validate", token, "--https=maybe"]),
        (3, &["validate", token, "--tenant", "nobody"]),
        (2, &["key", "create", "--name", "x", "--metadata", "{"]),
        (1, &["key", "create", "--name", "x", "--allow-ip", "10.0.0.1/8"]),
        (2, &["bench", "--duration", "0"]),
        (2, &["bench", "--connections", "0"]),
        (2, &["bench", "--rounds", "0"]),
        (2, &["import"]),
        (2, &["serve", "--demo", "--data-dir", "/nowhere"]),
        (2, &["serve", "--tcp", "here"]),
        (0, &["--help"]),
        (0, &["--version"]),
    ];
    for (code, args) in cases {
        let ran = home.run(*args);
        assert_eq!(ran.code(), *code, "{args:?}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{args:?}: {ran:#?}");
        assert!(!matches!(code, 1 | 2) || !ran.stderr.is_empty(), "{args:?} does not say why");
    }
}

#[test]
fn without_a_daemon_every_command_says_where_it_looked() {
    let home = Home::new();
    let file = home.file("records.json", "[]");
    let file = file.to_str().expect("UTF-8");
    let data: &[&[&str]] =
        &[&["ping"], &["validate", UNKNOWN_TOKEN], &["increment", ABSENT], &["bench"]];
    let admin: &[&[&str]] = &[
        &["status"],
        &["key", "create", "--name", "x"],
        &["key", "get", ABSENT],
        &["key", "list"],
        &["key", "update", ABSENT, "--rps", "1"],
        &["key", "rotate", ABSENT],
        &["key", "suspend", ABSENT],
        &["key", "delete", ABSENT],
        &["usage", ABSENT],
        &["import", file],
        &["export"],
    ];
    for args in data.iter().chain(admin) {
        let ran = home.run(*args);
        ran.expect(4).says(&["keygate serve", "KEYGATE_SOCKET"]);
        let socket =
            if admin.contains(args) || args[0] == "bench" { "admin.sock" } else { "keygate.sock" };
        ran.says(&[home.path(socket).to_str().expect("UTF-8")]);
    }
}

#[test]
fn json_has_the_members_that_are_promised() {
    let home = Home::new();
    let _daemon = home.start();
    let created = home.json([
        "key",
        "create",
        "--name",
        "json",
        "--tenant",
        "acme",
        "--scope",
        "a:b",
        "--scope",
        "c:*",
        "--rps",
        "10",
        "--tag",
        "t",
        "--description",
        "d",
    ]);
    assert_eq!(names(&created), ["key", "token"]);
    let (key, token) = (&created["key"], text(&created["token"]));
    assert!(token.starts_with("kg_live_") && token.len() == 46, "{} bytes", token.len());
    for (field, value) in [
        ("name", json!("json")),
        ("tenant_id", json!("acme")),
        ("scopes", json!(["a:b", "c:*"])),
        ("requests_per_second", json!(10)),
        ("tags", json!(["t"])),
        ("description", json!("d")),
        ("status", json!("STATUS_ACTIVE")),
        ("total_requests", json!("0")),
    ] {
        assert_eq!(key[field], value, "{field}");
    }
    let id = text(&key["id"]);
    assert_eq!(&home.json(["key", "get", &id]), key);
    let page = home.json(["key", "list"]);
    assert_eq!((names(&page), &page["keys"][0]), (vec!["keys"], key));

    let verdict = home.verdict(&token, &["--scope", "c:d"]);
    let members = [
        "valid",
        "code",
        "message",
        "key_id",
        "tenant_id",
        "scopes",
        "denied_by",
        "limits",
        "slot",
        "warnings",
        "metadata",
    ];
    assert_eq!(names(&verdict), members);
    let limit = &verdict["limits"][0];
    assert_eq!(names(limit), ["name", "limit", "remaining", "retry_after_ms", "reset_after_ms"]);
    let figures = json!({
        "name": "second", "limit": 10, "remaining": 9, "retry_after_ms": null, "reset_after_ms": 100,
    });
    assert_eq!(limit, &figures);
    assert_eq!(
        (&verdict["valid"], &verdict["key_id"], &verdict["tenant_id"], &verdict["scopes"]),
        (&json!(true), &json!(id), &json!("acme"), &json!(["a:b", "c:*"])),
    );
    assert_eq!((&verdict["denied_by"], &verdict["warnings"]), (&Value::Null, &json!([])));

    let denied = home.verdict(&token, &["--cost", "11"]);
    assert_eq!(
        (&denied["code"], &denied["denied_by"]),
        (&json!("RATE_EXCEEDED"), &json!("second"))
    );
    assert_eq!(denied["valid"], false);
    let unknown = home.verdict(UNKNOWN_TOKEN, &[]);
    assert_eq!((&unknown["key_id"], &unknown["limits"]), (&Value::Null, &json!([])));

    let counted = home.json(["increment", &id]);
    assert_eq!(counted, json!({"key_id": id, "outcome": "COUNTED", "counted": true}));
    let updated = home.json(["key", "update", &id, "--rps", "5"]);
    assert_eq!((names(&updated), &updated["key"]["revision"]), (vec!["key"], &json!(2)));
    let rotated = home.json(["key", "rotate", &id]);
    assert_eq!(names(&rotated), ["key", "token", "old_token_ends_at"]);
    for command in ["suspend", "resume", "revoke", "delete"] {
        assert_eq!(names(&home.json(["key", command, &id])), ["key"], "{command}");
    }
    assert_eq!(names(&home.json(["ping"])), ["name", "protocol_version", "rtt_us"]);
    let status = home.json(["status"]);
    assert_eq!(names(&status), ["healthy", "writable", "reasons", "stats"]);
    assert_eq!((&status["healthy"], &status["reasons"]), (&json!(true), &json!([])));
}

#[test]
fn the_life_of_a_key_is_what_its_token_sees() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, first) = home.create(&["--name", "life"]);
    assert_eq!(home.code(&first), "VALID");
    home.json(["key", "suspend", &id, "--reason", "unpaid"]);
    assert_eq!(home.code(&first), "SUSPENDED");
    assert_eq!(home.json(["key", "get", &id])["status_reason"], "unpaid");
    home.json(["key", "resume", &id]);
    assert_eq!(home.code(&first), "VALID");

    let second = text(&home.json(["key", "rotate", &id, "--grace", "1h"])["token"]);
    assert_eq!(home.verdict(&first, &[])["warnings"], json!(["TOKEN_REPLACED"]));
    assert_eq!(home.code(&second), "VALID");
    let third = text(&home.json(["key", "rotate", &id, "--grace", "0"])["token"]);
    let codes = [&first, &second, &third].map(|token| home.code(token));
    assert_eq!(codes, ["NOT_FOUND", "ROTATED_OUT", "VALID"], "one token before is remembered");

    home.json(["key", "update", &id, "--set", "expires_at=2020-01-01T00:00:00Z"]);
    assert_eq!(home.code(&third), "EXPIRED");
    home.json(["key", "update", &id, "--clear", "expires_at"]);
    assert_eq!(home.code(&third), "VALID");
    home.json(["key", "revoke", &id]);
    assert_eq!(home.code(&third), "REVOKED");
    home.json(["key", "delete", &id]);
    assert_eq!(home.code(&third), "NOT_FOUND");
    let listed = home.json(["key", "list", "--deleted"]);
    assert_eq!(listed["keys"][0]["id"], json!(id));
    home.json(["key", "delete", &id, "--purge"]);
    assert_eq!(home.json(["key", "list", "--deleted"])["keys"], json!([]));
}

#[test]
fn limits_are_set_by_flags_and_shown_as_the_flags_say_them() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&[
        "--name",
        "limited",
        "--slot-ttl",
        "300",
        "--limit",
        "exports=10/60m",
        "--limit=reports=100/month",
        "--credits",
        "1000",
        "--credits-refill",
        "500/month@31 add",
    ]);
    let shown = home.run(["key", "get", &id]);
    for line in [
        "limits                       exports=10/1h, reports=100/month\n",
        "credits                      1000, 500/month@31 add\n",
        "slot_ttl_seconds             300\n",
    ] {
        assert!(shown.expect(0).stdout.contains(line), "{line}: {shown:#?}");
    }
    let key = home.json(["key", "get", &id]);
    assert_eq!(key["limits"][0], json!({"name": "exports", "count": "10", "period": "1h"}));
    assert!(key["credits"]["granted_at"].is_string());
    // What is not named stays, and a list is replaced as a whole.
    home.run(["key", "update", &id, "--limit", "exports=5/day"]).expect(0);
    let changed = home.json(["key", "get", &id]);
    assert_eq!(changed["limits"], json!([{"name": "exports", "count": "5", "period": "day"}]));
    assert_eq!(changed["credits"], key["credits"]);
    home.run(["key", "update", &id, "--credits-refill", "1/day"]).expect(2).says(&["--credits N"]);
    home.run(["key", "update", &id, "--credits", "5"]).expect(0);
    let set = &home.json(["key", "get", &id])["credits"];
    assert_eq!((&set["balance"], &set["refill"]), (&json!("5"), &Value::Null));
    assert_ne!(set["granted_at"], key["credits"]["granted_at"]);
    for (flag, words) in [
        ("--limit=exports=1/fortnight", "limits: entry 1: period: \"fortnight\" is not a period"),
        ("--slot-ttl=0", "slot_ttl_seconds"),
        ("--burst=9223372036854775807", "584 years"),
    ] {
        home.run(["key", "update", &id, "--rps=1", flag]).expect(1).says(&[words]);
    }

    home.run(["tenant", "create", "acme", "--rps=50", "--max-uses=7", "--slot-ttl=30"]).expect(0);
    home.run(["tenant", "update", "acme", "--burst=100", "--clear=slot_ttl_seconds"]).expect(0);
    let tenant = home.json(["tenant", "get", "acme"]);
    let shown = ["requests_per_second", "burst", "max_uses", "slot_ttl_seconds"];
    let shown = shown.map(|field| tenant[field].clone());
    assert_eq!(shown, [json!(50), json!(100), json!("7"), Value::Null]);
    let shown = home.run(["tenant", "get", "acme"]);
    assert!(shown.expect(0).stdout.contains("burst                        100\n"), "{shown:#?}");
    let own = ["--as-tenant", "acme", "tenant", "update", "acme", "--max-uses=8"];
    home.run(own).expect(1).says(&["limits"]);
}

#[test]
fn a_change_of_status_is_told_in_one_line() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&["--name", "brief"]);
    home.run(["key", "update", &id, "--enforce-signing"]).expect(0).says(&["notice:"]);
    let cases: &[(&[&str], &str)] = &[
        (&["suspend"], "SUSPENDED"),
        (&["resume"], "ACTIVE"),
        (&["revoke"], "REVOKED"),
        (&["delete"], "deleted"),
        (&["delete", "--purge"], "removed for good"),
    ];
    for (args, outcome) in cases {
        let ran = home.run(["key"].iter().chain(*args).chain(&[id.as_str()]));
        ran.expect(0);
        assert_eq!((ran.stdout, ran.stderr), (format!("key {id}: {outcome}\n"), String::new()));
    }
}

#[test]
fn an_expiry_is_a_time_or_a_duration_from_now() {
    let home = Home::new();
    let _daemon = home.start();
    let micros = |text: &Value| {
        let time = Time::parse(text.as_str().expect("a time")).expect("RFC 3339");
        time.micros_up()
    };
    let key = &home.json(["key", "create", "--name", "x", "--expires", "90d"])["key"];
    let lasts = micros(&key["expires_at"]) - micros(&key["created_at"]);
    let off = (lasts - 90 * 86_400 * 1_000_000).abs();
    assert!(off < 60_000_000, "{off} µs off 90 days");
    let at = "2127-03-01T09:00:00Z";
    assert_eq!(
        home.json(["key", "create", "--name", "x", "--expires", at])["key"]["expires_at"],
        at
    );
}

#[test]
fn lists_are_filtered_and_paged() {
    let home = Home::new();
    let _daemon = home.start();
    let (a, _) = home.create(&["--name", "a", "--tenant", "one", "--tag", "x"]);
    let (b, _) = home.create(&["--name", "b", "--tenant", "two", "--tag", "x"]);
    let (c, _) = home.create(&["--name", "c", "--tenant", "two"]);
    home.json(["key", "suspend", &c]);
    let ids = |args: &[&str]| {
        let page = home.json(["key", "list"].iter().chain(args));
        let ids = page["keys"].as_array().expect("keys").iter().map(|key| text(&key["id"]));
        (ids.collect::<Vec<_>>(), page["next"].clone())
    };
    let (a, b, c) = (a.as_str(), b.as_str(), c.as_str());
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &[a, b, c]),
        (&["--tenant", "two"], &[b, c]),
        (&["--tag", "x"], &[a, b]),
        (&["--status", "SUSPENDED"], &[c]),
        (&["--status", "STATUS_ACTIVE", "--tag", "x", "--tenant", "two"], &[b]),
        (&["--tenant", "three"], &[]),
        (&["--after", a], &[b, c]),
    ];
    for (args, expected) in cases {
        assert_eq!(
            ids(args),
            (expected.iter().map(ToString::to_string).collect(), Value::Null),
            "{args:?}"
        );
    }
    assert_eq!(ids(&["--limit", "2"]), (vec![a.into(), b.into()], json!(b)));
    assert_eq!(ids(&["--limit", "2", "--after", b]), (vec![c.into()], Value::Null));
}

#[test]
fn a_token_comes_from_the_environment_or_standard_input_and_an_argument_warns() {
    let home = Home::new();
    let daemon = home.start();
    let (_, token) = home.create(&["--name", "secret"]);
    for end in ["", "\n", "\r\n"] {
        let ran = home.run_with(&["validate", "-"], &format!("{token}{end}"));
        assert_eq!(ran.expect(0).stderr, "", "{end:?}");
    }
    // A setup mistake is no denial, and input that nobody offered stays the caller's.
    home.run_with(&["validate", "-"], "\n").expect(2).says(&["no token"]);
    home.run_with(&["validate"], &token).expect(2).says(&["KEYGATE_TOKEN"]);
    let mut from_env = home.command();
    from_env.arg("validate").env("KEYGATE_TOKEN", &token);
    assert_eq!(run(from_env, b"not this").expect(0).stderr, "");
    home.run(["validate", &token]).expect(0).says(&["visible to other users"]);
    drop(daemon);
}

#[test]
fn a_key_is_made_from_a_record_of_the_source_system() {
    let home = Home::new();
    let _daemon = home.start();
    let example = example_path();
    let example = example.to_str().expect("UTF-8");
    let created = home.json(["key", "create", "--from", example, "--name", "a copy"]);
    let (key, given) = (&created["key"], example_record());
    assert_ne!(key["id"], given["id"], "an id is keygate's to give");
    assert_ne!(key["key_hash"], given["key_hash"], "the token is new");
    assert_eq!((&key["name"], &key["total_requests"]), (&json!("a copy"), &json!("0")));
    for field in ["scopes", "allowed_ips", "requests_per_second", "metadata_json", "webhook_url"] {
        assert_eq!(key[field], given[field], "{field}");
    }
    let notices = created["notices"].to_string();
    assert!(
        notices.contains("total_requests") && notices.contains("client_certificate_hash"),
        "{notices}"
    );

    let record = json!({"name": "from standard input", "requestsPerSecond": 3}).to_string();
    let ran = home.run_with(&["key", "create", "--json", "--from", "-"], &record);
    assert_eq!(ran.expect(0).json()["key"]["requests_per_second"], 3);
    for (input, words) in [
        ("", "no record"),
        ("{", "standard input"),
        ("[{\"name\":\"a\"},{\"name\":\"b\"}]", "more than one"),
        ("{\"name\":\"a\",\"colour\":1}", "colour"),
        ("{\"name\":\"a\",\"name\":\"b\"}", "name"),
    ] {
        home.run_with(&["key", "create", "--from", "-"], input).expect(1).says(&[words]);
    }
    assert_eq!(home.json(["status"])["stats"]["keys"], 2, "what was refused left nothing");
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let home = Home::new();
    let _daemon = home.start();
    let records: Vec<Value> = (1..=2000_u32)
        .map(|n| json!({"id": n.to_string(), "key_hash": format!("{n:064x}"), "description": "d".repeat(100)}))
        .collect();
    home.import(&records);
    let bad: Vec<Value> = (1..=1000).map(|n| json!({"id": n.to_string(), "colour": 1})).collect();
    let bad = home.file("bad.json", &json!(bad).to_string());
    let bad = bad.to_str().expect("UTF-8");
    let cases: &[&[&str]] = &[
        &["export"],
        &["key", "list", "--limit", "1000"],
        &["import", "--skip-bad", bad],
        &["validate", UNKNOWN_TOKEN],
        &["ping", "--no-such-flag"],
    ];
    for args in cases {
        for deaf in ["output", "error"] {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let mut command = home.command();
            command.args(*args).stdin(Stdio::null());
            if deaf == "output" {
                command.stdout(writer).stderr(Stdio::piped());
            } else {
                command.stdout(Stdio::piped()).stderr(writer);
            }
            let ran = finish(command, b"");
            // Not the 101 of a panic, nor the signal of a pipe.
            assert!(ran.code() <= 3, "{args:?}, nobody reads standard {deaf}: {ran:#?}");
            assert!(!ran.stderr.contains("pipe"), "{args:?}: {ran:#?}");
        }
    }
}

#[test]
fn a_bench_that_is_interrupted_still_removes_its_keys() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut command = home.command();
    command.args(["bench", "--keys", "5", "--duration", "1h"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let bench = command.spawn().expect("it is spawned");
    daemon.logs(|log| log.contains("imported"));
    let id = i32::try_from(bench.id()).expect("ids are positive");
    kill_process(Pid::from_raw(id).expect("no id is 0"), Signal::INT).expect("it runs");
    let ended = bench.wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(home.json(["status"])["stats"]["keys"], 0);
}

#[test]
fn no_secret_reaches_a_log_or_standard_error() {
    let home = Home::new();
    let mut serve = home.serve();
    serve.env("KEYGATE_LOG", "trace");
    let daemon = Daemon::start(serve);
    let mut secrets = vec![EXAMPLE_TOKEN.to_owned()];
    let mut said = String::new();
    let mut shown = |ran: support::Ran| {
        said.push_str(&ran.stderr);
        ran
    };
    let created = shown(home.run(["key", "create", "--json", "--name", "a"])).json();
    secrets.push(text(&created["token"]));
    secrets.push(text(&created["key"]["key_hash"]));
    let id = text(&created["key"]["id"]);
    let rotated = shown(home.run(["key", "rotate", "--json", &id])).json();
    secrets.push(text(&rotated["token"]));
    for token in [&secrets[1], &secrets[3], "kg_live_ThisOneIsMistyped0000000000000000000000"] {
        shown(home.run(["validate", token]));
        shown(home.run(["validate", token, "--scope", ""]));
    }
    // Tokens where they do not belong.
    for args in [
        vec!["key", "get", &secrets[1]],
        vec!["increment", &secrets[1]],
        vec!["key", "update", &id, "--set", "key_hash=kg_live_InTheWrongField"],
    ] {
        assert_ne!(shown(home.run(args)).code(), 0);
    }
    let mut bad = example_record();
    bad["key_hash"] = EXAMPLE_TOKEN.into();
    let file = home.file("bad.json", &json!([bad]).to_string());
    shown(home.run(["import".as_ref(), file.as_os_str()])).expect(1);
    home.import(&[example_record()]);
    shown(home.run(["validate", EXAMPLE_TOKEN]));
    let log = daemon.stop();
    secrets.extend(["kg_live_InTheWrongField", "ThisOneIsMistyped"].map(str::to_owned));
    secrets.push(text(&example_record()["key_hash"]));
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log:\n{log}");
        assert!(!said.contains(secret.as_str()), "{secret} is in standard error:\n{said}");
    }
    assert!(log.contains("a key was created"), "the log was looked at: {log}");
}

/// The demonstration, and what it has printed.
fn demonstrate(home: &Home) -> (Daemon, Vec<String>) {
    std::fs::create_dir(home.path("scratch")).expect("a directory");
    // No socket of this home: the demonstration makes its own.
    let mut command = Command::new(support::BINARY);
    command.args(["serve", "--demo"]).env("TMPDIR", home.path("scratch")).stdout(Stdio::piped());
    for name in ["KEYGATE_SOCKET", "KEYGATE_ADMIN_SOCKET", "KEYGATE_CONFIG"] {
        command.env_remove(name);
    }
    command.env("KEYGATE_DATA_DIR", home.data());
    let mut daemon = Daemon::start(command);
    let lines = BufReader::new(daemon.stdout()).lines();
    let mut greeting = Vec::new();
    for line in lines {
        greeting.push(line.expect("UTF-8"));
        if greeting.last().is_some_and(|line| line.starts_with("Ctrl-C")) {
            break;
        }
    }
    (daemon, greeting)
}

#[test]
fn the_demonstration_prints_three_commands_that_work_and_leaves_nothing() {
    let home = Home::new();
    let (mut daemon, greeting) = demonstrate(&home);
    let commands: Vec<_> = greeting.iter().filter(|line| line.contains(support::BINARY)).collect();
    assert_eq!(commands.len(), 3, "{greeting:#?}");
    for (line, words) in commands.iter().zip(["VALID", "counted", "reported requests      1"]) {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]);
        let ran = run(shell, b"");
        assert!(ran.expect(0).stdout.contains(words), "{line}: {ran:#?}");
    }
    // Ctrl-C.
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    let left: Vec<_> = std::fs::read_dir(home.path("scratch")).expect("listed").collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!home.data().exists(), "it has a directory of its own");
}

#[test]
fn the_demonstration_ends_with_its_terminal() {
    let home = Home::new();
    let (mut daemon, _) = demonstrate(&home);
    daemon.signal(Signal::HUP);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    let left: Vec<_> = std::fs::read_dir(home.path("scratch")).expect("listed").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_mistyped_flag_is_answered_with_the_one_that_was_meant() {
    let home = Home::new();
    for (args, meant) in [
        (["key", "create", "--name=x", "--requests-per-secnd=5"], "--requests-per-second"),
        (["key", "update", "7", "--monthly-request-quot=5"], "--monthly-request-quota"),
        (["tenant", "create", "acme", "--requests-per-secnd=5"], "--requests-per-second"),
    ] {
        home.run(args).expect(2).says(&[&format!("a similar argument exists: '{meant}'")]);
    }
}

#[test]
fn a_number_that_is_none_is_refused_with_what_it_must_be() {
    let home = Home::new();
    let create = ["key", "create", "--name=x"];
    let cases: &[(&[&str], &str)] = &[
        (&["--slot-ttl", "1h"], "it is a whole number of seconds"),
        (&["--rps", "1.5"], "it is a whole number"),
        (&["--rps", "-1"], "it is a whole number"),
        (&["--credits", "-5"], "it is a whole number"),
        (&["--credits", "99999999999999999999"], "at most 18446744073709551615"),
        (&["--quota-threshold", "half"], "it is a number"),
        (&["--limit", "exports=1e3/h"], "COUNT is a whole number, 0 to 2^63 - 1, not '1e3'"),
        (&["--limit", "exports=1,000/h"], "COUNT is a whole number, 0 to 2^63 - 1, not '1,000'"),
        (&["--limit", "exports=-1/h"], "COUNT is a whole number, 0 to 2^63 - 1, not '-1'"),
        (&["--limit", "exports=/h"], "COUNT is a whole number, 0 to 2^63 - 1, not ''"),
    ];
    let others: &[(&[&str], &str)] = &[
        (&["key", "update", "7", "--expected-revision", "-1"], "it is a whole number"),
        (&["tenant", "create", "acme", "--rps", "-1"], "it is a whole number"),
        (&["tenant", "create", "acme", "--slot-ttl", "1h"], "it is a whole number of seconds"),
        (&["validate", "token", "--cost", "-1"], "it is a whole number"),
        (&["increment", "7", "--slot", "seven"], "it is a whole number"),
        (&["renew", "7", "seven"], "it is a whole number"),
    ];
    let cases = cases.iter().map(|(args, words)| ([&create, *args].concat(), words));
    for (args, words) in cases.chain(others.iter().map(|(args, words)| (args.to_vec(), words))) {
        let ran = home.run(&args);
        ran.expect(2).says(&[words]);
        assert!(!ran.stderr.contains("invalid digit"), "{args:?}: {ran:#?}");
    }
}

#[test]
fn a_limit_a_minute_or_a_month_is_said_in_full() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&["--name", "x", "--limit", "exports=10/h"]);
    let update = ["key", "update", &id];
    let both = "could be a minute or a month: write ";
    let flag = [&update[..], &["--limit", "reports=100/m"]].concat();
    home.run(flag).expect(2).says(&[both, "100/1m or 100/month"]);
    let field = r#"limits=[{"name":"reports","count":100,"period":"m"}]"#;
    home.run([&update[..], &["--set", field]].concat()).expect(1).says(&[both, "1m or month"]);
    for (said, kept) in
        [("reports=100/1m", "1m"), ("reports=100/60s", "1m"), ("a=1/month", "month")]
    {
        home.run([&update[..], &["--limit", said]].concat()).expect(0);
        let kept_as = &home.json(["key", "get", &id])["limits"][0]["period"];
        assert_eq!(kept_as, kept, "{said}");
    }
    let tier = "[tiers.x]\nlimits = [{ name = \"reports\", count = 100, period = \"m\" }]\n";
    let tier = home.file("tier.toml", tier);
    let tier = tier.to_str().expect("UTF-8");
    let checked = home.run(["config", "check", tier]);
    assert!(checked.expect(1).stdout.contains("write 1m or month"), "{checked:#?}");
    let help = home.run(["key", "create", "--help"]);
    let help = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for period in ["hour, day, week, month or year", "90s, 15m, 1h, 30d or 2w"] {
        assert!(help.contains(period), "{period}: {help}");
    }
}

#[test]
fn the_usage_of_a_command_does_not_repeat_the_environment() {
    let home = Home::new();
    for args in [&["renew"][..], &["key", "creat"], &["key", "create", "--nam=x"], &["ping", "--x"]]
    {
        let ran = home.run(args);
        ran.expect(2).says(&["Usage: keygate"]);
        assert!(!ran.stderr.contains("socket"), "{args:?}: {ran:#?}");
    }
    let help = home.run(["ping", "--help"]).stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for variable in ["[env: KEYGATE_SOCKET]", "[env: KEYGATE_ADMIN_SOCKET]"] {
        assert!(help.contains(variable), "{variable}: {help}");
    }
}

#[test]
fn a_directory_in_use_is_named_once_and_the_doctor_says_what_it_did_not_look_at() {
    let home = Home::new();
    {
        let _daemon = home.start();
        let data = home.data();
        let data = data.to_str().expect("UTF-8");
        for args in [&["compact", "--data-dir", data][..], &["verify", data]] {
            let ran = home.run(args);
            ran.expect(1).says(&["keygate: the data directory", "in use by process"]);
            assert_eq!(ran.stderr.matches(data).count(), 1, "{ran:#?}");
        }
    }
    let ran = home.run(["doctor"]);
    if !std::path::Path::new("/var/lib/keygate").is_dir() {
        let words = "no data was looked at";
        assert!(ran.expect(1).stdout.contains(words), "{ran:#?}");
        assert!(ran.stdout.contains("--data-dir DIR"), "{ran:#?}");
    }
}

#[test]
fn a_verdict_that_a_caller_can_mend_says_how() {
    let home = Home::new();
    let _daemon = home.start();
    let (_, token) = home.create(&["--name", "x", "--limit", "exports=10/h"]);
    let ran = home.run(["validate", &token, "--limit", "exprts", "--limit", "exports"]);
    ran.expect(3).says(&["no limit of a name asked for: exprts, exports"]);
    let json = home.run(["validate", &token, "--limit", "exprts", "--json"]);
    assert!(!json.expect(3).stderr.contains("no limit"), "programs have the code: {json:#?}");
}

#[test]
fn what_an_update_does_not_do_is_said() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&["--name", "x", "--rps", "5"]);
    home.run(["tenant", "create", "acme"]).expect(0);
    let nothing = "notice: --spent does nothing";
    let of_key = ["key", "update", &id, "--spent", "reset"];
    let of_tenant = ["tenant", "update", "acme", "--spent", "reset"];
    for (args, does_nothing) in [
        ([&of_key[..], &["--name", "y"]].concat(), true),
        ([&of_key[..], &["--credits", "5"]].concat(), true),
        ([&of_key[..], &["--rps", "5", "--mask", "name", "--name", "z"]].concat(), true),
        ([&of_tenant[..], &["--name", "y"]].concat(), true),
        ([&of_tenant[..], &["--concurrent", "5"]].concat(), true),
        ([&of_key[..], &["--rps", "5"]].concat(), false),
        ([&of_key[..], &["--set", "maxUses=5"]].concat(), false),
        ([&of_key[..], &["--limit", "a=1/h"]].concat(), false),
        ([&of_key[..], &["--clear", "requests_per_day"]].concat(), false),
        ([&of_tenant[..], &["--burst", "5"]].concat(), false),
        (vec!["key", "update", &id, "--name", "z"], false),
    ] {
        let ran = home.run(&args);
        let told = ran.expect(0).stderr.contains(nothing);
        assert_eq!(told, does_nothing, "{args:?}: {ran:#?}");
    }
}
