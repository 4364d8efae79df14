//! Records in the source system's JSON: names in snake_case or camelCase, nothing unknown, nothing
//! twice.

use std::collections::{HashMap, HashSet};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::digest::Pepper;
use super::field::percent;
use super::form::RESTRICTED;
use super::limits::check_burst;
use super::record::{Class, FieldSpec, KeyRecord, TENANT_DEFAULT};
use super::signing::untold;

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
    /// threshold of an import that is a percentage, a shared secret that an import only names, and a
    /// `restricted` record that is not encrypted.
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
            if on_import && canonical(given) == "signing_keys" {
                notices.extend(untold(value).map(|id| {
                    format!(
                        "{given}: the shared secret {id:?} is in no export, so it was left out; add \
                         one anew: `keygate key signing add ID --key-id {id} --shared-secret`"
                    )
                }));
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

    /// The record of a key whose tokens are of no interest: as [`Self::import`], but it may have no
    /// hash, and what it has of its tokens, and of the proofs that it demands beside them, is left
    /// out.
    ///
    /// # Errors
    /// [`FieldError`] for an unknown, repeated or ill-typed field, and for a missing id.
    pub fn import_without_token(self, pepper: &Pepper) -> Result<KeyRecord, FieldError> {
        let mut record = KeyRecord::default();
        self.apply(&mut record, pepper, |_| true)?;
        if record.id == 0 {
            return Err(FieldError::of("id", "it is missing; the record of a key has it"));
        }
        record.key_hash = None;
        (record.previous_key_hash, record.previous_key_ends_at) = (None, None);
        record.client_secret_hash = None;
        record.drop_previous_client_secret();
        (record.requires_client_secret, record.enforce_mutual_tls) = (false, false);
        (record.enforce_signing, record.require_request_signing) = (false, false);
        record.signing_keys.clear();
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
        // Against its tier's rate it is checked by the rules, which know that.
        check_burst(self.requests_per_second, self.burst)
            .map_err(|reason| FieldError::of("burst", reason))?;
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
pub(crate) fn canonical(given: &str) -> String {
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
mod tests;
