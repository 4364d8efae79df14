//! The JSON of alerts (SPEC §9).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most alerts that one page of a list carries; as many if the request does not say.
pub const ALERT_PAGE_MAX: u32 = 100;

/// Longest overlap of two secrets of a web hook, in milliseconds: 30 days.
pub const OVERLAP_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// `AlertList`: what waits to be delivered, what was given up, and what was delivered of late.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertList {
    /// Only alerts about this key, by its id in decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only alerts about this tenant's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only those that were given up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Only those after this number: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Alerts on this page, 1 to [`ALERT_PAGE_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The reply to `AlertList`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AlertPage {
    /// Alerts, one for each destination, by ascending number.
    pub alerts: Vec<AlertShown>,
    /// Where the next page starts, or absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One alert on its way to one destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertShown {
    /// Its number, in decimal.
    pub number: String,
    /// The alert's id, which its receivers see.
    pub id: String,
    /// Its kind, such as `key.expiring`.
    pub kind: String,
    /// When it was found, RFC 3339.
    pub at: String,
    /// What it is about: `kind` (`key` or `daemon`), and the `id` and the `tenant` of a key.
    pub subject: Value,
    /// The name of the key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Where it goes: `to` (`webhook`, `email` or `sink`) with `url`, `address` or `name`.
    pub destination: Value,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// When it is tried next, where it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// When it was delivered or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// `AlertTest` and `AlertEnable`: a key by its id, or the daemon's operator.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRef {
    /// The key's id, in decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Instead of a key: what the configuration says of the operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
}

/// The reply to `AlertTest`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertTested {
    /// The id of the test, which its receivers see.
    pub id: String,
    /// What came of it, for each destination.
    pub results: Vec<AlertTestResult>,
}

/// What came of a test at one destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertTestResult {
    /// Where it went.
    pub destination: Value,
    /// `delivered`; `retry`, an alert would be tried again; `refused`, it would not; `gone`, nothing
    /// more is sent there.
    pub outcome: String,
    /// Why it was not delivered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// `AlertSecret`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertSecret {
    /// The key's id, in decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Instead of a key: the operator's web hook.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
    /// Make another secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rotate: bool,
    /// With `rotate`: how long the present one signs too, up to [`OVERLAP_MS_MAX`]; a day if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_ms: Option<u64>,
}

/// The reply to `AlertSecret`.
#[derive(Clone, Serialize, Deserialize)]
pub struct AlertSecrets {
    /// The web hook.
    pub url: String,
    /// Its secrets, the present one first.
    pub secrets: Vec<AlertSecretShown>,
}

/// One secret of a web hook.
#[derive(Clone, Serialize, Deserialize)]
pub struct AlertSecretShown {
    /// `whsec_…`, as its receiver writes it down.
    pub secret: String,
    /// Until when it signs, RFC 3339; absent for the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// The reply to `AlertEnable`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertEnabled {
    /// The web hook.
    pub url: String,
    /// Since when nothing was sent to it, RFC 3339; absent if it was not disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_since: Option<String>,
}
