//! Records in the source system's JSON: names in snake_case or camelCase, nothing unknown, nothing
//! twice.

use std::collections::{HashMap, HashSet};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::digest::Pepper;
use super::field::percent;
use super::form::RESTRICTED;
use super::record::{Class, FieldSpec, KeyRecord, TENANT_DEFAULT};

/// Why a record was refused: the field, where one is at fault, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
pub struct FieldError {
    /// The field's name as it was given.
    pub field: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldError {
    /// An error of one field.
    pub fn of(field: &str, reason: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), reason: reason.into() }
    }
}

/// The members of one JSON object in their order, so that a name that stands twice is seen.
#[derive(Debug, Clone, Default)]
pub struct RecordInput(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for RecordInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RecordInput;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a record: an object of fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RecordInput, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RecordInput(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl RecordInput {
    /// The members of an object that was parsed already.
    ///
    /// # Errors
    /// [`FieldError`] when it is no object.
    pub fn from_value(value: Value) -> Result<Self, FieldError> {
        match value {
            Value::Object(members) => Ok(Self(members.into_iter().collect())),
            _ => Err(FieldError { field: None, reason: "a record is a JSON object".to_owned() }),
        }
    }

    /// Gives a field a text unless it is named already, in whatever spelling.
    pub fn set_if_absent(&mut self, name: &'static str, text: &str) {
        if !self.names(name) {
            self.0.push((name.to_owned(), text.into()));
        }
    }

    /// The text of a field, in whatever spelling; `None` where it is absent or no text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| canonical(given) == name)?.1.as_str()
    }

    /// Every member, in order.
    pub(super) fn into_members(self) -> Vec<(String, Value)> {
        self.0
    }

    /// Whether a field is named, in whatever spelling.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| canonical(given) == name)
    }

    /// Puts right, on the way in, what can only be meant one way, and says so in a line for each: a
    /// threshold of an import that is a percentage, and a `restricted` record that is not encrypted.
    /// `before` is the record that an update changes.
    pub fn put_right(&mut self, on_import: bool, before: Option<&KeyRecord>) -> Vec<String> {
        let mut notices = Vec::new();
        for (given, value) in &mut self.0 {
            let threshold =
                ["quota_alert_threshold", "error_alert_threshold"].contains(&&*canonical(given));
            if let Some(share) = percent(value).filter(|_| on_import && threshold) {
                notices.push(format!("{given}: {value} was taken as a percentage: {share}"));
                *value = share.into();
            }
        }
        let given = |name| self.0.iter().find(|(given, _)| canonical(given) == name);
        let restricted = match given("data_classification") {
            Some((_, class)) => class == RESTRICTED,
            None => before.is_some_and(|record| record.data_classification == RESTRICTED),
        };
        let encrypted = match given("encrypted") {
            Some((_, encrypted)) => encrypted == true,
            None => before.is_some_and(|record| record.encrypted),
        };
        if restricted && !encrypted {
            // `complete` sets it.
            notices.push("data_classification is restricted, so encrypted was set".to_owned());
        }
        notices
    }

    /// Only the fields that a mask names, in whatever spelling: whatever else is there is passed
    /// over, and what is named and not there is cleared.
    ///
    /// # Errors
    /// [`FieldError`] for an empty mask, a name that is no field, that keygate derives or that
    /// stands twice; and for such a name among the members, derived fields excepted.
    pub fn masked(self, mask: &[String]) -> Result<Self, FieldError> {
        if mask.is_empty() {
            return Err(FieldError::of("mask", "it is empty; it names the fields to change"));
        }
        let mut members = HashMap::new();
        for (given, value) in self.0 {
            let spec = spec_of(&given)?;
            if members.insert(spec.name, (given.clone(), value)).is_some() {
                return Err(FieldError::of(&given, format!("{} stands twice", spec.name)));
            }
        }
        let mut masked: Vec<(String, Value)> = Vec::with_capacity(mask.len());
        let mut named = HashSet::new();
        for given in mask {
            let spec = spec_of(given)?;
            if spec.class == Class::Derived {
                return Err(FieldError::of(given, "keygate sets it; leave it out of the mask"));
            }
            if !named.insert(spec.name) {
                return Err(FieldError::of(given, "it stands twice in the mask"));
            }
            masked.push(members.remove(spec.name).unwrap_or((given.clone(), Value::Null)));
        }
        Ok(Self(masked))
    }

    /// A record to import: every field is carried over. The id and the hash must be there.
    ///
    /// # Errors
    /// [`FieldError`] for an unknown, repeated, ill-typed or missing field.
    pub fn import(self, pepper: &Pepper) -> Result<KeyRecord, FieldError> {
        let mut record = KeyRecord::default();
        self.apply(&mut record, pepper, |_| true)?;
        if record.id == 0 {
            return Err(FieldError::of("id", "it is missing; an imported record keeps its id"));
        }
        if record.key_hash.is_none() {
            return Err(FieldError::of(
                "key_hash",
                "it is missing; without the token's SHA-256 nothing could validate. \
                 `key create --from` makes a record with a new token",
            ));
        }
        record.complete()
    }

    /// A record to create: the fields that keygate derives are passed over and named.
    ///
    /// # Errors
    /// [`FieldError`] for an unknown, repeated or ill-typed field.
    pub fn create(self, pepper: &Pepper) -> Result<(KeyRecord, Vec<String>), FieldError> {
        let mut record = KeyRecord::default();
        let passed_over = self.apply(&mut record, pepper, |class| class != Class::Derived)?;
        record
            .status
            .may_be_first()
            .map_err(|error| FieldError::of("status", error.to_string()))?;
        Ok((record.complete()?, passed_over))
    }

    /// Changes a record.
    ///
    /// # Errors
    /// [`FieldError`] for an unknown, repeated or ill-typed field, one that keygate derives, and
    /// for `status`, which has a request of its own.
    pub fn update(self, before: &KeyRecord, pepper: &Pepper) -> Result<KeyRecord, FieldError> {
        let mut record = before.clone();
        let passed_over = self.apply(&mut record, pepper, |class| class != Class::Derived)?;
        if let Some(field) = passed_over.first() {
            return Err(FieldError::of(field, "keygate sets it; leave it out"));
        }
        if record.status != before.status {
            return Err(FieldError::of(
                "status",
                "it changes by `key suspend`, `key resume`, `key revoke` and `key set-status`, not by \
                 an update",
            ));
        }
        record.complete()
    }

    /// Sets each member whose class is taken; answers the names of the others.
    fn apply(
        self,
        record: &mut KeyRecord,
        pepper: &Pepper,
        takes: impl Fn(Class) -> bool,
    ) -> Result<Vec<String>, FieldError> {
        let mut seen = HashSet::new();
        let mut passed_over = Vec::new();
        for (given, value) in self.0 {
            let spec = spec_of(&given)?;
            if !seen.insert(spec.name) {
                return Err(FieldError::of(&given, format!("{} stands twice", spec.name)));
            }
            if !takes(spec.class) {
                // What is not set anyway need not be mentioned.
                if !is_blank(&value) {
                    passed_over.push(given);
                }
                continue;
            }
            if let Some(Err(reason)) = record.set(spec.name, &value, pepper) {
                return Err(FieldError::of(&given, reason));
            }
        }
        Ok(passed_over)
    }
}

impl KeyRecord {
    /// What must hold between fields, whoever wrote them.
    fn complete(mut self) -> Result<Self, FieldError> {
        if self.tenant_id.is_empty() {
            TENANT_DEFAULT.clone_into(&mut self.tenant_id);
        }
        self.encrypted |= self.data_classification == RESTRICTED;
        if self.burst.is_some() && self.requests_per_second.is_none() {
            return Err(FieldError::of("burst", "it needs requests_per_second beside it"));
        }
        if self.previous_key_hash.is_some() != self.previous_key_ends_at.is_some() {
            return Err(FieldError::of(
                "previous_key_hash",
                "it and previous_key_ends_at stand together",
            ));
        }
        Ok(self)
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::String(text) => text.is_empty() || text == "0",
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

/// The field of this name, in either spelling.
fn spec_of(given: &str) -> Result<&'static FieldSpec, FieldError> {
    let name = canonical(given);
    let spec = KeyRecord::FIELDS.iter().find(|spec| spec.name == name);
    spec.ok_or_else(|| FieldError::of(given, "no such field"))
}

/// The field's name in snake_case, with the aliases of later revisions of the source model.
pub(super) fn canonical(given: &str) -> String {
    let mut name = String::with_capacity(given.len() + 4);
    for char in given.chars() {
        if char.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(char.to_ascii_lowercase());
    }
    if name == "rate_limit" { "requests_per_second".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
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
            (
                json!({"requests_per_second": 2_147_483_648_u64}),
                "requests_per_second",
                "2147483647",
            ),
            (json!({"monthly_request_quota": ""}), "monthly_request_quota", "whole number"),
            (json!({"expires_at": "soon"}), "expires_at", "RFC 3339"),
            (json!({"metadata_json": "%%"}), "metadata_json", "base64"),
            (json!({"metadata_json": "e30x"}), "metadata_json", "not JSON"),
            (json!({"scopes": ["a b"]}), "scopes", "entry 1"),
            (json!({"tags": "a"}), "tags", "a list of strings"),
            (json!({"status": "GONE"}), "status", "not a status"),
            (
                json!({"rotation_frequency_days": 36_501}),
                "rotation_frequency_days",
                "from 0 to 36500",
            ),
            (json!({"status_reason_code": "stolen"}), "status_reason_code", "key_compromise"),
            (json!({"key_hash": "abc"}), "key_hash", "64 hexadecimal"),
            (json!({"tenant_id": "a/b"}), "tenant_id", "not a name"),
            (json!({"burst": 1}), "burst", "requests_per_second"),
            (json!({"cost_per_request": -1}), "cost_per_request", "a number from 0"),
            (json!({"cost_per_request": 0.000_000_000_1}), "cost_per_request", "nine decimals"),
            (json!({"cost_per_request": 1_000_001}), "cost_per_request", "to 1000000"),
            (
                json!({"allowed_ips": ["::1", "10.0.0.1/8"]}),
                "allowed_ips",
                "entry 2: \"10.0.0.1/8\"",
            ),
            (
                json!({"allowed_domains": ["a.example:80"]}),
                "allowed_domains",
                "entry 1: \"a.example",
            ),
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
            (
                json!({"client_certificate_hash": "ab:cd"}),
                "client_certificate_hash",
                "without colons",
            ),
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
}
