//! Records of the source system that were never written by hand: every field, in both spellings.

use std::collections::BTreeMap;

use keygate::key::KeyRecord;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Fields whose values are whole numbers, and are read as numbers and as text.
const WHOLE: &[&str] = &[
    "id",
    "requests_per_second",
    "requests_per_day",
    "concurrent_requests",
    "monthly_request_quota",
    "total_requests",
    "total_errors",
    "successful_requests_count",
    "rotation_frequency_days",
    "burst",
    "max_uses",
    "revision",
    "slot_ttl_seconds",
    // Inside of a limit, a balance and its refill.
    "count",
    "balance",
    "amount",
    "day",
];

/// Fields that name what the configuration has.
pub(crate) const CONFIGURED: &[&str] =
    &["billing_tier", "compliance_standards", "monitoring_integrations"];

/// How a record is spelled: by its fields' names and its whole numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelling {
    pub(crate) camel: bool,
    pub(crate) text: bool,
}

pub(crate) fn spelling() -> impl Strategy<Value = Spelling> {
    any::<(bool, bool)>().prop_map(|(camel, text)| Spelling { camel, text })
}

/// The record as a source system spells it that writes so.
pub(crate) fn spelled(record: &Value, spelling: Spelling) -> Value {
    let inside = |value: &Value| match value {
        Value::Object(_) => spelled(value, spelling),
        value => value.clone(),
    };
    let members = record.as_object().expect("a record").iter().map(|(name, value)| {
        let name_of = if spelling.camel { camel(name) } else { name.clone() };
        let value = match value {
            Value::Number(number) if spelling.text && WHOLE.contains(&name.as_str()) => {
                number.to_string().into()
            }
            Value::String(text) if !spelling.text && WHOLE.contains(&name.as_str()) => {
                // A verification key's id is a name.
                text.parse::<u64>().map_or_else(|_| text.as_str().into(), Value::from)
            }
            Value::Array(items) => items.iter().map(inside).collect(),
            value => inside(value),
        };
        (name_of, value)
    });
    Value::Object(members.collect())
}

fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
}

/// Records by ascending ids, in keygate's own spelling: each of its fields is set or left out, and
/// what must be told apart (ids, digests, ids of requests) is.
pub(crate) fn records(count: usize) -> impl Strategy<Value = Vec<Value>> {
    vec(fields(), count).prop_map(|records| {
        let numbered = (1_u64..).zip(records);
        numbered.map(|(number, fields)| whole(number, &fields)).collect()
    })
}

/// Every field but those that must be unique.
fn fields() -> impl Strategy<Value = BTreeMap<&'static str, Option<Value>>> {
    let each = KeyRecord::FIELDS.iter().map(|spec| {
        let name = spec.name;
        proptest::option::of(field(name)).prop_map(move |value| (name, value)).boxed()
    });
    each.collect::<Vec<_>>().prop_map(|fields| fields.into_iter().collect())
}

fn whole(number: u64, fields: &BTreeMap<&'static str, Option<Value>>) -> Value {
    let mut record: Map<String, Value> = KeyRecord::FIELDS
        .iter()
        .filter_map(|spec| Some((spec.name.to_owned(), fields.get(spec.name)?.clone()?)))
        .collect();
    let mut set = |name: &str, value: Value| record.insert(name.to_owned(), value);
    set("id", (number << 20 | 5).to_string().into());
    set("key_hash", format!("{number:064x}").into());
    // An import fills in what is not there.
    let given = |name: &str| fields[name].clone();
    set(
        "created_at",
        given("created_at").unwrap_or(json!("2024-02-29T12:00:00.5Z".replace(".5", ".500"))),
    );
    set("updated_at", given("updated_at").unwrap_or(json!("2025-02-28T12:00:00Z")));
    set("revision", given("revision").unwrap_or(json!(1)));
    set("tenant_id", given("tenant_id").unwrap_or(json!("default")));
    if given("request_id").is_some() {
        set("request_id", format!("request-{number}").into());
    }
    // What stands together.
    let rotated = given("last_rotated_at").unwrap_or(Value::Null);
    set("last_rotation_date", rotated);
    if let Some(ends) = given("previous_key_ends_at") {
        set("previous_key_ends_at", ends);
        set("previous_key_hash", format!("f{number:063x}").into());
    } else {
        record.remove("previous_key_hash");
    }
    // A burst comes back within 2^64 ns: at the lowest rate of all, 18 billion.
    if let (Some(rate), Some(burst)) =
        (record.get("requests_per_second").and_then(Value::as_u64), record.get("burst"))
    {
        let longest = rate.saturating_mul(18_000_000_000);
        let burst = burst.as_u64().unwrap_or_default().min(longest);
        record.insert("burst".to_owned(), burst.into());
    }
    if record.get("requires_client_secret") == Some(&json!(true)) {
        record.insert("client_secret_hash".to_owned(), "5e".repeat(32).into());
    }
    if record.get("enforce_mutual_tls") == Some(&json!(true)) {
        record.insert("client_certificate_hash".to_owned(), "ce".repeat(32).into());
    }
    if record.get("data_classification") == Some(&json!("restricted")) {
        record.insert("encrypted".to_owned(), true.into());
    }
    if record.contains_key("status_reason_code") {
        record.insert("status_reason".to_owned(), "said by the operator".into());
    }
    Value::Object(record)
}

/// Values of one field. A field that is added to the record must be added here.
fn field(name: &str) -> BoxedStrategy<Value> {
    match name {
        "id" | "key_hash" | "request_id" | "previous_key_hash" | "last_rotation_date" => {
            Just(json!("set where the record is made whole")).boxed()
        }
        "name" => text("[ -~]{1,40}|Schlüssel für Zürich|鍵|\"quoted\" \\\\ \t"),
        "description" => text("[ -~]{0,200}|über\nzwei Zeilen|\u{1}\u{7f}🗝"),
        "key_prefix" => text("(lk|kg)_(live|test)_[0-9a-zA-Z]{4,8}"),
        "scopes" => list("[a-z]{1,8}:(read|write|\\*)|\\*|a:b:\\*", 0..20),
        "allowed_ips" => one_of_each(&[
            "10.0.0.0/8",
            "192.0.2.7",
            "198.51.100.0/24",
            "2001:db8::/32",
            "2001:db8::7",
            "0.0.0.0/0",
        ]),
        "allowed_domains" => list("(\\*\\.)?[a-z][a-z0-9]{0,10}\\.(example|test)", 0..10),
        "allowed_environments" => list("production|staging|test", 0..3),
        "requests_per_second" => (1..=i32::MAX).prop_map(Value::from).boxed(),
        "requests_per_day" | "concurrent_requests" => (0..=i32::MAX).prop_map(Value::from).boxed(),
        "slot_ttl_seconds" => (1..=86_400).prop_map(Value::from).boxed(),
        "limits" => limits(),
        "signing_keys" => signing_keys(),
        "credits" => credits(),
        "rotation_frequency_days" => (1..=3650).prop_map(Value::from).boxed(),
        "burst" => (1..=i64::MAX).prop_map(Value::from).boxed(),
        "revision" => (1..=i64::MAX / 2).prop_map(Value::from).boxed(),
        "successful_requests_count" => (0..=i64::MAX).prop_map(Value::from).boxed(),
        "monthly_request_quota" | "max_uses" | "total_requests" | "total_errors" => {
            (0..=i64::MAX).prop_map(|number| number.to_string().into()).boxed()
        }
        "cost_per_request" => (0..=5_000_000_u32).prop_map(|n| json!(f64::from(n) / 1e6)).boxed(),
        "average_response_time" => (0.0..1e7).prop_map(Value::from).boxed(),
        "success_rate" | "quota_alert_threshold" | "error_alert_threshold" => {
            prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0].prop_map(Value::from).boxed()
        }
        "metadata_json" | "endpoint_usage_json" | "error_rates_json" => bytes(""),
        "recent_errors" => bytes("[]"),
        "status" => one_of(&[
            "ACTIVE",
            "DEPRECATED",
            "SUSPENDED",
            "PENDING_VERIFICATION",
            "REVOKED",
            "EXPIRED",
            "RATE_LIMITED",
            "PENDING_REVIEW",
            "MAINTENANCE",
        ])
        .prop_map(|name| format!("STATUS_{}", name.as_str().unwrap_or_default()).into())
        .boxed(),
        "status_reason_code" => one_of(&[
            "key_compromise",
            "superseded",
            "affiliation_changed",
            "privilege_withdrawn",
            "other",
        ]),
        "created_at"
        | "updated_at"
        | "expires_at"
        | "deleted_at"
        | "last_used_at"
        | "last_rotated_at"
        | "last_security_review_at"
        | "previous_key_ends_at"
        | "previous_client_secret_ends_at"
        | "status_changed_at" => instant(),
        "client_secret_hash" | "previous_client_secret_hash" | "client_certificate_hash" => {
            text("[0-9a-f]{64}")
        }
        "allowed_signature_algorithms" => {
            one_of_each(&["ed25519", "ecdsa-p256-sha256", "hmac-sha256", "rsa-pss-sha512"])
        }
        "tags" => list("[a-z0-9-]{1,12}|Größe", 0..8),
        "api_version" => text("v[0-9]|2026-0[1-9]-01"),
        "supported_features" => list("[a-z]{2,10}", 0..6),
        "documentation_url" | "webhook_url" => {
            text("https://[a-z]{2,10}\\.example/[a-z0-9/]{0,20}")
        }
        "support_contact" => text("[a-z]{2,10}@[a-z]{2,10}\\.example"),
        "alert_emails" => list("[a-z]{2,10}@[a-z]{2,10}\\.example", 0..4),
        "last_rotation_reason" | "status_reason" => text("[ -~]{1,80}"),
        "data_residency" => text("eu-west-1|eu-west-1,us-east-1"),
        "approved_integrations" => list("[a-z]{2,10}", 0..4),
        "data_classification" => one_of(&["public", "internal", "confidential", "restricted"]),
        "billing_tier" => text("[a-z]{2,10}"),
        "compliance_standards" => one_of_each(&["PCI-DSS", "HIPAA", "SOC2"]),
        "monitoring_integrations" => list("[a-z]{2,10}", 0..3),
        "organization_id" | "tenant_id" | "workspace_id" | "account_id" => {
            text("[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}")
        }
        "is_test_key"
        | "requires_client_secret"
        | "enforce_https"
        | "enforce_signing"
        | "enforce_mutual_tls"
        | "require_request_signing"
        | "log_all_requests"
        | "requires_audit_logging"
        | "alert_on_quota_threshold"
        | "alert_on_error_spike"
        | "encrypted" => any::<bool>().prop_map(Value::from).boxed(),
        name => panic!("the field {name} has no values yet: say here what they look like"),
    }
}

/// Named limits, each name once.
fn limits() -> BoxedStrategy<Value> {
    let period = prop_oneof![
        proptest::sample::select(&["hour", "day", "week", "month", "year"][..])
            .prop_map(str::to_owned),
        // What no larger unit divides.
        (1..=23_u32).prop_map(|hours| format!("{hours}h")),
        (1..=59_u32).prop_map(|seconds| format!("{seconds}s")),
        proptest::sample::select(&["1w", "6d", "366d", "1441m"][..]).prop_map(str::to_owned),
    ];
    let name = proptest::string::string_regex("[a-z][a-z ._/-]{0,20}|Größe").expect("a pattern");
    proptest::collection::btree_map(name, (0..=i64::MAX, period), 1..=16)
        .prop_map(|limits| {
            let limit = |(name, (count, period)): (String, (i64, String))| {
                json!({"name": name, "count": count.to_string(), "period": period})
            };
            limits.into_iter().map(limit).collect()
        })
        .boxed()
}

/// Public keys, each name once. Shared secrets are not told, so that none comes back.
fn signing_keys() -> BoxedStrategy<Value> {
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n\
        -----END PUBLIC KEY-----\n";
    const P256: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf\n\
        w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==\n\
        -----END PUBLIC KEY-----\n";
    let name = proptest::string::string_regex("[a-z][a-z0-9-]{0,20}").expect("a pattern");
    let key = proptest::sample::select(&[ED25519, P256][..]);
    proptest::collection::btree_map(name, (key, instant()), 1..=8)
        .prop_map(|keys| {
            let key = |(id, (public_key, added_at)): (String, (&str, Value))| {
                json!({"id": id, "public_key": public_key, "added_at": added_at})
            };
            keys.into_iter().map(key).collect()
        })
        .boxed()
}

/// A balance, with or without a refill. When it was set is not the writer's to say.
fn credits() -> BoxedStrategy<Value> {
    let mode = || proptest::sample::select(&["add", "replace"][..]);
    let refill = prop_oneof![
        Just(Value::Null),
        (0..=i64::MAX, mode()).prop_map(|(amount, mode)| {
            json!({"amount": amount.to_string(), "every": "day", "mode": mode})
        }),
        (0..=i64::MAX, 1..=31_u8, mode()).prop_map(|(amount, day, mode)| {
            json!({"amount": amount.to_string(), "every": "month", "day": day, "mode": mode})
        }),
    ];
    (0..=i64::MAX, refill)
        .prop_map(|(balance, refill)| {
            json!({"balance": balance.to_string(), "refill": refill, "granted_at": null})
        })
        .boxed()
}

fn text(pattern: &'static str) -> BoxedStrategy<Value> {
    proptest::string::string_regex(pattern).expect("a pattern").prop_map(Value::from).boxed()
}

fn list(pattern: &'static str, count: std::ops::Range<usize>) -> BoxedStrategy<Value> {
    let item = proptest::string::string_regex(pattern).expect("a pattern");
    let unique = |items: Vec<String>| items.into_iter().collect::<std::collections::BTreeSet<_>>();
    vec(item, count).prop_map(move |items| json!(unique(items))).boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::sample::select(values).prop_map(Value::from).boxed()
}

fn one_of_each(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::sample::subsequence(values, 0..=values.len()).prop_map(|values| json!(values)).boxed()
}

/// Base64 of JSON, as protobuf has bytes.
fn bytes(or: &'static str) -> BoxedStrategy<Value> {
    use base64::Engine as _;
    let object = (text("[ -~]{0,20}"), any::<i32>()).prop_map(|(key, value)| {
        json!({ key.as_str().unwrap_or_default(): [value, { "ü": null }] }).to_string()
    });
    let json = prop_oneof![3 => object, 1 => Just(or.to_owned())];
    json.prop_map(|json| base64::engine::general_purpose::STANDARD.encode(json).into()).boxed()
}

/// Instants between the ends of RFC 3339, with every precision that protobuf writes.
fn instant() -> BoxedStrategy<Value> {
    let fraction = prop_oneof![
        Just(String::new()),
        (1..1000_u32).prop_map(|n| format!(".{n:03}")),
        (1..1000_u32).prop_map(|n| format!(".{:06}", n * 1000 + 1)),
        (1..1000_u32).prop_map(|n| format!(".{:09}", n * 1_000_000 + 1)),
    ];
    (1..=9999_u32, 1..=12_u32, 1..=28_u32, 0..86_400_u32, fraction)
        .prop_map(|(year, month, day, second, fraction)| {
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
                .into()
        })
        .boxed()
}
