//! The rules about where a request comes from and what it is for, as they are decided.

use keygate_protocol::limits::METADATA_BYTES_MAX;

use super::*;

type Facts<'a> = &'a dyn Fn(&mut ValidateWriter<'_>);
type Record<'a> = &'a dyn Fn(&mut KeyRecord);
type Put = fn(&mut ValidateWriter<'_>);
type Change = fn(&mut KeyRecord);

/// A request that states everything, and well.
fn good(writer: &mut ValidateWriter<'_>) {
    writer.address("203.0.113.7".parse().expect("an address"));
    writer.origin("https://app.example.com");
    writer.environment("production");
    writer.region("eu-west-1");
    writer.integration("salesforce");
    writer.api_version("v1");
    writer.https(true);
}

/// A key with every rule, which that request meets.
fn ruled(record: &mut KeyRecord) {
    let list = |entry: &str| vec![entry.to_owned()];
    record.enforce_https = true;
    record.allowed_environments = list("production");
    record.allowed_ips = list("203.0.113.0/24");
    record.allowed_domains = list("app.example.com");
    record.data_residency = "eu-central-1, eu-west-1".to_owned();
    record.approved_integrations = list("salesforce");
    record.api_version = "v1".to_owned();
    record.supported_features = list("bulk-import");
}

impl Bench {
    /// What is answered to a question with these facts about a key with these fields.
    fn judge(&self, fields: Record<'_>, flags: ValidateFlags, facts: Facts<'_>) -> Answer {
        let token = self.token(1);
        let mut record = self.record(7, &token);
        fields(&mut record);
        self.put(&record);
        let mut payload = BytesMut::new();
        facts(&mut ValidateWriter::new(&mut payload, flags, 1, token.as_bytes()));
        let question = Validate::decode(&payload).expect("well-formed");
        let mut answers = Answers::default();
        self.engine.validate(&[question], self.clock.now(), &mut answers);
        answers[0].clone()
    }

    fn code(&self, fields: Record<'_>, facts: Facts<'_>) -> VerdictCode {
        self.judge(fields, ValidateFlags::NONE, facts).verdict.code
    }
}

#[test]
fn each_rule_passes_its_fact_and_denies_another_and_a_missing_one() {
    use VerdictCode::{
        AddressNotAllowed, ApiVersionNotAllowed, DomainNotAllowed, EnvironmentNotAllowed,
        HttpsRequired, IntegrationNotAllowed, RegionNotAllowed,
    };
    let rules: [(VerdictCode, Change, Put, Put); 7] = [
        (HttpsRequired, |key| key.enforce_https = true, |it| it.https(true), |it| it.https(false)),
        (
            EnvironmentNotAllowed,
            |key| key.allowed_environments = vec!["staging".to_owned()],
            |it| it.environment("staging"),
            |it| it.environment("Staging"),
        ),
        (
            AddressNotAllowed,
            |key| key.allowed_ips = vec!["2001:db8::/32".to_owned()],
            |it| it.address("2001:db8::9".parse().expect("an address")),
            |it| it.address("203.0.113.7".parse().expect("an address")),
        ),
        (
            DomainNotAllowed,
            |key| key.allowed_domains = vec!["*.example.org".to_owned()],
            |it| it.origin("https://a.example.org"),
            |it| it.origin("null"),
        ),
        (
            RegionNotAllowed,
            |key| key.data_residency = "eu-west-1".to_owned(),
            |it| it.region("eu-west-1"),
            |it| it.region("us-east-1"),
        ),
        (
            IntegrationNotAllowed,
            |key| key.approved_integrations = vec!["salesforce".to_owned()],
            |it| it.integration("salesforce"),
            |it| it.integration("hubspot"),
        ),
        (
            ApiVersionNotAllowed,
            |key| key.api_version = "v1".to_owned(),
            |it| it.api_version("v1"),
            |it| it.api_version("v1.0"),
        ),
    ];
    let bench = Bench::new();
    for (code, rule, meets, breaks) in rules {
        assert_eq!(bench.code(&rule, &meets), VerdictCode::Valid, "{code:?}");
        assert_eq!(bench.code(&rule, &breaks), code);
        assert_eq!(bench.code(&rule, &|_| {}), code, "nothing was stated");
        // A key without the rule does not look at the fact.
        assert_eq!(bench.code(&|_| {}, &breaks), VerdictCode::Valid, "{code:?}");
    }
}

#[test]
fn the_first_rule_that_fails_makes_the_verdict() {
    use VerdictCode::{
        AddressNotAllowed, ApiVersionNotAllowed, DomainNotAllowed, EnvironmentNotAllowed,
        FeatureNotAllowed, HttpsRequired, InsufficientScope, IntegrationNotAllowed,
        RegionNotAllowed, Suspended, TestKeyInProduction, Valid,
    };
    let bench = Bench::new();
    // Everything is wrong; from the first to the last it is put right.
    let steps: &[(VerdictCode, Change)] = &[
        (Suspended, |_| {}),
        (HttpsRequired, |key| key.status = Status::Active),
        (EnvironmentNotAllowed, |key| key.enforce_https = false),
        (TestKeyInProduction, |key| key.allowed_environments = vec!["production".to_owned()]),
        (AddressNotAllowed, |key| key.is_test_key = false),
        (DomainNotAllowed, |key| key.allowed_ips.clear()),
        (RegionNotAllowed, |key| key.allowed_domains.clear()),
        (IntegrationNotAllowed, |key| key.data_residency.clear()),
        (ApiVersionNotAllowed, |key| key.approved_integrations.clear()),
        (FeatureNotAllowed, |key| key.api_version.clear()),
        (InsufficientScope, |key| key.supported_features.clear()),
        (Valid, |key| key.scopes = vec!["leads:read".to_owned()]),
    ];
    for right in 0..steps.len() {
        let fields = |record: &mut KeyRecord| {
            ruled(record);
            record.allowed_environments = vec!["staging".to_owned()];
            record.is_test_key = true;
            record.status = Status::Suspended;
            steps[..=right].iter().for_each(|(_, put_right)| put_right(record));
        };
        let facts = |writer: &mut ValidateWriter<'_>| {
            writer.feature("nope");
            writer.environment("production");
            writer.scope_all("leads:read");
        };
        assert_eq!(bench.code(&fields, &facts), steps[right].0, "step {right}");
    }
}

#[test]
fn a_request_that_meets_every_rule_passes_and_spends() {
    let bench = Bench::new();
    let limited = |record: &mut KeyRecord| {
        ruled(record);
        record.requests_per_second = Some(2);
    };
    let verdict = bench.judge(&limited, ValidateFlags::NONE, &good).verdict;
    assert_eq!((verdict.code, verdict.key_id), (VerdictCode::Valid, 7));
    let denied = bench.judge(&limited, ValidateFlags::NONE, &|_| {}).verdict;
    assert_eq!((denied.code, denied.key_id), (VerdictCode::HttpsRequired, 7));
    assert_eq!(denied.limits.iter().count(), 0, "no limit was judged");
    let left = bench.judge(&limited, ValidateFlags::PEEK, &good).verdict.limits;
    assert_eq!(left.iter().next().map(|limit| limit.remaining), Some(1), "a denial spends nothing");
}

#[test]
fn a_test_key_does_not_pass_in_production() {
    let bench = Bench::new();
    let test = |record: &mut KeyRecord| record.is_test_key = true;
    for (environment, code) in [
        (None, VerdictCode::Valid),
        (Some("staging"), VerdictCode::Valid),
        (Some("production-eu"), VerdictCode::Valid),
        (Some("production"), VerdictCode::TestKeyInProduction),
        (Some("Production"), VerdictCode::TestKeyInProduction),
    ] {
        let facts = |writer: &mut ValidateWriter<'_>| {
            environment.iter().for_each(|name| writer.environment(name));
        };
        assert_eq!(bench.code(&test, &facts), code, "{environment:?}");
        assert_eq!(bench.code(&|_| {}, &facts), VerdictCode::Valid, "a live key");
    }
    let listed = |record: &mut KeyRecord| {
        record.is_test_key = true;
        record.allowed_environments = vec!["staging".to_owned()];
    };
    assert_eq!(bench.code(&listed, &|_| {}), VerdictCode::EnvironmentNotAllowed);
}

#[test]
fn features_are_demanded_and_every_one_must_be_listed() {
    let bench = Bench::new();
    let fields = |record: &mut KeyRecord| {
        record.supported_features = vec!["bulk-import".to_owned(), "export".to_owned()];
    };
    for (asked, code) in [
        (&[][..], VerdictCode::Valid),
        (&["export"], VerdictCode::Valid),
        (&["export", "bulk-import"], VerdictCode::Valid),
        (&["export", "delete"], VerdictCode::FeatureNotAllowed),
        (&["Export"], VerdictCode::FeatureNotAllowed),
    ] {
        let facts = |writer: &mut ValidateWriter<'_>| {
            asked.iter().for_each(|feature| writer.feature(feature));
        };
        assert_eq!(bench.code(&fields, &facts), code, "{asked:?}");
        assert_eq!(bench.code(&|_| {}, &facts), VerdictCode::Valid, "a key without a list");
    }
}

#[test]
fn a_key_of_another_tenant_is_as_good_as_none() {
    let bench = Bench::new();
    let flags = ValidateFlags::DETAILS.with(ValidateFlags::METADATA);
    let fields = |record: &mut KeyRecord| record.metadata_json = b"{}".to_vec();
    let own = bench.judge(&fields, flags, &|writer| writer.tenant("acme"));
    assert_eq!((own.verdict.code, own.verdict.key_id), (VerdictCode::Valid, 7));
    for other in ["acm", "acme2", "ACME"] {
        let answer = bench.judge(&fields, flags, &|writer| writer.tenant(other));
        assert_eq!((answer.verdict.code, answer.verdict.key_id), (VerdictCode::NotFound, 0));
        assert!(answer.policy.is_none() && answer.metadata.is_none(), "{other}");
    }
}

#[test]
fn metadata_is_told_when_it_is_asked_for_and_there_is_some() {
    let bench = Bench::new();
    let json = br#"{"owner":"growth"}"#;
    let some = |record: &mut KeyRecord| record.metadata_json = json.to_vec();
    let metadata = |fields: Record<'_>, flags| {
        let metadata = bench.judge(fields, flags, &|_| {}).metadata;
        metadata.map(|metadata| metadata.json().to_vec())
    };
    assert_eq!(metadata(&some, ValidateFlags::NONE), None);
    assert_eq!(metadata(&some, ValidateFlags::METADATA), Some(json.to_vec()));
    let changed = |record: &mut KeyRecord| record.metadata_json = b"[]".to_vec();
    assert_eq!(metadata(&changed, ValidateFlags::METADATA), Some(b"[]".to_vec()));
    assert_eq!(metadata(&|_| {}, ValidateFlags::METADATA), None);
    // Of a record that was written before it was checked: a client could not read the verdict.
    for unsound in [b"\"\xFF\"".to_vec(), vec![b' '; METADATA_BYTES_MAX + 1]] {
        let fields = |record: &mut KeyRecord| record.metadata_json.clone_from(&unsound);
        assert_eq!(metadata(&fields, ValidateFlags::METADATA), None);
    }
    // Of a denial too, as details are.
    let suspended = |record: &mut KeyRecord| {
        some(record);
        record.status = Status::Suspended;
    };
    assert_eq!(metadata(&suspended, ValidateFlags::METADATA), Some(json.to_vec()));
}

#[test]
fn a_changed_rule_is_obeyed_by_the_next_question() {
    let bench = Bench::new();
    assert_eq!(bench.code(&|_| {}, &|_| {}), VerdictCode::Valid);
    assert_eq!(bench.code(&|key| key.enforce_https = true, &|_| {}), VerdictCode::HttpsRequired);
    assert_eq!(bench.code(&|_| {}, &|_| {}), VerdictCode::Valid);
}

/// As a start finds it that an older release wrote.
#[test]
fn an_unsound_entry_opens_nothing_and_is_told_of_a_key_that_is_not_deleted() {
    let bench = Bench::new();
    let blocks = |entries: &[&str]| KeyRecord {
        allowed_ips: entries.iter().map(|entry| (*entry).to_owned()).collect(),
        ..bench.record(7, &bench.token(1))
    };
    let told = |record: &KeyRecord| {
        bench.engine.compile(&record.view()).expect("it is judged").has_unsound_entry()
    };
    let address = |it: &mut ValidateWriter<'_>| it.address([203, 0, 113, 7].into());
    for (entries, unsound, code) in [
        (&["203.0.113.0/24"][..], false, VerdictCode::Valid),
        (&["203.0.113.7/24"], true, VerdictCode::AddressNotAllowed),
        (&["203.0.113.7/24", "203.0.113.7"], true, VerdictCode::Valid),
    ] {
        let record = blocks(entries);
        assert_eq!(told(&record), unsound, "{entries:?}");
        assert_eq!(bench.code(&|key| *key = record.clone(), &address), code, "{entries:?}");
        let deleted_at = Some(Time::from_micros(1));
        assert!(!told(&KeyRecord { deleted_at, ..record.clone() }), "{entries:?}");
    }
    assert!(!told(&bench.record(7, &bench.token(1))));
}
