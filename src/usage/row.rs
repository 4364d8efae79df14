//! What is stored of usage.

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Details, Figures, Hours, More, RecentError, Tally};

/// The figures of one key as they are stored: absolute, so that writing them twice counts once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageRow {
    /// When the last valid verdict was given, microseconds since 1970; 0 for never.
    pub last_used_us: i64,
    /// The client's address, as the caller stated it with a verdict of that time.
    pub last_used_from: Option<IpAddr>,
    /// All that was counted since the key came to this daemon.
    pub total: Tally,
    /// The hours that have no row of their own yet.
    pub hours: Hours,
    /// Endpoints and recent errors.
    pub details: Details,
}

/// The figures of a tenant, or of the whole daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SumRow {
    /// All that was counted of its keys. What a key has counted stays here when it is gone.
    pub total: Tally,
    /// The hours that have no row of their own yet.
    pub hours: Hours,
}

/// A month of days, by the day of [`super::Day`].
pub type MonthRow = BTreeMap<u32, Tally>;

/// Schema 1: totals, and what was reported of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageRow1 {
    /// Valid verdicts.
    pub total_requests: u64,
    /// As in [`UsageRow`].
    pub last_used_us: i64,
    /// What was reported, if anything was.
    pub reported: Option<Reported1>,
}

/// What schema 1 has of reports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reported1 {
    /// All of it.
    pub total: Figures,
    /// By endpoint.
    pub endpoints: BTreeMap<String, Figures>,
    /// By status.
    pub statuses: BTreeMap<u16, u64>,
    /// The last ones, oldest first.
    pub recent_errors: VecDeque<RecentError>,
}

/// What schema 1 does not have is taken as if each verdict had cost one unit and no money.
impl From<UsageRow1> for UsageRow {
    fn from(row: UsageRow1) -> Self {
        let mut total = Tally::of_verdicts(row.total_requests, row.total_requests, 0);
        let mut details = Details::default();
        if let Some(reported) = row.reported {
            total.more = Some(Box::new(More {
                reported: reported.total.requests,
                errors: reported.total.errors,
                statuses: reported.statuses,
                latency_count: reported.total.latency_count,
                latency_sum_us: reported.total.latency_sum_us,
                ..More::default()
            }));
            details =
                Details { endpoints: reported.endpoints, recent_errors: reported.recent_errors };
        }
        Self { last_used_us: row.last_used_us, total, details, ..Self::default() }
    }
}
