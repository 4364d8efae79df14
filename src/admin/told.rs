//! What a record of a change tells of a key or a tenant: the fields that differ, without secrets.
//!
//! Of hashes of tokens and client secrets it is told that they changed, and nothing else; of a
//! webhook's URL its host. By `data_classification`, the stricter of before and after, more is left
//! out: of `confidential` and `restricted` records what may hold anything (`metadata_json`,
//! `description`), of `restricted` ones also what names people ([`OF_RESTRICTED`]).

use serde_json::{Map, Value};

use crate::key::{KeyRecord, Pepper, TenantRecord};

/// What stands for a value that is left out.
const LEFT_OUT: &str = "(left out)";
/// It changes with every change, and the record of that says when.
const NOT_TOLD: &str = "updated_at";
/// Fields that may hold anything.
const OF_CONFIDENTIAL: [&str; 2] = ["metadata_json", "description"];
/// Fields that name people, or what is theirs.
const OF_RESTRICTED: [&str; 7] = [
    "name",
    "tags",
    "support_contact",
    "documentation_url",
    "alert_emails",
    "webhook_url",
    "allowed_ips",
];

/// How strictly a `data_classification` is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strictness {
    /// `public`, `internal`, and none.
    Open,
    Confidential,
    Restricted,
}

/// The fields of a key that are not the same, as they were and as they are; `null` for one that is
/// not there.
pub(super) fn key_fields(
    before: Option<&KeyRecord>,
    after: Option<&KeyRecord>,
    pepper: &Pepper,
) -> (Value, Value) {
    let empty = KeyRecord::default();
    let (old, new) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
    let strictness = Strictness::of(old).max(Strictness::of(new));
    let shown = |record: &KeyRecord| without_hashes(record).to_json(pepper);
    let (mut was, mut is) = differing(shown(old), shown(new));
    for fields in [&mut was, &mut is] {
        fields.iter_mut().for_each(|(name, value)| redact(strictness, name, value));
    }
    for (name, of) in HASHES {
        if of(old) != of(new) {
            for (fields, record) in [(&mut was, old), (&mut is, new)] {
                let told = of(record).map_or(Value::Null, |_| LEFT_OUT.into());
                fields.insert(name.to_owned(), told);
            }
        }
    }
    (there(before, was), there(after, is))
}

/// The fields of a tenant's record that are not the same.
pub(super) fn tenant_fields(
    before: Option<&TenantRecord>,
    after: Option<&TenantRecord>,
) -> (Value, Value) {
    let shown = |record: Option<&TenantRecord>| match record {
        Some(record) => record.to_export(),
        None => TenantRecord::default().to_export(),
    };
    let (was, is) = differing(shown(before), shown(after));
    (there(before, was), there(after, is))
}

type HashOf = fn(&KeyRecord) -> Option<crate::key::digest::SealedHash>;

/// What is kept of secrets.
const HASHES: [(&str, HashOf); 4] = [
    ("key_hash", |record| record.key_hash),
    ("previous_key_hash", |record| record.previous_key_hash),
    ("client_secret_hash", |record| record.client_secret_hash),
    ("previous_client_secret_hash", |record| record.previous_client_secret_hash),
];

impl Strictness {
    fn of(record: &KeyRecord) -> Self {
        match record.data_classification.as_str() {
            "restricted" => Self::Restricted,
            "confidential" => Self::Confidential,
            _ => Self::Open,
        }
    }
}

/// So that nothing opens their seals.
fn without_hashes(record: &KeyRecord) -> KeyRecord {
    KeyRecord {
        key_hash: None,
        previous_key_hash: None,
        client_secret_hash: None,
        previous_client_secret_hash: None,
        ..record.clone()
    }
}

/// The members of two objects that are not the same in both.
fn differing(old: Value, new: Value) -> (Map<String, Value>, Map<String, Value>) {
    let members = |value| match value {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let (mut old, mut new) = (members(old), members(new));
    let same = |name: &str, value: &Value, other: &Map<String, Value>| {
        name == NOT_TOLD || other.get(name) == Some(value)
    };
    let alike: Vec<String> = old
        .iter()
        .filter(|(name, value)| same(name, value, &new))
        .map(|(n, _)| n.clone())
        .collect();
    for name in alike {
        old.remove(&name);
        new.remove(&name);
    }
    new.remove(NOT_TOLD);
    (old, new)
}

fn there<T>(record: Option<T>, fields: Map<String, Value>) -> Value {
    record.map_or(Value::Null, |_| Value::Object(fields))
}

/// Leaves out what a record of this strictness does not tell of a field.
fn redact(strictness: Strictness, name: &str, value: &mut Value) {
    let says_something = !value.is_null() && *value != "" && *value != Value::Array(Vec::new());
    let confidential = strictness >= Strictness::Confidential && OF_CONFIDENTIAL.contains(&name);
    let restricted = strictness >= Strictness::Restricted && OF_RESTRICTED.contains(&name);
    if says_something && (confidential || restricted) {
        *value = LEFT_OUT.into();
    } else if name == "webhook_url"
        && let Some(url) = value.as_str()
    {
        *value = host_of(url).into();
    }
}

/// A URL to the end of its host: what stands behind may be a secret, and so may what is before it.
fn host_of(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let more = if end < rest.len() { "/…" } else { "" };
    format!("{scheme}://{host}{more}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pepper() -> Pepper {
        Pepper::new(&[7; 32])
    }

    #[test]
    fn what_differs_is_told_and_hashes_are_not() {
        let pepper = pepper();
        let hash = |byte| Some(pepper.seal_token(&[byte; 8]));
        let old = KeyRecord { name: "a".to_owned(), key_hash: hash(1), ..KeyRecord::default() };
        let new = KeyRecord {
            name: "b".to_owned(),
            key_hash: hash(2),
            previous_key_hash: hash(1),
            webhook_url: "https://u:p@hooks.example.org/T0/secret?x".to_owned(),
            ..KeyRecord::default()
        };
        let (was, is) = key_fields(Some(&old), Some(&new), &pepper);
        assert_eq!(
            was,
            json!({"name": "a", "key_hash": LEFT_OUT, "previous_key_hash": null, "webhook_url": ""})
        );
        assert_eq!(
            is,
            json!({
                "name": "b", "key_hash": LEFT_OUT, "previous_key_hash": LEFT_OUT,
                "webhook_url": "https://hooks.example.org/…"
            })
        );
        let (was, is) = key_fields(None, Some(&old), &pepper);
        assert_eq!((was, is), (Value::Null, json!({"name": "a", "key_hash": LEFT_OUT})));
        let (was, is) = key_fields(Some(&old), None, &pepper);
        assert_eq!((was, is), (json!({"name": "a", "key_hash": LEFT_OUT}), Value::Null));
    }

    #[test]
    fn a_classification_leaves_out_more_and_the_stricter_of_both_counts() {
        let of = |class: &str| KeyRecord {
            name: "n".to_owned(),
            description: "d".to_owned(),
            metadata_json: b"{\"a\":1}".to_vec(),
            data_classification: class.to_owned(),
            ..KeyRecord::default()
        };
        for (before, after, name, description) in [
            (None, "", "n", "d"),
            (None, "internal", "n", "d"),
            (None, "confidential", "n", LEFT_OUT),
            (None, "restricted", LEFT_OUT, LEFT_OUT),
            (Some("restricted"), "public", LEFT_OUT, LEFT_OUT),
        ] {
            let before = before.map(|class| KeyRecord {
                data_classification: class.to_owned(),
                ..KeyRecord::default()
            });
            let (_, is) = key_fields(before.as_ref(), Some(&of(after)), &pepper());
            assert_eq!((&is["name"], &is["description"]), (&name.into(), &description.into()));
            assert_eq!(is["metadata_json"] == LEFT_OUT, description == LEFT_OUT, "{after}");
        }
    }
}
