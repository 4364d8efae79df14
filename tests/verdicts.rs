//! Every verdict code, put to a real daemon: the table is `verdicts/cases.rs`.

#[path = "verdicts/cases.rs"]
mod cases;
mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use keygate::sign::{Request, Signer, Stamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use cases::{CASES, Case, Shows};
use support::{Home, text};

/// A token of the right form that no key has: that of SPEC §6.3.
const UNKNOWN: &str = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";

/// The secret that requests are signed with: 32 bytes, in base64.
const SECRET: &str = "c2VjcmV0IG9mIDMyIGJ5dGVzIHNlY3JldCBvZiAzMiE=";

/// Makes the key of a case; its id and its token.
fn make(home: &Home, number: usize, case: &Case) -> (String, String) {
    let mut record: Value = serde_json::from_str(case.key).expect("a record");
    record["name"] = format!("case {number}").into();
    if case.shows != Shows::Imported {
        let file = home.file("record.json", &record.to_string());
        let (from, file) = ("--from", file.to_str().expect("UTF-8").to_owned());
        return home.create(&[from, &file]);
    }
    let (id, token) = ((number + 1).to_string(), format!("imported-{number}"));
    record["id"] = id.as_str().into();
    record["key_hash"] = hex(&Sha256::digest(&token)).into();
    record["created_at"] = "2020-01-01T00:00:00Z".into();
    home.import(&[record]);
    (id, token)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mistyped(token: &str) -> String {
    let (head, last) = token.split_at(token.len() - 1);
    format!("{head}{}", if last == "A" { "B" } else { "A" })
}

/// The arguments of a case, and whether the request was used before.
fn asked(asks: &[&str]) -> (Vec<String>, bool) {
    let Some(how) = asks.iter().find_map(|ask| ask.strip_prefix("SIGNS=")) else {
        return (asks.iter().map(|ask| (*ask).to_owned()).collect(), false);
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now_s = i64::try_from(since.as_secs()).expect("in range");
    let signer = Signer::from_secret("ci", b"secret of 32 bytes secret of 32!").expect("a secret");
    let request = Request {
        method: Some("GET"),
        scheme: Some("https"),
        authority: Some("api.example.com"),
        path: Some(if how == "other" { "/other" } else { "/leads" }),
        ..Request::default()
    };
    let created = if how == "old" { now_s - 1000 } else { now_s };
    let covered = ["@method", "@authority", "@path", "@query"];
    let stamp = Stamp { created, nonce: Some("one"), ..Stamp::default() };
    let signed = signer.sign(&request, &covered, &stamp).expect("signed");
    let args = [
        "--method=GET".to_owned(),
        "--scheme=https".to_owned(),
        "--authority=api.example.com".to_owned(),
        "--path=/leads".to_owned(),
        format!("--header=Signature-Input: {}", signed.input),
        format!("--header=Signature: {}", signed.signature),
    ];
    (args.to_vec(), how == "again")
}

#[test]
fn every_case_has_its_verdict_and_a_denial_counts_nothing() {
    let home = Home::with(
        "[keys]\ndeny_rotation_overdue = true\n\n[throttle]\naddress_failures_per_minute = 1\naddress_burst = 1\n",
    );
    let _daemon = home.start();
    for (number, case) in CASES.iter().enumerate() {
        let (id, token) = make(&home, number, case);
        for command in case.then {
            let words: Vec<&str> =
                command.split(' ').map(|word| if word == "ID" { &id } else { word }).collect();
            home.run_with(&words, SECRET).expect(0);
        }
        let shown = match case.shows {
            Shows::Its | Shows::Imported => token,
            Shows::Mistyped => mistyped(&token),
            Shows::Unknown => UNKNOWN.to_owned(),
        };
        let what = format!("case {number}: {} {:?} {:?}", case.key, case.then, case.asks);
        let (asks, is_used) = asked(case.asks);
        let asks: Vec<&str> = asks.iter().map(String::as_str).collect();
        if is_used {
            assert_eq!(home.verdict(&shown, &asks)["code"], "VALID", "{what}");
        }
        let verdict = home.verdict(&shown, &asks);
        assert_eq!(text(&verdict["code"]), case.code, "{what}");
        assert_eq!(verdict["valid"], case.code == "VALID", "{what}");
        let names_no_key = matches!(case.code, "MALFORMED" | "NOT_FOUND" | "THROTTLED");
        let named = if names_no_key { Value::Null } else { json!(id) };
        assert_eq!(verdict["key_id"], named, "{what}");
        // What is deleted shows no usage to commands.
        let usage = home.run(["usage", &id, "--json"]);
        if usage.status.code() == Some(0) {
            let used = u64::from(case.code == "VALID" || is_used);
            assert_eq!(usage.json()["total_requests"], used, "{what}");
        }
    }
}
