//! Import and export are each other's inverse, for every field and in both spellings.

#[path = "support/records.rs"]
mod records;
mod support;

use keygate::key::{KeyRecord, Pepper, RecordInput};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use records::{CONFIGURED, Spelling, records, spelled, spelling};
use support::Home;

/// Records that go through the daemon.
const RECORDS: usize = 300;

fn read(text: &str, pepper: &Pepper) -> KeyRecord {
    let input: RecordInput = serde_json::from_str(text).expect("an object");
    input.import(pepper).unwrap_or_else(|error| panic!("{error} in {text}"))
}

proptest! {
    #[test]
    fn what_is_imported_is_exported_and_what_is_exported_is_imported(
        records in records(1), spelling in spelling()
    ) {
        let pepper = Pepper::new(&[3; Pepper::BYTES]);
        let given = &records[0];
        let first = read(&spelled(given, spelling).to_string(), &pepper);
        let exported = first.to_json(&pepper);
        // Each field that was given is there as it was given, in keygate's own spelling.
        for (name, value) in given.as_object().expect("a record") {
            prop_assert_eq!(&exported[name], value, "{}", name);
        }
        let second = read(&exported.to_string(), &pepper);
        prop_assert_eq!(&second, &first);
        prop_assert_eq!(second.to_json(&pepper).to_string(), exported.to_string());
    }
}

/// Some records, the same in every run.
fn sample(count: usize) -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    let tree = records(count).new_tree(&mut runner).expect("records");
    tree.current()
}

#[test]
fn every_field_is_set_in_some_record_and_left_out_in_another() {
    let sample = sample(RECORDS);
    for spec in KeyRecord::FIELDS {
        let set = sample.iter().filter(|record| !record[spec.name].is_null()).count();
        assert!(set > RECORDS / 8, "{} is set in {set} records", spec.name);
    }
}

/// An export as it would be if no balance had ever been set: each import sets them anew, and says
/// when.
fn without_grants(export: &str) -> String {
    let mut parts = export.split("\"granted_at\":\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |file, part| {
        let (_instant, rest) = part.split_once('"').expect("the end of an instant");
        file + "\"granted_at\":null" + rest
    })
}

#[test]
fn the_export_of_an_import_of_an_export_is_the_same_file() {
    let given: Vec<Value> = sample(RECORDS)
        .into_iter()
        .map(|mut record| {
            // The daemon's configuration names none.
            let members = record.as_object_mut().expect("a record");
            CONFIGURED.iter().for_each(|name| drop(members.remove(*name)));
            record
        })
        .collect();
    let both = [false, true];
    let spellings = both.iter().flat_map(|&camel| both.map(|text| Spelling { camel, text }));
    let mixed: Vec<Value> = given
        .iter()
        .zip(spellings.collect::<Vec<_>>().into_iter().cycle())
        .map(|(record, spelling)| spelled(record, spelling))
        .collect();

    let exports: Vec<String> = [json!({ "apiKeys": mixed }).to_string()]
        .into_iter()
        .chain([String::new()])
        .scan(None, |exported: &mut Option<String>, first| {
            // The second daemon takes what the first has given.
            let input = exported.clone().unwrap_or(first);
            let home = Home::new();
            let _daemon = home.start();
            let file = home.file("in.json", &input);
            let report = home.json(["import".as_ref(), file.as_os_str()]);
            assert_eq!(report["imported"], RECORDS, "{report}");
            let ran = home.run(["export"]);
            ran.expect(0);
            let file = without_grants(&ran.stdout);
            *exported = Some(ran.stdout);
            Some(file)
        })
        .collect();
    assert_eq!(exports[0], exports[1], "byte for byte");

    let exported: Value = serde_json::from_str(&exports[0]).expect("JSON");
    let exported = exported["api_keys"].as_array().expect("records");
    assert_eq!(exported.len(), RECORDS);
    for (given, exported) in given.iter().zip(exported) {
        for (name, value) in given.as_object().expect("a record") {
            assert_eq!(&exported[name], value, "{name} of {}", given["id"]);
        }
    }
}

/// Keys of a tenant in each state move to another daemon, and the verdicts on them with them.
#[test]
fn tenants_move_with_their_keys_and_pass_there_as_little_as_here() {
    let (old, new) = (Home::new(), Home::new());
    let (daemon, _new) = (old.start(), new.start());
    let tenants = ["active", "suspended", "deleted", "both", "named"];
    let tokens = tenants.map(|tenant| old.create(&["--name", "moves", "--tenant", tenant]).1);
    for args in [
        &["create", "active", "--name", "Active Ltd", "--organization", "holding"][..],
        &["update", "active", "--description", "makes everything"],
        &["suspend", "suspended", "--reason", "unpaid"],
        &["delete", "deleted"],
        &["suspend", "both"],
        &["delete", "both"],
        &["create", "empty"],
    ] {
        old.run(["tenant"].iter().chain(args)).expect(0);
    }
    let ran = old.run(["export"]);
    ran.expect(0).says(&["tenants exported: 5, keys exported: 5"]);
    let file = new.file("moved.json", &ran.stdout);
    let report = new.json(["import".as_ref(), file.as_os_str()]);
    assert_eq!((&report["imported"], &report["tenants_imported"]), (&json!(5), &json!(5)));
    assert_eq!(new.run(["export"]).stdout, ran.stdout, "byte for byte");

    let codes = |home: &Home| {
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        home.codes(&tokens).iter().map(|code| code.name()).collect::<Vec<_>>()
    };
    let expected = ["VALID", "TENANT_SUSPENDED", "NOT_FOUND", "NOT_FOUND", "VALID"];
    assert_eq!(codes(&old), expected);
    assert_eq!(codes(&new), expected);
    assert_eq!(new.json(["tenant", "get", "suspended"])["status_reason"], "unpaid");
    new.run(["tenant", "restore", "both"]).expect(0);
    assert_eq!(new.code(&tokens[3]), "TENANT_SUSPENDED", "as it was before it was deleted");

    // Of a caller that is bound, only its own, which it cannot bring anywhere itself.
    let own = old.run(["export", "--as-tenant", "suspended"]);
    let own: Value = serde_json::from_str(&own.stdout).expect("JSON");
    assert_eq!(own["tenants"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["tenants"][0]["id"], "suspended");
    let file = new.file("own.json", &json!({ "tenants": own["tenants"] }).to_string());
    let bound = ["import".as_ref(), "--as-tenant".as_ref(), "suspended".as_ref(), file.as_os_str()];
    new.run(bound).expect(1).says(&["tenant suspended", "bound"]);
    // Again, it is there already; another of the same name is refused by that name.
    let again = new.json(["import".as_ref(), file.as_os_str()]);
    assert_eq!((&again["tenants_imported"], &again["skipped"]), (&json!(1), &json!(0)));
    new.run(["tenant", "resume", "suspended"]).expect(0);
    new.run(["import".as_ref(), file.as_os_str()])
        .expect(1)
        .says(&["tenant suspended: it has another record", "keygate tenant get suspended"]);
    assert_eq!(new.code(&tokens[1]), "VALID");
    daemon.stop();
}
