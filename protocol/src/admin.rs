//! The JSON of the admin socket (SPEC §9): the same objects that `--json` prints.
//!
//! A record is JSON in the source system's names (snake_case), as `key get --json` prints it. It
//! travels as a [`serde_json::Value`]: its fields belong to the daemon's domain, not to the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::alert::{
    ALERT_PAGE_MAX, AlertEnabled, AlertList, AlertPage, AlertRef, AlertSecret, AlertSecretShown,
    AlertSecrets, AlertShown, AlertTestResult, AlertTested, OVERLAP_MS_MAX,
};
pub use crate::backup::{
    Backup, BackupFrame, BackupRow, Progress, RotationState, SecretFrom, SecretRotation,
    SecretStatus, VerifyFrame, VerifyProblem, VerifyReport,
};
pub use crate::signing::{
    PUBLIC_KEY_BYTES_MAX, SHARED_SECRET_BYTES_MAX, SHARED_SECRET_BYTES_MIN,
    SIGNING_KEY_ID_BYTES_MAX, SIGNING_KEYS_MAX, SigningAdd, SigningAdded, SigningKey, SigningKeys,
    SigningList, SigningRemove,
};
pub use crate::tenant::{
    TenantChanged, TenantCreate, TenantDelete, TenantList, TenantPage, TenantRef, TenantSetStatus,
    TenantUpdate, TenantUsage,
};
pub use crate::usage::{
    EndpointUsage, KeyUsage, LimitUsage, RecentError, Span, TOP_MAX, TopBy, TopKey, UsageHistory,
    UsageHistoryRequest, UsageSpan, UsageSums, UsageTop, UsageTopRequest,
};
pub use crate::watch::{Watch, WatchFrame};

/// Most records that one page of a list carries.
pub const LIST_PAGE_MAX: u32 = 1000;

/// Most records that one list looks at to count them, or to find a page by its number.
pub const LIST_EXAMINED_MAX: u64 = 1_000_000;

/// Most bytes of a text that a list searches for; at least 1.
pub const SEARCH_BYTES_MAX: usize = 256;

/// Most bytes of the id of a request; at least 1.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Names one key: `KeyGet`, `KeyUsage`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRef {
    /// The key's id, in decimal.
    pub id: String,
    /// Answer for a deleted key too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// `KeyCreate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCreate {
    /// The fields of the new key. Those that keygate derives are left out, with a notice.
    pub record: Value,
    /// The caller's own name for this request, 1 to [`REQUEST_ID_BYTES_MAX`] bytes of visible
    /// ASCII, unique in the key's tenant: the same again makes no second key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The reply to `KeyCreate`: the only time the token is shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyCreated {
    /// The record.
    pub key: Value,
    /// What the holder sends. Not stored, not logged, not shown again: null where `repeated`.
    pub token: Option<String>,
    /// Whether an earlier request of the same `request_id` had made the key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub repeated: bool,
    /// What the operator should know of this write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// `KeyList`. Filters are joined by "and".
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyList {
    /// Only this tenant's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Only keys of this status, such as `ACTIVE` or `STATUS_ACTIVE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only keys with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only keys whose `key_prefix` begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only keys with an `expires_at` before this instant, those that have expired among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiring_before: Option<String>,
    /// Only keys whose last security review was before this instant, or never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_reviewed_since: Option<String>,
    /// Only keys whose last valid verdict was before this instant, or never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_used_since: Option<String>,
    /// Only keys whose `rotation_frequency_days` have passed since their last rotation, or since
    /// they were made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rotation_overdue: bool,
    /// Only keys with this text in name, description or a tag, in whatever case; 1 to
    /// [`SEARCH_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Deleted keys too.
    #[serde(default)]
    pub deleted: bool,
    /// Only deleted keys.
    #[serde(default, skip_serializing_if = "is_false")]
    pub only_deleted: bool,
    /// Only keys after this id: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Records on this page, 1 to 1,000; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The page by its number, from 1; instead of `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// Records on each page, for `page`; 1 to 1,000; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
    /// Count what passes the filters, on all pages.
    #[serde(default, skip_serializing_if = "is_false")]
    pub count: bool,
}

/// One frame of the reply to `KeyList` and `Export`: more follow while the frame says so. Its
/// records are values, or JSON that is handed on as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyPage<R = Value> {
    /// In an export: records of tenants, by ascending id. They stand in frames before the first
    /// key's.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<R>,
    /// Records, by ascending id.
    pub keys: Vec<R>,
    /// In a list's last frame: where the next page starts, or absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// In a list's last frame, where it was asked for: records that pass the filters, on all pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Beside it, for a page by its number: how many such pages there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_pages: Option<u64>,
    /// Whether the count ended at [`LIST_EXAMINED_MAX`] records, so that there may be more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub total_is_lower_bound: bool,
}

/// `KeyUpdate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyUpdate {
    /// The key's id, in decimal.
    pub id: String,
    /// Fields to change; `null` clears one.
    pub set: Value,
    /// Only these fields are changed, whatever else `set` has; one that `set` lacks is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Vec<String>>,
    /// Refuse unless the record has this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
    /// What becomes of what was spent of the limits that `set` names; it is kept if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<SpentPolicy>,
}

/// What becomes of what was spent of a limit when the limit is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpentPolicy {
    /// The units that were spent stay spent.
    #[default]
    Keep,
    /// The same share of the new limit is spent, rounded up to a unit.
    Proportional,
    /// Nothing is spent.
    Reset,
}

/// `KeyRotate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRotate {
    /// The key's id, in decimal.
    pub id: String,
    /// How long the old token goes on, in milliseconds; the daemon's default if absent, 0 ends it
    /// now. Never past `expires_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The reply to `KeyRotate`: the only time the new token is shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The record.
    pub key: Value,
    /// The new token.
    pub token: String,
    /// When the old token ends, RFC 3339.
    pub old_token_ends_at: String,
    /// What the operator should know of this key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// `KeySecret`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySecret {
    /// The key's id, in decimal.
    pub id: String,
    /// How long the secret before goes on, in milliseconds; the daemon's default for rotations if
    /// absent, 0 ends it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// The key demands its secret from here on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub require: bool,
    /// Make none: the key has no secret any more, and demands none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub remove: bool,
    /// Refuse unless the record has this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// The reply to `KeySecret`: the only time the new client secret is shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeySecretMade {
    /// The record.
    pub key: Value,
    /// The new secret; absent where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// When the secret before ends, RFC 3339; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret_ends_at: Option<String>,
    /// What the operator should know of this key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// `KeySetStatus`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySetStatus {
    /// The key's id, in decimal.
    pub id: String,
    /// The new status, such as `SUSPENDED` or `STATUS_SUSPENDED`.
    pub status: String,
    /// Why, for programs: `key_compromise`, `superseded`, `affiliation_changed`,
    /// `privilege_withdrawn`, or `other`, which needs `reason` beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `KeyDelete`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDelete {
    /// The key's id, in decimal.
    pub id: String,
    /// Remove the record too, for good; otherwise it is kept and only its tokens are unknown.
    #[serde(default)]
    pub purge: bool,
}

/// `KeyRestore`: a deleted key is there again, with its tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRestore {
    /// The key's id, in decimal.
    pub id: String,
}

/// `KeyReview`: the key's security was reviewed now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyReview {
    /// The key's id, in decimal.
    pub id: String,
}

/// The reply to `KeyUpdate`, `KeySetStatus`, `KeyDelete`, `KeyRestore` and `KeyReview`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyChanged {
    /// The record after the change.
    pub key: Value,
    /// What the operator should know of this write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// One frame of an `Import`: more follow while the frame says so.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportChunk {
    /// Take the good records and report the bad ones; counts in the first frame only.
    #[serde(default)]
    pub skip_bad: bool,
    /// Records of tenants, in the file's order; in whichever frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<Box<serde_json::value::RawValue>>,
    /// Records, in the file's order.
    pub records: Vec<Box<serde_json::value::RawValue>>,
}

/// Most records of tenants that one import takes.
pub const IMPORT_TENANTS_MAX: usize = 100_000;

/// One record that an import did not take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportProblem {
    /// The record's number in the file, from 1; a tenant's, among the tenants.
    pub record: u64,
    /// The tenant, where the record is a tenant's; empty if it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The field, where one is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// The reply to an `Import`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImportReport {
    /// Keys taken.
    pub imported: u64,
    /// Records of tenants taken, those among them that were there already as they came.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tenants_imported: u64,
    /// Records left out because they are bad.
    pub skipped: u64,
    /// The first problems, 1,000 at most.
    pub problems: Vec<ImportProblem>,
    /// What the operator should know, 1,000 lines at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A request without members: `Export`, `Stats`, `Health`, `Reload`, `Verify`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

impl NoFields {
    /// Reads the payload: `{}`, or nothing at all.
    ///
    /// # Errors
    /// [`serde_json::Error`] when there is more than that.
    pub fn decode(payload: &[u8]) -> serde_json::Result<Self> {
        if payload.is_empty() { Ok(Self {}) } else { serde_json::from_slice(payload) }
    }
}

/// The reply to `Stats`: figures by name, each name with its unit. A reader skips what it does not
/// know.
pub type Stats = std::collections::BTreeMap<String, u64>;

/// The reply to `Health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether all is well.
    pub healthy: bool,
    /// Whether changes are taken; validations go on without.
    pub writable: bool,
    /// One line for each thing that is not well.
    pub reasons: Vec<String>,
}

/// Most changes that one [`Reloaded`] names.
pub const CHANGES_MAX: usize = 1000;

/// The reply to `Reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Settings that have another value now.
    pub settings_changed: u64,
    /// A line for each, the first 1,000.
    pub changes: Vec<String>,
    /// Keys whose limits were compiled anew, because their tier has changed.
    pub keys_changed: u64,
    /// What the operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}
