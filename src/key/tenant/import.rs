//! Records of tenants from elsewhere: an import carries their standing over, and their history.

use serde_json::{Map, Value};

use super::super::field::{bounded, text, whole};
use super::super::json::canonical;
use super::{STATUS_REASON_BYTES_MAX, TenantRecord, TenantStatus};
use crate::key::{FieldError, RecordInput, Time};

/// The largest revision, an int64's: there is room behind it for all changes to come.
const REVISION_MAX: u64 = i64::MAX as u64;
/// What is true of one daemon alone: an import passes it over.
const OF_ONE_DAEMON: [&str; 3] = ["recorded", "keys", "keys_deleted"];

impl TenantRecord {
    /// A record as another keygate exports it: an object with `id`, the fields of
    /// [`Self::FIELDS_SET`], limits, and those that keygate sets. With it, whether its purge had begun
    /// there: that is not carried over, and the tenant comes as deleted.
    ///
    /// # Errors
    /// [`FieldError`] for an unknown, repeated, ill-typed or missing field, and for a purge that
    /// has begun of a tenant that is not deleted.
    pub fn import(given: RecordInput) -> Result<(Self, bool), FieldError> {
        let (mut record, mut members) = (Self::default(), Map::new());
        let (mut purge_began_at, mut seen) = (None, Vec::new());
        for (given, value) in given.into_members() {
            let field = canonical(&given);
            if seen.contains(&field) {
                return Err(FieldError::of(&given, format!("{field} stands twice")));
            }
            seen.push(field.clone());
            let instant = || instant(&value);
            let read = match field.as_str() {
                "status" => text(&value).and_then(TenantStatus::parse).map(|it| record.status = it),
                "status_reason" => super::read(&mut record.status_reason, &value, |value| {
                    bounded(text(value)?, STATUS_REASON_BYTES_MAX).map(str::to_owned)
                }),
                "created_at" => instant().map(|at| record.created_at = at),
                "updated_at" => instant().map(|at| record.updated_at = at),
                "deleted_at" => instant().map(|at| record.deleted_at = at),
                "purge_began_at" => instant().map(|at| purge_began_at = at),
                "revision" => whole(&value, REVISION_MAX).map(|it| record.revision = it),
                of_daemon if OF_ONE_DAEMON.contains(&of_daemon) => Ok(()),
                _ => {
                    // Those that a writer sets are read as they are from a writer.
                    members.insert(given, value);
                    continue;
                }
            };
            read.map_err(|reason| FieldError::of(&given, reason))?;
        }
        let written = Self::create(Value::Object(members))?;
        if purge_began_at.is_some() && record.deleted_at.is_none() {
            let reason = "its purge has begun, so it is deleted, and it does not say since when";
            return Err(FieldError::of("deleted_at", reason.to_owned()));
        }
        let Self { id, name, description, organization_id, limits, .. } = written;
        let revision = record.revision.max(1);
        let record = Self { id, name, description, organization_id, limits, revision, ..record };
        Ok((record, purge_began_at.is_some()))
    }

    /// Whether two records say the same of a tenant, whenever they were made and changed.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let timeless = |it: &Self| Self {
            created_at: None,
            updated_at: None,
            purge_began_at: None,
            revision: 0,
            import: 0,
            ..it.clone()
        };
        timeless(self) == timeless(other)
    }
}

fn instant(value: &Value) -> Result<Option<Time>, String> {
    if value.is_null() { Ok(None) } else { Time::parse(text(value)?).map(Some) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::TenantLimits;
    use super::*;

    fn import(given: Value) -> Result<(TenantRecord, bool), FieldError> {
        TenantRecord::import(RecordInput::from_value(given).expect("an object"))
    }

    fn whole_record() -> TenantRecord {
        TenantRecord {
            id: "acme".to_owned(),
            organization_id: "holding".to_owned(),
            name: "Acme Ltd".to_owned(),
            description: "makes everything".to_owned(),
            status: TenantStatus::Suspended,
            status_reason: "unpaid".to_owned(),
            created_at: Some(Time::from_micros(1_700_000_000_000_001)),
            updated_at: Some(Time::from_micros(1_800_000_000_000_000)),
            deleted_at: Some(Time::from_micros(1_800_000_000_000_007)),
            revision: 300,
            limits: TenantLimits {
                requests_per_second: Some(2_147_483_647),
                burst: Some(1 << 40),
                requests_per_day: Some(0),
                concurrent_requests: Some(7),
                monthly_request_quota: Some(i64::MAX as u64),
                max_uses: Some(1),
                slot_ttl_seconds: Some(300),
            },
            ..TenantRecord::default()
        }
    }

    #[test]
    fn what_is_exported_is_imported_and_so_is_what_people_are_shown() {
        for record in [
            whole_record(),
            TenantRecord { deleted_at: None, ..whole_record() },
            TenantRecord { revision: 1, ..TenantRecord::unrecorded("a") },
        ] {
            for shown in [record.to_export(), record.to_json(7, 2)] {
                assert_eq!(import(shown), Ok((record.clone(), false)));
            }
        }
        let camel = json!({"id": "a", "organizationId": "b", "deletedAt": "2026-11-01T09:00:00Z"});
        let (read, _) = import(camel).expect("a record");
        assert_eq!((read.organization_id.as_str(), read.revision), ("b", 1));
        assert!(read.deleted_at.is_some());
    }

    #[test]
    fn the_beginning_of_a_purge_is_told_and_not_carried_over() {
        let at = Some(Time::from_micros(9));
        let purged = TenantRecord { purge_began_at: at, ..whole_record() };
        assert_eq!(import(purged.to_export()), Ok((whole_record(), true)));
        let torn = TenantRecord { deleted_at: None, ..purged };
        let refused = import(torn.to_export()).expect_err("it would come as active");
        assert_eq!(refused.field.as_deref(), Some("deleted_at"));
    }

    #[test]
    fn bad_fields_are_refused_by_name() {
        for (given, field, reason) in [
            (json!({"name": "x"}), "id", "missing"),
            (json!({"id": "a/b"}), "id", "not a name"),
            (json!({"id": "a", "colour": "red"}), "colour", "no such field"),
            (json!({"id": "a", "name": "x".repeat(257)}), "name", "at most 256"),
            (json!({"id": "a", "status": "REVOKED"}), "status", "ACTIVE or SUSPENDED"),
            (json!({"id": "a", "status": null}), "status", "null"),
            (json!({"id": "a", "status_reason": "x".repeat(257)}), "status_reason", "at most 256"),
            (json!({"id": "a", "deleted_at": "yesterday"}), "deleted_at", "RFC 3339"),
            (json!({"id": "a", "deleted_at": true}), "deleted_at", "a string"),
            (json!({"id": "a", "revision": -1}), "revision", "whole number"),
            (json!({"id": "a", "revision": u64::MAX}), "revision", "9223372036854775807"),
            (
                json!({"id": "a", "deleted_at": null, "deletedAt": "2026-11-01T09:00:00Z"}),
                "deleted_at",
                "twice",
            ),
        ] {
            let error = import(given.clone()).expect_err(&given.to_string());
            let found = error.field.as_deref().map(canonical);
            assert_eq!(found.as_deref(), Some(field), "{given}");
            assert!(error.reason.contains(reason), "{given}: {error}");
        }
        let twice = r#"{"id": "a", "status": "SUSPENDED", "status": "ACTIVE"}"#;
        let input: RecordInput = serde_json::from_str(twice).expect("an object");
        let error = TenantRecord::import(input).expect_err("which of the two?");
        assert!(error.reason.contains("twice"), "{error}");
    }

    #[test]
    fn times_and_revisions_say_nothing_of_how_a_tenant_stands() {
        let record = whole_record();
        let at = Some(Time::from_micros(5));
        let later = TenantRecord { created_at: at, updated_at: at, revision: 4, ..record.clone() };
        assert!(record.says_the_same(&later));
        for other in [
            TenantRecord { name: String::new(), ..record.clone() },
            TenantRecord { status: TenantStatus::Active, ..record.clone() },
            TenantRecord { status_reason: String::new(), ..record.clone() },
            TenantRecord { deleted_at: at, ..record.clone() },
            TenantRecord { deleted_at: None, ..record.clone() },
            TenantRecord { limits: TenantLimits::default(), ..record.clone() },
        ] {
            assert!(!record.says_the_same(&other), "{other:?}");
        }
    }
}
