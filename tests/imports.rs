//! Records of the source system on their way in: all of a file or nothing, and why not.

mod support;

use serde_json::{Value, json};

use support::{EXAMPLE_TOKEN, Home, example_record};

/// The example's hash with another last digit: a record of another token.
const OTHER_HASH: &str = "45cd080a4ac7037a520e3608890d6d50d2e10e61b214249efc5e1713979c8798";

/// A record that stands beside the example.
fn second(members: &Value) -> Value {
    let mut record = json!({"id": "43", "name": "second", "key_hash": OTHER_HASH});
    for (name, value) in members.as_object().expect("members") {
        record[name] = value.clone();
    }
    record
}

#[test]
fn an_import_is_refused_as_a_whole_with_the_record_the_field_and_the_reason() {
    let home = Home::new();
    let _daemon = home.start();
    home.import(&[json!({"id": "7", "name": "there before", "key_hash": "07".repeat(32)})]);
    let cases = [
        (second(&json!({"colour": "red"})), "colour", "no such field"),
        (second(&json!({"name": 7})), "name", "a string, not a number"),
        (second(&json!({"requests_per_second": "fast"})), "requests_per_second", "whole number"),
        (second(&json!({"allowedIps": "10.0.0.1"})), "allowedIps", "a list of strings"),
        (second(&json!({"metadata_json": "%"})), "metadata_json", "base64"),
        (second(&json!({"status": "STATUS_GONE"})), "status", "not a status"),
        (second(&json!({"expires_at": "never"})), "expires_at", "RFC 3339"),
        (second(&json!({"keyHash": OTHER_HASH})), "keyHash", "stands twice"),
        (second(&json!({"id": "42"})), "id", "42"),
        (second(&json!({"id": "7"})), "id", "7"),
        (second(&json!({"id": null})), "id", "missing"),
        (second(&json!({"key_hash": null})), "key_hash", "missing"),
        (second(&json!({"key_hash": example_record()["key_hash"]})), "key_hash", "42"),
        (second(&json!({"key_hash": "07".repeat(32)})), "key_hash", "7"),
    ];
    for (bad, field, reason) in &cases {
        let file = home.file("bad.json", &json!([example_record(), bad]).to_string());
        let ran = home.run(["import".as_ref(), "--json".as_ref(), file.as_os_str()]);
        ran.expect(1).says(&["record 2", field, reason]);
        let report = ran.json();
        assert_eq!(report["imported"], 0, "{report}");
        let problem = &report["problems"][0];
        assert_eq!((&problem["record"], &problem["field"]), (&json!(2), &json!(field)), "{report}");
        home.run(["key", "get", "42"]).expect(5);
        home.run(["key", "get", "43"]).expect(5);
        assert_eq!(home.code(EXAMPLE_TOKEN), "NOT_FOUND");
        assert_eq!(home.json(["status"])["stats"]["keys"], 1);
    }
    // The refused ones are in nobody's way.
    home.import(&[example_record(), second(&json!({}))]);
    assert_eq!(home.code(EXAMPLE_TOKEN), "VALID");
}

#[test]
fn with_skip_bad_the_good_records_are_taken_and_the_others_told() {
    let home = Home::new();
    let _daemon = home.start();
    let records = json!([
        second(&json!({"colour": "red"})),
        example_record(),
        second(&json!({"id": "42"})),
        second(&json!({})),
        second(&json!({"id": "44"})),
    ]);
    let file = home.file("mixed.json", &records.to_string());
    let ran =
        home.run(["import".as_ref(), "--skip-bad".as_ref(), "--json".as_ref(), file.as_os_str()]);
    ran.expect(0).says(&["record 1: colour", "record 3: id", "record 5: key_hash"]);
    let report = ran.json();
    assert_eq!((&report["imported"], &report["skipped"]), (&json!(2), &json!(3)), "{report}");
    assert_eq!(home.code(EXAMPLE_TOKEN), "VALID");
    assert_eq!(home.json(["key", "get", "43"])["name"], "second");
    home.run(["key", "get", "44"]).expect(5);
}

#[test]
fn both_spellings_every_shape_of_file_and_standard_input_are_imported() {
    let hash = |n: u8| format!("{n:02x}").repeat(32);
    let camel = json!({
        "id": 1, "keyHash": hash(1), "allowedIps": ["10.0.0.0/8"], "monthlyRequestQuota": 20_000_000,
        "metadataJson": "eyJhIjoxfQ", "status": "ACTIVE", "rateLimit": "5", "isTestKey": true,
        "createdAt": "2025-03-01T09:00:00Z",
    });
    let snake = json!({
        "id": "1", "key_hash": hash(1), "allowed_ips": ["10.0.0.0/8"],
        "monthly_request_quota": "20000000", "metadata_json": "eyJhIjoxfQ==",
        "status": "STATUS_ACTIVE", "requests_per_second": 5, "is_test_key": true,
        "created_at": "2025-03-01T09:00:00Z",
    });
    let records: Vec<Value> = [camel, snake]
        .iter()
        .map(|record| {
            let home = Home::new();
            let _daemon = home.start();
            home.import(std::slice::from_ref(record));
            home.json(["key", "get", "1"])
        })
        .collect();
    assert_eq!(records[0], records[1]);

    let home = Home::new();
    let _daemon = home.start();
    let record = |n: u8| json!({"id": n.to_string(), "name": "n", "key_hash": hash(n)});
    for (input, imported) in [
        (json!({"about": "x", "api_keys": [record(1), record(2)]}).to_string(), 2),
        (json!({"apiKeys": [record(3)]}).to_string(), 1),
        (json!([record(4), record(5)]).to_string(), 2),
        (record(6).to_string(), 1),
        (format!("{}\n{}\n", record(7), record(8)), 2),
        ("[]".to_owned(), 0),
    ] {
        let ran = home.run_with(&["import", "--json", "-"], &input);
        assert_eq!(ran.expect(0).json()["imported"], imported, "{input}");
    }
    for broken in ["[{", "{\"api_keys\": 7}", "nonsense", "[{\"id\": \"9\"}"] {
        let ran = home.run_with(&["import", "-"], broken);
        ran.expect(1).says(&["standard input", "nothing was imported"]);
    }
    assert_eq!(home.json(["status"])["stats"]["keys"], 8);
}
