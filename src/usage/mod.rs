//! What a key was used for, pure: counters that a report moves, with a bound on everything.

mod ids;
mod reported;

pub use ids::SeenIds;
pub use reported::{Figures, RecentError, Report, Reported};

use serde::{Deserialize, Serialize};

/// The figures of one key as they are stored: absolute, so that writing them twice counts once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageRow {
    /// Valid verdicts since the key came to this daemon.
    pub total_requests: u64,
    /// When the last one was given, microseconds since 1970; 0 for never.
    pub last_used_us: i64,
    /// What was reported, if anything was.
    pub reported: Option<Reported>,
}
