//! Tenants: what keys belong to, with a record and a status of their own.
//!
//! A tenant exists as soon as a key names it. A record gives it a name for people, and a status
//! that stands above those of its keys: what is denied here is denied to all of them at once.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

mod import;
mod limits;

pub use limits::TenantLimits;

use super::field::{bounded, name, text};
use super::json::canonical;
use super::{FieldError, Time};

/// Longest name of a tenant for people, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Longest description of a tenant, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Longest reason for a status, in bytes.
pub const STATUS_REASON_BYTES_MAX: usize = 256;
/// Longest record of a tenant as JSON: one whose every byte is written as `\u0000` has less.
pub const TENANT_JSON_BYTES_MAX: usize = 32 * 1024;

/// Whether a tenant's keys pass, as far as the tenant is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TenantStatus {
    /// They do.
    #[default]
    Active,
    /// They are denied, for now.
    Suspended,
}

impl TenantStatus {
    /// Every status.
    pub const ALL: [Self; 2] = [Self::Active, Self::Suspended];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
        }
    }

    /// Reads a name, with or without the `STATUS_` that keys' states have.
    ///
    /// # Errors
    /// One line that lists the names.
    pub fn parse(given: &str) -> Result<Self, String> {
        let bare = given.strip_prefix("STATUS_").unwrap_or(given);
        let known = Self::ALL.into_iter().find(|status| status.name() == bare);
        known.ok_or_else(|| {
            format!("{given:?} is not a status of a tenant; it is ACTIVE or SUSPENDED")
        })
    }
}

/// How a tenant stands: what decisions need to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum TenantState {
    /// Its keys are judged by themselves.
    #[default]
    Active,
    /// Its keys are denied.
    Suspended,
    /// Its keys are unknown.
    Deleted,
}

/// What is kept of a tenant. On disk inside an envelope (`store/`), so the order of the fields is
/// the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TenantRecord {
    /// What keys have in `tenant_id`: 1 to 64 letters, digits, `.`, `_`, `-`.
    pub id: String,
    /// The organization that it belongs to; a name, or empty.
    pub organization_id: String,
    /// A name for people, at most 256 bytes.
    pub name: String,
    /// What it is, at most 4,096 bytes.
    pub description: String,
    /// Whether its keys pass.
    pub status: TenantStatus,
    /// Why it is in this status.
    pub status_reason: String,
    /// When the record was made.
    pub created_at: Option<Time>,
    /// When it was last changed.
    pub updated_at: Option<Time>,
    /// When it was deleted; its keys are unknown from then on.
    pub deleted_at: Option<Time>,
    /// When its purge began. From then on some of its keys may be gone, so it is not restored; a
    /// purge that was cut short goes on.
    pub purge_began_at: Option<Time>,
    /// Counts the changes of the record, from 1; 0 is that of a tenant without a record.
    pub revision: u64,
    /// The import that brought it, 0 for none: it is there once that import is whole. Since
    /// schema 2.
    pub import: u64,
    /// What its keys may use together. Since schema 3.
    pub limits: TenantLimits,
}

impl TenantRecord {
    /// The fields that its writer sets, beside [`TenantLimits::FIELDS`].
    pub const FIELDS_SET: [&str; 3] = ["name", "description", "organization_id"];
    /// Those that keygate sets.
    pub const FIELDS_DERIVED: [&str; 11] = [
        "id",
        "status",
        "status_reason",
        "created_at",
        "updated_at",
        "deleted_at",
        "purge_began_at",
        "revision",
        "recorded",
        "keys",
        "keys_deleted",
    ];

    /// A tenant that has no record yet: active, of revision 0.
    #[must_use]
    pub fn unrecorded(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    /// How it stands for decisions.
    #[must_use]
    pub const fn state(&self) -> TenantState {
        match (self.deleted_at, self.status) {
            (Some(_), _) => TenantState::Deleted,
            (None, TenantStatus::Suspended) => TenantState::Suspended,
            (None, TenantStatus::Active) => TenantState::Active,
        }
    }

    /// A record to create, from an object with `id`, the fields of [`Self::FIELDS_SET`] and limits.
    ///
    /// # Errors
    /// [`FieldError`] for an unknown, repeated, ill-typed or missing field, and for one that
    /// keygate sets.
    pub fn create(given: Value) -> Result<Self, FieldError> {
        let mut members = object(given)?;
        let id = members.remove("id").ok_or_else(|| {
            FieldError::of("id", "it is missing; it is what keys have in tenant_id")
        })?;
        let id = read_id(&id).map_err(|reason| FieldError::of("id", reason))?;
        Self::unrecorded(&id).apply(members)
    }

    /// The record with some of the fields of [`Self::FIELDS_SET`] or limits changed; `null` clears
    /// one.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn update(self, set: Value) -> Result<Self, FieldError> {
        let members = object(set)?;
        if members.is_empty() {
            let reason = format!("nothing to change: one of {}", fields_set());
            return Err(FieldError { field: None, reason });
        }
        self.apply(members)
    }

    fn apply(mut self, members: Map<String, Value>) -> Result<Self, FieldError> {
        let mut seen = Vec::new();
        for (given, value) in members {
            let field = canonical(&given);
            let read = match field.as_str() {
                "name" => read(&mut self.name, &value, |value| {
                    bounded(text(value)?, NAME_BYTES_MAX).map(str::to_owned)
                }),
                "description" => read(&mut self.description, &value, |value| {
                    bounded(text(value)?, DESCRIPTION_BYTES_MAX).map(str::to_owned)
                }),
                "organization_id" => read(&mut self.organization_id, &value, name),
                derived if Self::FIELDS_DERIVED.contains(&derived) => {
                    Err(refusal_of(derived).to_owned())
                }
                other => self.limits.set(other, &value).unwrap_or_else(|| {
                    Err(format!("no such field; it is one of {}", fields_set()))
                }),
            };
            read.map_err(|reason| FieldError::of(&given, reason))?;
            if seen.contains(&field) {
                return Err(FieldError::of(&given, format!("{field} stands twice")));
            }
            seen.push(field);
        }
        self.limits.check()?;
        Ok(self)
    }

    /// Whether two records have the same fields of a writer.
    #[must_use]
    pub fn has_the_fields_of(&self, other: &Self) -> bool {
        let texts = |it: &Self| [&it.name, &it.description, &it.organization_id].map(String::clone);
        texts(self) == texts(other) && self.limits == other.limits
    }

    /// The record as JSON, with the number of its keys; `recorded` is false of a tenant that only
    /// keys name.
    #[must_use]
    pub fn to_json(&self, keys: u64, keys_deleted: u64) -> Value {
        let mut shown = self.to_export();
        shown["recorded"] = (self.revision > 0).into();
        shown["keys"] = keys.into();
        shown["keys_deleted"] = keys_deleted.into();
        shown
    }

    /// The record as JSON, without what is true of one daemon alone.
    #[must_use]
    pub fn to_export(&self) -> Value {
        let time = |time: Option<Time>| time.map(|time| time.to_string());
        let mut shown = json!({
            "id": self.id,
            "organization_id": self.organization_id,
            "name": self.name,
            "description": self.description,
            "status": self.status.name(),
            "status_reason": self.status_reason,
            "created_at": time(self.created_at),
            "updated_at": time(self.updated_at),
            "deleted_at": time(self.deleted_at),
            "purge_began_at": time(self.purge_began_at),
            "revision": self.revision,
        });
        if let Some(members) = shown.as_object_mut() {
            self.limits.write(members);
        }
        shown
    }
}

/// Reads the id of a tenant: a name that is not empty.
///
/// # Errors
/// One line that says what a name is.
pub fn read_id(value: &Value) -> Result<String, String> {
    let id = name(value)?;
    if id.is_empty() { Err("it is empty".to_owned()) } else { Ok(id) }
}

/// The names of what a writer sets.
fn fields_set() -> String {
    [&TenantRecord::FIELDS_SET[..], &TenantLimits::FIELDS].concat().join(", ")
}

fn refusal_of(field: &str) -> &'static str {
    match field {
        "id" => "a tenant keeps its id: keys name it by that",
        "status" | "status_reason" => {
            "it changes by `tenant suspend` and `tenant resume`, not with the record"
        }
        "deleted_at" | "purge_began_at" => "it changes by `tenant delete` and `tenant restore`",
        _ => "keygate sets it; leave it out",
    }
}

fn object(value: Value) -> Result<Map<String, Value>, FieldError> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(FieldError { field: None, reason: "a tenant is a JSON object".to_owned() }),
    }
}

/// Reads one field; `null` is its default.
fn read(
    field: &mut String,
    value: &Value,
    read: impl FnOnce(&Value) -> Result<String, String>,
) -> Result<(), String> {
    *field = if value.is_null() { String::new() } else { read(value)? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_made_and_changed_by_its_fields() {
        let given = json!({"id": "acme", "name": "Acme Ltd", "organizationId": "holding"});
        let record = TenantRecord::create(given).expect("a record");
        assert_eq!((record.id.as_str(), record.name.as_str()), ("acme", "Acme Ltd"));
        assert_eq!(record.organization_id, "holding");
        let set = json!({"name": null, "description": "makes everything"});
        let changed = record.update(set).expect("a change");
        assert_eq!((changed.name.as_str(), changed.description.as_str()), ("", "makes everything"));
        assert_eq!(changed.organization_id, "holding", "what is not named stays");
        let shown = changed.to_json(7, 2);
        let names: Vec<&str> =
            shown.as_object().expect("an object").keys().map(String::as_str).collect();
        let known = TenantRecord::FIELDS_SET.iter().chain(&TenantLimits::FIELDS);
        let known = known.chain(&TenantRecord::FIELDS_DERIVED);
        let mut known: Vec<&str> = known.copied().collect();
        known.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, known, "every field that is shown may be set or is refused by name");
        assert_eq!((&shown["keys"], &shown["keys_deleted"]), (&json!(7), &json!(2)));
    }

    #[test]
    fn bad_fields_are_refused_by_name() {
        for (given, field, reason) in [
            (json!({"name": "x"}), "id", "missing"),
            (json!({"id": ""}), "id", "empty"),
            (json!({"id": 7}), "id", "a string, not a number"),
            (json!({"id": "a/b"}), "id", "not a name"),
            (json!({"id": "x".repeat(65)}), "id", "not a name"),
            (json!({"id": "a", "colour": "red"}), "colour", "name, description, organization_id"),
            (json!({"id": "a", "name": "x".repeat(257)}), "name", "at most 256"),
            (json!({"id": "a", "description": "x".repeat(4097)}), "description", "at most 4096"),
            (json!({"id": "a", "organization_id": "a b"}), "organization_id", "not a name"),
            (
                json!({"id": "a", "organization_id": "b", "organizationId": "b"}),
                "organization_id",
                "twice",
            ),
            (json!({"id": "a", "status": "SUSPENDED"}), "status", "tenant suspend"),
            (json!({"id": "a", "revision": 4}), "revision", "keygate sets it"),
            (json!({"id": "a", "deleted_at": null}), "deleted_at", "tenant delete"),
        ] {
            let error = TenantRecord::create(given.clone()).expect_err(&given.to_string());
            assert_eq!(error.field.as_deref(), Some(field), "{given}");
            assert!(error.reason.contains(reason), "{given}: {error}");
        }
        let record = TenantRecord::unrecorded("a");
        let moved = record.clone().update(json!({"id": "b"})).expect_err("it keeps its id");
        assert!(moved.to_string().contains("keeps its id"), "{moved}");
        assert!(record.clone().update(json!({})).is_err());
        assert!(record.update(json!([])).is_err());
    }

    #[test]
    fn a_deleted_tenant_is_deleted_whatever_its_status() {
        let at = Some(Time::from_micros(1));
        for (deleted_at, status, state) in [
            (None, TenantStatus::Active, TenantState::Active),
            (None, TenantStatus::Suspended, TenantState::Suspended),
            (at, TenantStatus::Active, TenantState::Deleted),
            (at, TenantStatus::Suspended, TenantState::Deleted),
        ] {
            let record = TenantRecord { deleted_at, status, ..TenantRecord::default() };
            assert_eq!(record.state(), state);
        }
    }

    #[test]
    fn every_status_is_read_back_with_and_without_its_prefix() {
        for status in TenantStatus::ALL {
            assert_eq!(TenantStatus::parse(status.name()), Ok(status));
            assert_eq!(TenantStatus::parse(&format!("STATUS_{}", status.name())), Ok(status));
        }
        let refused = TenantStatus::parse("REVOKED").expect_err("keys have that");
        assert!(refused.contains("ACTIVE or SUSPENDED"), "{refused}");
    }
}
