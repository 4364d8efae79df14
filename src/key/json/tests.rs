//! Both spellings, every bound, and what an update may change.

use serde_json::json;

use super::*;

fn pepper() -> Pepper {
    Pepper::new(&[1; 32])
}

fn input(value: Value) -> RecordInput {
    RecordInput::from_value(value).expect("an object")
}

#[test]
fn both_spellings_of_names_and_numbers_are_read() {
    let hash = "45cd080a4ac7037a520e3608890d6d50d2e10e61b214249efc5e1713979c8797";
    let snake = input(json!({
        "id": "42", "key_hash": hash, "allowed_ips": ["10.0.0.0/8"],
        "monthly_request_quota": "20000000", "metadata_json": "eyJhIjoxfQ==",
        "requests_per_second": 5, "status": "STATUS_UNSPECIFIED",
    }));
    let camel = input(json!({
        "id": 42, "keyHash": hash, "allowedIps": ["10.0.0.0/8"],
        "monthlyRequestQuota": 20_000_000, "metadataJson": "eyJhIjoxfQ",
        "rateLimit": "5", "status": "ACTIVE",
    }));
    let snake = snake.import(&pepper()).expect("snake_case");
    assert_eq!(snake, camel.import(&pepper()).expect("camelCase"));
    let back = snake.to_json(&pepper());
    assert_eq!(back["key_hash"], hash);
    assert_eq!(back["monthly_request_quota"], "20000000");
    assert_eq!(back["tenant_id"], TENANT_DEFAULT);
    assert_eq!(back["status"], "STATUS_ACTIVE");
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let record = input(json!({
        "id": "7", "keyHash": "00".repeat(32), "name": "n", "tags": ["a"], "burst": 9,
        "requests_per_second": 3, "cost_per_request": 0.0005, "total_requests": "918273645",
        "expires_at": "2027-03-01T09:00:00.25Z", "success_rate": 0.999_998_69,
    }));
    let record = record.import(&pepper()).expect("a record");
    let again = input(record.to_json(&pepper())).import(&pepper()).expect("its own JSON");
    assert_eq!(record, again);
}

#[test]
fn bad_fields_are_refused_by_name() {
    for (record, field, reason) in [
        (json!({"colour": 1}), "colour", "no such field"),
        (json!({"keyHash": null, "key_hash": null}), "key_hash", "stands twice"),
        (json!({"rate_limit": 1, "requests_per_second": 1}), "requests_per_second", "twice"),
        (json!({"name": 1}), "name", "a string, not a number"),
        (json!({"name": "x".repeat(257)}), "name", "at most 256"),
        (json!({"is_test_key": "yes"}), "is_test_key", "true or false"),
        (json!({"requests_per_second": -1}), "requests_per_second", "whole number"),
        (json!({"requests_per_second": 1.5}), "requests_per_second", "whole number"),
        (json!({"requests_per_second": 2_147_483_648_u64}), "requests_per_second", "2147483647"),
        (json!({"monthly_request_quota": ""}), "monthly_request_quota", "whole number"),
        (json!({"expires_at": "soon"}), "expires_at", "RFC 3339"),
        (json!({"metadata_json": "%%"}), "metadata_json", "base64"),
        (json!({"metadata_json": "e30x"}), "metadata_json", "not JSON"),
        (json!({"scopes": ["a b"]}), "scopes", "entry 1"),
        (json!({"tags": "a"}), "tags", "a list of strings"),
        (json!({"status": "GONE"}), "status", "not a status"),
        (json!({"rotation_frequency_days": 36_501}), "rotation_frequency_days", "from 0 to 36500"),
        (json!({"status_reason_code": "stolen"}), "status_reason_code", "key_compromise"),
        (json!({"key_hash": "abc"}), "key_hash", "64 hexadecimal"),
        (json!({"tenant_id": "a/b"}), "tenant_id", "not a name"),
        (json!({"burst": i64::MAX, "requests_per_second": 1}), "burst", "at most 18446744073"),
        (json!({"slot_ttl_seconds": 0}), "slot_ttl_seconds", "from 1 to 86400, not 0"),
        (json!({"slot_ttl_seconds": 86401}), "slot_ttl_seconds", "from 1 to 86400"),
        (json!({"limits": {}}), "limits", "a list such as [{\"name\""),
        (json!({"credits": 5}), "credits", "an object of balance, refill"),
        (json!({"cost_per_request": -1}), "cost_per_request", "a number from 0"),
        (json!({"cost_per_request": 0.000_000_000_1}), "cost_per_request", "nine decimals"),
        (json!({"cost_per_request": 1_000_001}), "cost_per_request", "to 1000000"),
        (json!({"allowed_ips": ["::1", "10.0.0.1/8"]}), "allowed_ips", "entry 2: \"10.0.0.1/8\""),
        (json!({"allowed_domains": ["a.example:80"]}), "allowed_domains", "entry 1: \"a.example"),
        (json!({"allowed_environments": [" prod"]}), "allowed_environments", "entry 1"),
        (json!({"api_version": "v1 "}), "api_version", "not a name"),
        (json!({"supported_features": [""]}), "supported_features", "entry 1"),
        (json!({"approved_integrations": ["a", "\n"]}), "approved_integrations", "entry 2"),
        (json!({"data_residency": "eu,,us"}), "data_residency", "entry 2"),
        (
            json!({"allowed_signature_algorithms": ["ed25519", "md5"]}),
            "allowed_signature_algorithms",
            "entry 2: \"md5\" is none of rsa-pss-sha512",
        ),
        (json!({"client_certificate_hash": "ab:cd"}), "client_certificate_hash", "without colons"),
        (json!({"alert_emails": ["oncall"]}), "alert_emails", "entry 1"),
        (json!({"webhook_url": "http://x.example"}), "webhook_url", "https://"),
        (json!({"documentation_url": "docs"}), "documentation_url", "https://"),
        (json!({"quota_alert_threshold": 101}), "quota_alert_threshold", "0 to 1, not 101"),
        (json!({"error_alert_threshold": -0.1}), "error_alert_threshold", "0 to 1, not -0.1"),
        (json!({"data_classification": "secret"}), "data_classification", "none of public"),
        (json!({"rotation_frequency_days": 36_501}), "rotation_frequency_days", "36500"),
    ] {
        let error = input(record.clone()).create(&pepper()).map(drop);
        let error = error.and_then(|()| input(record.clone()).import(&pepper()).map(drop));
        let error = error.expect_err(&record.to_string());
        assert_eq!(error.field.as_deref(), Some(field), "{record}");
        assert!(error.reason.contains(reason), "{record}: {error}");
    }
    let twice: RecordInput = serde_json::from_str(r#"{"name":"a","name":"b"}"#).expect("JSON");
    assert!(twice.create(&pepper()).is_err());
    assert!(input(json!({"id": "1"})).import(&pepper()).is_err(), "no hash");
}

#[test]
fn what_can_only_be_meant_one_way_is_put_right_with_a_notice() {
    let hash = "00".repeat(32);
    let given = json!({
        "id": "7", "keyHash": hash, "quotaAlertThreshold": 80, "error_alert_threshold": 1,
        "data_classification": "restricted",
    });
    let mut record = input(given);
    let notices = record.put_right(true, None);
    assert_eq!(
        notices,
        [
            "quotaAlertThreshold: 80 was taken as a percentage: 0.8",
            "data_classification is restricted, so encrypted was set",
        ]
    );
    let record = record.import(&pepper()).expect("a record");
    let thresholds = (record.quota_alert_threshold, record.error_alert_threshold);
    assert_eq!((thresholds, record.encrypted), ((Some(0.8), Some(1.0)), true));

    // Elsewhere there is somebody to ask.
    let percentage = json!({"quota_alert_threshold": 80});
    let mut created = input(percentage);
    assert!(created.put_right(false, None).is_empty());
    let refused = created.create(&pepper()).map(drop).expect_err("a percentage");
    assert!(refused.reason.contains("80 percent is 0.8"), "{refused}");

    for (change, notices, encrypted) in [
        (json!({"encrypted": false}), 1, true),
        (json!({"name": "x"}), 0, true),
        (json!({"encrypted": false, "data_classification": "public"}), 0, false),
        (json!({"data_classification": null}), 0, true),
    ] {
        let mut update = input(change.clone());
        assert_eq!(update.put_right(false, Some(&record)).len(), notices, "{change}");
        let after = update.update(&record, &pepper()).expect("a change");
        assert_eq!(after.encrypted, encrypted, "{change}");
    }
}

#[test]
fn money_has_nine_decimals_and_no_more() {
    for good in ["0", "0.0005", "0.000000001", "0.1", "999999.999999999", "1000000", "2.675"] {
        let record: RecordInput =
            serde_json::from_str(&format!("{{\"cost_per_request\":{good}}}")).expect("JSON");
        assert!(record.create(&pepper()).is_ok(), "{good}");
    }
    for bad in ["0.0000000001", "1.0000000001", "0.12345678901", "1e-12"] {
        let record: RecordInput =
            serde_json::from_str(&format!("{{\"cost_per_request\":{bad}}}")).expect("JSON");
        assert!(record.create(&pepper()).is_err(), "{bad}");
    }
}

#[test]
fn a_mask_takes_what_it_names_and_clears_what_is_not_given() {
    let before = input(json!({"name": "n", "description": "d", "tags": ["t"], "burst": 5,
        "requests_per_second": 5}));
    let (before, _) = before.create(&pepper()).expect("a record");
    let mask = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    // A whole record as it was read, derived fields and all.
    let whole = || {
        let mut record = before.to_json(&pepper());
        record["name"] = "other".into();
        record["description"] = "other".into();
        input(record)
    };
    let masked = whole().masked(&mask(&["name"])).expect("a mask");
    let after = masked.update(&before, &pepper()).expect("a change");
    assert_eq!((after.name.as_str(), after.description.as_str()), ("other", "d"));
    let masked = input(json!({})).masked(&mask(&["requestsPerSecond", "burst", "tags"]));
    let after = masked.expect("a mask").update(&before, &pepper()).expect("a change");
    assert_eq!((after.requests_per_second, after.burst, after.tags.len()), (None, None, 0));
    for (names, field, reason) in [
        (&[][..], "mask", "empty"),
        (&["colour"], "colour", "no such field"),
        (&["total_requests"], "total_requests", "keygate sets it"),
        (&["name", "name"], "name", "twice"),
        (&["rate_limit", "requestsPerSecond"], "requestsPerSecond", "twice"),
    ] {
        let refused = whole().masked(&mask(names)).expect_err(field);
        assert_eq!(refused.field.as_deref(), Some(field));
        assert!(refused.reason.contains(reason), "{refused}");
    }
    for given in [json!({"colour": 1}), json!({"rateLimit": 1, "requests_per_second": 1})] {
        assert!(input(given.clone()).masked(&mask(&["name"])).is_err(), "{given}");
    }
}

#[test]
fn derived_fields_are_passed_over_on_create_and_refused_on_update() {
    let given = json!({"id": "42", "name": "copy", "total_requests": "0", "revision": 3});
    let (record, passed_over) = input(given).create(&pepper()).expect("a record");
    assert_eq!((record.id, passed_over), (0, vec!["id".to_owned(), "revision".to_owned()]));
    let refused = input(json!({"id": "43"})).update(&record, &pepper());
    assert_eq!(refused.expect_err("derived").field.as_deref(), Some("id"));
    let changed = input(json!({"name": null})).update(&record, &pepper()).expect("a change");
    assert_eq!(changed.name, "");
}
