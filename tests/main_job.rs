//! keygate's main job through all of it: the source system's record comes in, its token is judged,
//! its use is counted, the daemon goes and comes back, and everything can leave again.

mod support;

use keygate::key::KeyRecord;
use serde_json::{Value, json};

use support::{EXAMPLE_FACTS, EXAMPLE_TOKEN, Home, example_path, example_record, text};

/// The id of a report, to be sent twice.
const REPORT_ID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

/// Shows that every member of `given` is in `found`, the same.
fn assert_carried(given: &Value, found: &Value) {
    let given = given.as_object().expect("a record");
    for (field, value) in given {
        assert_eq!(found.get(field), Some(value), "{field}");
    }
}

/// The records of an export.
fn exported(home: &Home) -> Vec<Value> {
    let ran = home.run(["export"]);
    ran.expect(0);
    let document: Value = serde_json::from_str(&ran.stdout).expect("an export is JSON");
    document["api_keys"].as_array().expect("a list of records").clone()
}

#[test]
fn every_field_of_the_source_system_is_kept_and_comes_back() {
    let home = Home::new();
    let _daemon = home.start();
    let report = home.json(["import".as_ref(), example_path().as_os_str()]);
    assert_eq!((&report["imported"], &report["skipped"]), (&json!(1), &json!(0)), "{report}");

    let file = std::fs::read_to_string(example_path()).expect("the example");
    let file: Value = serde_json::from_str(&file).expect("JSON");
    let given = &file["api_keys"][0];
    let got = home.json(["key", "get", "42"]);
    assert_carried(given, &got);
    let exported = exported(&home);
    assert_eq!(exported.len(), 1);
    assert_carried(given, &exported[0]);

    // The source system's fields come first in the table, the one that the example leaves out
    // (it is not deleted) among them.
    let absent: Vec<_> = KeyRecord::FIELDS[..63]
        .iter()
        .map(|field| field.name)
        .filter(|name| given.get(*name).is_none())
        .collect();
    assert_eq!(absent, ["deleted_at"]);
    assert_eq!(
        (got.get("deleted_at"), exported[0].get("deleted_at")),
        (Some(&Value::Null), Some(&Value::Null))
    );
}

#[test]
fn the_imported_token_is_judged_and_counted_and_a_restart_forgets_nothing() {
    let home = Home::new();
    let daemon = home.start();
    let record = example_record();
    home.import(std::slice::from_ref(&record));

    let asked = [EXAMPLE_FACTS, &["--scope", "leads:read"]].concat();
    let verdict = home.verdict(EXAMPLE_TOKEN, &asked);
    assert_eq!(verdict["code"], "VALID");
    assert_eq!((text(&verdict["key_id"]), &verdict["scopes"]), ("42".into(), &record["scopes"]));
    for report in [
        &["--status", "200", "--latency-ms", "12.5", "--id", REPORT_ID][..],
        &["--status", "503", "--latency-ms", "7.5", "--error", "upstream timed out"],
    ] {
        let mut args = vec!["increment", "42", "--endpoint", "GET /v1/leads"];
        args.extend(report);
        assert_eq!(home.json(args)["outcome"], "COUNTED");
    }
    // What is leased goes back at a stop; everything else stays to the unit.
    let usage = || {
        let mut usage = home.json(["usage", "42"]);
        let limits = usage["limits"].as_array_mut().expect("limits");
        limits.iter_mut().for_each(|limit| limit["leased"] = 0.into());
        usage
    };
    let before = usage();
    check_totals(&before);

    daemon.stop();
    let daemon = home.start();
    assert_eq!(usage(), before, "a clean restart loses nothing");
    let again = home.json(["increment", "42", "--status", "200", "--id", REPORT_ID]);
    assert_eq!((&again["outcome"], &again["counted"]), (&json!("DUPLICATE"), &json!(false)));
    assert_eq!(usage(), before, "a duplicate counts nothing");

    // And it goes on counting from there, through a second restart.
    home.verdict(EXAMPLE_TOKEN, EXAMPLE_FACTS);
    daemon.stop();
    let _daemon = home.start();
    assert_eq!(home.json(["usage", "42"])["total_requests"], 918_273_647_u64);
    assert_eq!(home.json(["key", "get", "42"])["total_requests"], "918273647");
}

/// What the example brought, one valid verdict, a success of 12.5 ms and an error of 7.5 ms.
fn check_totals(usage: &Value) {
    let expected = [
        ("total_requests", json!(918_273_645_u64 + 1)),
        ("total_errors", json!(1203 + 1)),
        ("successful_requests_count", json!(918_272_442_u64 + 1)),
        ("reported_requests", json!(918_272_442_u64 + 1203 + 2)),
    ];
    for (field, value) in expected {
        assert_eq!(usage[field], value, "{field}");
    }
    // Of endpoints, statuses and errors too, what was counted here is added to what came.
    let endpoints = json!([
        {"endpoint": "GET /v1/leads", "requests": 900_002, "errors": 1, "average_response_time": 10.0},
        {"endpoint": "POST /v1/leads", "requests": 18_273, "errors": 0},
    ]);
    assert_eq!(usage["endpoints"], endpoints);
    // A millionth of what was reported, which the import told as a share.
    assert_eq!(usage["statuses"], json!({"200": 1, "503": 918 + 1}));
    assert_eq!(usage["recent_errors"].as_array().map(Vec::len), Some(2));
    let error = &usage["recent_errors"][0];
    assert_eq!((&error["status"], &error["message"]), (&json!(503), &json!("upstream timed out")));
    // Two of them do not move the mean of nine hundred million.
    let average = usage["average_response_time"].as_f64().expect("a mean");
    assert!((average - 41.7).abs() < 0.001, "{average}");
    assert_ne!(usage["last_used_at"], "2026-10-31T23:59:59.250Z");
}

#[test]
fn an_export_makes_an_equal_daemon_of_a_fresh_one() {
    let old = Home::new();
    let _old_daemon = old.start();
    old.import(&[example_record()]);
    let (_, plain) = old.create(&["--name", "plain", "--tenant", "acme", "--scope", "a:*"]);
    let (test_id, test) =
        old.create(&["--name", "test", "--test", "--rps", "7", "--burst", "9", "--expires", "90d"]);
    let (rotated_id, rotated_out) = old.create(&["--name", "rotated", "--tag", "x"]);
    let rotated = old.json(["key", "rotate", &rotated_id, "--grace", "1h", "--reason", "leak"]);
    let fresh = text(&rotated["token"]);
    let (suspended_id, suspended) = old.create(&["--name", "suspended"]);
    old.json(["key", "suspend", &suspended_id, "--reason", "unpaid"]);
    let (deleted_id, deleted) = old.create(&["--name", "deleted"]);
    old.json(["key", "delete", &deleted_id]);
    old.json(["increment", &test_id, "--status", "500", "--latency-ms", "3"]);

    let file = old.path("export.json");
    old.run(["export".as_ref(), file.as_os_str()]).expect(0).says(&["exported", "6"]);
    let new = Home::new();
    let _new_daemon = new.start();
    let report = new.json(["import".as_ref(), file.as_os_str()]);
    assert_eq!(report["imported"], 6, "{report}");
    assert_eq!(exported(&new), exported(&old));

    for (token, code) in [
        (EXAMPLE_TOKEN, "VALID"),
        (plain.as_str(), "VALID"),
        // The question is that of a request in production.
        (&test, "TEST_KEY_IN_PRODUCTION"),
        (&fresh, "VALID"),
        (&rotated_out, "VALID"),
        (&suspended, "SUSPENDED"),
        (&deleted, "NOT_FOUND"),
    ] {
        assert_eq!((old.code(token), new.code(token)), (code.into(), code.into()));
    }
    let warned = new.verdict(&rotated_out, &["--peek"]);
    assert_eq!(warned["warnings"], json!(["TOKEN_REPLACED"]));
}
