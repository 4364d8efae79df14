//! The limits of a tenant: what all its keys may use together.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::TenantRecord;
use crate::key::field::{number_from, whole};
use crate::key::limits::{COUNT_MAX, SLOT_TTL_SECONDS_MAX, check_burst};
use crate::key::{Allowance, FieldError};

/// What the keys of a tenant may use together, beside what each may use itself. Absent is
/// unlimited. The order of the fields is the order of their bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TenantLimits {
    /// Requests a second, 0 to 2,147,483,647.
    pub requests_per_second: Option<u32>,
    /// Requests at once, 0 to 2^63 - 1; as many as a second has if absent.
    pub burst: Option<u64>,
    /// Requests in a calendar day, UTC, 0 to 2,147,483,647.
    pub requests_per_day: Option<u32>,
    /// Requests under way at the same time, 0 to 2,147,483,647.
    pub concurrent_requests: Option<u32>,
    /// Requests in a calendar month, UTC, 0 to 2^63 - 1.
    pub monthly_request_quota: Option<u64>,
    /// Requests in all, 0 to 2^63 - 1.
    pub max_uses: Option<u64>,
    /// How long a slot of a key that says nothing itself, nor has a tier that does, is held that
    /// nobody releases, 1 to 86,400.
    pub slot_ttl_seconds: Option<u32>,
}

impl TenantLimits {
    /// The fields, as a key's record calls them too.
    pub const FIELDS: [&str; 7] = [
        "requests_per_second",
        "burst",
        "requests_per_day",
        "concurrent_requests",
        "monthly_request_quota",
        "max_uses",
        "slot_ttl_seconds",
    ];

    /// Sets a field from its JSON; `null` clears it. `None` when there is no such field.
    pub(super) fn set(&mut self, field: &str, value: &Value) -> Option<Result<(), String>> {
        let read = match field {
            "requests_per_second" => read(&mut self.requests_per_second, value, int32),
            "burst" => read(&mut self.burst, value, int64),
            "requests_per_day" => read(&mut self.requests_per_day, value, int32),
            "concurrent_requests" => read(&mut self.concurrent_requests, value, int32),
            "monthly_request_quota" => read(&mut self.monthly_request_quota, value, int64),
            "max_uses" => read(&mut self.max_uses, value, int64),
            "slot_ttl_seconds" => {
                read(&mut self.slot_ttl_seconds, value, number_from::<1, SLOT_TTL_SECONDS_MAX>)
            }
            _ => return None,
        };
        Some(read)
    }

    /// Shows what must hold between the fields.
    pub(super) fn check(&self) -> Result<(), FieldError> {
        check_burst(self.requests_per_second, self.burst)
            .map_err(|reason| FieldError::of("burst", reason))
    }

    /// What whoever writes these should know.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let notice = match (self.requests_per_second, self.burst) {
            (Some(0), _) => {
                "requests_per_second is 0: every request of the tenant's keys is denied; leave it \
                 out for no limit"
            }
            (None, Some(_)) => {
                "burst does nothing by itself: the tenant has no requests_per_second"
            }
            _ => return Vec::new(),
        };
        vec![notice.to_owned()]
    }

    /// The fields as JSON, each as a key's record has it.
    pub(super) fn write(&self, members: &mut Map<String, Value>) {
        let text = |number: Option<u64>| json!(number.map(|number| number.to_string()));
        let fields = [
            ("requests_per_second", json!(self.requests_per_second)),
            ("burst", json!(self.burst)),
            ("requests_per_day", json!(self.requests_per_day)),
            ("concurrent_requests", json!(self.concurrent_requests)),
            ("monthly_request_quota", text(self.monthly_request_quota)),
            ("max_uses", text(self.max_uses)),
            ("slot_ttl_seconds", json!(self.slot_ttl_seconds)),
        ];
        members.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
}

impl TenantRecord {
    /// What its keys may use together.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        let limits = self.limits;
        Allowance {
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            requests_per_day: limits.requests_per_day,
            concurrent_requests: limits.concurrent_requests,
            monthly_request_quota: limits.monthly_request_quota,
            max_uses: limits.max_uses,
            slot_ttl_seconds: limits.slot_ttl_seconds,
            limits: Vec::new(),
        }
    }
}

fn read<T>(
    field: &mut Option<T>,
    value: &Value,
    read: impl FnOnce(&Value) -> Result<Option<T>, String>,
) -> Result<(), String> {
    *field = if value.is_null() { None } else { read(value)? };
    Ok(())
}

fn int32(value: &Value) -> Result<Option<u32>, String> {
    Ok(u32::try_from(whole(value, i32::MAX as u64)?).ok())
}

fn int64(value: &Value) -> Result<Option<u64>, String> {
    whole(value, COUNT_MAX).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_cleared_and_written_as_those_of_a_key() {
        let given = json!({
            "id": "acme", "requests_per_second": 5, "burst": "50", "requestsPerDay": "7",
            "concurrent_requests": 0, "monthly_request_quota": 9_223_372_036_854_775_807_u64,
            "max_uses": "3", "slot_ttl_seconds": 86400,
        });
        let record = TenantRecord::create(given).expect("a record");
        let expected = TenantLimits {
            requests_per_second: Some(5),
            burst: Some(50),
            requests_per_day: Some(7),
            concurrent_requests: Some(0),
            monthly_request_quota: Some(COUNT_MAX),
            max_uses: Some(3),
            slot_ttl_seconds: Some(86_400),
        };
        assert_eq!(record.limits, expected);
        let shown = record.to_export();
        for (field, value) in [
            ("requests_per_second", json!(5)),
            ("burst", json!(50)),
            ("monthly_request_quota", json!("9223372036854775807")),
            ("max_uses", json!("3")),
        ] {
            assert_eq!(shown[field], value, "{field}");
        }
        let allowance = record.allowance();
        assert_eq!((allowance.burst, allowance.max_uses), (Some(50), Some(3)));
        assert_eq!(allowance.slot_ttl_seconds, Some(86_400));
        for field in TenantLimits::FIELDS {
            let cleared = record.clone().update(json!({ field: null })).expect(field);
            assert!(cleared.to_export()[field].is_null(), "{field}");
            assert!(!record.to_export()[field].is_null(), "{field}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_its_field() {
        for (given, field, reason) in [
            (json!({"requests_per_second": -1}), "requests_per_second", "0 to 2147483647"),
            (json!({"requests_per_day": 2_147_483_648_u64}), "requests_per_day", "0 to 2147483647"),
            (json!({"max_uses": 1.5}), "max_uses", "whole number"),
            (json!({"monthly_request_quota": u64::MAX}), "monthly_request_quota", "whole number"),
            (json!({"slot_ttl_seconds": 0}), "slot_ttl_seconds", "1 to 86400"),
            (json!({"slot_ttl_seconds": 86401}), "slot_ttl_seconds", "1 to 86400"),
            (json!({"requests_per_second": 1, "burst": COUNT_MAX}), "burst", "584 years"),
            (json!({"limits": []}), "limits", "no such field"),
        ] {
            let record = TenantRecord::unrecorded("a");
            let error = record.update(given.clone()).expect_err(&given.to_string());
            assert_eq!(error.field.as_deref(), Some(field), "{given}");
            assert!(error.reason.contains(reason), "{given}: {error}");
        }
    }
}
