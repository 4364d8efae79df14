//! The JSON of `Watch` (SPEC §9).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `Watch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Only what concerns this tenant and its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// One frame of the reply to `Watch`. One without events says that the daemon is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchFrame<E = Value> {
    /// What happened, in order.
    pub events: Vec<E>,
    /// How many events before these were not sent, because they were not read in time.
    #[serde(default, skip_serializing_if = "is_none")]
    pub missed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_none(missed: &u64) -> bool {
    *missed == 0
}
