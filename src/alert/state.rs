//! What was said of a key, so that a crossing is said once, also across restarts.

use serde::{Deserialize, Serialize};

use super::dates::ExpiryTold;
use super::quota::QuotaTold;

/// What was said of a key. On disk in an envelope, beside the alerts that it stands for, in one batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyState {
    /// The month's quota.
    pub quota: Option<QuotaTold>,
    /// Errors are high since then, and it was not said that they are not. Microseconds since 1970,
    /// this and those below.
    pub errors_high_since_us: Option<i64>,
    /// The expiry.
    pub expiry: Option<ExpiryTold>,
    /// The rotation that was overdue, by when it was due.
    pub rotation_due_us: Option<i64>,
    /// The change of status, by when it was.
    pub stopped_us: Option<i64>,
}

/// What is kept of the daemon as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DaemonState {
    /// When alerts were first looked for, microseconds since 1970: nobody is told of a revocation
    /// before that.
    pub began_us: i64,
    /// Whether it was said that many tokens are tried, and that has not ended.
    pub brute_force: bool,
}
