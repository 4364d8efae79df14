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
