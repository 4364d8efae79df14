//! Reported outcomes: totals, endpoints, statuses, recent errors.

use std::collections::{BTreeMap, VecDeque};

use keygate_protocol::Increment;
use serde::{Deserialize, Serialize};

/// Endpoints that are counted apart; further ones are counted as `OTHER`.
const ENDPOINTS_MAX: usize = 256;
/// Statuses that are counted apart; further ones are counted as status 0.
const STATUSES_MAX: usize = 64;
/// Recent errors that are kept.
const RECENT_ERRORS_MAX: usize = 32;
/// Bytes that are kept of an error's text.
const MESSAGE_BYTES_MAX: usize = 256;
/// The endpoint of whatever is beyond `ENDPOINTS_MAX`.
const OTHER: &str = "(other)";

/// One report, free of its wire form.
pub type Report<'a> = Increment<'a>;

/// What was reported of one key. Every collection is bounded, and counters saturate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reported {
    /// All of it.
    pub total: Figures,
    /// By endpoint.
    pub endpoints: BTreeMap<String, Figures>,
    /// By status.
    pub statuses: BTreeMap<u16, u64>,
    /// The last ones, oldest first.
    pub recent_errors: VecDeque<RecentError>,
}

/// Counters of a key, or of one of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Requests.
    pub requests: u64,
    /// Of these, errors: status 400 and above, or an error text.
    pub errors: u64,
    /// Requests with a latency.
    pub latency_count: u64,
    /// The sum of their latencies, in microseconds; with the count it gives a mean without drift.
    pub latency_sum_us: u64,
}

/// One error that was reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentError {
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// Which endpoint, if it was said.
    pub endpoint: Option<String>,
    /// Which status, if it was said.
    pub status: Option<u16>,
    /// The text, cut at 256 bytes.
    pub message: Option<String>,
}

impl Reported {
    /// Counts a report.
    pub fn count(&mut self, report: &Report<'_>, at_us: i64) {
        let failed = report.status.is_some_and(|status| status >= 400) || report.error.is_some();
        self.total.count(report, failed);
        if let Some(endpoint) = report.endpoint {
            match self.endpoints.get_mut(endpoint) {
                // Nearly always: a name is copied once.
                Some(figures) => figures.count(report, failed),
                None => self.new_endpoint(endpoint).count(report, failed),
            }
        }
        if let Some(status) = report.status {
            add(self.status(status), u64::from(report.count));
        }
        if failed {
            self.remember_error(report, at_us);
        }
    }

    fn new_endpoint(&mut self, name: &str) -> &mut Figures {
        let name = if self.endpoints.len() < ENDPOINTS_MAX { name } else { OTHER };
        self.endpoints.entry(name.to_owned()).or_default()
    }

    fn status(&mut self, status: u16) -> &mut u64 {
        let known = self.statuses.contains_key(&status);
        let status = if known || self.statuses.len() < STATUSES_MAX { status } else { 0 };
        self.statuses.entry(status).or_default()
    }

    fn remember_error(&mut self, report: &Report<'_>, at_us: i64) {
        if self.recent_errors.len() == RECENT_ERRORS_MAX {
            self.recent_errors.pop_front();
        }
        let cut = |text: &str| text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned();
        self.recent_errors.push_back(RecentError {
            at_us,
            endpoint: report.endpoint.map(str::to_owned),
            status: report.status,
            message: report.error.map(cut),
        });
    }
}

impl Figures {
    fn count(&mut self, report: &Report<'_>, failed: bool) {
        let count = u64::from(report.count);
        add(&mut self.requests, count);
        add(&mut self.errors, if failed { count } else { 0 });
        if let Some(us) = report.latency_us {
            add(&mut self.latency_count, count);
            add(&mut self.latency_sum_us, count.saturating_mul(u64::from(us)));
        }
    }
}

const fn add(counter: &mut u64, count: u64) {
    *counter = counter.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Report<'static> = Report::new(1);

    #[test]
    fn status_400_and_above_or_a_text_is_an_error() {
        for (status, error, expected) in [
            (None, None, 0),
            (Some(200), None, 0),
            (Some(399), None, 0),
            (Some(400), None, 3),
            (Some(503), Some("down"), 3),
            (None, Some("reset"), 3),
        ] {
            let mut reported = Reported::default();
            reported.count(&Report { count: 3, status, error, ..PLAIN }, 7);
            assert_eq!(
                (reported.total.requests, reported.total.errors),
                (3, expected),
                "{status:?} {error:?}"
            );
            assert_eq!(reported.recent_errors.len(), usize::from(expected > 0));
        }
    }

    #[test]
    fn latency_is_a_count_and_a_sum_by_key_and_endpoint() {
        let mut reported = Reported::default();
        let endpoint = Some("GET /v1/leads");
        reported.count(&Report { count: 2, latency_us: Some(1500), endpoint, ..PLAIN }, 0);
        reported.count(&Report { latency_us: Some(0), endpoint, ..PLAIN }, 0);
        reported.count(&Report { endpoint, ..PLAIN }, 0);
        assert_eq!((reported.total.latency_count, reported.total.latency_sum_us), (3, 3000));
        let figures = reported.endpoints["GET /v1/leads"];
        assert_eq!((figures.requests, figures.latency_count), (4, 3));
    }

    #[test]
    fn every_collection_is_bounded() {
        let mut reported = Reported::default();
        let long = "ü".repeat(400);
        for n in 0..1000_u16 {
            let endpoint = format!("/{n}");
            let status = Some(100 + n % 900);
            let report = Report { endpoint: Some(&endpoint), status, error: Some(&long), ..PLAIN };
            reported.count(&report, i64::from(n));
        }
        assert_eq!(reported.endpoints.len(), ENDPOINTS_MAX + 1);
        assert_eq!(reported.endpoints[OTHER].requests, 1000 - ENDPOINTS_MAX as u64);
        assert_eq!(reported.statuses.len(), STATUSES_MAX + 1);
        assert_eq!(reported.statuses.values().sum::<u64>(), 1000);
        assert_eq!(reported.recent_errors.len(), RECENT_ERRORS_MAX);
        let message = reported.recent_errors[0].message.as_ref().expect("a text");
        assert!(message.len() <= MESSAGE_BYTES_MAX && message.starts_with('ü'));
    }
}
