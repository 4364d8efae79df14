//! What a key, a tier or a tenant may use: limits before they are compiled.

use serde::{Deserialize, Serialize};

use super::limits::{NamedLimit, in_config};
use super::record::KeyView;

/// What a key may use. Absent is unlimited. A tier of the configuration is one of these, and what
/// a key is compiled to: its own limits, and those of its tier for what it leaves unset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowance {
    /// Requests a second, 0 to 2,147,483,647.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests at once, 0 to 2^63 - 1; as many as a second has if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Requests in a calendar day, UTC, 0 to 2,147,483,647.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u32>,
    /// Requests under way at the same time, 0 to 2,147,483,647.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u32>,
    /// Requests in a calendar month, UTC, 0 to 2^63 - 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_request_quota: Option<u64>,
    /// Requests in the key's whole life, 0 to 2^63 - 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u64>,
    /// How long a slot is held that nobody releases, 1 to 86,400;
    /// [`SLOT_TTL_SECONDS_DEFAULT`](super::limits::SLOT_TTL_SECONDS_DEFAULT) if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_ttl_seconds: Option<u32>,
    /// Limits that only requests which name them spend from; at most 16, each name once. What a key
    /// is compiled to may have its own 16 and as many of its tier.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "in_config")]
    pub limits: Vec<NamedLimit>,
}

impl Allowance {
    /// What a record itself says.
    #[must_use]
    pub fn of(record: &KeyView<'_>) -> Self {
        Self {
            requests_per_second: record.requests_per_second,
            burst: record.burst,
            requests_per_day: record.requests_per_day,
            concurrent_requests: record.concurrent_requests,
            monthly_request_quota: record.monthly_request_quota,
            max_uses: record.max_uses,
            slot_ttl_seconds: record.slot_ttl_seconds,
            limits: record.limits.clone(),
        }
    }

    /// These limits, and a tier's for what is unset; of named limits those whose names these lack.
    /// A burst belongs to its rate: whoever states a rate does not get the burst of another one.
    #[must_use]
    pub fn or(self, tier: &Self) -> Self {
        let (rate, burst) = rate_and_burst((self.requests_per_second, self.burst), Some(tier));
        let mut limits = self.limits;
        for limit in &tier.limits {
            if !limits.iter().any(|own| own.name == limit.name) {
                limits.push(limit.clone());
            }
        }
        Self {
            requests_per_second: rate,
            burst,
            requests_per_day: self.requests_per_day.or(tier.requests_per_day),
            concurrent_requests: self.concurrent_requests.or(tier.concurrent_requests),
            monthly_request_quota: self.monthly_request_quota.or(tier.monthly_request_quota),
            max_uses: self.max_uses.or(tier.max_uses),
            slot_ttl_seconds: self.slot_ttl_seconds.or(tier.slot_ttl_seconds),
            limits,
        }
    }
}

/// The rate of a key and its burst: its own, or its tier's where it has none, with its own burst if
/// it has one.
pub(super) fn rate_and_burst(
    (rate, burst): (Option<u32>, Option<u64>),
    tier: Option<&Allowance>,
) -> (Option<u32>, Option<u64>) {
    match tier {
        Some(tier) if rate.is_none() => (tier.requests_per_second, burst.or(tier.burst)),
        _ => (rate, burst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::LimitPeriod;

    #[test]
    fn a_keys_own_named_limits_win_and_its_tier_supplies_the_others() {
        let named = |name: &str, count| NamedLimit {
            name: name.to_owned(),
            count,
            period: LimitPeriod::Rolling { seconds: 60 },
        };
        let tier = Allowance {
            slot_ttl_seconds: Some(30),
            limits: vec![named("exports", 1), named("imports", 2)],
            ..Allowance::default()
        };
        let own = Allowance {
            limits: vec![named("searches", 3), named("exports", 4)],
            ..Allowance::default()
        };
        let merged = own.or(&tier);
        let counts: Vec<_> = merged.limits.iter().map(|it| (it.name.as_str(), it.count)).collect();
        assert_eq!(counts, [("searches", 3), ("exports", 4), ("imports", 2)]);
        assert_eq!(merged.slot_ttl_seconds, Some(30));
        let own = Allowance { slot_ttl_seconds: Some(5), ..Allowance::default() };
        assert_eq!(own.or(&tier).slot_ttl_seconds, Some(5));
    }
}
