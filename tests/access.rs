//! The rules about where a request comes from and what it is for, from the flags that set them to
//! the verdicts that they make.

mod support;

use keygate::key::KeyRecord;
use keygate::key::record::Class;
use serde_json::{Value, json};

use support::{EXAMPLE_FACTS, EXAMPLE_TOKEN, Home, example_record, text};

/// A flag of `key create`, a flag of `validate` that meets its rule, and one that does not.
struct Case {
    code: &'static str,
    rule: &'static [&'static str],
    meets: &'static [&'static str],
    breaks: &'static [&'static str],
    /// What a question that states nothing is told to state.
    missing: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case {
        code: "HTTPS_REQUIRED",
        rule: &["--enforce-https"],
        meets: &["--https"],
        breaks: &["--https=false"],
        missing: Some("--https"),
    },
    Case {
        code: "ENVIRONMENT_NOT_ALLOWED",
        rule: &["--environment", "staging", "--environment", "production"],
        meets: &["--environment", "production"],
        breaks: &["--environment", "prod"],
        missing: Some("--environment"),
    },
    Case {
        code: "TEST_KEY_IN_PRODUCTION",
        rule: &["--test"],
        meets: &["--environment", "staging"],
        breaks: &["--environment", "production"],
        missing: None,
    },
    Case {
        code: "ADDRESS_NOT_ALLOWED",
        rule: &["--allow-ip", "203.0.113.0/24", "--allow-ip", "2001:db8::/32"],
        meets: &["--ip", "::ffff:203.0.113.9"],
        breaks: &["--ip", "2001:db9::1"],
        missing: Some("--ip"),
    },
    Case {
        code: "DOMAIN_NOT_ALLOWED",
        rule: &["--allow-domain", "*.bücher.example"],
        meets: &["--origin", "https://a.b.XN--bcher-kva.example:8443"],
        breaks: &["--origin", "https://bücher.example"],
        missing: Some("--origin"),
    },
    Case {
        code: "REGION_NOT_ALLOWED",
        rule: &["--residency", "eu-west-1", "--residency", "eu-west-2"],
        meets: &["--region", "eu-west-2"],
        breaks: &["--region", "eu-west-1,eu-west-2"],
        missing: Some("--region"),
    },
    Case {
        code: "INTEGRATION_NOT_ALLOWED",
        rule: &["--integration", "salesforce"],
        meets: &["--integration", "salesforce"],
        breaks: &["--integration", "hubspot"],
        missing: Some("--integration"),
    },
    Case {
        code: "API_VERSION_NOT_ALLOWED",
        rule: &["--api-version", "v1"],
        meets: &["--api-version", "v1"],
        breaks: &["--api-version", "v2"],
        missing: Some("--api-version"),
    },
    Case {
        code: "FEATURE_NOT_ALLOWED",
        rule: &["--feature", "bulk-import", "--feature", "export"],
        meets: &["--feature", "export", "--feature", "bulk-import"],
        breaks: &["--feature", "export", "--feature", "delete"],
        missing: None,
    },
];

#[test]
fn each_rule_is_set_by_a_flag_and_makes_its_verdict() {
    let home = Home::new();
    let _daemon = home.start();
    for case in CASES {
        let (_, token) = home.create(&[&["--name", case.code], case.rule].concat());
        let verdict = |facts: &[&str]| text(&home.verdict(&token, facts)["code"]);
        assert_eq!(verdict(case.meets), "VALID", "{}", case.code);
        assert_eq!(verdict(case.breaks), case.code);
        let nothing = home.run(["validate", &token]);
        match case.missing {
            Some(flag) => nothing.expect(3).says(&[flag, "did not state"]),
            None => nothing.expect(0),
        };
        assert_eq!(nothing.stdout.starts_with(case.code), case.missing.is_some());
        // What was stated and is wrong is not told to be missing.
        let wrong = home.run(["validate", &token].iter().chain(case.breaks));
        assert!(!wrong.expect(3).stderr.contains("did not state"), "{wrong:#?}");
    }
}

#[test]
fn the_example_record_is_judged_by_all_its_rules() {
    let home = Home::new();
    let _daemon = home.start();
    home.import(&[example_record()]);
    assert_eq!(home.code(EXAMPLE_TOKEN), "VALID");
    for (left_out, code) in [
        ("--https", "HTTPS_REQUIRED"),
        ("--environment", "ENVIRONMENT_NOT_ALLOWED"),
        ("--ip", "ADDRESS_NOT_ALLOWED"),
        ("--origin", "DOMAIN_NOT_ALLOWED"),
        ("--region", "REGION_NOT_ALLOWED"),
        ("--integration", "INTEGRATION_NOT_ALLOWED"),
        ("--api-version", "API_VERSION_NOT_ALLOWED"),
    ] {
        let facts = EXAMPLE_FACTS.iter().filter(|fact| !fact.starts_with(left_out));
        let facts: Vec<&str> = facts.copied().collect();
        assert_eq!(home.verdict(EXAMPLE_TOKEN, &facts)["code"], code, "{left_out}");
    }
    let feature = [EXAMPLE_FACTS, &["--feature", "delete"]].concat();
    assert_eq!(home.verdict(EXAMPLE_TOKEN, &feature)["code"], "FEATURE_NOT_ALLOWED");
}

#[test]
fn rules_survive_a_restart_and_a_change_is_obeyed_at_once() {
    let home = Home::new();
    let daemon = home.start();
    let (id, token) = home.create(&["--name", "x", "--allow-ip", "10.0.0.0/8"]);
    let from = |ip: &str| text(&home.verdict(&token, &["--ip", ip])["code"]);
    assert_eq!(
        (from("10.1.2.3"), from("11.1.2.3")),
        ("VALID".into(), "ADDRESS_NOT_ALLOWED".into())
    );
    daemon.stop();
    let _daemon = home.start();
    assert_eq!(
        (from("10.1.2.3"), from("11.1.2.3")),
        ("VALID".into(), "ADDRESS_NOT_ALLOWED".into())
    );
    home.json(["key", "update", &id, "--allow-ip", "11.0.0.0/8"]);
    assert_eq!(
        (from("10.1.2.3"), from("11.1.2.3")),
        ("ADDRESS_NOT_ALLOWED".into(), "VALID".into())
    );
    home.json(["key", "update", &id, "--clear", "allowed_ips"]);
    assert_eq!(home.verdict(&token, &[])["code"], "VALID");
}

#[test]
fn metadata_and_the_tenant_are_asked_for() {
    let home = Home::new();
    let _daemon = home.start();
    let metadata = r#"{"owner":"growth","tickets":[112]}"#;
    let (_, token) = home.create(&["--name", "x", "--tenant", "acme", "--metadata", metadata]);
    let (_, bare) = home.create(&["--name", "y", "--tenant", "acme"]);
    let told = json!({"owner": "growth", "tickets": [112]});
    assert_eq!(home.verdict(&token, &["--metadata"])["metadata"], told);
    assert_eq!(home.verdict(&token, &[])["metadata"], Value::Null);
    assert_eq!(home.verdict(&bare, &["--metadata"])["metadata"], Value::Null);
    let shown = home.run(["validate", &token, "--metadata"]);
    assert!(shown.expect(0).stdout.contains(metadata), "{shown:#?}");

    assert_eq!(home.verdict(&token, &["--tenant", "acme"])["code"], "VALID");
    let other = home.verdict(&token, &["--tenant", "acme2", "--metadata"]);
    let seen = [&other["code"], &other["key_id"], &other["tenant_id"], &other["metadata"]];
    assert_eq!(seen, [&json!("NOT_FOUND"), &Value::Null, &Value::Null, &Value::Null]);
}

/// A value for every flag that sets a field, but for those that name a thing of the configuration.
#[rustfmt::skip]
const EVERY_FLAG: &[&str] = &[
    "--name=all", "--description=d", "--tag=t", "--metadata={}",
    "--documentation-url=https://docs.example.com", "--support-contact=c", "--tenant=acme",
    "--organization=o", "--workspace=w", "--account=a", "--scope=a:b", "--allow-ip=10.0.0.0/8",
    "--allow-domain=a.example", "--environment=staging", "--residency=eu-west-1",
    "--integration=i", "--api-version=v1", "--feature=f", "--enforce-https", "--expires=90d",
    "--rps=5", "--burst=6", "--requests-per-day=7", "--monthly-quota=8", "--max-uses=9",
    "--concurrent=3", "--slot-ttl=30", "--limit=exports=10/h", "--credits=5",
    "--credits-refill=1/day", "--cost-per-request=0.0005", "--require-client-secret",
    "--client-secret-hash=7ce938c9d3d3ac0843ea2ece852758f37dd02b55a5e84a89f10a0c5872ea19e0",
    "--enforce-mutual-tls",
    "--client-certificate-hash=60a3fc80cd8d087bc8168f6570269dc500863b337424a07aa71b9a104dc25c7f",
    "--enforce-signing", "--require-request-signing", "--signature-algorithm=ed25519",
    "--rotation-days=90", "--classification=internal", "--encrypted", "--log-all-requests",
    "--require-audit-logging", "--alert-email=oncall@example.com",
    "--webhook-url=https://hooks.example.com", "--alert-on-quota", "--quota-threshold=0.8",
    "--alert-on-errors", "--error-threshold=0.05", "--test",
];

#[test]
fn a_key_is_made_with_every_flag() {
    let home = Home::new();
    let _daemon = home.start();
    let created = home.json(["key", "create"].iter().chain(EVERY_FLAG));
    let key = home.json(["key", "get", &text(&created["key"]["id"])]);
    let configured = ["billing_tier", "compliance_standards", "monitoring_integrations"];
    let fields = KeyRecord::FIELDS.iter().filter(|field| field.class != Class::Derived);
    for field in fields.filter(|field| !configured.contains(&field.name)) {
        let value = &key[field.name];
        let unset = [json!(null), json!(false), json!(""), json!([])].contains(value);
        assert!(!unset, "{} is {value}", field.name);
    }
}

#[test]
fn what_could_match_nothing_is_refused_by_field_and_entry() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, _) = home.create(&["--name", "x"]);
    for (flag, words) in [
        ("--allow-ip=203.0.113.7/24", &["allowed_ips", "entry 1", "203.0.113.0/24"][..]),
        ("--allow-ip=fe80::1%eth0", &["allowed_ips", "zone id"]),
        ("--allow-domain=https://app.example.com", &["allowed_domains", "without scheme"]),
        ("--allow-domain=*", &["allowed_domains", "an empty list"]),
        ("--environment= production", &["allowed_environments", "not a name"]),
        ("--residency=eu,,us", &["data_residency", "entry 2"]),
        ("--signature-algorithm=md5", &["allowed_signature_algorithms", "ed25519"]),
        ("--client-certificate-hash=ab", &["client_certificate_hash", "SHA-256"]),
        ("--alert-email=oncall", &["alert_emails", "mail address"]),
        ("--webhook-url=http://hooks.example.com", &["webhook_url", "https://"]),
        ("--documentation-url=docs", &["documentation_url", "https://"]),
        ("--quota-threshold=80", &["quota_alert_threshold", "80.0 percent is 0.8"]),
        ("--classification=secret", &["data_classification", "restricted"]),
        ("--cost-per-request=0.00000000001", &["cost_per_request", "nine decimals"]),
        ("--rotation-days=36501", &["rotation_frequency_days", "36500"]),
    ] {
        home.run(["key", "create", "--name", "x", flag]).expect(1).says(words);
        home.run(["key", "update", &id, flag]).expect(1).says(words);
    }
    let restricted = ["key", "update", &id, "--classification", "restricted"];
    home.run(restricted).expect(0).says(&["encrypted was set"]);
    assert_eq!(home.json(["key", "get", &id])["encrypted"], true);
}

#[test]
fn an_import_takes_a_percentage_for_what_it_is() {
    let home = Home::new();
    let _daemon = home.start();
    let mut record = example_record();
    record["quota_alert_threshold"] = json!(80);
    let report = home.import(&[record.clone()]);
    assert!(report["notices"].to_string().contains("taken as a percentage: 0.8"), "{report}");
    assert_eq!(home.json(["key", "get", "42"])["quota_alert_threshold"], 0.8);
    record["quota_alert_threshold"] = json!(800);
    let file = home.file("bad.json", &json!([record]).to_string());
    home.run(["import".as_ref(), file.as_os_str()]).expect(1).says(&["quota_alert_threshold"]);
}
