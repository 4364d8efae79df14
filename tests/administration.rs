//! Lists with filters, pages and counts, updates with masks, creating once, and many at a time:
//! the command line against the real daemon.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use keygate_protocol::admin::KeyList;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use support::{Home, text};

fn ids(page: &Value) -> Vec<String> {
    page["keys"].as_array().expect("keys").iter().map(|key| text(&key["id"])).collect()
}

/// The results of a bulk command, a line each.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn outcomes(lines: &[Value]) -> Vec<(u64, &str)> {
    let outcome = |line: &'_ Value| line["record"].as_u64().expect("a number");
    lines.iter().map(|line| (outcome(line), line["outcome"].as_str().expect("a word"))).collect()
}

#[test]
fn a_list_is_filtered_counted_and_paged() {
    let home = Home::new();
    let _daemon = home.start();
    let hash = |n: u8| format!("{n:02x}").repeat(32);
    home.import(&[
        json!({"id": "1", "key_hash": hash(1), "name": "Leads", "tenant_id": "a",
            "key_prefix": "lk_live_1", "expires_at": "2000-01-01T00:00:00Z"}),
        json!({"id": "2", "key_hash": hash(2), "name": "two", "description": "for leads",
            "last_security_review_at": "2026-01-01T00:00:00Z", "tags": ["crm"],
            "rotation_frequency_days": 1, "created_at": "2020-01-01T00:00:00Z"}),
        json!({"id": "3", "key_hash": hash(3), "name": "three", "status": "SUSPENDED",
            "last_used_at": "2126-01-01T00:00:00Z", "expires_at": "2126-01-01T00:00:00Z"}),
    ]);
    home.run(["key", "delete", "3"]).expect(0);
    for (args, expected) in [
        (&[][..], &["1", "2"][..]),
        (&["--deleted"], &["1", "2", "3"]),
        (&["--only-deleted"], &["3"]),
        (&["--search", "LEADS"], &["1", "2"]),
        (&["--search", "crm", "--tag", "crm"], &["2"]),
        (&["--prefix", "lk_live"], &["1"]),
        (&["--expiring-before", "30d"], &["1"]),
        (&["--expiring-before", "2127-01-01T00:00:00Z", "--deleted"], &["1", "3"]),
        (&["--not-reviewed-since", "2025-12-31T00:00:00Z"], &["1"]),
        (&["--not-used-since", "90d", "--deleted"], &["1", "2"]),
        (&["--rotation-overdue"], &["2"]),
        (&["--tenant", "a", "--status", "ACTIVE"], &["1"]),
    ] {
        let mut all = vec!["key", "list", "--count"];
        all.extend(args);
        let page = home.json(all);
        assert_eq!(ids(&page), expected, "{args:?}");
        assert_eq!(page["total"], expected.len(), "{args:?}");
    }
    let page = home.json(["key", "list", "--page", "2", "--page-size", "1", "--count"]);
    assert_eq!(
        (ids(&page), &page["total"], &page["total_pages"]),
        (vec!["2".to_owned()], &json!(2), &json!(2))
    );

    let ran = home.run(["key", "list", "--columns", "id,name,tags,expires_at", "--count"]);
    ran.expect(0).says(&["2 keys"]);
    assert_eq!(
        ran.stdout,
        "ID  NAME   TAGS  EXPIRES_AT\n1   Leads        2000-01-01T00:00:00Z\n\
        2   two    crm\n"
    );
    home.run(["key", "list", "--limit", "1"]).expect(0).says(&["there are more: --after 1"]);
    let page = ["key", "list", "--page", "1", "--page-size", "1", "--count"];
    home.run(page).expect(0).says(&["2 keys, on 2 pages", "there are more: --page 2"]);
    let suspended = ["key", "list", "--status", "suspended", "--deleted", "--count"];
    home.run(suspended).expect(0).says(&["1 key\n"]);
    for bad in [
        &["--columns", "colour"][..],
        &["--expiring-before", "soon"],
        &["--not-used-since", "99999999y"],
        &["--page", "0"],
        &["--page", "1", "--after", "1"],
        &["--page-size", "5"],
        &["--limit", "1001"],
    ] {
        let mut all = vec!["key", "list"];
        all.extend(bad);
        home.run(all).expect(2);
    }
    home.run(["key", "list", "--search", ""]).expect(1).says(&["search", "1 to 256"]);
}

#[test]
fn use_counts_at_once_for_those_not_used_since() {
    let home = Home::new();
    let _daemon = home.start();
    let (used, token) = home.create(&["--name", "used"]);
    let (unused, _) = home.create(&["--name", "unused"]);
    let since = ["key", "list", "--not-used-since", "1h"];
    assert_eq!(ids(&home.json(since)), [used.as_str(), unused.as_str()]);
    assert_eq!(home.code(&token), "VALID");
    assert_eq!(ids(&home.json(since)), [unused.as_str()]);
}

#[test]
fn the_command_goes_on_until_a_page_of_few_is_full() {
    let home = Home::new();
    let _daemon = home.start();
    // More than the daemon looks at for one answer.
    let records: Vec<Value> = (1..=10_050_u64)
        .map(|n| {
            let name = if n > 10_040 { "needle" } else { "hay" };
            json!({"id": n.to_string(), "key_hash": format!("{n:064x}"), "name": name})
        })
        .collect();
    home.import(&records);
    let search = KeyList { search: Some("needle".to_owned()), ..KeyList::default() };
    let short = home.admin().list(&search).expect("a page");
    assert_eq!((short.keys.len(), short.next.as_deref()), (0, Some("10000")));
    let page = home.json(["key", "list", "--search", "needle", "--limit", "5"]);
    assert_eq!(ids(&page), ["10041", "10042", "10043", "10044", "10045"]);
    assert_eq!(page["next"], "10045");
    let ran = home.run(["--json", "key", "list", "--limit", "5"]);
    ran.expect(0).says(&["there are more: --after 5"]);
    home.run_with(&["key", "bulk", "revoke", "-"], &ran.stdout).expect(1).says(&["--all"]);
    let all = home.json(["key", "list", "--all", "--search", "needle", "--count"]);
    assert_eq!((ids(&all).len(), &all["total"], &all["next"]), (10, &json!(10), &Value::Null));
    assert_eq!(ids(&home.json(["key", "list", "--all"])).len(), 10_050);
    let table = home.run(["key", "list", "--all", "--columns", "id"]);
    assert_eq!(table.stdout.lines().count(), 10_051);
    let all = home.json(["key", "list", "--search", "needle", "--limit", "100", "--count"]);
    assert_eq!((ids(&all).len(), &all["total"], &all["next"]), (10, &json!(10), &Value::Null));
}

#[test]
fn an_update_takes_a_record_as_it_was_read_and_a_mask() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&["--name", "n", "--description", "d", "--tag", "t"]);
    let mut record = home.json(["key", "get", &id]);
    (record["name"], record["description"]) = ("m".into(), "e".into());
    let file = home.file("record.json", &record.to_string());
    let file = file.to_str().expect("UTF-8");
    home.run(["key", "update", &id, "--from", file]).expect(1).says(&["keygate sets it"]);
    let update = ["key", "update", &id, "--from", file, "--mask", "name,supportContact"];
    let changed = home.json(update.iter().chain(&["--expected-revision", "1"]));
    let key = &changed["key"];
    assert_eq!((&key["name"], &key["description"]), (&json!("m"), &json!("d")));
    home.run(update.iter().chain(&["--expected-revision", "1"])).expect(1).says(&[
        "revision 2",
        "revision 1 was expected",
        &text(&key["updated_at"]),
    ]);
    home.json(["key", "update", &id, "--mask", "tags"]);
    assert_eq!(home.json(["key", "get", &id])["tags"], json!([]));
    for bad in ["colour", "id", "", "name,name"] {
        home.run(["key", "update", &id, "--from", file, "--mask", bad]).expect(1);
    }
}

#[test]
fn the_same_request_makes_one_key() {
    let home = Home::new();
    let daemon = home.start();
    let create = ["key", "create", "--name", "n", "--request-id", "job-7"];
    let made = home.json(create);
    assert!(made["token"].is_string() && made.get("repeated").is_none());
    daemon.stop();
    let _daemon = home.start();
    let ran = home.run(create.iter().chain(&["--json"]));
    ran.expect(0).says(&["key rotate"]);
    let again = ran.json();
    assert_eq!((&again["token"], &again["repeated"]), (&Value::Null, &json!(true)));
    assert_eq!(again["key"]["id"], made["key"]["id"]);
    let plain = home.run(create);
    plain.expect(0).says(&["its token was shown then"]);
    assert!(!plain.stderr.contains("shown only now"), "{plain:?}");
    home.run(["key", "create", "--name", "other", "--request-id", "job-7"])
        .expect(1)
        .says(&["name", "job-7"]);
    home.run(["key", "create", "--name", "n", "--request-id", "job 7"]).expect(1);
    assert_eq!(home.json(["status"])["stats"]["keys"], 1);
}

#[test]
fn many_keys_are_made_changed_revoked_and_deleted_from_files() {
    let home = Home::new();
    let _daemon = home.start();
    let records: String = (1..=40)
        .map(|n| {
            if n == 7 { "{\"colour\":1}\n".to_owned() } else { format!("{{\"name\":\"k{n}\"}}\n") }
        })
        .collect();
    let file = home.file("records.jsonl", &records);
    let (file, out) = (file.to_str().expect("UTF-8"), home.path("made.jsonl"));
    let out = out.to_str().expect("UTF-8");
    let create = ["key", "bulk", "create", file, "--request-id-prefix", "run", "--out", out];
    let ran = home.run(create);
    ran.expect(1).says(&["created: 39", "failed: 1"]);
    assert_eq!(ran.stdout, "", "results are in the file");
    let made = fs::read_to_string(out).expect("results");
    assert_eq!(fs::metadata(out).expect("results").permissions().mode() & 0o777, 0o600);
    let made = lines(&made);
    let expected: Vec<(u64, &str)> =
        (1..=40).map(|n| (n, if n == 7 { "failed" } else { "created" })).collect();
    assert_eq!(outcomes(&made), expected, "in the input's order");
    assert_eq!(made[6]["code"], "INVALID");
    assert!(text(&made[6]["error"]).contains("colour"), "{}", made[6]);
    assert_eq!(home.code(&text(&made[39]["token"])), "VALID");
    home.run(create).expect(1).says(&["made.jsonl"]);

    // The same again makes nothing twice and shows no token.
    let again = home.run(&create[..6]);
    again.expect(1).says(&["failed: 1", "repeated: 39"]);
    let again = lines(&again.stdout);
    assert_eq!(again[0]["id"], made[0]["id"]);
    assert!(again.iter().all(|line| line.get("token").is_none()), "{again:?}");
    assert_eq!(home.json(["status"])["stats"]["keys"], 39);

    let id = |at: usize| text(&made[at]["id"]);
    let updates = json!([
        {"id": id(0), "set": {"description": "d"}, "expected_revision": 1},
        {"id": id(1), "set": {"name": "x", "description": "d"}, "mask": ["description"]},
        {"id": id(2), "set": {"description": "d"}, "expected_revision": 9},
        {"id": "404", "set": {"description": "d"}},
        {"id": id(3)},
    ]);
    let ran = home.run_with(&["key", "bulk", "update", "-"], &updates.to_string());
    ran.expect(1);
    let results = lines(&ran.stdout);
    let words: Vec<&str> = outcomes(&results).into_iter().map(|it| it.1).collect();
    assert_eq!(words, ["updated", "updated", "failed", "failed", "failed"]);
    assert_eq!(
        (&results[2]["code"], &results[3]["code"]),
        (&json!("CONFLICT"), &json!("NOT_FOUND"))
    );
    assert_eq!(home.json(["key", "get", &id(1)])["name"], "k2");

    // What a list prints can be revoked.
    let page = home.run(["key", "list", "--search", "k3", "--json"]);
    let revoke = ["key", "bulk", "revoke", "-", "--reason", "leaked", "--jobs", "3"];
    let ran = home.run_with(&revoke, &page.stdout);
    ran.expect(0).says(&["revoked: 11"]);
    let revoked: BTreeSet<String> = lines(&ran.stdout).iter().map(|it| text(&it["id"])).collect();
    assert_eq!(revoked, ids(&page.json()).into_iter().collect());
    let key = home.json(["key", "get", &id(29)]);
    assert_eq!(
        (&key["status"], &key["status_reason"]),
        (&json!("STATUS_REVOKED"), &json!("leaked"))
    );

    // One page of many is not taken for all of them.
    let page = home.run(["key", "list", "--search", "k3", "--json", "--limit", "4"]);
    let ran = home.run_with(&revoke, &page.stdout);
    ran.expect(1).says(&["revoked: 4", "one page of a list, and there are more"]);

    let ids = format!("{}\n\n{}\nnonsense\n", id(0), id(1));
    let ran = home.run_with(&["key", "bulk", "delete", "-"], &ids);
    ran.expect(1);
    assert_eq!(outcomes(&lines(&ran.stdout)), [(1, "deleted"), (3, "deleted"), (4, "failed")]);
    home.run(["key", "get", &id(0)]).expect(5);
    let ran = home.run_with(&["key", "bulk", "delete", "-", "--purge"], &id(0));
    ran.expect(0);
    assert_eq!(outcomes(&lines(&ran.stdout)), [(1, "purged")]);
}

#[test]
fn a_bulk_command_stops_at_the_first_failure_where_it_is_told_to() {
    let home = Home::new();
    let _daemon = home.start();
    let ids: String = (1..=2000).map(|n| format!("{n}\n")).collect();
    let ran = home.run_with(&["key", "bulk", "revoke", "-", "--jobs", "1", "--fail-fast"], &ids);
    ran.expect(1).says(&["one has failed"]);
    let results = lines(&ran.stdout);
    assert!(!results.is_empty() && results.len() < 2000, "{}", results.len());
    let numbers: Vec<u64> = outcomes(&results).into_iter().map(|it| it.0).collect();
    assert_eq!(numbers, (1..=results.len() as u64).collect::<Vec<_>>(), "without a gap");

    let ran = home.run_with(&["key", "bulk", "delete", "-"], "");
    ran.expect(0).says(&["nothing to do"]);
    home.run_with(&["key", "bulk", "create", "-"], "[{\"name\":\"n\"},")
        .expect(1)
        .says(&["created: 1"]);
}

#[test]
fn what_an_interrupted_bulk_command_has_done_is_printed() {
    let home = Home::new();
    let _daemon = home.start();
    let mut command = home.command();
    command.args(["key", "bulk", "create", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bulk = command.spawn().expect("it is spawned");
    let mut input = bulk.stdin.take().expect("a pipe");
    // The rest of its input is yet to come.
    input.write_all(b"{\"name\":\"a\"}\n{\"name\":\"b\"}\n").expect("it reads");
    input.flush().expect("it reads");
    let mut results = BufReader::new(bulk.stdout.take().expect("a pipe")).lines();
    let mut next = || results.next().expect("a result").expect("text");
    let done = [next(), next()].map(|line| lines(&line)[0]["outcome"].clone());
    assert_eq!(done, ["created", "created"]);
    let id = i32::try_from(bulk.id()).expect("ids are positive");
    kill_process(Pid::from_raw(id).expect("no id is 0"), Signal::INT).expect("it runs");
    let ended = bulk.wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("created: 2") && said.contains("interrupted"), "{said}");
    drop(input);
}

#[test]
fn a_bulk_command_says_when_no_daemon_answers() {
    let home = Home::new();
    let out = home.path("results.jsonl");
    let delete = ["key", "bulk", "delete", "-", "--out", out.to_str().expect("UTF-8")];
    home.run_with(&delete, "1\n").expect(4);
    assert!(!out.exists(), "the next attempt finds its way free");
    let _daemon = home.start();
    home.run_with(&delete, "").expect(0);
    home.run_with(&delete, "").expect(1).says(&["is there already", "--out"]);
}
