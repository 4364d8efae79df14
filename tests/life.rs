//! The life of a key through the real binary: states and their reasons, rotation, review, deletion
//! and what brings it back or makes it final.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use keygate::key::digest::hex;
use keygate::key::{ReasonCode, Status, Time};
use keygate::store::{StoreOptions, layout, open_existing};
use keygate_protocol::VerdictCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::{Home, text};

/// A time so many days ago, as a record writes it.
fn days_ago(days: u64) -> String {
    let at = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let micros = i64::try_from(since.as_micros()).expect("before the year 292,000");
    Time::from_micros(micros).to_string()
}

/// A record to import; its token is `token`.
fn imported(id: u64, token: &str, fields: &Value) -> Value {
    let hash = hex(&Sha256::digest(token.as_bytes()));
    let mut record = json!({
        "id": id.to_string(), "name": format!("key {id}"),
        "key_hash": hash,
    });
    let (record_map, fields) = (record.as_object_mut(), fields.as_object());
    record_map.expect("an object").extend(fields.expect("an object").clone());
    record
}

#[test]
fn every_state_is_reached_by_a_command_and_seen_by_the_token() {
    let home = Home::new();
    let _daemon = home.start();
    for (status, code) in [
        ("deprecated", "VALID"),
        ("SUSPENDED", "SUSPENDED"),
        ("expired", "EXPIRED"),
        ("rate-limited", "RATE_LIMITED"),
        ("pending_review", "PENDING_REVIEW"),
        ("maintenance", "MAINTENANCE"),
        ("revoked", "REVOKED"),
    ] {
        let (id, token) = home.create(&["--name", status]);
        let changed = home.json(["key", "set-status", &id, status]);
        let name = status.to_ascii_uppercase().replace('-', "_");
        assert_eq!(changed["key"]["status"], format!("STATUS_{name}"));
        assert_eq!(home.code(&token), code);
    }
    // A key begins so and does not go back to it.
    let file = home.file("new.json", r#"{"name": "new", "status": "PENDING_VERIFICATION"}"#);
    let created = home.json(["key", "create", "--from", file.to_str().expect("UTF-8")]);
    let (id, token) = (text(&created["key"]["id"]), text(&created["token"]));
    assert_eq!(home.code(&token), "PENDING_VERIFICATION");
    home.json(["key", "resume", &id]);
    assert_eq!(home.code(&token), "VALID");
    let back = home.run(["key", "set-status", &id, "pending_verification"]);
    back.expect(1).says(&["cannot become PENDING_VERIFICATION", "DEPRECATED, SUSPENDED"]);
    home.run(["key", "set-status", &id, "gone"]).expect(2).says(&["ACTIVE, DEPRECATED"]);
}

#[test]
fn a_reason_is_a_code_and_a_text_and_is_kept() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&["--name", "reasons"]);
    let stop = ["key", "suspend", &id, "--reason-code", "key_compromise", "--reason", "in a log"];
    let key = &home.json(stop)["key"];
    assert_eq!(
        (&key["status_reason_code"], &key["status_reason"], &key["status_changed_at"]),
        (&json!("key_compromise"), &json!("in a log"), &key["updated_at"])
    );
    let (key, other) = (["key", "revoke", &id], ["--reason-code", "other"]);
    home.run(key.iter().chain(&["--reason-code", "stolen"])).expect(2).says(&["superseded"]);
    home.run(key.iter().chain(&other)).expect(1).says(&["needs a text"]);
    home.run(key.iter().chain(&other).chain(&["--reason", "moved"])).expect(0);
    let revoked = home.json(["key", "get", &id]);
    assert_eq!(revoked["status_reason"], "moved");
    home.run(["key", "resume", &id]).expect(1).says(&["REVOKED is final; create a new key"]);
}

#[test]
fn a_rotation_answers_the_record_the_token_and_the_end_of_the_old_one() {
    let home = Home::with("[keys]\nrotation_grace_max_ms = 90000000\n");
    let _daemon = home.start();
    let (id, first) = home.create(&["--name", "rotated"]);
    let ran = home.run(["key", "rotate", &id, "--grace", "25h", "--reason", "scheduled"]);
    ran.expect(0).says(&["the old token ends at ", "the new token, shown only now:"]);
    let second = ran.stdout.lines().last().expect("the token").to_owned();
    assert!(ran.stdout.contains("last_rotation_reason") && ran.stdout.contains("scheduled"));
    assert_eq!((home.code(&first), home.code(&second)), ("VALID".into(), "VALID".into()));
    assert_eq!(home.verdict(&first, &[])["warnings"], json!(["TOKEN_REPLACED"]));

    let third = text(&home.json(["key", "rotate", &id, "--grace", "1h"])["token"]);
    let codes = [&first, &second, &third].map(|token| home.code(token));
    assert_eq!(codes, ["NOT_FOUND", "VALID", "VALID"], "the oldest ends at once");
    let rotated = home.json(["key", "rotate", &id, "--grace", "0"]);
    let fourth = text(&rotated["token"]);
    let codes = [&second, &third, &fourth].map(|token| home.code(token));
    assert_eq!(codes, ["NOT_FOUND", "ROTATED_OUT", "VALID"]);
    assert_eq!(rotated["old_token_ends_at"], rotated["key"]["last_rotated_at"], "now");

    home.json(["key", "update", &id, "--expires", "1h"]);
    let rotated = home.json(["key", "rotate", &id, "--grace", "2h"]);
    assert_eq!(rotated["old_token_ends_at"], rotated["key"]["expires_at"]);
    home.run(["key", "rotate", &id, "--grace", "26h"]).expect(1).says(&[
        "93600000 ms",
        "rotation_grace_max_ms",
        "90000000 ms",
    ]);
    home.json(["key", "revoke", &id]);
    home.run(["key", "rotate", &id]).expect(1).says(&["REVOKED", "create a new key"]);
}

#[test]
fn an_overdue_rotation_warns_or_denies_as_it_is_configured_and_a_restart_keeps_it() {
    let home = Home::new();
    let daemon = home.start();
    let fields = |days: u64| json!({"created_at": days_ago(days), "rotation_frequency_days": 90});
    home.import(&[
        imported(1, "overdue", &fields(91)),
        imported(2, "in its time", &fields(89)),
        imported(3, "rotated", &{
            let mut fields = fields(400);
            fields["last_rotated_at"] = days_ago(89).into();
            fields
        }),
    ]);
    let seen = |token: &str| {
        let verdict = home.verdict(token, &[]);
        (text(&verdict["code"]), verdict["warnings"].clone())
    };
    let fine = ("VALID".to_owned(), json!([]));
    assert_eq!(seen("overdue"), ("VALID".to_owned(), json!(["ROTATION_OVERDUE"])));
    assert_eq!((seen("in its time"), seen("rotated")), (fine.clone(), fine.clone()));
    daemon.stop();

    home.configure("[keys]\ndeny_rotation_overdue = true\n");
    let _daemon = home.start();
    assert_eq!(seen("overdue").0, "ROTATION_OVERDUE");
    assert_eq!((seen("in its time"), seen("rotated")), (fine.clone(), fine.clone()));
    home.run(["key", "resume", "1"]).expect(0).says(&["notice:", "overdue", "key rotate"]);
    let fresh = text(&home.json(["key", "rotate", "1"])["token"]);
    assert_eq!(seen(&fresh), fine);
    assert_eq!(seen("overdue"), ("VALID".to_owned(), json!(["TOKEN_REPLACED"])));
}

#[test]
fn a_review_is_noted() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&["--name", "reviewed"]);
    let ran = home.run(["key", "review", &id]);
    assert_eq!(ran.expect(0).stdout, format!("key {id}: reviewed\n"));
    let key = home.json(["key", "get", &id]);
    assert_eq!(key["last_security_review_at"], key["updated_at"]);
    assert_eq!(key["revision"], 2);
    home.run(["key", "review", "7340032001"]).expect(5);
    let reviewed = home.admin().review(id.parse().expect("an id")).expect("by the client");
    let time = |at: &Value| Time::parse(at.as_str().expect("a time")).expect("RFC 3339");
    assert!(time(&reviewed.key["last_security_review_at"]) > time(&key["updated_at"]));
}

#[test]
fn a_deleted_key_is_seen_restored_and_purged_also_across_a_restart() {
    let home = Home::new();
    let daemon = home.start();
    let (id, old) = home.create(&["--name", "comes back", "--rps", "1000"]);
    let new = text(&home.json(["key", "rotate", &id, "--grace", "1h"])["token"]);
    assert_eq!(home.code(&new), "VALID");
    home.run(["key", "restore", &id]).expect(1).says(&["is not deleted"]);
    home.json(["key", "delete", &id]);
    home.run(["key", "get", &id]).expect(5).says(&["key restore", "--deleted"]);
    home.run(["increment", &id]).expect(5);
    daemon.stop();

    let daemon = home.start();
    assert_eq!((home.code(&old), home.code(&new)), ("NOT_FOUND".into(), "NOT_FOUND".into()));
    assert!(!home.json(["key", "get", &id, "--deleted"])["deleted_at"].is_null());
    let ran = home.run(["key", "restore", &id]);
    assert_eq!(ran.expect(0).stdout, format!("key {id}: restored, ACTIVE\n"));
    assert_eq!((home.code(&old), home.code(&new)), ("VALID".into(), "VALID".into()));
    assert_eq!(home.json(["usage", &id])["total_requests"], 3, "its usage is what it was");
    home.json(["key", "delete", &id, "--purge"]);
    home.run(["key", "restore", &id]).expect(5);
    home.run(["key", "get", &id, "--deleted"]).expect(5);
    daemon.stop();
    let _daemon = home.start();
    assert_eq!((home.code(&old), home.code(&new)), ("NOT_FOUND".into(), "NOT_FOUND".into()));
}

#[test]
fn a_token_that_another_key_has_by_now_does_not_come_back() {
    let home = Home::new();
    let _daemon = home.start();
    home.import(&[imported(1, "the token", &json!({}))]);
    home.json(["key", "delete", "1"]);
    home.import(&[imported(2, "the token", &json!({}))]);
    home.run(["key", "restore", "1"]).expect(1).says(&["cannot be restored", "key 2"]);
    assert_eq!(home.verdict("the token", &[])["key_id"], "2");
    home.json(["key", "delete", "2", "--purge"]);
    let mut client = home.admin();
    assert!(client.get_deleted(1).is_ok_and(|key| !key["deleted_at"].is_null()));
    assert!(client.get(1).is_err());
    assert!(client.restore(1).is_ok_and(|restored| restored.key["deleted_at"].is_null()));
    assert_eq!(home.verdict("the token", &[])["key_id"], "1");
}

#[test]
fn what_was_deleted_longer_ago_than_the_retention_is_purged_at_a_start() {
    let home = Home::new();
    let daemon = home.start();
    home.import(&[
        imported(1, "long ago", &json!({"deleted_at": days_ago(31)})),
        imported(2, "lately", &json!({"deleted_at": days_ago(29)})),
        imported(3, "in use", &json!({})),
    ]);
    assert!(!home.json(["key", "get", "1", "--deleted"])["deleted_at"].is_null());
    daemon.stop();

    let purged = |log: &str, count: &str| {
        log.lines().any(|line| line.contains("were purged") && line.contains(count))
    };
    let mut daemon = home.start();
    daemon.logs(|log| purged(log, "purged=1"));
    home.run(["key", "get", "1", "--deleted"]).expect(5);
    assert!(!home.json(["key", "get", "2", "--deleted"])["deleted_at"].is_null());
    assert_eq!(home.code("in use"), "VALID");
    assert!(!daemon.stop().contains("could not be purged"));

    home.configure("[keys]\ndeleted_retention_days = 0\n");
    let mut daemon = home.start();
    daemon.logs(|log| purged(log, "purged=1"));
    home.run(["key", "restore", "2"]).expect(5);
    assert_eq!(home.code("in use"), "VALID");
    daemon.stop();
}

/// Everything in the store that a stopped daemon has left.
fn rows(home: &Home) -> Vec<(Vec<u8>, Vec<u8>)> {
    let opened = open_existing(&home.data(), &StoreOptions::default());
    let (_, store) = opened.expect("the daemon has stopped");
    store.scan(&[], None, 100_000).expect("readable")
}

#[test]
fn a_purge_leaves_nothing_of_the_key_in_the_store_of_the_daemon() {
    let home = Home::new();
    let daemon = home.start();
    let (stays, _) = home.create(&["--name", "stays"]);
    let named = ["--name", "needle-name", "--tag", "needle-tag", "--tenant", "needle-tenant"];
    let (id, token) = home.create(&named);
    home.json(["key", "rotate", &id, "--reason", "needle-reason"]);
    assert_eq!(home.code(&token), "VALID");
    home.json(["increment", &id, "--status", "503", "--endpoint", "needle-endpoint"]);
    daemon.stop();
    let id_bytes = id.parse::<u64>().expect("an id").to_be_bytes();
    let traces = |home: &Home| {
        let has = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|some| some == what);
        let found = |(key, value): &(Vec<u8>, Vec<u8>)| {
            [key, value].iter().any(|bytes| has(bytes, b"needle") || has(bytes, &id_bytes))
        };
        // What a tenant has used in all stays told.
        let of_key = |(key, _): &&(Vec<u8>, Vec<u8>)| key.first() != Some(&layout::SUM);
        rows(home).iter().filter(of_key).filter(|row| found(row)).count()
    };
    // The record, its usage, two digests, and the rows of tenant, status and tag.
    assert_eq!(traces(&home), 7);
    let daemon = home.start();
    home.json(["increment", &id, "--endpoint", "needle-endpoint"]);
    home.json(["key", "delete", &id, "--purge"]);
    daemon.stop();
    assert_eq!(traces(&home), 0);
    let _daemon = home.start();
    assert_eq!(home.code(&token), "NOT_FOUND");
    home.run(["key", "get", &stays]).expect(0);
}

/// The rows of the table of states in a section of a document: the state, what stands beside it, and
/// the states that may follow.
fn states(path: &str, before: &str) -> Vec<(String, String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let document = fs::read_to_string(&path).expect("a document of this repository");
    let (_, after) = document.split_once(before).unwrap_or_else(|| panic!("no {before}"));
    let rows = after.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        // What stands behind a semicolon is no state that a request may name.
        let next = cells[2].split(';').next().unwrap_or_default().split('`').skip(1).step_by(2);
        (cells[0].replace('`', ""), cells[1].replace('`', ""), next.map(str::to_owned).collect())
    };
    rows.map(row).collect()
}

#[test]
fn the_documents_have_the_table_of_states() {
    let expected: Vec<(String, Vec<String>)> = Status::ALL
        .map(|status| {
            let next = status.next().iter().map(|next| next.name().to_owned());
            (status.name().to_owned(), next.collect())
        })
        .into();
    let spec = states("protocol/SPEC.md", "<!-- checked: status_transitions -->\n");
    let table: Vec<_> = spec.iter().map(|(state, _, next)| (state.clone(), next.clone())).collect();
    assert_eq!(table, expected);
    for (state, verdict, _) in &spec {
        assert!(VerdictCode::ALL.iter().any(|code| code.name() == verdict), "{verdict}");
        let valid = ["ACTIVE", "DEPRECATED"].contains(&state.as_str());
        assert_eq!(verdict == "VALID", valid, "{state}");
    }
    for document in ["protocol/SPEC.md", "README.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document));
        let text = text.expect("a document of this repository");
        for code in ReasonCode::ALL {
            assert!(text.contains(&format!("`{}`", code.name())), "{document}: {code:?}");
        }
        for status in Status::ALL {
            assert!(text.contains(&format!("`{}`", status.name())), "{document}: {status:?}");
        }
    }
}
