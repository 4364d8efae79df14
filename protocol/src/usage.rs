//! The JSON of what was used: the replies to `KeyUsage` and `TenantUsage` (SPEC §9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One endpoint of a key's usage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointUsage {
    /// As the caller names it; `(other)` beyond the bound.
    pub endpoint: String,
    /// Reported requests.
    pub requests: u64,
    /// Of these, with a status of 400 or above or an error text.
    pub errors: u64,
    /// Mean of the reported latencies, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_response_time: Option<f64>,
}

/// One recent error of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentError {
    /// When it was reported, RFC 3339.
    pub at: String,
    /// Which endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Which status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The text, at most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The reply to `KeyUsage`. Totals include what an import carried over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyUsage {
    /// The key's id, in decimal.
    pub key_id: String,
    /// Valid verdicts.
    pub total_requests: u64,
    /// When the last one was given, RFC 3339.
    pub last_used_at: Option<String>,
    /// Requests reported by `Increment`.
    pub reported_requests: u64,
    /// Of these, errors.
    pub total_errors: u64,
    /// Of these, no errors.
    pub successful_requests_count: u64,
    /// Share of successes among the reported, 0 to 1.
    pub success_rate: Option<f64>,
    /// Mean of the reported latencies, in milliseconds.
    pub average_response_time: Option<f64>,
    /// Since the key came to this daemon, most requested first.
    pub endpoints: Vec<EndpointUsage>,
    /// Reported requests by status, since the key came to this daemon.
    pub statuses: BTreeMap<String, u64>,
    /// The last 32, oldest first.
    pub recent_errors: Vec<RecentError>,
    /// How the key's limits stand.
    #[serde(default)]
    pub limits: Vec<LimitUsage>,
    /// Where one of the valid verdicts of about the last second before `last_used_at` came from, if
    /// the caller stated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_from: Option<String>,
    /// All sums since the key came to this daemon.
    #[serde(default)]
    pub sums: UsageSums,
}

/// What was used in some time: sums, and what follows from them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSums {
    /// Valid verdicts.
    pub requests: u64,
    /// The units that they cost.
    pub units: u64,
    /// What these cost in money: a decimal number with up to nine decimals.
    pub cost: String,
    /// Denied verdicts.
    pub denied: u64,
    /// The same by the name of their code.
    pub denials: BTreeMap<String, u64>,
    /// Reported requests.
    pub reported_requests: u64,
    /// Of these, errors.
    pub errors: u64,
    /// Reported requests by status; `0` for those beyond the bound.
    pub statuses: BTreeMap<String, u64>,
    /// Mean of the reported latencies, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_response_time: Option<f64>,
    /// Half of them took no longer, in milliseconds; at most 6.25 % off, as the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// Nine tenths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90_ms: Option<f64>,
    /// 99 of a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// The counters of the reports' own, by name.
    pub counters: BTreeMap<String, u64>,
}

/// By what a history is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// By the hour, for the last 48 hours.
    Hour,
    /// By the day, UTC, for the last 400 days.
    Day,
}

/// `UsageHistory`: of a key, of a tenant, or of the whole daemon where it names neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageHistoryRequest {
    /// A key's id, in decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Answer for a deleted key too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// A tenant's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// By what.
    pub by: Span,
    /// From the hour or day on that this instant is in, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Before this instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// The reply to `UsageHistory`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageHistory {
    /// All that was counted since the key or the tenant came to this daemon.
    pub total: UsageSums,
    /// Hours or days in which something was counted, by time.
    pub spans: Vec<UsageSpan>,
    /// Where a reply would have been too long: ask again with this as `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One hour or day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageSpan {
    /// When it began, RFC 3339.
    pub start: String,
    /// What was used in it.
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// By what keys are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopBy {
    /// Valid verdicts.
    Requests,
    /// Their units.
    Units,
    /// Their cost in money.
    Cost,
    /// Denied verdicts.
    Denials,
    /// Reported errors.
    Errors,
}

/// Most keys of one `UsageTop`; at least 1.
pub const TOP_MAX: u32 = 1000;

/// `UsageTop`: the keys with the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageTopRequest {
    /// Of what.
    pub by: TopBy,
    /// How many, 1 to [`TOP_MAX`].
    pub limit: u32,
    /// Of one tenant alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// In the hours or days from this instant on, RFC 3339; ever where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// The reply to `UsageTop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageTop {
    /// The most first. Those with nothing of it are left out.
    pub keys: Vec<TopKey>,
}

/// One key of a `UsageTop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopKey {
    /// Its id, in decimal.
    pub key_id: String,
    /// Its tenant.
    pub tenant_id: String,
    /// Its name; empty for a key that was deleted.
    pub name: String,
    /// What was used of it.
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// How one limit stands: in the replies to `KeyUsage` and `TenantUsage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUsage {
    /// As in a verdict; a named limit by its name.
    pub name: String,
    /// The most that it admits.
    pub limit: u64,
    /// Units that are spent, those that are stranded among them.
    pub spent: u64,
    /// Units that are left.
    pub remaining: u64,
    /// Units that are debited and not spent yet: what a crash now would strand. 0 where nothing is
    /// leased.
    pub leased: u64,
    /// Units that a crash has cost: debited, and not known to have been spent by anyone.
    pub stranded: u64,
    /// When the window ends, or the balance is refilled, RFC 3339.
    pub ends_at: Option<String>,
}
