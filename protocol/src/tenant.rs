//! The JSON of tenants on the admin socket (SPEC §9).
//!
//! A tenant travels as a [`serde_json::Value`], as a key's record does.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{LimitUsage, SpentPolicy};

/// Names one tenant: `TenantGet`, `TenantRestore`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRef {
    /// The tenant's id, as keys have it in `tenant_id`.
    pub id: String,
}

/// `TenantCreate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantCreate {
    /// The fields of the new record: `id`, and optional `name`, `description`, `organization_id`.
    pub tenant: Value,
}

/// `TenantList`. Filters are joined by "and".
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantList {
    /// Only tenants of this status, `ACTIVE` or `SUSPENDED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Deleted tenants too.
    #[serde(default)]
    pub deleted: bool,
    /// Only tenants after this id: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Tenants on this page, 1 to 1,000; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The reply to `TenantList`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TenantPage {
    /// Tenants, by ascending id: perhaps fewer than were asked for, even none, while `next` says
    /// that there are more.
    pub tenants: Vec<Value>,
    /// Where the next page starts, or absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `TenantUpdate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantUpdate {
    /// The tenant's id.
    pub id: String,
    /// Fields to change, of `name`, `description`, `organization_id`; `null` clears one.
    pub set: Value,
    /// Refuse unless the record has this revision; 0: unless there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
    /// What becomes of what was spent of the limits that `set` names; it is kept if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<SpentPolicy>,
}

/// The reply to `TenantUsage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantUsage {
    /// The tenant's id.
    pub id: String,
    /// How the limits stand that its keys share.
    pub limits: Vec<LimitUsage>,
}

/// `TenantSetStatus`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSetStatus {
    /// The tenant's id.
    pub id: String,
    /// `ACTIVE` or `SUSPENDED`.
    pub status: String,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `TenantDelete`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantDelete {
    /// The tenant's id.
    pub id: String,
    /// Remove its keys and its record too, for good; otherwise all is kept and the keys are
    /// unknown until it is restored.
    #[serde(default)]
    pub purge: bool,
}

/// The reply to every change of a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TenantChanged {
    /// The tenant after the change; of a purge, as it last was.
    pub tenant: Value,
    /// Keys that a purge has removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_purged: Option<u64>,
    /// What the operator should know of this write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}
